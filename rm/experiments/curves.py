"""Scaling curves with intervals: which points can be fitted, the bootstrap over runs and posts, what cannot be told."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc, stdtrit

from rm.experiments.power_laws import EXPONENTS, Curve, Floats, Points, fit_all, fitted_losses, root_weights

MIN_DATA_SIZES = 4
"""Data sizes that E, A and alpha need, with one left to judge the fit."""
N_DRAWS = 400
"""Bootstrap draws of each fit."""
POST_SHARE = 2
"""One in so many draws is repeated with the posts alone."""
LEVEL = 0.95
"""Coverage of intervals, and 1 minus the level of the test of misfit."""


@dataclass(frozen=True, slots=True)
class CurveFit:
    """A fitted curve, its bootstrap draws, and which of its parameters the runs determine."""

    points: Points
    curve: Curve
    draws: Curve
    post_draws: Curve
    """draws in which the posts vary and the runs do not"""
    residuals: Floats
    """of the points, times the square root of their weights and widened for the few runs, [n_points]"""
    post_counts: Floats | None
    """how often each draw has each post, [n_draws, n_posts]; None without the losses of posts"""
    data_reason: str
    """why alpha, A and E cannot be told; empty if they can"""
    parameter_reason: str
    """why beta, B and E cannot be told; empty if they can or if there is no such term"""


def cannot_fit(points: Points) -> str:
    """Why no curve can be fitted; empty if one can."""
    n_sizes = np.unique(points.n_pairs).size
    if n_sizes < MIN_DATA_SIZES:
        return f"{n_sizes} data {'size' if n_sizes == 1 else 'sizes'}, and {MIN_DATA_SIZES} are needed"
    if points.is_online and points.degrees_of_freedom < 1:
        return "1 seed of an online run does not show how seeds differ, and 2 are needed"
    if points.degrees_of_freedom < 1:
        return f"{points.loss.size} runs, and {points.loss.size - points.degrees_of_freedom + 1} are needed"
    return ""


def misfit(points: Points) -> float | None:
    """P value of the test that the curve misses the mean of each size by no more than runs of one size differ.

    Args:
        points: as many as `cannot_fit` asks for.

    Returns:
        None without two runs of one size, or without more sizes than parameters of the curve.

    Source:
        The F test of lack of fit, Draper & Smith 1998, "Applied regression analysis", section 2.1.
    """
    if points.is_online:
        points = _on_one_level(points)
    groups = np.unique(np.stack([points.n_pairs, points.n_parameters]), axis=1, return_inverse=True)[1].reshape(-1)
    n_groups = int(groups.max()) + 1
    of_groups, of_runs = n_groups - points.n_coefficients, points.loss.size - n_groups
    if of_groups < 1 or of_runs < 1:
        return None
    weights = root_weights(points) ** 2
    means = np.bincount(groups, weights * points.loss) / np.bincount(groups, weights)
    within = float(np.sum(weights * (points.loss - means[groups]) ** 2))
    (curve, *_), _ = fit_all(points, points.loss[None] * root_weights(points))
    beyond = max(float(np.sum(weights * (points.loss - fitted_losses(curve, points)) ** 2)) - within, 0.0)
    return float(fdtrc(of_groups, of_runs, beyond / of_groups / max(within / of_runs, 1e-30)))


def _on_one_level(points: Points) -> Points:
    """The points of online runs without what all points of a run share, so that only the forms of runs differ."""
    loss = points.loss.copy()
    for size in np.unique(points.n_parameters):
        of_model = points.n_parameters == size
        for run in np.unique(points.runs[of_model]):
            own = of_model & (points.runs == run)
            loss[own] -= points.loss[own].mean() - points.loss[of_model].mean()
    return replace(points, loss=loss)


def first_fitting_size(points: Points) -> float:
    """The smallest data size from which the curve fits; the smallest of all if leaving sizes out does not help.

    A model near chance learns nothing from its first pairs, and a power law has no such start.

    Args:
        points: as many as `cannot_fit` asks for.
    """
    sizes = np.unique(points.n_pairs)
    for size in sizes[: sizes.size - MIN_DATA_SIZES + 1]:
        kept = points.take(points.n_pairs >= size)
        p_value = None if cannot_fit(kept) else misfit(kept)
        if p_value is not None and p_value >= 1 - LEVEL:
            return float(size)
    return float(sizes[0])


def fit_curve(points: Points, rng: np.random.Generator, n_draws: int = N_DRAWS) -> CurveFit:
    """Fit the curve and its bootstrap draws.

    Points are weighted by the inverse of their variance. Every draw adds to the fitted curve a resampled residual for
    each whole run (which holds the noise of seeds and of a wrong form of the curve) and, where the losses of posts are
    given, the change of all runs on resampled posts. The points of one online run are one unit: its residuals keep
    their pattern and are multiplied by one normal number. Residuals are widened to Student's t for few runs.

    Args:
        points: as many as `cannot_fit` asks for.
        rng: of the bootstrap.
        n_draws: number of draws.

    Source:
        Davison & Hinkley 1997, "Bootstrap methods and their application", section 7.3, for the residuals; Cameron,
        Gelbach & Miller 2008, "Bootstrap-based improvements for inference with clustered errors", for whole runs.
    """
    weight = root_weights(points)
    (curve, *_), profiles = fit_all(points, points.loss[None] * weight)
    fitted = fitted_losses(curve, points)
    freedom = points.degrees_of_freedom
    widened = float(stdtrit(freedom, 0.5 + LEVEL / 2) / stdtrit(np.inf, 0.5 + LEVEL / 2))
    residuals = (points.loss - fitted) * weight * np.sqrt(points.n_runs / freedom) * widened
    counts = _post_counts(points, rng, n_draws)
    of_posts = post_noise(points, counts)
    draws = _draws(points, fitted + run_noise(residuals, points, rng, n_draws) + of_posts)
    post_draws = _draws(points, fitted + of_posts[: n_draws // POST_SHARE])
    # The profile takes points for independent; of online runs only the draws know better.
    reasons = [
        ("" if points.is_online else _undetermined(profile, freedom)) or _at_edge(exponents)
        for profile, exponents in zip(profiles, (draws.data_exponent, draws.parameter_exponent), strict=False)
    ]
    reasons.append("")  # of beta, without a term for model size
    return CurveFit(points, curve, draws, post_draws, residuals, counts, *reasons[:2])


def _draws(points: Points, losses: Floats) -> Curve:
    """The curves through losses [n_draws, n_points], as one curve of draws."""
    drawn, _ = fit_all(points, losses * root_weights(points))
    names = ("asymptote", "data_factor", "data_exponent", "parameter_factor", "parameter_exponent")
    return Curve(*(np.array([getattr(one, name) for one in drawn]) for name in names))


def run_noise(residuals: Floats, points: Points, rng: np.random.Generator, n_draws: int) -> Floats:
    """Noise of whole runs, drawn from the residuals of a fit with random signs: [n_draws, n_points].

    The residuals of an online run stay together.
    """
    if points.is_online:
        multipliers = rng.normal(size=(n_draws, points.n_runs))
        return np.asarray(multipliers[:, points.runs] * residuals / root_weights(points))
    shape = (n_draws, points.loss.size)
    return np.asarray(rng.choice(residuals, shape) * rng.choice([-1.0, 1.0], shape) / root_weights(points))


def held_out_noise(fit: CurveFit, held: Points, rng: np.random.Generator, n_draws: int) -> Floats:
    """Noise of runs that are no part of a fit, [n_draws, n_points]; held: one point of each run.

    Of online runs it is drawn from the residuals at the largest size, where a run has strayed as far as it does.
    """
    is_last = fit.points.n_pairs == fit.points.n_pairs.max()
    residuals = fit.residuals[is_last] if fit.points.is_online else fit.residuals
    return run_noise(residuals, replace(held, run=None), rng, n_draws)


def post_noise(points: Points, counts: Floats | None) -> Floats:
    """Change of each run's mean loss on resampled posts, [n_draws, n_runs]; 0 without the losses of posts.

    Args:
        counts: how often each draw has each post, [n_draws, n_posts].
    """
    if counts is None or points.post_losses is None or points.post_pairs is None:
        return np.zeros((1, points.loss.size))
    means = counts @ points.post_losses.T / (counts @ points.post_pairs)[:, None]
    return np.asarray(means - points.post_losses.sum(1) / points.post_pairs.sum())


def _post_counts(points: Points, rng: np.random.Generator, n_draws: int) -> Floats | None:
    if points.post_pairs is None:
        return None
    n_posts = points.post_pairs.size
    return rng.multinomial(n_posts, np.full(n_posts, 1 / n_posts), n_draws).astype(np.float64)


def _undetermined(profile: Floats, freedom: int) -> str:
    """Why an exponent cannot be told: the best is at an end of the grid, or an end fits as well as the best.

    Args:
        profile: least sum of squares at each exponent of the grid, divided by the least of all.
        freedom: degrees of freedom of the fit.
    """
    low, high = EXPONENTS[[0, -1]]
    limit = 1 + float(stdtrit(freedom, 0.5 + LEVEL / 2)) ** 2 / freedom
    fits = np.flatnonzero(profile <= limit)
    best = int(profile.argmin())
    if fits.size == profile.size:
        return f"every exponent from {low:g} to {high:g} fits as well"
    if best in (0, profile.size - 1):
        return f"the best exponent is at the edge of the grid, {EXPONENTS[best]:g}"
    if fits[0] == 0:
        return f"every exponent from {low:g} to {EXPONENTS[fits[-1]]:.2g} fits as well"
    if fits[-1] == profile.size - 1:
        return f"every exponent from {EXPONENTS[fits[0]]:.2g} to {high:g} fits as well"
    return ""


def _at_edge(draws: Floats) -> str:
    """Why an exponent cannot be told from its draws: the interval ends at an edge of the grid."""
    ends = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    edges = [edge for edge in EXPONENTS[[0, -1]] if np.isclose(ends, edge, rtol=0.01).any()]
    return f"the interval of the exponent reaches the edge of the grid, {edges[0]:g}" if edges else ""
