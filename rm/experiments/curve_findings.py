"""What a fitted scaling curve says: gains, what one more point costs, where time is better spent, and predictions.

Every figure has an interval over the bootstrap draws of the fit, or the reason why it cannot be told.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lurker.stats import clustered_standard_error, mean_interval, unseen_margins
from rm.experiments.curves import LEVEL, N_DRAWS, CurveFit, cannot_fit, fit_curve, held_out_noise, post_noise
from rm.experiments.power_laws import MIN_MODEL_SIZES, Curve, Floats, Points

ONE_POINT = 0.01
"""One point of accuracy."""
MIN_EFFECT = 0.0005
"""Below it an end of an interval is shown as 0. A falling curve never has a gain of exactly 0."""
MIN_TIME_EXPONENT = 0.1
"""Below it the measured time hardly depends on a size: a doubling costs less than 7 %."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure with its 95 % interval, or the reason why it cannot be told."""

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""
    by_posts: float | None = None
    """half the width of the interval if only the test posts varied"""
    by_seeds: float | None = None
    """the same of the runs: their seeds and training subsets, and a wrong form of the curve"""

    @property
    def is_named(self) -> bool:
        """Whether the interval is above 0 or below it, by no less than what is shown of it."""
        ends = (self.low, self.high)
        return None not in ends and (float(ends[0] or 0) >= MIN_EFFECT or float(ends[1] or 0) <= -MIN_EFFECT)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The loss of the largest size or model, predicted from all others, against what came."""

    predicted: Finding
    """with the interval of what should come, noise of the held-out runs included"""
    came: float | None
    """mean loss of the held-out runs"""

    @property
    def is_as_predicted(self) -> bool:
        """Whether it came within the interval."""
        low, high = self.predicted.low, self.predicted.high
        return self.came is not None and low is not None and high is not None and low <= self.came <= high


def unknown(reason: str) -> Finding:
    """A figure that cannot be told."""
    return Finding(None, None, None, reason)


def parameters(fit: CurveFit) -> dict[str, Finding]:
    """E, A, alpha, and B and beta if there is a term for model size."""
    for_both = "; ".join(dict.fromkeys(filter(None, (fit.data_reason, fit.parameter_reason))))
    wanted = [("E", "asymptote", for_both), ("A", "data_factor", fit.data_reason)]
    wanted += [("alpha", "data_exponent", fit.data_reason)]
    if fit.points.has_parameter_term:
        wanted += [
            ("B", "parameter_factor", fit.parameter_reason),
            ("beta", "parameter_exponent", fit.parameter_reason),
        ]
    return {symbol: unknown(reason) if reason else _of_fit(fit, attrgetter(name)) for symbol, name, reason in wanted}


def data_gain(fit: CurveFit) -> Finding:
    """How far the loss falls when the data are doubled from the largest size, at the largest model."""
    return _of_fit(fit, lambda curve: _gain(curve, fit.points, 2, 1))


def parameter_gain(fit: CurveFit) -> Finding:
    """How far the loss falls when the parameters are doubled from the largest model, at the largest data size."""
    if not fit.points.has_parameter_term:
        return unknown(_few_models(fit.points))
    return _of_fit(fit, lambda curve: _gain(curve, fit.points, 1, 2))


def last_step(points: Points) -> Finding:
    """How far the loss fell from the second largest data size to the largest, at the largest model, without a curve.

    The interval holds the posts, paired, and the seeds, whose variance is pooled over all sizes with two runs or more.
    """
    largest = of_largest_model(points)
    sizes = np.unique(largest.n_pairs)
    if sizes.size < 2:
        return unknown("it needs two data sizes at the largest model")
    smaller, most = (largest.take(largest.n_pairs == size) for size in sizes[-2:])
    if points.is_online:  # the two points of a run vary together: what counts is its own fall
        groups = [_last_falls(points.take(points.n_parameters == model)) for model in np.unique(points.n_parameters)]
    else:
        groups = [points.loss[(points.n_pairs == n) & (points.n_parameters == p)] for n, p in _sizes(points)]
    repeated = [group for group in groups if group.size > 1]
    freedom = sum(group.size - 1 for group in repeated)
    if not freedom or points.post_losses is None or points.post_pairs is None:
        return unknown("it needs two seeds of a size, and the losses of posts")
    of_seeds = sum(float(np.sum((group - group.mean()) ** 2)) for group in repeated) / freedom
    of_posts = [part.post_losses.mean(axis=0) / points.post_pairs for part in (smaller, most)]  # type: ignore[union-attr]
    posts = np.arange(points.post_pairs.size)
    error = clustered_standard_error(of_posts[0] - of_posts[1], posts, points.post_pairs)
    fall = float(smaller.loss.mean() - most.loss.mean())
    n_means = 1 / most.loss.size if points.is_online else 1 / smaller.loss.size + 1 / most.loss.size
    quantile = float(stdtrit(freedom, 0.5 + LEVEL / 2))
    largest_change = float(np.abs(of_posts[0] - of_posts[1]).max())
    missed = unseen_margins(fall, error, posts.size, (-largest_change, largest_change), LEVEL)
    by_posts, by_seeds = max(quantile * error, *missed), quantile * float(np.sqrt(of_seeds * n_means))
    half = float(np.hypot(by_posts, by_seeds))
    return Finding(fall, fall - half, fall + half, "", by_posts, by_seeds)


def _last_falls(points: Points) -> Floats:
    """Fall of each online run of one model from its second largest data size to the largest, if it has two; [n]."""
    falls = []
    for run in np.unique(points.runs):
        own = points.take(points.runs == run)
        if own.loss.size > 1:
            second, last = own.loss[np.argsort(own.n_pairs)[-2:]]
            falls.append(second - last)
    return np.array(falls)


def observed_fall(points: Points) -> Finding:
    """How far the loss fell from the smallest data size to the largest, at the largest model, without a curve.

    The interval holds the posts, paired, and not the seeds.
    """
    largest = of_largest_model(points)
    sizes = np.unique(largest.n_pairs)
    if sizes.size < 2 or points.post_losses is None or points.post_pairs is None or points.post_pairs.size < 2:
        return unknown("it needs two data sizes, and the losses of posts")
    fewest, most = (largest.take(largest.n_pairs == size) for size in (sizes[0], sizes[-1]))
    of_posts = [part.post_losses.mean(axis=0) / points.post_pairs for part in (fewest, most)]  # type: ignore[union-attr]
    one = mean_interval(of_posts[0] - of_posts[1], np.arange(points.post_pairs.size), points.post_pairs)
    return Finding(one.value, one.low, one.high)


def of_largest_model(points: Points) -> Points:
    """The points of the largest model: not all data sizes of a grid in which cells failed, or that grew later."""
    return points.take(points.n_parameters == points.n_parameters.max())


def _sizes(points: Points) -> list[tuple[float, float]]:
    """The distinct pairs of data size and model size."""
    return sorted(set(zip(points.n_pairs.tolist(), points.n_parameters.tolist(), strict=True)))


def pairs_for(fit: CurveFit, gain: float = ONE_POINT) -> Finding:
    """Training pairs beyond the largest size that lower the loss by `gain`, at the largest model."""
    finding = _of_fit(fit, lambda curve: _pairs_for(curve, fit.points, gain))
    value, low, high = (float("inf") if number is None else number for number in astuple(finding)[:3])
    if np.isinf(low):
        return unknown("the curve ends before that gain")
    if np.isinf([value, high]).any():
        return unknown(f"the curve may end before that gain, which takes {low:,.0f} pairs or more")
    return finding


def time_exponents(points: Points, seconds: Floats) -> tuple[float, float]:
    """Exponents u, v of the training time T ~ N^u·P^v, by least squares of its logarithm.

    Args:
        seconds: of each run, > 0, [n_runs].
    """
    columns = np.stack([np.ones(seconds.size), np.log(points.n_pairs), np.log(points.n_parameters)], axis=1)
    _, of_data, of_parameters = np.linalg.lstsq(columns, np.log(seconds), rcond=None)[0]
    return float(of_data), float(of_parameters)


def data_over_parameters(fit: CurveFit, seconds: Floats) -> Finding:
    """Gain of a doubled training time spent on data minus that of the same time spent on parameters.

    At the largest size and model, to first order: the gain of a doubling over the doublings of time that it costs.

    Args:
        seconds: training time of each run, [n_runs].
    """
    if not fit.points.has_parameter_term:
        return unknown(_few_models(fit.points))
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        return unknown("a run has no training time")
    of_data, of_parameters = time_exponents(fit.points, seconds)
    for name, exponent in (("data", of_data), ("parameters", of_parameters)):
        if exponent < MIN_TIME_EXPONENT:
            return unknown(f"twice the {name} took {2**exponent:.2f} times the training time")

    def difference(curve: Curve) -> Floats:
        return _gain(curve, fit.points, 2, 1) / of_data - _gain(curve, fit.points, 1, 2) / of_parameters

    return _of_fit(fit, difference)


def held_out_size(points: Points, rng: np.random.Generator, n_draws: int = N_DRAWS) -> HeldOut:
    """Predict the largest data size at the largest model from all smaller data sizes."""
    return _held_out(points, points.n_pairs == points.n_pairs.max(), rng, n_draws)


def held_out_model(points: Points, rng: np.random.Generator, n_draws: int = N_DRAWS) -> HeldOut:
    """Predict the largest model at its largest data size from all smaller models."""
    is_largest = points.n_parameters == points.n_parameters.max()
    if not points.take(~is_largest).has_parameter_term:
        return HeldOut(unknown(f"{_few_models(points.take(~is_largest))} without it"), None)
    return _held_out(points, is_largest, rng, n_draws)


def _held_out(points: Points, is_held_out: NDArray[np.bool_], rng: np.random.Generator, n_draws: int) -> HeldOut:
    """Predict the largest of the held-out runs, at the largest model and its largest data size, from the others."""
    others, held = points.take(~is_held_out), points.take(is_held_out)
    if reason := cannot_fit(others):
        return HeldOut(unknown(f"{reason} without it"), None)
    held = held.take(held.n_parameters == held.n_parameters.max())
    held = held.take(held.n_pairs == held.n_pairs.max())
    fit = fit_curve(others, rng, n_draws)
    sizes = float(held.n_pairs[0]), float(held.n_parameters[0])
    noise = held_out_noise(fit, held, rng, n_draws) + post_noise(held, fit.post_counts)
    predicted = fit.curve.loss(*sizes)
    # Resampled posts move the prediction and what comes together, so their noise mostly cancels.
    errors = noise.mean(axis=1) + predicted - fit.draws.loss(*sizes)
    return HeldOut(_finding(predicted, predicted + errors), float(held.loss.mean()))


def _gain(curve: Curve, points: Points, of_data: float, of_parameters: float) -> Floats:
    """Fall of the loss when the largest sizes are multiplied by these factors."""
    n_pairs, n_parameters = float(points.n_pairs.max()), float(points.n_parameters.max())
    return curve.loss(n_pairs, n_parameters) - curve.loss(of_data * n_pairs, of_parameters * n_parameters)


def _pairs_for(curve: Curve, points: Points, gain: float) -> Floats:
    n_pairs = float(points.n_pairs.max())
    term = np.atleast_1d(curve.data_factor * n_pairs**-curve.data_exponent)
    more = np.full(term.shape, np.inf)
    is_possible = term > gain
    exponents = np.broadcast_to(curve.data_exponent, term.shape)[is_possible]
    with np.errstate(over="ignore"):
        more[is_possible] = n_pairs * ((term[is_possible] / (term[is_possible] - gain)) ** (1 / exponents) - 1)
    return more.reshape(np.shape(curve.data_exponent))


def _of_fit(fit: CurveFit, figure: Callable[[Curve], Floats]) -> Finding:
    """A figure of the curve with its interval, and what of it the posts and the seeds make."""
    whole = _finding(figure(fit.curve), figure(fit.draws))
    if fit.post_counts is None:
        return whole
    of_posts = _finding(figure(fit.curve), figure(fit.post_draws))
    half, by_posts = (0.5 * (float(one.high or 0) - float(one.low or 0)) for one in (whole, of_posts))
    if not np.isfinite([half, by_posts]).all():
        return whole
    return replace(whole, by_posts=by_posts, by_seeds=float(np.sqrt(max(half**2 - by_posts**2, 0.0))))


def _finding(value: Floats, draws: Floats) -> Finding:
    """The interval of a figure over its draws; ends are draws themselves, as some may be infinite."""
    ends = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    return Finding(float(value), float(ends[0]), float(ends[1]))


def _few_models(points: Points) -> str:
    n_models = np.unique(points.n_parameters).size
    return f"{n_models} model {'size' if n_models == 1 else 'sizes'} in the fit, and {MIN_MODEL_SIZES} are needed"
