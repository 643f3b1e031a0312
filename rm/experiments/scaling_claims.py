"""What a scaling experiment allows to claim, in plain sentences: an effect is named only if its interval excludes 0."""

from dataclasses import dataclass

from rm.experiments.curve_findings import Finding, observed_fall
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
    value, low, high = (100 * float(number or 0) for number in (error.value, error.low, error.high))
    if error.is_named:
        return f"{what} adds {value:.1f} points of accuracy [{low:.1f}, {high:.1f}]{_apart(error, 100, 1)}"
    if loss.is_named:
        gain = f"{loss.value:.3f} nats [{loss.low:.3f}, {loss.high:.3f}]{_apart(loss, 1, 3)}"
        return f"{what} lowers the log loss by {gain}, but no gain in accuracy is shown (at most {high:.1f} points)"
    return f"no gain from {what} is shown (at most {high:.1f} points of accuracy)"


def _apart(finding: Finding, factor: float, digits: int) -> str:
    """How much of an interval the test posts and the seeds make, in brackets; empty if it is not known."""
    if finding.by_posts is None or finding.by_seeds is None:
        return ""
    posts, seeds = (f"{factor * half:.{digits}f}" for half in (finding.by_posts, finding.by_seeds))
    return f" (± {posts} by test posts, ± {seeds} by seeds)"


def without_curve(error: Points, model: str, reason: str, unit: str) -> str:
    """What the runs show where no curve can be fitted, in a sentence."""
    no_curve = f"No curve is fitted: {reason}."
    gain = observed_fall(error)
    if gain.value is None:
        return no_curve
    value, low, high = (100 * float(number or 0) for number in (gain.value, gain.low, gain.high))
    span = f"from {error.n_pairs.min():,.0f} to {error.n_pairs.max():,.0f} {unit}"
    if not gain.is_named:
        return f"{no_curve} No gain of {model} {span} is shown (at most {high:.1f} points of accuracy)."
    verb = "gains" if value > 0 else "loses"
    ends = sorted((abs(low), abs(high)))
    interval = f"{abs(value):.1f} points of accuracy [{ends[0]:.1f}, {ends[1]:.1f}]"
    return (
        f"{no_curve} {model} {verb} {interval} {span}; the interval covers the test posts, not the luck of single runs."
    )
