"""Best of n by order statistics against all subsets, and what a pool of known worlds must give."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from lurker.errors import CallError
from rm.policy import best_of_n as estimators
from rm.policy.best_of_n import best_of_n_points, best_weights, ranked, share_of_pool
from rm.policy.length_control import win_rates


def pool(proxy, responses=None, **measures):
    texts = responses or [f"text {number}" for number in range(len(proxy))]
    return {"responses": texts, "measures": {"proxy": np.array(proxy, dtype=float), **measures}}


def best_of_n(pools, sizes):
    return estimators.best_of_n_rows(best_of_n_points(pools, sizes))


def by_all_subsets(proxy, value, n):
    """Mean value of the best of each subset, and its wins over each sample outside; ties share."""
    best, wins = [], []
    for subset in combinations(range(len(proxy)), n):
        top = max(proxy[member] for member in subset)
        chosen = [member for member in subset if proxy[member] == top]
        best.append(np.mean([value[member] for member in chosen]))
        outside = [other for other in range(len(proxy)) if other not in subset]
        wins += [
            np.mean([(value[member] > value[other]) + 0.5 * (value[member] == value[other]) for member in chosen])
            for other in outside
        ]
    return np.mean(best), np.mean(wins) if wins else None


@pytest.mark.parametrize("proxy", [[3, 1, 2, 5, 4, 7, 6], [1, 1, 2, 2, 2, 3, 3], [0, 0, 0, 0, 0, 0, 1]])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_it_is_the_mean_over_all_subsets(proxy, n):
    value = np.array([0.3, -1.0, 2.0, 0.1, 0.1, -0.5, 1.7])
    row = best_of_n([pool(proxy, truth=value)] * 2, [n]).row(1, named=True)
    mean, wins = by_all_subsets(proxy, value, n)
    spread = value.std(ddof=1)
    assert row["measure"] == "truth"
    assert row["value"] == pytest.approx((mean - value.mean()) / spread)
    assert row["win_rate"] == (None if n == 7 else pytest.approx(wins))


def test_the_weights_of_ranks_sum_to_one():
    weights = best_weights(256, [1, 2, 64, 256])
    assert weights.sum(axis=0) == pytest.approx(np.ones(4))
    assert weights[:, 0] == pytest.approx(np.full(256, 1 / 256))
    assert weights[-1] == pytest.approx([1 / 256, 2 / 256, 64 / 256, 1])


def test_distinct_rewards_win_n_of_n_plus_one_and_gain_the_known_maximum():
    """The best of 2 and 4 standard normals have means 0.564 and 1.029; a half-correlated truth gains half of them."""
    rng = np.random.default_rng(0)
    pools = []
    for _ in range(400):
        proxy = rng.standard_normal(64)
        truth = 0.5 * proxy + np.sqrt(0.75) * rng.standard_normal(64)
        pools.append(pool(proxy, truth=truth))
    found = best_of_n(pools, [1, 2, 4])
    proxies, truths = (found.filter(pl.col("measure") == name) for name in ("proxy", "truth"))
    assert proxies["win_rate"].to_list() == pytest.approx([1 / 2, 2 / 3, 4 / 5])
    assert proxies["value"].to_list() == pytest.approx([0, 0.5642, 1.0294], abs=0.01)
    assert truths["value"].to_list() == pytest.approx([0, 0.2821, 0.5147], abs=0.04)
    assert truths["low"][2] < 0.5147 < truths["high"][2]
    assert proxies["kl"].to_list() == pytest.approx(proxies["kl_bound"].to_list(), abs=0.02)


def test_intervals_cover_the_known_gain():
    """Few prompts: the 95 % interval of the mean gain holds the truth in about 95 of 100 worlds."""
    rng = np.random.default_rng(1)
    n_covered = 0
    for _ in range(200):
        proxies = rng.standard_normal((12, 16))
        pools = [pool(row, truth=0.5 * row + np.sqrt(0.75) * rng.standard_normal(16)) for row in proxies]
        row = best_of_n(pools, [4]).filter(pl.col("measure") == "truth").row(0, named=True)
        n_covered += row["low"] <= 0.5147 <= row["high"]
    assert 182 <= n_covered <= 199


def test_a_writer_that_repeats_itself_is_nearer_than_the_bound():
    """Ten equally likely outputs: the divergence at n = 64 is 2.293 and not 3.175."""
    rng = np.random.default_rng(2)
    draws = rng.integers(0, 10, (200, 256))
    pools = [pool(row, responses=[f"text {number}" for number in row]) for row in draws]
    row = best_of_n(pools, [64]).row(0, named=True)
    assert row["kl_bound"] == pytest.approx(3.175, abs=1e-3)
    assert row["kl"] == pytest.approx(2.293, abs=0.03)


def test_order_of_samples_changes_nothing():
    rng = np.random.default_rng(4)
    proxy, truth = rng.integers(0, 4, 12).astype(float), rng.standard_normal(12)
    order = rng.permutation(12)
    first = best_of_n([pool(proxy, truth=truth)] * 2, [1, 3, 12])
    texts = [f"text {number}" for number in order]
    second = best_of_n([pool(proxy[order], texts, truth=truth[order])] * 2, [1, 3, 12])
    for name in ("value", "win_rate", "kl"):
        assert first[name].drop_nulls().to_list() == pytest.approx(second[name].drop_nulls().to_list())


def test_shares_and_ranks():
    assert share_of_pool(["a", "b", "a", "c"]).tolist() == [0.5, 0.25, 0.5, 0.25]
    order, groups = ranked(np.array([2.0, 1.0, 2.0]))
    assert order.tolist() == [1, 0, 2]
    assert groups.tolist() == [0, 1, 1]


def test_impossible_pools_are_named():
    with pytest.raises(CallError, match=r"best of 8 cannot be told from 4 samples.*--n 8"):
        best_of_n([pool([1, 2, 3, 4])], [1, 8])
    with pytest.raises(CallError, match="as many samples of every prompt, got from 2 to 3"):
        best_of_n([pool([1, 2]), pool([1, 2, 3])], [1])
    with pytest.raises(CallError, match="truth is the same for all samples"):
        best_of_n([pool([1, 2], truth=np.array([1.0, 1.0]))], [1])


def by_all_pairs(proxy, value, n):
    """Each pair of the best of a subset and a sample outside: which, and with which probability."""
    found = np.zeros((len(proxy), len(proxy)))
    subsets = list(combinations(range(len(proxy)), n))
    for subset in subsets:
        top = max(proxy[member] for member in subset)
        chosen = [member for member in subset if proxy[member] == top]
        for best in chosen:
            for other in set(range(len(proxy))) - set(subset):
                found[best, other] += 1 / len(chosen) / (len(proxy) - n) / len(subsets)
    return found


@pytest.mark.parametrize("n", [1, 2, 4])
def test_pairs_at_equal_length_are_those_of_all_subsets(n):
    rng = np.random.default_rng(n)
    pools = []
    for _ in range(6):
        proxy = rng.permutation(7) if n != 2 else rng.integers(0, 3, 7)
        pools.append(pool(proxy, truth=rng.standard_normal(7), length=rng.integers(3, 9, 7)))
    found = best_of_n_points(pools, [n]).at_equal_length["truth"][0]
    rows = []
    for number, one in enumerate(pools):
        weight = by_all_pairs(one["measures"]["proxy"], None, n)
        truth, length = one["measures"]["truth"], one["measures"]["length"]
        for best, other in zip(*np.nonzero(weight), strict=True):
            won = float(truth[best] > truth[other])
            rows.append((won, length[best] - length[other], number, weight[best, other]))
    expected = win_rates(*np.array(rows).T).at_equal_length
    assert found.value == pytest.approx(expected.value, abs=1e-6)


def test_a_judge_of_length_wins_nothing_at_equal_length():
    """The held-out judge likes length only; the truth does not, and what it prefers is kept."""
    rng = np.random.default_rng(5)
    pools = []
    for _ in range(200):
        length, truth = rng.integers(5, 40, 16), rng.standard_normal(16)
        pools.append(pool(length + 6 * truth, truth=truth, liked=length + rng.normal(0, 4, 16), length=length))
    found = best_of_n_points(pools, [1, 8, 16])
    frame = estimators.best_of_n_rows(found)
    liked, truth = (frame.filter(n=8, measure=name).row(0, named=True) for name in ("liked", "truth"))
    assert liked["win_rate"] > 0.75
    assert liked["win_rate_at_equal_length"] < 0.62
    assert truth["win_rate_at_equal_length"] > truth["win_rate_at_equal_length_low"] > 0.7
    assert frame.filter(n=16)["win_rate_at_equal_length"].null_count() == 4
    assert frame.filter(n=1, measure="truth")["win_rate_at_equal_length"][0] == pytest.approx(0.5, abs=0.02)
