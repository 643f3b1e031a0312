"""Exchange rates: how many pairs of one kind reach the accuracy that pairs of another kind reach."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lurker.decimals import counted
from rm.experiments.curve_findings import Finding
from rm.experiments.paired import Floats

N_RESAMPLES = 1_000
MIN_SIZES = 2


def worth(sizes: Sequence[int], curve: Sequence[Floats], goal: Floats, posts: ArrayLike) -> Finding:
    """The size at which a curve of accuracy reaches a goal, on the same test pairs.

    The curve never falls (isotonic) and is linear in log size between its sizes; it says nothing beyond them. An
    interval that reaches past an end has no number there: `low` is None where fewer than the smallest size may do, and
    `high` where more than the largest may be needed; with both, the rate cannot be told.

    Args:
        sizes: pairs, ascending, [k].
        curve: right or wrong at each size, [k] of [n_seeds, n_pairs].
        goal: the same for what is to be reached, [n_seeds, n_pairs].
        posts: [n_pairs]; draws resample posts and, apart for each size and the goal, seeds.
    """
    if len(sizes) < MIN_SIZES:
        return Finding(None, None, None, f"cannot tell: {counted(len(sizes), 'size')}, and {MIN_SIZES} are needed")
    codes = np.unique(np.asarray(posts), return_inverse=True)[1]
    n_posts = int(codes.max()) + 1
    counts = np.bincount(codes, minlength=n_posts)
    sums = [_by_post(table, codes, n_posts) for table in (*curve, goal)]
    whole = np.array([table.sum(axis=1).mean() for table in sums]) / counts.sum()
    rng = np.random.default_rng(0)
    draws = np.empty(N_RESAMPLES)
    for number in range(N_RESAMPLES):
        drawn = rng.multinomial(n_posts, np.full(n_posts, 1 / n_posts))
        chosen = [table[rng.integers(len(table), size=len(table))] for table in sums]
        accuracies = np.array([(table @ drawn).mean() for table in chosen]) / (counts @ drawn)
        draws[number] = _reached(np.asarray(sizes, dtype=np.float64), accuracies[:-1], accuracies[-1])
    value = _reached(np.asarray(sizes, dtype=np.float64), whole[:-1], whole[-1])
    low, high = np.quantile(draws, (0.025, 0.975), method="nearest")
    ends = [None if not np.isfinite(end) else float(end) for end in (value, low if low > 0 else np.nan, high)]
    known = None if ends[0] == 0 else ends[0]
    return Finding(known, ends[1], ends[2] if high > 0 else None, _reason(low, high, sizes))


def in_words(found: Finding, sizes: Sequence[int]) -> str:
    """The size as a phrase: `about 2,100 [900, 4,800]`, a bound, or why it cannot be told."""
    if found.low is not None and found.high is not None and found.value is not None:
        return f"about {found.value:,.0f} [{found.low:,.0f}, {found.high:,.0f}]"
    if found.low is not None:
        return f"{found.low:,.0f} or more"
    if found.high is not None:
        return f"{found.high:,.0f} or fewer"
    return found.reason


def _reason(low: float, high: float, sizes: Sequence[int]) -> str:
    """Why there is no number at an end, or nothing."""
    if low == 0 and np.isinf(high):
        return f"cannot tell: fewer than {sizes[0]:,} or more than {sizes[-1]:,}"
    if np.isinf(low):
        return f"more than {sizes[-1]:,}"
    if high == 0:
        return f"fewer than {sizes[0]:,}"
    return ""


def _by_post(table: Floats, codes: NDArray[np.int64], n_posts: int) -> Floats:
    return np.stack([np.bincount(codes, weights=row, minlength=n_posts) for row in np.atleast_2d(table)])


def _reached(sizes: Floats, curve: Floats, goal: float) -> float:
    """0 below the smallest size and infinity beyond the largest."""
    rising = _never_falling(curve)
    if goal <= rising[0]:
        return 0.0
    if goal > rising[-1]:
        return float("inf")
    above = int(np.argmax(rising >= goal))
    step = (goal - rising[above - 1]) / (rising[above] - rising[above - 1])
    return float(np.exp(np.log(sizes[above - 1]) + step * np.log(sizes[above] / sizes[above - 1])))


def _never_falling(curve: Floats) -> Floats:
    """The closest sequence that never falls, by least squares: neighbours that fall are averaged."""
    blocks: list[tuple[float, int]] = []
    for value in curve.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (other, n_others), (last, n_last) = blocks[-2:]
            blocks[-2:] = [((other * n_others + last * n_last) / (n_others + n_last), n_others + n_last)]
    return np.concatenate([np.full(n, value) for value, n in blocks])
