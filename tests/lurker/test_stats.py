import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lurker.stats import ACCURACY_GAIN, accuracy_interval, auc_interval, mean_interval, worst_by_chance


def test_a_share_matches_the_calculation_by_hand() -> None:
    estimate = accuracy_interval([1, 0, 1, 0.5], ["a", "b", "c", "d"])
    assert estimate.value == pytest.approx(0.625)
    assert (estimate.n, estimate.n_clusters) == (4, 4)
    assert estimate.low < 0.625 < estimate.high


def test_weights_change_the_share() -> None:
    assert accuracy_interval([1, 0], [1, 2], weights=[3, 1]).value == pytest.approx(0.75)


def test_the_interval_stays_open_if_all_pairs_are_right() -> None:
    estimate = accuracy_interval(np.ones(10), np.arange(10))
    assert estimate.value == 1.0
    assert estimate.low < 0.8


def test_one_post_alone_has_the_widest_interval() -> None:
    estimate = accuracy_interval(np.ones(500), np.zeros(500))
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_an_empty_average_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        accuracy_interval([], [])


def test_copies_of_a_pair_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 200).astype(float)
    once = accuracy_interval(values, np.arange(200))
    copied = accuracy_interval(np.repeat(values, 10), np.repeat(np.arange(200), 10))
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)


def test_the_interval_covers_the_truth_of_clustered_draws() -> None:
    rng = np.random.default_rng(1)
    covered = naive_covered = 0
    for _ in range(400):
        share_by_post = rng.beta(6, 4, size=80)  # mean 0.6, correlated within a post
        clusters = np.repeat(np.arange(80), rng.integers(1, 20, size=80))
        values = (rng.random(clusters.size) < share_by_post[clusters]).astype(float)
        estimate = accuracy_interval(values, clusters)
        covered += estimate.low <= 0.6 <= estimate.high
        naive = accuracy_interval(values, np.arange(values.size))
        naive_covered += naive.low <= 0.6 <= naive.high
    assert 0.92 <= covered / 400 <= 0.98
    assert naive_covered < covered  # treating pairs as independent is overconfident


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 5)), min_size=1, max_size=60))
def test_the_interval_stays_in_bounds_and_contains_the_share(rows: list[tuple[float, int]]) -> None:
    values, clusters = zip(*rows, strict=True)
    estimate = accuracy_interval(values, clusters)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_mean_interval_of_a_paired_difference() -> None:
    estimate = mean_interval([0.1, 0.3] * 4, range(8))
    assert (estimate.low, estimate.high) == pytest.approx((0.2 - 2.365 * 0.0378, 0.2 + 2.365 * 0.0378), abs=1e-3)
    assert mean_interval([1.0, -1.0], ["one", "one"]).high == float("inf")


@pytest.mark.parametrize("n_posts", [2, 3, 5, 6, 20])
def test_posts_that_do_not_differ_show_no_effect_that_a_sign_flip_test_would_not(n_posts: int) -> None:
    """One of two models is right on every pair of n posts: the exact test of signs has p = 2 / 2^n."""
    always = mean_interval(np.ones(4 * n_posts), np.repeat(np.arange(n_posts), 4), bounds=ACCURACY_GAIN)
    assert (always.low > 0) == (2 / 2**n_posts < 0.05)
    same = mean_interval(np.zeros(n_posts), np.arange(n_posts), bounds=ACCURACY_GAIN)
    assert same.low == -same.high and same.high == pytest.approx(1 - 0.025 ** (1 / n_posts))
    assert mean_interval(np.zeros(n_posts), np.arange(n_posts)).high == 0  # without bounds nothing has another value
    off = np.full(n_posts, 0.1) + np.arange(n_posts) * 1e-14  # they differ by rounding alone
    assert mean_interval(off, np.arange(n_posts), bounds=ACCURACY_GAIN).low < 0.1 - 0.05


def test_the_interval_of_few_posts_covers_a_difference_that_most_of_them_do_not_show() -> None:
    """Two models differ on one post in ten: most draws of five posts have no such post, and no variance at all."""
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(400):
        n_posts = int(rng.integers(3, 9))
        differs = (rng.random(n_posts) < 0.1).astype(float)
        estimate = mean_interval(differs, np.arange(n_posts), bounds=ACCURACY_GAIN)
        misses += not estimate.low <= 0.1 <= estimate.high
    assert misses <= 0.05 * 400


def test_an_auc_matches_the_calculation_by_hand_with_ties_and_weights() -> None:
    assert auc_interval([1, 1, 0, 0], [0.9, 0.4, 0.4, 0.1], range(4)).value == pytest.approx(3.5 / 4)
    assert auc_interval([1, 1, 0], [0.9, 0.1, 0.5], range(3), weights=[3, 1, 1]).value == pytest.approx(0.75)
    with pytest.raises(ValueError, match="positives and negatives"):
        auc_interval([1, 1], [0.1, 0.2], range(2))


def test_auc_intervals_have_their_coverage_and_widen_with_clusters() -> None:
    rng = np.random.default_rng(0)
    posts = np.repeat(np.arange(80), 10)
    held, widths, naive = 0, [], []
    for _ in range(200):
        effect = rng.normal(size=80)[posts]  # one draw per post, so its pairs agree
        label = rng.random(80)[posts] < 0.5
        found = auc_interval(label, effect + 0.1 * rng.normal(size=800), posts)
        held += found.low <= 0.5 <= found.high
        widths.append(found.high - found.low)
        alone = auc_interval(label, effect, np.arange(800))
        naive.append(alone.high - alone.low)
    assert 180 <= held <= 198
    assert np.mean(widths) > 2 * np.mean(naive)


def test_the_best_of_several_guessers_is_above_one_half_by_chance() -> None:
    rng = np.random.default_rng(0)
    guesses = rng.integers(0, 2, (2, 10_000))
    clusters, weights = np.arange(10_000), np.ones(10_000)
    mean, high = worst_by_chance(guesses, clusters, weights, np.random.default_rng(1))
    # The larger of two normal draws with this standard error lies 0.564 of it above the mean.
    assert mean == pytest.approx(0.5 + 0.564 * 0.005, abs=0.0004)
    assert high == pytest.approx(0.5 + 1.955 * 0.005, abs=0.0006)
    alone = worst_by_chance(guesses[0], clusters, weights, np.random.default_rng(1))[0]
    assert alone == pytest.approx(0.5, abs=0.0004)
