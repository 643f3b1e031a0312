from dataclasses import astuple, replace

import numpy as np
import pytest

from rm.experiments.curve_findings import (
    data_gain,
    data_over_parameters,
    held_out_model,
    held_out_size,
    last_step,
    pairs_for,
    parameter_gain,
    parameters,
    time_exponents,
)
from rm.experiments.curves import cannot_fit, first_fitting_size, fit_curve, misfit
from rm.experiments.power_laws import EXPONENTS, Curve, Points

SIZES = (500, 1000, 2000, 4000, 8000, 16_000)
MODELS = (1e4, 5e4, 2e5, 1e6)
TRUE = Curve(*(np.asarray(value) for value in (0.6, 1.0, 0.4, 0.8, 0.35)))
DATA_ALONE = Curve(TRUE.asymptote, TRUE.data_factor, TRUE.data_exponent, *[np.asarray(0.0)] * 2)


def simulated(
    seed: int,
    curve: Curve = TRUE,
    sizes: tuple[int, ...] = SIZES,
    models: tuple[float, ...] = MODELS,
    n_seeds: int = 2,
    noise: float = 0.001,
) -> Points:
    cells = [(float(size), model) for size in sizes for model in models for _ in range(n_seeds)]
    n_pairs, n_parameters = np.array(cells).T
    loss = np.array([float(curve.loss(*cell)) for cell in cells])
    loss += np.random.default_rng(seed).normal(0, noise, loss.size)
    return Points(n_pairs, n_parameters, loss, np.full(loss.size, 1e-4))


def on_posts(seed: int, points: Points, post_noise: float, n_posts: int = 200) -> Points:
    """The same losses on posts of 1 to 9 pairs that are hard or easy for all runs alike."""
    rng = np.random.default_rng(seed)
    n_pairs = rng.integers(1, 10, n_posts).astype(float)
    hardness = rng.normal(0, post_noise, n_posts)
    sums = (points.loss[:, None] + hardness) * n_pairs
    return replace(points, loss=sums.sum(1) / n_pairs.sum(), post_losses=sums, post_pairs=n_pairs)


def test_a_curve_without_noise_is_recovered() -> None:
    fit = fit_curve(simulated(0, noise=1e-7), np.random.default_rng(0), 20)
    assert [float(value) for value in astuple(fit.curve)] == pytest.approx([0.6, 1.0, 0.4, 0.8, 0.35], rel=0.02)
    assert not fit.data_reason and not fit.parameter_reason


@pytest.mark.parametrize("models", [MODELS, MODELS[:1]])
def test_intervals_cover_the_truth_as_often_as_they_say(models: tuple[float, ...]) -> None:
    curve = TRUE if len(models) > 1 else DATA_ALONE
    names = ("E", "A", "alpha", "B", "beta")[: 5 if len(models) > 1 else 3]
    gain = float(curve.loss(16_000, models[-1]) - curve.loss(32_000, models[-1]))
    truth = dict(zip((*names, "gain"), (*map(float, astuple(curve)[: len(names)]), gain), strict=True))
    n_repetitions = 20
    covered = dict.fromkeys(truth, 0)
    for seed in range(n_repetitions):
        fit = fit_curve(simulated(seed, curve, models=models), np.random.default_rng(seed), 80)
        for name, finding in {**parameters(fit), "gain": data_gain(fit)}.items():
            assert finding.low is not None and finding.high is not None, finding.reason
            covered[name] += finding.low <= truth[name] <= finding.high
    # P(fewer than 15 of 20) is 0.0003 at 95 %; and intervals that always cover would be too wide.
    assert all(covered_by >= 15 for covered_by in covered.values()), covered
    assert sum(covered.values()) < n_repetitions * len(covered)


def test_more_noise_gives_wider_intervals() -> None:
    widths = []
    for noise in (0.0005, 0.005):
        gain = data_gain(fit_curve(simulated(1, noise=noise), np.random.default_rng(0), 100))
        assert gain.low is not None and gain.high is not None
        widths.append(gain.high - gain.low)
    assert widths[1] > 4 * widths[0]


def test_posts_move_the_asymptote_but_not_the_gain() -> None:
    points = simulated(2)
    fits = [fit_curve(on_posts(2, points, noise), np.random.default_rng(0), 200) for noise in (0.0, 0.2)]
    (bare, wide), (bare_gain, wide_gain) = [parameters(fit)["E"] for fit in fits], [data_gain(fit) for fit in fits]
    assert wide.high - wide.low > 1.5 * (bare.high - bare.low)  # type: ignore[operator]
    assert wide_gain.high - wide_gain.low == pytest.approx(  # type: ignore[operator]
        bare_gain.high - bare_gain.low,  # type: ignore[operator]
        rel=0.3,
    )


def test_flat_curves_rarely_show_a_gain() -> None:
    flat = Curve(*(np.asarray(value) for value in (0.6, 0.0, 0.4, 0.0, 0.35)))
    n_named = 0
    for seed in range(30):
        fit = fit_curve(simulated(seed, flat, models=MODELS[:1]), np.random.default_rng(seed), 80)
        n_named += data_gain(fit).is_named
        assert fit.data_reason
    assert n_named <= 5  # P(more than 5 of 30) is 0.003 at 5 %


def test_a_flat_profile_is_named_and_its_parameters_are_not_told() -> None:
    fit = fit_curve(simulated(3, noise=0.05), np.random.default_rng(0), 50)
    assert "fits as well" in fit.data_reason
    assert parameters(fit)["alpha"].value is None and parameters(fit)["E"].value is None
    assert data_gain(fit).value is not None  # the gain is still told, with its interval


def test_no_exponent_is_told_whose_interval_ends_at_an_edge() -> None:
    n_told = 0
    for seed in range(15):
        noisy = simulated(seed, DATA_ALONE, models=MODELS[:1], noise=0.004)
        fit = fit_curve(noisy, np.random.default_rng(0), 60)
        low, high = np.quantile(fit.draws.data_exponent, [0.025, 0.975])
        told = parameters(fit)["alpha"].value is not None
        assert not told or EXPONENTS[0] < low < high < EXPONENTS[-1]
        n_told += told
    assert 0 < n_told < 15


def test_an_exponent_beyond_the_grid_is_at_its_edge() -> None:
    steep = Curve(*(np.asarray(value) for value in (0.6, 1e11, 4.5, 0.0, 0.0)))
    fit = fit_curve(simulated(4, steep, models=MODELS[:1], noise=1e-4), np.random.default_rng(0), 50)
    assert f"edge of the grid, {EXPONENTS[-1]:g}" in fit.data_reason
    assert parameters(fit)["alpha"].value is None


def test_too_few_sizes_are_refused() -> None:
    assert cannot_fit(simulated(0, sizes=SIZES[:3])) == "3 data sizes, and 4 are needed"
    assert cannot_fit(simulated(0, sizes=SIZES[:4], models=MODELS[:1], n_seeds=1)) == ""
    four_sizes, three_models = np.array([500.0, 1000, 2000, 4000, 4000]), np.array([*MODELS[:3], *MODELS[:2]])
    five_runs = Points(four_sizes, three_models, np.full(5, 0.6), np.full(5, 1e-4))
    assert cannot_fit(five_runs) == "5 runs, and 6 are needed"
    two = fit_curve(simulated(0, DATA_ALONE, models=MODELS[:2]), np.random.default_rng(0), 20)
    assert parameter_gain(two).reason == "2 model sizes in the fit, and 3 are needed"


def test_sizes_before_learning_begins_are_left_out() -> None:
    n_whole, n_found = 0, 0
    for seed in range(20):
        points = simulated(seed, DATA_ALONE, models=MODELS[:1])
        n_whole += first_fitting_size(points) == SIZES[0]
        points.loss[points.n_pairs == SIZES[0]] = DATA_ALONE.loss(1000, MODELS[0]) + 0.1  # far above the curve
        n_found += first_fitting_size(points) == SIZES[1]
    assert n_whole >= 15 and n_found >= 15  # P(fewer of 20) is 0.0003 at 95 %


def test_misfit_needs_repeated_runs_and_is_uniform_where_the_curve_holds() -> None:
    assert misfit(simulated(0, DATA_ALONE, models=MODELS[:1], n_seeds=1)) is None
    values = [misfit(simulated(seed, DATA_ALONE, models=MODELS[:1], n_seeds=3)) for seed in range(40)]
    assert 0.3 < float(np.mean([value for value in values if value is not None])) < 0.7


def test_the_measured_gain_of_the_last_size_covers_the_truth() -> None:
    gain = float(TRUE.loss(8000, MODELS[-1]) - TRUE.loss(16_000, MODELS[-1]))
    n_covered = 0
    for seed in range(40):
        measured = last_step(on_posts(seed, simulated(seed), 0.2))  # posts are paired: their hardness cancels
        assert measured.low is not None and measured.high is not None and measured.high - measured.low < 0.006
        n_covered += measured.low <= gain <= measured.high
    assert n_covered >= 33  # P(fewer of 40) is 0.001 at 95 %
    assert "two seeds" in last_step(simulated(0, n_seeds=1)).reason


def test_pairs_for_a_gain_bring_that_gain() -> None:
    fit = fit_curve(simulated(5, noise=1e-5), np.random.default_rng(0), 50)
    more = pairs_for(fit, 0.003)
    assert more.value is not None
    reached = fit.curve.loss(16_000 + more.value, MODELS[-1])
    assert float(fit.curve.loss(16_000, MODELS[-1]) - reached) == pytest.approx(0.003, rel=1e-6)
    assert "the curve ends" in pairs_for(fit, 0.1).reason


def test_the_next_hour_goes_where_a_doubling_of_time_brings_more() -> None:
    points = simulated(6, noise=1e-4)
    seconds = 1e-6 * points.n_pairs * points.n_parameters**0.8
    assert time_exponents(points, seconds) == pytest.approx((1.0, 0.8))
    fit = fit_curve(points, np.random.default_rng(0), 100)
    gains = [float(data_gain(fit).value or 0), float(parameter_gain(fit).value or 0)]
    difference = data_over_parameters(fit, seconds)
    assert difference.value == pytest.approx(gains[0] - gains[1] / 0.8)
    assert difference.is_named
    assert "times the training time" in data_over_parameters(fit, np.full(points.loss.size, 9.0)).reason


def test_the_held_out_sizes_come_within_the_interval_of_their_prediction() -> None:
    n_inside = 0
    for seed in range(5):
        for held in (held_out_size, held_out_model):
            outcome = held(simulated(seed), np.random.default_rng(seed), 80)
            assert outcome.came is not None
            n_inside += outcome.is_as_predicted
    assert n_inside >= 7  # P(fewer of 10) is 0.001 at 95 %
    broken = simulated(0)
    broken.loss[broken.n_pairs == 16_000] += 0.02
    outcome = held_out_size(broken, np.random.default_rng(0), 80)
    assert outcome.came > outcome.predicted.high  # type: ignore[operator]


def test_what_is_left_must_be_enough_to_hold_one_out() -> None:
    points = simulated(0, sizes=SIZES[:4], models=MODELS[:3])
    assert held_out_size(points, np.random.default_rng(0)).predicted.reason == (
        "3 data sizes, and 4 are needed without it"
    )
    assert "2 model sizes in the fit, and 3" in held_out_model(points, np.random.default_rng(0)).predicted.reason


def online(seed: int, n_seeds: int = 4, level: float = 0.0) -> Points:
    """Whole runs on the curve of one model: the luck of a run adds up over its pass, and may lift it as a whole."""
    rng = np.random.default_rng(seed)
    luck = rng.normal(0, 0.002, (n_seeds, len(SIZES))).cumsum(axis=1) + rng.normal(0, level, (n_seeds, 1))
    truth = np.array([float(DATA_ALONE.loss(size, MODELS[0])) for size in SIZES])
    n_pairs, run = np.tile(np.array(SIZES, dtype=float), n_seeds), np.repeat(np.arange(n_seeds), len(SIZES))
    loss = (truth + luck).ravel()
    return Points(n_pairs, np.full(loss.size, MODELS[0]), loss, np.full(loss.size, 1e-4), run=run)


def test_the_points_of_an_online_run_are_one_unit() -> None:
    fall = float(DATA_ALONE.loss(16_000, 1) - DATA_ALONE.loss(32_000, 1))
    step = float(DATA_ALONE.loss(8000, 1) - DATA_ALONE.loss(16_000, 1))
    covered = measured = 0
    for seed in range(20):
        points = online(seed)
        gain = data_gain(fit_curve(points, np.random.default_rng(seed), 80))
        last = last_step(on_posts(seed, points, 0.05))
        covered += float(gain.low or 0) <= fall <= float(gain.high or 0)
        measured += float(last.low or 0) <= step <= float(last.high or 0)
    assert covered >= 17 and measured >= 17  # P(fewer) is 0.003 at 95 %
    lifted = online(0, level=0.02)
    alone = replace(lifted, run=None)
    widths = [np.ptp(np.quantile(_loss_of_draws(one), [0.025, 0.975])) for one in (lifted, alone)]
    assert widths[0] > 1.5 * widths[1]  # a run that is lifted at all its points counts once, not six times
    assert cannot_fit(online(0, n_seeds=1)).startswith("1 seed of an online run does not show how seeds differ")


def _loss_of_draws(points: Points) -> object:
    return fit_curve(points, np.random.default_rng(0), 80).draws.loss(4000.0, MODELS[0])


def test_a_held_out_size_of_online_runs_comes_within_the_interval() -> None:
    came = [held_out_size(online(seed), np.random.default_rng(seed), 80).is_as_predicted for seed in range(20)]
    assert sum(came) >= 17


def test_an_online_run_with_one_point_shows_no_fall() -> None:
    """Such as that of a smaller model whose other data sizes are not in the grid."""
    whole = online(0)
    one = Points(np.array([500.0]), np.array([MODELS[0] / 2]), np.array([0.65]), np.array([1e-4]))
    columns = ("n_pairs", "n_parameters", "loss", "variance")
    joined = {name: np.concatenate([getattr(whole, name), getattr(one, name)]) for name in columns}
    points = Points(**joined, run=np.append(whole.runs, whole.n_runs))
    assert last_step(on_posts(0, points, 0.05)) == last_step(on_posts(0, whole, 0.05))
