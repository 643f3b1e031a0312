"""Find and read the pairs of a set, with the margins of a run that was tested on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import polars as pl

from dashboard import queries
from dashboard.pair_index import Mask, PairIndex, Rows, Tested, pair_index, row_of, tested
from dashboard.queries import FileVersion, version
from lurker.listings import RESULT
from lurker.pair_sets import PAIRS_FILE, SPLITS, require_row_count
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace

Outcome = Literal["any", "right", "wrong"]
OUTCOMES: tuple[Outcome, ...] = ("any", "right", "wrong")
PairOrder = Literal["shuffled", "score gap", "surest mistakes", "closest calls", "surest hits"]
ORDERS_WITHOUT_RUN: tuple[PairOrder, ...] = ("shuffled", "score gap")
_BY_MARGIN: tuple[PairOrder, ...] = ("surest mistakes", "closest calls", "surest hits")
ORDERS_WITH_RUN = (*_BY_MARGIN, *ORDERS_WITHOUT_RUN)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFilter:
    """Which pairs of a set to read, and in which order."""

    subreddit: str | None = None
    """display name; None for all"""
    split: str | None = None
    """train | validation | test; None for all"""
    search: str = ""
    """text that the prompt or a response contains, in any case"""
    outcome: Outcome = "any"
    """whether the run's model was right; pairs it was not tested on are in "any" only"""
    order: PairOrder = "shuffled"
    """reading order; ties are in the order of the file"""


def pairs_file(workspace: Workspace, name: str) -> FileVersion:
    """The pairs of a finished set.

    Raises:
        CallError: there is no such set.
        LurkerError: the file does not match the manifest.
    """
    require_row_count(workspace, name)
    return version(workspace.folder("pairs", name) / PAIRS_FILE)


def prediction_files(workspace: Workspace, pairs: str) -> dict[str, tuple[FileVersion, ...]]:
    """The runs tested on a pair set, the latest first: run id -> one file per split."""
    files: dict[str, tuple[FileVersion, ...]] = {}
    newest = sorted(workspace.names("runs", RESULT), key=lambda run: _finished(workspace, run), reverse=True)
    for run_id in newest:
        folder = workspace.root / "runs" / run_id / "predictions"
        paths = [path for split in SPLITS if (path := folder / f"{pairs}-{split}.parquet").exists()]
        if paths:
            files[run_id] = tuple(version(path) for path in paths)
    return files


def runs_tested_on(workspace: Workspace, pairs: str, split: str) -> list[str]:
    """The finished runs with predictions for a split of a pair set."""
    file = f"predictions/{pairs}-{split}.parquet"
    return [run for run in workspace.names("runs", RESULT) if (workspace.root / "runs" / run / file).exists()]


def _finished(workspace: Workspace, run_id: str) -> int:
    return (workspace.root / "runs" / run_id / RESULT).stat().st_mtime_ns


def splits_of(file: FileVersion) -> list[str]:
    """The splits that have pairs."""
    counts = np.bincount(pair_index(file).split, minlength=len(SPLITS))
    return [split for split, count in zip(SPLITS, counts, strict=False) if count]


@lru_cache(maxsize=4)
def find_pairs(
    file: FileVersion,
    pair_filter: PairFilter,
    predictions: tuple[FileVersion, ...] = (),
    others: tuple[FileVersion, ...] = (),
) -> Rows:
    """Rows in the file of the pairs that pass the filter, in reading order, [n_found].

    Args:
        predictions: files of one run; needed by an outcome and by the orders by margin.
        others: files of another run, which must be right.

    Raises:
        LurkerError: a file is damaged.
        ValueError: the filter needs predictions and there are none.
    """
    if not predictions and (pair_filter.outcome != "any" or pair_filter.order in _BY_MARGIN):
        raise ValueError(
            f"outcome {pair_filter.outcome!r} in the order {pair_filter.order!r} needs the predictions of a run"
        )
    index = pair_index(file)
    passes = np.ones(index.split.size, np.bool_)
    if pair_filter.subreddit is not None:
        passes &= index.community == _place(pair_filter.subreddit, index.communities)
    if pair_filter.split is not None:
        passes &= index.split == _place(pair_filter.split, SPLITS)
    run = tested(file, predictions) if predictions else None
    if run is not None and pair_filter.outcome != "any":
        is_right = run.is_correct == 1
        passes &= _mask(run.rows[is_right if pair_filter.outcome == "right" else ~is_right], passes.size)
    if others:
        other = tested(file, others)
        passes &= _mask(other.rows[other.is_correct == 1], passes.size)
    if pair_filter.search:
        passes &= queries.pairs_with(file, pair_filter.search, passes.size)
    if run is not None and pair_filter.order in _BY_MARGIN:
        return _by_margin(run, passes, pair_filter.order)
    return _ordered(index, passes, pair_filter.order)


def _place(name: str, names: Sequence[str]) -> int:
    """The place of a name in a list; one that none of them has if it is absent."""
    return names.index(name) if name in names else len(names)


def _mask(rows: Rows, n: int) -> Mask:
    mask = np.zeros(n, np.bool_)
    mask[rows] = True
    return mask


def _by_margin(run: Tested, passes: Mask, order: PairOrder) -> Rows:
    """The pairs that the run was tested on by their margin, then all others."""
    is_kept = passes[run.rows]
    rows, margin = run.rows[is_kept], run.margin[is_kept]
    key = {"surest mistakes": margin, "closest calls": np.abs(margin), "surest hits": -margin}[order]
    passes[rows] = False
    return np.concatenate([rows[np.argsort(key, kind="stable")], np.flatnonzero(passes).astype(np.uint32)])


def _ordered(index: PairIndex, passes: Mask, order: PairOrder) -> Rows:
    if order == "shuffled":
        return index.shuffled[passes[index.shuffled]]
    rows = np.flatnonzero(passes).astype(np.uint32)
    return rows[np.argsort(-index.gap[rows], kind="stable")]


def place_of(file: FileVersion, found: Rows, pair_id: str) -> int | None:
    """Where a pair stands among those found; None if it is not one of them."""
    row = row_of(file, pair_id)
    places = np.flatnonzero(found == row) if row is not None else np.zeros(0, np.int64)
    return int(places[0]) if places.size else None


@lru_cache(maxsize=16)
def prompts(file: FileVersion, rows: tuple[int, ...]) -> pl.Series:
    """The prompts of pairs by their rows, in that order."""
    return queries.pairs_at(file, rows, ["prompt"])["prompt"]


def margins(file: FileVersion, rows: Sequence[int], predictions: tuple[FileVersion, ...]) -> list[float | None]:
    """The margins of a run for pairs by their rows; None where it was not tested on the pair as it is now."""
    run = tested(file, predictions)
    known = np.isin(run.rows, np.array(rows, np.uint32))
    of_row = dict(zip(run.rows[known].tolist(), run.margin[known].tolist(), strict=True))
    return [of_row.get(row) for row in rows]


@lru_cache(maxsize=64)
def read_pair(file: FileVersion, row: int) -> dict[str, Any]:
    """A whole pair by its row, with the columns of PAIRS.

    Raises:
        LurkerError: the set has fewer rows, or its columns are not those of PAIRS.
    """
    return check(queries.pairs_at(file, [row]), PAIRS).row(0, named=True)
