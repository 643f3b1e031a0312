"""What a scaling experiment allows to claim, in plain sentences: an effect is named only if its interval excludes 0."""

from dataclasses import dataclass

from lurker.decimals import decimal, interval, signed
from rm.experiments.curve_findings import Finding, observed_fall, of_largest_model
from rm.experiments.power_laws import Points


@dataclass(frozen=True, slots=True)
class Gains:
    """Fall of one loss for a doubling at the largest size, and where time is better spent."""

    data: Finding
    model: Finding
    time: Finding
    """gain of time spent on data minus that of time spent on parameters"""


def claims(loss: Gains, error: Gains, doubled: str, model: str) -> str:
    """One sentence; an effect is named only if its interval excludes 0, in accuracy or else in log loss.

    Args:
        loss: gains in log loss, nats.
        error: gains in accuracy.
        doubled: what is doubled from which size, in words.
        model: SPEC of the largest model.
    """
    parts = [
        _claim(f"doubling {doubled}", error.data, loss.data),
        _claim(f"doubling the parameters of {model}", error.model, loss.model),
    ]
    for finding, by in ((error.time, ""), (loss.time, ", by log loss")):
        if finding.is_named:
            better = "data" if float(finding.value or 0) > 0 else "parameters"
            parts.append(f"the next hour is better spent on {better}{by}")
            break
    else:
        if error.time.value is not None:
            parts.append("whether the next hour is better spent on data or parameters cannot be told")
    text = "; ".join(filter(None, parts))
    return f"{text[0].upper()}{text[1:]}."


def _claim(what: str, error: Finding, loss: Finding) -> str:
    if error.value is None or loss.value is None:
        return ""
    most = f"at most {signed(error.high or 0.0)}"
    if error.is_named:
        return f"{what} adds {_gain(error, 'of accuracy')}"
    if loss.is_named:
        return f"{what} lowers the log loss by {_gain(loss, 'nats')}, but no gain in accuracy is shown ({most})"
    return f"no gain in accuracy from {what} is shown ({most})"


def _gain(finding: Finding, of: str) -> str:
    """A gain with its interval, and what of it posts and seeds make."""
    ends = (float(number or 0) for number in (finding.value, finding.low, finding.high))
    return f"{interval(*ends)} {of}{_apart(finding)}"


def _apart(finding: Finding) -> str:
    """How much of an interval the test posts and the seeds make, in brackets; empty if it is not known."""
    if finding.by_posts is None or finding.by_seeds is None:
        return ""
    return f" (± {decimal(finding.by_posts)} by test posts, ± {decimal(finding.by_seeds)} by seeds)"


def without_curve(error: Points, model: str, reason: str, unit: str) -> str:
    """What the runs show where no curve can be fitted, in a sentence."""
    no_curve = f"No curve is fitted: {reason}."
    gain = observed_fall(error)
    if gain.value is None:
        return no_curve
    value, low, high = (float(number or 0) for number in (gain.value, gain.low, gain.high))
    sizes = of_largest_model(error).n_pairs
    span = f"from {sizes.min():,.0f} to {sizes.max():,.0f} {unit}"
    if not gain.is_named:
        return f"{no_curve} No gain in accuracy of {model} {span} is shown (at most {signed(high)})."
    verb = "gains" if value > 0 else "loses"
    figures = interval(abs(value), *sorted((abs(low), abs(high))))
    return (
        f"{no_curve} {model} {verb} {figures} of accuracy {span}; "
        "the interval covers the test posts, not the luck of single runs."
    )
