"""Scaling curves: loss against training pairs and parameters, fitted with intervals.

    L(N, P) = E + A·N^-alpha + B·P^-beta

N is the number of training pairs, P that of parameters, L a log loss in nats or 1 - accuracy. The fit is variable
projection: given the exponents, E, A and B are a non-negative least-squares problem, so only the exponents are
searched, over a grid and then by Nelder-Mead. Gradient methods stop early on this flat surface.

Source:
    Hoffmann et al. 2022, arXiv 2203.15556, eq. 2; Golub & Pereyra 2003, "Separable nonlinear least squares".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import fdtrc, stdtrit

Floats = NDArray[np.float64]
EXPONENTS = np.geomspace(0.03, 3.0, 33)
"""The grid of both exponents."""
MIN_DATA_SIZES = 4
"""Data sizes that E, A and alpha need, with one left to judge the fit."""
MIN_MODEL_SIZES = 3
"""Model sizes that B and beta need."""
N_DRAWS = 400
"""Bootstrap draws of each fit."""
LEVEL = 0.95
"""Coverage of intervals, and 1 minus the level of the test of misfit."""


@dataclass(frozen=True, slots=True)
class Points:
    """Test losses of runs on the same test pairs."""

    n_pairs: Floats
    """training pairs, [n_runs]"""
    n_parameters: Floats
    """[n_runs]"""
    loss: Floats
    """mean test loss, [n_runs]"""
    variance: Floats
    """of that mean, clustered by post, > 0, [n_runs]"""
    post_losses: Floats | None = None
    """sum of the loss over the test pairs of each post, [n_runs, n_posts]"""
    post_pairs: Floats | None = None
    """test pairs of each post, [n_posts]"""

    def take(self, kept: NDArray[np.bool_]) -> "Points":
        """The runs of a mask, [n_runs]."""
        posts = None if self.post_losses is None else self.post_losses[kept]
        pairs, parameters, loss, variance = self.n_pairs, self.n_parameters, self.loss, self.variance
        return Points(pairs[kept], parameters[kept], loss[kept], variance[kept], posts, self.post_pairs)

    @property
    def has_parameter_term(self) -> bool:
        """Whether there are enough model sizes for B and beta."""
        return np.unique(self.n_parameters).size >= MIN_MODEL_SIZES

    @property
    def degrees_of_freedom(self) -> int:
        """Runs beyond the parameters of the curve."""
        return self.loss.size - (5 if self.has_parameter_term else 3)


@dataclass(frozen=True, slots=True)
class Curve:
    """L(N, P); each parameter is one number, or an array of bootstrap draws, [n_draws]."""

    asymptote: Floats
    """E"""
    data_factor: Floats
    """A"""
    data_exponent: Floats
    """alpha"""
    parameter_factor: Floats
    """B; 0 without a term for model size"""
    parameter_exponent: Floats
    """beta"""

    def loss(self, n_pairs: float, n_parameters: float) -> Floats:
        """L at one size, in the unit of the points."""
        of_data = self.data_factor * n_pairs**-self.data_exponent
        of_parameters = self.parameter_factor * n_parameters**-self.parameter_exponent
        return np.asarray(self.asymptote + of_data + of_parameters)


@dataclass(frozen=True, slots=True)
class CurveFit:
    """A fitted curve, its bootstrap draws, and which of its parameters the runs determine."""

    points: Points
    curve: Curve
    draws: Curve
    residuals: Floats
    """of the runs, times the square root of their weights and widened for the few runs, [n_runs]"""
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
    groups = np.unique(np.stack([points.n_pairs, points.n_parameters]), axis=1, return_inverse=True)[1].reshape(-1)
    n_groups = int(groups.max()) + 1
    of_groups, of_runs = n_groups - (points.loss.size - points.degrees_of_freedom), points.loss.size - n_groups
    if of_groups < 1 or of_runs < 1:
        return None
    weights = _weight(points) ** 2
    means = np.bincount(groups, weights * points.loss) / np.bincount(groups, weights)
    within = float(np.sum(weights * (points.loss - means[groups]) ** 2))
    (curve, *_), _ = _fit_all(points, points.loss[None] * _weight(points))
    beyond = max(float(np.sum(weights * (points.loss - _fitted(curve, points)) ** 2)) - within, 0.0)
    return float(fdtrc(of_groups, of_runs, beyond / of_groups / max(within / of_runs, 1e-30)))


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

    Runs are weighted by the inverse of their variance. Every draw adds to the fitted curve a resampled residual for
    each whole run (which holds the noise of seeds and of a wrong form of the curve) and, where the losses of posts are
    given, the change of all runs on resampled posts. Residuals are widened to Student's t for few runs.

    Args:
        points: as many as `cannot_fit` asks for.
        rng: of the bootstrap.
        n_draws: number of draws.

    Source:
        Davison & Hinkley 1997, "Bootstrap methods and their application", section 7.3, for the residuals.
    """
    weight = _weight(points)
    (curve, *_), profiles = _fit_all(points, points.loss[None] * weight)
    fitted = _fitted(curve, points)
    freedom = points.degrees_of_freedom
    widened = float(stdtrit(freedom, 0.5 + LEVEL / 2) / stdtrit(np.inf, 0.5 + LEVEL / 2))
    residuals = (points.loss - fitted) * weight * np.sqrt(points.loss.size / freedom) * widened
    counts = _post_counts(points, rng, n_draws)
    noise = run_noise(residuals, points, rng, n_draws) + post_noise(points, counts)
    drawn, _ = _fit_all(points, (fitted + noise) * weight)
    names = ("asymptote", "data_factor", "data_exponent", "parameter_factor", "parameter_exponent")
    draws = Curve(*(np.array([getattr(one, name) for one in drawn]) for name in names))
    reasons = [
        _undetermined(profile, freedom) or _at_edge(exponents)
        for profile, exponents in zip(profiles, (draws.data_exponent, draws.parameter_exponent), strict=False)
    ]
    return CurveFit(points, curve, draws, residuals, counts, reasons[0], reasons[1] if len(reasons) > 1 else "")


def _fitted(curve: Curve, points: Points) -> Floats:
    """The curve at the sizes of the runs, [n_runs]."""
    return np.array([curve.loss(*sizes) for sizes in zip(points.n_pairs, points.n_parameters, strict=True)])


def _weight(points: Points) -> Floats:
    """Square roots of the weights, [n_runs]."""
    return np.asarray(1 / np.sqrt(points.variance))


def run_noise(residuals: Floats, points: Points, rng: np.random.Generator, n_draws: int) -> Floats:
    """Noise of whole runs, drawn from the residuals of a fit with random signs: [n_draws, n_runs]."""
    shape = (n_draws, points.loss.size)
    return np.asarray(rng.choice(residuals, shape) * rng.choice([-1.0, 1.0], shape) / _weight(points))


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


def _fit_all(points: Points, targets: Floats) -> tuple[list[Curve], list[Floats]]:
    """Fit weighted losses.

    Args:
        points: whose sizes and weights count.
        targets: losses times the square root of their weights, [n_fits, n_runs].

    Returns:
        The curves, [n_fits]; and for the first of them the least sum of squares at each exponent of the grid, divided
        by the least of all: one profile for alpha, [n_exponents], and one for beta if there is such a term.
    """
    weight = _weight(points)
    sizes = [points.n_pairs] + ([points.n_parameters] if points.has_parameter_term else [])
    logs = np.stack([np.log(size / size.max()) for size in sizes])  # each power is 1 at the largest size
    grid = np.stack(np.meshgrid(*[EXPONENTS] * len(sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))
    squares = _non_negative_squares(_design(grid, logs, weight), targets)
    best = squares.argmin(0)
    curves = [_polished(grid[start], logs, weight, target, sizes) for start, target in zip(best, targets, strict=True)]
    surface = squares[:, 0].reshape([EXPONENTS.size] * len(sizes))
    others = [tuple(axis for axis in range(len(sizes)) if axis != own) for own in range(len(sizes))]
    floor = max(float(surface.min()), 1e-12)
    return curves, [np.asarray(surface.min(axis=rest)) / floor for rest in others]


def _design(exponents: Floats, logs: Floats, weight: Floats) -> Floats:
    """Weighted columns of E, A and B, [..., n_runs, 1 + n_terms]; exponents [..., n_terms], logs [n_terms, n_runs]."""
    powers = np.exp(-exponents[..., :, None] * logs)
    ones = np.ones_like(powers[..., :1, :])
    return np.swapaxes(np.concatenate([ones, powers], axis=-2) * weight, -1, -2)


def _non_negative_squares(designs: Floats, targets: Floats) -> Floats:
    """Least sum of squares with coefficients >= 0, by trying every set of positive coefficients.

    Args:
        designs: [n_designs, n_runs, n_columns], n_columns <= 3.
        targets: [n_fits, n_runs].

    Returns:
        [n_designs, n_fits].
    """
    n_columns = designs.shape[2]
    total = np.einsum("bn,bn->b", targets, targets)
    best = np.broadcast_to(total, (designs.shape[0], targets.shape[0])).copy()
    for size in range(1, n_columns + 1):
        for columns in combinations(range(n_columns), size):
            part = designs[:, :, list(columns)]
            coefficients = np.linalg.pinv(part) @ targets.T
            explained = np.einsum("gkb,gkb->gb", coefficients, np.swapaxes(part, 1, 2) @ targets.T)
            is_possible = (coefficients >= 0).all(axis=1)
            best = np.where(is_possible, np.minimum(best, total - explained), best)
    return np.asarray(np.maximum(best, 0.0))


def _polished(start: Floats, logs: Floats, weight: Floats, target: Floats, sizes: Sequence[Floats]) -> Curve:
    """The curve after Nelder-Mead from the best exponents of the grid, [n_terms], within the ends of the grid."""
    ends = np.log(EXPONENTS[[0, -1]])

    def residual(log_exponents: Floats) -> float:
        return float(nnls(_design(np.exp(np.clip(log_exponents, *ends)), logs, weight), target)[1])

    step = np.log(EXPONENTS[1] / EXPONENTS[0])
    corners = np.log(start) + step * np.vstack([np.zeros(start.size), np.eye(start.size)])
    options = {"initial_simplex": corners, "xatol": 0.01, "fatol": 1e-3 * residual(corners[0])}
    found = minimize(residual, np.log(start), method="Nelder-Mead", options=options)
    exponents = np.exp(np.clip(found.x, *ends))
    coefficients = nnls(_design(exponents, logs, weight), target)[0]
    factors = [c * size.max() ** e for c, size, e in zip(coefficients[1:], sizes, exponents, strict=True)]
    terms = [np.asarray(value) for pair in zip(factors, exponents, strict=True) for value in pair]
    return Curve(np.asarray(coefficients[0]), *terms, *[np.asarray(0.0)] * (4 - len(terms)))


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
