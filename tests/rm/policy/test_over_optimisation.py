"""Fits of over-optimisation recover known curves, and say so where there is nothing to recover."""

import numpy as np
import pytest

from lurker.errors import CallError
from rm.policy.over_optimisation import RunPoints, fit_over_optimisation, fitted_curve


def world(curve, kl, *, n_runs=3, n_prompts=40, noise=0.5, run_noise=0.0, seed=0):
    """Runs whose prompts differ by noise around a curve of d = √KL."""
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(n_runs):
        spread = kl * rng.lognormal(0, 0.2, (n_prompts, len(kl)))
        mean = curve(np.sqrt(kl)) + run_noise * rng.standard_normal() * np.sqrt(kl)
        runs.append(RunPoints(spread, mean + noise * rng.standard_normal((n_prompts, len(kl)))))
    return runs


KL = np.linspace(0, 16, 12)


def agent(alpha, beta):
    return lambda d: np.where(d > 0, d * (alpha - beta * np.log(np.maximum(d, 1e-12))), 0.0)


def test_the_agents_curve_and_its_peak_are_recovered():
    """α = 1.2 and β = 0.9 peak at exp(α/β − 1) = 1.396, at β·1.396 = 1.256."""
    found = fit_over_optimisation(world(agent(1.2, 0.9), KL), "truth", "agent")
    assert found.alpha[0] == pytest.approx(1.2, abs=0.12)
    assert found.beta[0] == pytest.approx(0.9, abs=0.12)
    assert found.verdict == "peak"
    assert found.peak_distance[1] < np.exp(1.2 / 0.9 - 1) < found.peak_distance[2]
    assert found.peak_value[0] == pytest.approx(0.9 * np.exp(1.2 / 0.9 - 1), abs=0.1)
    assert found.fall[1] > 0
    assert "then falls by" in found.sentence


def test_the_curve_of_the_best_of_n_is_recovered():
    """d(1.5 − 0.5 d) peaks at 1.5, at 1.125."""
    kl = np.log(2.0 ** np.arange(1, 9)) - 1 + 0.5 ** np.arange(1, 9)
    found = fit_over_optimisation(world(lambda d: d * (1.5 - 0.5 * d), kl, n_prompts=200), "truth", "best of n")
    assert found.peak_distance[0] == pytest.approx(1.5, abs=0.1)
    assert found.peak_value[0] == pytest.approx(1.125, abs=0.1)
    assert fitted_curve(found)[0] == (0, 0)
    assert max(value for _, value in fitted_curve(found)) == pytest.approx(found.peak_value[0], abs=0.01)


def test_intervals_cover_the_known_peak():
    truth, covered = np.exp(1.2 / 0.9 - 1), 0
    for seed in range(60):
        runs = world(agent(1.2, 0.9), KL, n_runs=6, run_noise=0.05, seed=seed)
        found = fit_over_optimisation(runs, "truth", "agent", n_draws=200)
        covered += found.peak_distance[1] <= truth <= found.peak_distance[2]
    assert covered >= 48  # bootstrap of six runs covers a little less than 95 %


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (agent(2.0, -0.1), "no peak within the range"),
        (agent(3.0, 0.9), "no peak within the range"),
        (agent(-2.0, 0.5), "falls from the start"),
        (agent(-1.0, -0.3), "falls from the start"),  # it would rise beyond the range
    ],
)
def test_what_has_no_peak_is_told_so(curve, verdict):
    found = fit_over_optimisation(world(curve, KL), "truth", "agent")
    assert found.verdict == verdict
    assert found.peak_distance is None
    assert found.fall is None


def test_noise_cannot_tell():
    runs = world(lambda d: 0 * d, KL, n_runs=2, n_prompts=4, noise=2.0)
    found = fit_over_optimisation(runs, "truth", "agent")
    assert found.verdict == "cannot tell"
    assert "cannot be told" in found.sentence
    assert found.beta[1] < 0 < found.beta[2]


def test_means_with_errors_do_without_prompts():
    curve = agent(1.2, 0.9)(np.sqrt(KL))
    rng = np.random.default_rng(0)
    values = curve + 0.05 * rng.standard_normal(len(KL))
    runs = [RunPoints(KL[None], values[None], np.full((1, len(KL)), 0.05))]
    found = fit_over_optimisation(runs, "truth", "agent")
    assert found.verdict == "peak"
    assert found.peak_distance[1] < np.exp(1.2 / 0.9 - 1) < found.peak_distance[2]
    assert found.peak_distance[2] - found.peak_distance[1] > 0.02


def test_too_few_points_are_refused():
    run = RunPoints(np.array([[0.0, 1.0, 1.0, 2.0]]), np.array([[0.0, 1.0, 1.1, 0.9], [0.0, 1.2, 1.0, 0.8]]))
    with pytest.raises(CallError, match="3 distances from the writer or more, got 2"):
        fit_over_optimisation([run], "truth", "agent")
