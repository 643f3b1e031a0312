"""Over-optimisation: how a measure rises and falls as a policy leaves its writer, where it peaks, and whether it does.

With d = √KL, a policy trained on a reward follows d(α − β log d), the best of n d(α − β d). Both are linear in α and β.

Source: Gao, Schulman & Hilton 2022, "Scaling laws for reward model overoptimization", 2210.10760, section 3.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lurker.errors import CallError
from lurker.report import Displayed, ResultTable

Floats = NDArray[np.float64]
Method = Literal["agent", "best of n"]
Verdict = Literal["peak", "no peak within the range", "falls from the start", "cannot tell"]
N_DRAWS = 1_000
SURE = 0.975
"""Share of draws that must agree before a shape is called by its name."""
MIN_POINTS = 3
"""Distances from the writer that a curve of two parameters needs."""
LEVEL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class RunPoints:
    """One run: what each prompt showed at each evaluated step."""

    kl: Floats
    """divergence from the writer, nats, [prompts, steps] or [1, steps] where prompts are not told apart"""
    values: Floats
    """the measure, 0 for the writer, [prompts, steps]"""
    errors: Floats | None = None
    """standard error of the values where prompts are not told apart, [1, steps]"""


@dataclass(frozen=True, slots=True, repr=False)
class OverOptimisation(Displayed):
    """The fitted curve of one measure, its peak and its fall."""

    measure: str
    method: str
    alpha: tuple[float, float, float]
    """value and 95 % interval"""
    beta: tuple[float, float, float]
    verdict: Verdict
    peak_distance: tuple[float, float, float] | None
    """√KL at the peak; None where no peak was found"""
    peak_value: tuple[float, float, float] | None
    fall: tuple[float, float, float] | None
    """from the peak to the largest distance, positive if the measure fell"""
    largest_distance: float
    residual: float
    """root mean square of what the curve leaves, in units of the measure"""
    share_with_peak: float
    """draws whose curve peaks within the range"""
    sentence: str

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def table(self) -> ResultTable:
        """One row, and the sentence."""
        row = {
            "measure": self.measure,
            "α": _shown(self.alpha),
            "β": _shown(self.beta),
            "peak at √KL": _shown(self.peak_distance),
            "height": _shown(self.peak_value),
            "fall after it": _shown(self.fall),
            "verdict": self.verdict,
        }
        return ResultTable("Over-optimisation", [row], self.sentence)


def fit_over_optimisation(
    runs: Sequence[RunPoints], measure: str, method: Method, seed: int = 0, n_draws: int = N_DRAWS
) -> OverOptimisation:
    """Fit the curve of a measure, with intervals from resampled runs and, within them, prompts.

    Args:
        runs: that differ by seed only.
        measure: its name, for the sentence.
        method: agent: d(α − β log d); best of n: d(α − β d).
        seed: of the draws.
        n_draws: resamples.

    Raises:
        CallError: there are fewer than MIN_POINTS distances from the writer.
    """
    distances, values = _points(runs)
    if len(np.unique(distances[distances > 0])) < MIN_POINTS:
        raise CallError(
            f"The curve of {measure} needs {MIN_POINTS} distances from the writer or more, "
            f"got {len(np.unique(distances[distances > 0]))}.",
            "Train longer, or evaluate at more steps.",
        )
    largest, least = float(distances.max()), float(distances[distances > 0].min())
    fitted = _fit(distances, values, method)
    rng = np.random.default_rng(seed)
    draws = np.array([_fit(*_points(_resampled(runs, rng)), method) for _ in range(n_draws)])
    peaks = np.array([_peak(alpha, beta, method) for alpha, beta in draws])
    ends = np.array([float(_curve(largest, alpha, beta, method)) for alpha, beta in draws])
    is_within = (peaks > least) & (peaks < largest)
    is_start = (peaks <= least) | ((peaks >= largest) & (ends < 0))  # a curve that rises later is highest at 0 so far
    verdict = _verdict(float(is_within.mean()), float(is_start.mean()))
    residual = float(np.sqrt(np.mean((values - _curve(distances, *fitted, method)) ** 2)))
    place = _peak(*fitted, method)
    distance = height = fall = None
    if verdict == "peak":
        distance = _with_interval(place, peaks)
        heights = np.array([float(_curve(at, draw[0], draw[1], method)) for at, draw in zip(peaks, draws, strict=True)])
        top, end = float(_curve(place, *fitted, method)), float(_curve(largest, *fitted, method))
        height, fall = _with_interval(top, heights), _with_interval(top - end, heights - ends)
    return OverOptimisation(
        measure=measure,
        method=method,
        alpha=_with_interval(fitted[0], draws[:, 0]),
        beta=_with_interval(fitted[1], draws[:, 1]),
        verdict=verdict,
        peak_distance=distance,
        peak_value=height,
        fall=fall,
        largest_distance=largest,
        residual=residual,
        share_with_peak=float(is_within.mean()),
        sentence=_sentence(measure, verdict, distance, height, fall, largest),
    )


def fitted_curve(found: OverOptimisation, n_points: int = 60) -> list[tuple[float, float]]:
    """Points (√KL, value) of the fitted curve from the writer to the largest distance."""
    distances = np.linspace(0.0, found.largest_distance, n_points)
    values = _curve(distances, found.alpha[0], found.beta[0], "agent" if found.method == "agent" else "best of n")
    return [(float(d), float(value)) for d, value in zip(distances, values, strict=True)]


def _points(runs: Sequence[RunPoints]) -> tuple[Floats, Floats]:
    """√KL and mean value at each step of each run, [points] and [points]."""
    kl = np.concatenate([run.kl.mean(axis=0) for run in runs])
    values = np.concatenate([run.values.mean(axis=0) for run in runs])
    return np.sqrt(np.maximum(kl, 0.0)), values


def _resampled(runs: Sequence[RunPoints], rng: np.random.Generator) -> list[RunPoints]:
    """Runs with replacement, each with its prompts with replacement; noise where prompts are not told apart."""
    return [_of_prompts(runs[index], rng) for index in rng.integers(0, len(runs), len(runs))]


def _of_prompts(run: RunPoints, rng: np.random.Generator) -> RunPoints:
    if run.errors is not None:
        return RunPoints(run.kl, run.values + rng.standard_normal(run.values.shape) * run.errors)
    rows = rng.integers(0, len(run.values), len(run.values))
    return RunPoints(run.kl[rows] if len(run.kl) > 1 else run.kl, run.values[rows])


def _features(distances: Floats | float, method: Method) -> Floats:
    """What α and β multiply, [..., 2]."""
    d = np.asarray(distances, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bend = np.where(d > 0, d * np.log(d), 0.0) if method == "agent" else d**2
    return np.stack([d, -bend], axis=-1)


def _fit(distances: Floats, values: Floats, method: Method) -> tuple[float, float]:
    """α and β by least squares."""
    alpha, beta = np.linalg.lstsq(_features(distances, method), values, rcond=None)[0]
    return float(alpha), float(beta)


def _curve(distances: Floats | float, alpha: float, beta: float, method: Method) -> Floats:
    with np.errstate(invalid="ignore"):  # a draw that never falls peaks at infinity
        return np.asarray(_features(distances, method) @ np.array([alpha, beta]))


def _peak(alpha: float, beta: float, method: Method) -> float:
    """√KL at which the curve is highest: infinite if it never falls, 0 if it never rises."""
    if method == "best of n":
        if beta <= 0:
            return float("inf") if alpha > 0 else 0.0
        return max(alpha / (2 * beta), 0.0)
    if beta <= 0:  # rises without end, after a dip near the writer
        return float("inf")
    return float(np.exp(min(alpha / beta - 1, 700.0)))


def _verdict(share_within: float, share_at_start: float) -> Verdict:
    """What the resampled curves agree on."""
    if share_within >= SURE:
        return "peak"
    if share_at_start >= SURE:
        return "falls from the start"
    if share_within + share_at_start <= 1 - SURE:
        return "no peak within the range"
    return "cannot tell"


def _with_interval(value: float, draws: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(draws[np.isfinite(draws)], LEVEL)
    return value, min(float(low), value), max(float(high), value)


def _sentence(
    measure: str,
    verdict: Verdict,
    distance: tuple[float, float, float] | None,
    height: tuple[float, float, float] | None,
    fall: tuple[float, float, float] | None,
    largest: float,
) -> str:
    name = measure[:1].upper() + measure[1:]
    if verdict == "peak" and distance and height and fall:
        end = "then falls by" if fall[1] > 0 else "and its fall after that may be chance:"
        return (
            f"{name} is highest at √KL {_shown(distance)}, at {_shown(height)} standard deviations, {end} "
            f"{_shown(fall)} to √KL {largest:.2f}."
        )
    return {
        "no peak within the range": f"{name} still rises at the largest distance, √KL {largest:.2f}: no peak was seen.",
        "falls from the start": f"{name} falls from the start, up to √KL {largest:.2f}.",
    }.get(verdict, f"Whether {measure} peaks before √KL {largest:.2f} cannot be told from these points.")


def _shown(interval: tuple[float, float, float] | None) -> str | None:
    return None if interval is None else "{:.2f} [{:.2f}, {:.2f}]".format(*interval)
