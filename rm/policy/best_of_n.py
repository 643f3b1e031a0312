"""Best of n for every n up to N, from one pool of N samples a prompt: exact expectations over all subsets of n.

The k-th lowest reward of N is the highest of a random subset of n with probability C(k−1, n−1) / C(N, n). Samples with
equal rewards are as likely as each other, so each counts as their mean.

Source: the unbiased estimator of Nakano et al. 2021, "WebGPT", appendix I, for all n at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import gammaln

from lurker.errors import CallError
from lurker.schema import BEST_OF_N
from lurker.stats import Estimate, mean_interval
from rm.policy.best_of_n_lengths import wins_at_equal_length, wins_by_difference
from rm.policy.kl import kl_bound, kl_of_output

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PROXY, LENGTH = "proxy", "length"
"""Measures: the one by which the best is chosen, and words."""
WIN_RATE = ("win_rate", "win_rate_low", "win_rate_high")
AT_EQUAL_LENGTH = tuple(name.replace("win_rate", "win_rate_at_equal_length") for name in WIN_RATE)


@dataclass(frozen=True, slots=True)
class Points:
    """What the best of n is worth, prompt by prompt."""

    sizes: list[int]
    kl: Floats
    """estimated divergence from a single sample, nats, [prompts, sizes]"""
    gains: dict[str, Floats]
    """measure -> gain over the mean of all samples to the prompt, [prompts, sizes]"""
    wins: dict[str, Floats]
    """measure -> how often it beats another sample; NaN for n = N, [prompts, sizes]"""
    at_equal_length: dict[str, list[Estimate | None]]
    """measure -> the same over all prompts, read at equal length; None where there is none, [sizes]"""


def best_of_n_points(pools: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> Points:
    """What the best of n samples by the proxy is worth to each measure.

    Gains are in standard deviations of the writer's samples to one prompt, that of length in words.

    Args:
        pools: one per prompt: `responses`, the N texts, and `measures`, name -> values [N], "proxy" among them.
        sizes: the n, each at most N.

    Raises:
        CallError: pools differ in size, an n is impossible, or a judge never differs within a prompt.
    """
    n_samples = _pool_size(pools, sizes)
    weights, chances = best_weights(n_samples, sizes), opponent_weights(n_samples, sizes)
    names = list(pools[0]["measures"])
    values = {name: np.array([pool["measures"][name] for pool in pools], dtype=np.float64) for name in names}
    spreads = {name: 1.0 if name == LENGTH else within_prompt_spread(name, values[name]) for name in names}
    kl = np.empty((len(pools), len(sizes)))
    judged = [name for name in names if name not in (PROXY, LENGTH)] if LENGTH in names else []
    by_length: list[list[Floats]] = [[] for _ in sizes]
    gains, wins = ({name: np.empty(kl.shape) for name in names} for _ in range(2))
    for index, pool in enumerate(pools):
        order, groups = ranked(values[PROXY][index])
        shares = share_of_pool(pool["responses"])
        of_output = kl_of_output(shares[order][:, None], np.asarray(sizes, dtype=np.float64)[None, :])
        kl[index] = (weights * _tie_mean(of_output, groups)).sum(axis=0)
        for name in names:
            value = values[name][index][order]
            gain = (value - value.mean()) / spreads[name]
            gains[name][index] = weights.T @ _tie_mean(gain[:, None], groups)[:, 0]
            wins[name][index] = _win_rates(value, groups, weights, chances)
        for place, pairs in enumerate(_chosen_pairs(order, groups, weights, chances) if judged else ()):
            by_length[place].append(
                wins_by_difference(values[LENGTH][index], [values[name][index] for name in judged], pairs)
            )
    equal = list(zip(*(wins_at_equal_length(parts) for parts in by_length), strict=True)) if judged else []
    return Points(list(sizes), kl, gains, wins, dict(zip(judged, map(list, equal), strict=True)))


def best_of_n_rows(points: Points) -> pl.DataFrame:
    """BEST_OF_N: means of the points over prompts, with 95 % intervals clustered by prompt."""
    rows = []
    for place, n in enumerate(points.sizes):
        kl = {"kl_bound": float(kl_bound(n))} | _interval(points.kl[:, place], ("kl", "kl_low", "kl_high"))
        for name in points.gains:
            row: dict[str, Any] = {"n": n, "measure": name, "n_prompts": len(points.kl)}
            row |= _interval(points.gains[name][:, place], ("value", "low", "high"))
            equal = points.at_equal_length[name][place] if name in points.at_equal_length else None
            row |= dict.fromkeys(AT_EQUAL_LENGTH) if equal is None else _named(equal, AT_EQUAL_LENGTH)
            rows.append(row | kl | _interval(points.wins[name][:, place], WIN_RATE))
    return pl.DataFrame(rows, schema=BEST_OF_N.schema)


def best_weights(n_samples: int, sizes: Sequence[int]) -> Floats:
    """Probability that the k-th lowest of N is the highest of a random subset of n, [N, sizes]: C(k−1, n−1)/C(N, n)."""
    rank, n = np.arange(1, n_samples + 1)[:, None], np.asarray(sizes)[None, :]
    with np.errstate(invalid="ignore"):
        logs = _log_choose(rank - 1, n - 1) - _log_choose(np.full_like(rank, n_samples), n)
    return np.where(rank >= n, np.exp(logs), 0.0)


def opponent_weights(n_samples: int, sizes: Sequence[int]) -> tuple[Floats, Floats]:
    """Probability that a sample outside the subset, drawn at random, is a given one: [N, sizes] each.

    Args:
        n_samples: N.
        sizes: the n; nothing is outside a subset of N.

    Returns:
        Given that the best is the k-th lowest: the probability of each lower sample, and of each higher one.
    """
    rank, n = np.arange(1, n_samples + 1)[:, None], np.asarray(sizes)[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = np.where(rank > 1, (rank - n) / ((rank - 1) * (n_samples - n)), 0.0)
        higher = np.broadcast_to(1 / (n_samples - n), lower.shape)
    return np.where(rank >= n, lower, 0.0), np.asarray(higher)


def ranked(rewards: Floats) -> tuple[Ints, Ints]:
    """Order of the rewards from the lowest, and the number of the group of equal rewards at each place: [N] each."""
    order = np.argsort(rewards, kind="stable")
    return order, np.unique(rewards[order], return_inverse=True)[1].astype(np.int64)


def share_of_pool(responses: Sequence[str]) -> Floats:
    """How much of the pool is the same text as each response, [N]."""
    codes = np.unique(np.array(responses, dtype=object), return_inverse=True)[1]
    return np.asarray(np.bincount(codes)[codes] / len(responses))


def within_prompt_spread(name: str, values: Floats) -> float:
    """Standard deviation of a measure within prompts.

    Args:
        name: of the measure, for the error.
        values: [prompts, N].

    Raises:
        CallError: it never differs.
    """
    n_samples = values.shape[1]
    spread = float(np.sqrt(values.var(axis=1).mean() * n_samples / max(n_samples - 1, 1)))
    if not spread > 1e-12:
        raise CallError(
            f"{name} is the same for all samples of every prompt: it cannot choose the best.",
            "Draw at higher temperature, or judge by another run.",
        )
    return spread


def _pool_size(pools: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> int:
    """N of all pools.

    Raises:
        CallError: there is none, they differ, or an n is not from 1 to N.
    """
    found = {len(pool["responses"]) for pool in pools}
    if len(found) != 1:
        counts = f"from {min(found)} to {max(found)}" if found else "none"
        raise CallError(
            f"Best of n needs as many samples of every prompt, got {counts}.",
            "Draw them again: `lurker policy sample POLICY --n 64 --out FILE`.",
        )
    n_samples = found.pop()
    if wrong := [n for n in sizes if not 1 <= n <= n_samples]:
        raise CallError(
            f"The best of {wrong[0]} cannot be told from {n_samples} samples of a prompt.",
            f"Use --n from 1 to {n_samples}, or draw more: `lurker policy sample POLICY --n {max(wrong)}`.",
        )
    return n_samples


def _win_rates(value: Floats, groups: Ints, weights: Floats, chances: tuple[Floats, Floats]) -> Floats:
    """How often the best of n has a higher value than a sample outside the n, ties half; NaN for n = N, [sizes].

    Args:
        value: of the samples, from the lowest proxy to the highest, [N].
        groups: of equal proxies, [N].
        weights: as returned by `best_weights`.
        chances: as returned by `opponent_weights`.
    """
    wins = (value[:, None] > value[None, :]) + 0.5 * (value[:, None] == value[None, :])
    wins = _tie_mean(_tie_mean(wins, groups).T, groups).T
    below = np.tril(wins, -1).sum(axis=1)[:, None]
    above = np.triu(wins, 1).sum(axis=1)[:, None]
    with np.errstate(invalid="ignore"):  # infinity times 0 where n = N
        return np.asarray((weights * (chances[0] * below + chances[1] * above)).sum(axis=0))


def _chosen_pairs(order: Ints, groups: Ints, weights: Floats, chances: tuple[Floats, Floats]) -> Iterator[Floats]:
    """Yields for each n the probability that sample i is the best and j another one, in the pool's order, [N, N].

    Equal proxies share their probability. Nothing is another one where n = N.

    Args:
        order: of the samples, from the lowest proxy, [N].
        groups: of equal proxies, in that order, [N].
        weights: as returned by `best_weights`.
        chances: as returned by `opponent_weights`.
    """
    n_samples, n_equal = len(order), np.bincount(groups)[groups]
    below = np.tri(n_samples, k=-1)
    among_equals = (groups[:, None] == groups[None, :]) * (n_equal / np.maximum(n_equal - 1, 1))
    shared = np.where(among_equals > 0, among_equals * (1 - np.eye(n_samples)), 1.0)  # no sample meets itself
    for place in range(weights.shape[1]):
        pairs = np.zeros((n_samples, n_samples))
        if np.isfinite(chances[1][:, place]).all():
            lower, higher = (weights[:, place, None] * chance[:, place, None] for chance in chances)
            pairs = _tie_mean(_tie_mean(lower * below + higher * below.T, groups).T, groups).T * shared
        in_order = np.empty_like(pairs)
        in_order[np.ix_(order, order)] = pairs
        yield in_order


def _tie_mean(values: Floats, groups: Ints) -> Floats:
    """The values [N, m], each the mean of its group's."""
    sums = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return np.asarray((sums / np.bincount(groups)[:, None])[groups])


def _interval(values: Floats, names: Sequence[str]) -> dict[str, float | None]:
    if not np.isfinite(values).all():
        return dict.fromkeys(names)
    return _named(mean_interval(values, np.arange(len(values))), names)


def _named(estimate: Estimate, names: Sequence[str]) -> dict[str, float | None]:
    return dict(zip(names, (estimate.value, estimate.low, estimate.high), strict=True))


def _log_choose(n: NDArray[Any], k: NDArray[Any]) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
