"""The curve through losses against data and model size: points, the curve, and the search for the best one.

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

Floats = NDArray[np.float64]
EXPONENTS = np.geomspace(0.03, 3.0, 33)
"""The grid of both exponents."""
MIN_MODEL_SIZES = 3
"""Model sizes that B and beta need."""


@dataclass(frozen=True, slots=True)
class Points:
    """Test losses of runs on the same test pairs; a run that is evaluated on its way has several points."""

    n_pairs: Floats
    """training pairs, or another measure of the data, [n_points]"""
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
    run: NDArray[np.int64] | None = None
    """number of the run of each point, [n_points]: its points share their luck; None: each point is a run"""

    def take(self, kept: NDArray[np.bool_]) -> "Points":
        """The points of a mask, [n_points]."""
        posts = None if self.post_losses is None else self.post_losses[kept]
        pairs, parameters, loss, variance = self.n_pairs, self.n_parameters, self.loss, self.variance
        run = None if self.run is None else self.run[kept]
        return Points(pairs[kept], parameters[kept], loss[kept], variance[kept], posts, self.post_pairs, run)

    @property
    def runs(self) -> NDArray[np.int64]:
        """Number of the run of each point, from 0, [n_points]."""
        if self.run is None:
            return np.arange(self.loss.size)
        return np.asarray(np.unique(self.run, return_inverse=True)[1], dtype=np.int64)

    @property
    def n_runs(self) -> int:
        """Runs: what varies independently, posts aside."""
        return int(np.unique(self.runs).size)

    @property
    def is_online(self) -> bool:
        """Whether runs have several points."""
        return self.n_runs < self.loss.size

    @property
    def n_coefficients(self) -> int:
        """Parameters of the curve."""
        return 5 if self.has_parameter_term else 3

    @property
    def has_parameter_term(self) -> bool:
        """Whether there are enough model sizes for B and beta."""
        return np.unique(self.n_parameters).size >= MIN_MODEL_SIZES

    @property
    def degrees_of_freedom(self) -> int:
        """Runs beyond the parameters of the curve; of online runs, beyond one of each model.

        Every online run is a whole curve, so the seeds of a model tell how much curves differ.
        """
        if self.is_online:
            return self.n_runs - int(np.unique(self.n_parameters).size)
        return self.loss.size - self.n_coefficients


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


def fitted_losses(curve: Curve, points: Points) -> Floats:
    """The curve at the sizes of the runs, [n_runs]."""
    return np.array([curve.loss(*sizes) for sizes in zip(points.n_pairs, points.n_parameters, strict=True)])


def root_weights(points: Points) -> Floats:
    """Square roots of the weights, [n_runs]."""
    return np.asarray(1 / np.sqrt(points.variance))


def fit_all(points: Points, targets: Floats) -> tuple[list[Curve], list[Floats]]:
    """Fit weighted losses.

    Args:
        points: whose sizes and weights count.
        targets: losses times the square root of their weights, [n_fits, n_runs].

    Returns:
        The curves, [n_fits]; and for the first of them the least sum of squares at each exponent of the grid, divided
        by the least of all: one profile for alpha, [n_exponents], and one for beta if there is such a term.
    """
    weight = root_weights(points)
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
