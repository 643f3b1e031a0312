"""Numbers of every pair of a set, held in memory: filters and orders become operations on arrays.

A pair is named by its row in the file. Five million pairs take about 120 MB and are read once per version of the file.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dashboard import queries
from dashboard.queries import FileVersion
from lurker.schema import PREDICTIONS

BLOCK = 50
"""Neighbouring pairs that a sample takes at once."""

Rows = NDArray[np.uint32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PairIndex:
    """What filters and orders need of each pair."""

    communities: tuple[str, ...]
    community: NDArray[np.uint16]
    """place of its community, [n_pairs]"""
    split: NDArray[np.uint8]
    """place in SPLITS, [n_pairs]"""
    gap: NDArray[np.int32]
    """score of the chosen response minus that of the rejected one, [n_pairs]"""
    winner: NDArray[np.uint32]
    """hash of the id of the chosen response, [n_pairs]"""
    hashes: NDArray[np.uint64]
    """of the ids of all pairs, sorted, [n_pairs]"""
    shuffled: Rows
    """the row of each of `hashes`: an order that has nothing to do with posts, times or scores, [n_pairs]"""

    def rows_of(self, hashes: NDArray[np.uint64]) -> tuple[Rows, Mask]:
        """The rows of pairs by the hashes of their ids, and whether the set has them, [n] each."""
        if not self.hashes.size:
            return np.zeros(hashes.size, np.uint32), np.zeros(hashes.size, np.bool_)
        places = np.minimum(np.searchsorted(self.hashes, hashes), self.hashes.size - 1)
        return self.shuffled[places], self.hashes[places] == hashes


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """The predictions of a run that hold for the pairs as they are now."""

    rows: Rows
    """of the pairs, ascending, [n_tested]"""
    margin: NDArray[np.float64]
    """reward of the chosen response minus that of the rejected one, log-odds, [n_tested]"""
    is_correct: NDArray[np.float64]
    """1, 0, or 0.5 for a margin of 0, [n_tested]"""


@lru_cache(maxsize=2)
def pair_index(file: FileVersion) -> PairIndex:
    """Read the numbers of all pairs of a set.

    Raises:
        LurkerError: the file is damaged.
    """
    names = queries.communities(file)
    numbers = queries.pair_numbers(file, names)
    shuffled = np.argsort(numbers["pair"], kind="stable").astype(np.uint32)
    return PairIndex(
        communities=tuple(names),
        community=numbers["community"],
        split=numbers["split"],
        gap=numbers["gap"],
        winner=numbers["winner"],
        hashes=numbers["pair"][shuffled],
        shuffled=shuffled,
    )


@lru_cache(maxsize=6)
def tested(file: FileVersion, predictions: tuple[FileVersion, ...]) -> Tested:
    """The predictions of a run for the pairs of a set that still are there and have the winner they were tested with.

    Raises:
        LurkerError: a file is damaged, or no table of predictions.
    """
    for one in predictions:
        _require_predictions(one)
    index, found = pair_index(file), queries.prediction_numbers(predictions)
    rows, is_there = index.rows_of(found["pair"])
    is_current = is_there & (~found["has_winner"] | (index.winner[rows] == found["winner"]))
    kept, first = np.unique(rows[is_current], return_index=True)
    return Tested(kept, found["margin"][is_current][first], found["is_correct"][is_current][first])


@lru_cache(maxsize=512)
def _require_predictions(file: FileVersion) -> None:
    """Check that a file is a PREDICTIONS table; the query itself would not name it."""
    queries.require_columns(file, PREDICTIONS)


def row_of(file: FileVersion, pair_id: str) -> int | None:
    """The row of a pair by its id; None if the set has no such pair."""
    rows, is_there = pair_index(file).rows_of(np.array([queries.hash_of(pair_id)], np.uint64))
    return int(rows[0]) if is_there[0] else None


def spread_rows(rows: Rows, n: int) -> list[int]:
    """About n of these rows, in blocks of neighbours spread evenly over them, so that little of a file is read."""
    if rows.size <= n or n <= 0:
        return [int(row) for row in rows[: max(0, n)]]
    starts = np.linspace(0, rows.size - BLOCK, max(1, n // BLOCK)).astype(np.int64)
    drawn = np.unique(rows[(starts[:, None] + np.arange(BLOCK)).ravel()])
    return [int(row) for row in drawn]
