"""Which item a rater sees next, on which sides, and how probable the draw was; pure functions of what was voted.

A draw depends on the rater's votes alone, so a page that is loaded again shows the same item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.votes.arenas import Arena, draw
from lurker.votes.store import Vote

REPEAT_AFTER = 5
"""An item comes again after at least this many other votes."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The item to show next."""

    item_id: str
    phase: str
    """main | gold | qualify"""
    occasion: int
    propensity: float
    n_eligible: int


@dataclass(frozen=True, slots=True)
class Pool:
    """The items of an arena as the draw needs them."""

    main: tuple[str, ...]
    gold: tuple[str, ...]
    qualify: tuple[str, ...]
    information: NDArray[np.float64]
    """[len(main)], at least 0"""


def pool_of(items: pl.DataFrame, blocked: frozenset[str] = frozenset()) -> Pool:
    """The items by role, without those that the content filters block.

    Args:
        items: ITEMS.
        blocked: ids of items.
    """
    left = items.filter(~pl.col("item_id").is_in(list(blocked))).sort("item_id")
    main, gold, qualify = (left.filter(pl.col("role") == role) for role in ("main", "gold", "qualify"))
    return Pool(
        tuple(main["item_id"]), tuple(gold["item_id"]), tuple(qualify["item_id"]), main["information"].to_numpy()
    )


def propensities(information: NDArray[np.float64], uniform_share: float) -> NDArray[np.float64]:
    """The probability of each item: a mixture of all alike and of in proportion to what a vote on it tells.

    Args:
        information: [n], at least 0.
        uniform_share: above 0 and at most 1.

    Returns:
        [n], positive, with sum 1. The weight 1 / (n · propensity) of a vote is at most 1 / uniform_share.
    """
    n = len(information)
    total = float(information.sum())
    if total <= 0:
        return np.full(n, 1 / n)
    return np.asarray(uniform_share / n + (1 - uniform_share) * information / total)


def next_draw(arena: Arena, rater: str, pool: Pool, votes: Sequence[Vote]) -> Draw | None:
    """The next item of a rater; None when nothing is left or the limit is reached.

    An item whose vote was undone comes first, then qualifying ones, then repeats, gold and the rest by their shares.

    Args:
        votes: all votes of the rater, oldest first.
    """
    standing = [vote for vote in votes if vote.is_standing]
    seen = {(vote.item_id, vote.occasion) for vote in standing}
    if (undone := _undone(votes, seen, pool)) is not None:
        return Draw(undone.item_id, undone.phase, undone.occasion, undone.propensity, undone.n_eligible)
    config = arena.config
    judged = {item_id for item_id, _ in seen}
    waiting = [item for item in pool.qualify if item not in judged]
    n_qualified = sum(vote.phase == "qualify" for vote in standing)
    if waiting and n_qualified < config.n_qualifying:
        item = _pick(waiting, draw(config.seed, "qualify", rater, n_qualified))
        return Draw(item, "qualify", 0, 1 / len(waiting), len(waiting))
    cast = [vote for vote in standing if vote.phase != "qualify"]
    if len(cast) >= config.max_votes_per_rater:
        return None
    kind, chance = (draw(config.seed, what, rater, len(cast)) for what in ("kind", "item"))
    again = _repeatable(cast, seen, pool)
    if kind < config.repeat_share and again:
        vote = again[int(chance * len(again))]
        return Draw(vote.item_id, vote.phase, 1, 1 / len(again), len(again))
    gold = [item for item in pool.gold if item not in judged]
    if config.repeat_share <= kind < config.repeat_share + config.gold_share and gold:
        return Draw(_pick(gold, chance), "gold", 0, 1 / len(gold), len(gold))
    left = [index for index, item in enumerate(pool.main) if item not in judged]
    if not left:
        return None
    share = config.uniform_share if config.design == "active" else 1.0
    chances = propensities(pool.information[left], share)
    chosen = min(int(np.searchsorted(np.cumsum(chances), chance, side="right")), len(left) - 1)
    return Draw(pool.main[left[chosen]], "main", 0, float(chances[chosen]), len(left))


def is_swapped(item_id: str, rater: str, occasion: int) -> bool:
    """Whether the second response of the item is shown as A: by hash, half of the time, and the other way when the
    item comes again."""
    return (draw("side", item_id, rater) < 0.5) != (occasion == 1)


def _undone(votes: Sequence[Vote], seen: set[tuple[str, int]], pool: Pool) -> Vote | None:
    known = {*pool.main, *pool.gold}
    waiting = (
        vote
        for vote in reversed(votes)
        if not vote.is_standing and (vote.item_id, vote.occasion) not in seen and vote.item_id in known
    )
    return next(waiting, None)


def _repeatable(cast: Sequence[Vote], seen: set[tuple[str, int]], pool: Pool) -> list[Vote]:
    """First votes of items that may come again: not skipped, not seen twice, not among the last few."""
    known = {*pool.main, *pool.gold}
    return [
        vote
        for vote in cast[:-REPEAT_AFTER]
        if vote.occasion == 0 and vote.choice != "skip" and (vote.item_id, 1) not in seen and vote.item_id in known
    ]


def _pick(items: Sequence[str], chance: float) -> str:
    return items[int(chance * len(items))]
