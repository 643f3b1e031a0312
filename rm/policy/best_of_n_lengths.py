"""How often the best of n beats another sample of equal length: a judge that picks long ones wins less of it.

All pairs of a best and another sample outside its subset count with their probability. Within a prompt only the
difference of their lengths matters, so pairs of one difference are one row of the regression.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lurker.stats import Estimate
from rm.policy.length_control import win_rates

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def wins_by_difference(lengths: Floats, values: Sequence[Floats], pairs: Floats) -> Floats:
    """Pairs of one prompt by how much longer the best is.

    Args:
        lengths: whole numbers, [N].
        values: by which a pair is won, the higher one, [N] each; ties are half a win.
        pairs: probability that sample i is the best and j the other, [N, N].

    Returns:
        Difference, probability, and share won by each of the values, [differences, 2 + values].
    """
    difference = np.rint(lengths[:, None] - lengths[None, :]).astype(np.int64)
    shift = int(-difference.min())
    code = (difference + shift).ravel()
    weight = np.bincount(code, pairs.ravel())
    seen = np.flatnonzero(weight > 0)
    columns = [seen - shift, weight[seen]]
    for value in values:
        won = (np.sign(value[:, None] - value[None, :]) + 1) / 2
        columns.append(np.clip(np.bincount(code, (pairs * won).ravel())[seen] / weight[seen], 0.0, 1.0))
    return np.column_stack(columns).astype(np.float64)


def wins_at_equal_length(prompts: Sequence[Floats]) -> list[Estimate | None]:
    """Win rates over all prompts, read where the best and the other are equally long.

    Args:
        prompts: of each prompt, as returned by `wins_by_difference`.

    Returns:
        Of each of the values; None where no pair is left or there is one prompt.
    """
    rows = np.concatenate(prompts)
    prompt = np.repeat(np.arange(len(prompts)), [len(part) for part in prompts])
    if len(prompts) < 2 or not len(rows):
        return [None] * (rows.shape[1] - 2)
    return [win_rates(won, rows[:, 0], prompt, rows[:, 1]).at_equal_length for won in rows[:, 2:].T]
