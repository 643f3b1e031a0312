"""Find and read the pairs of a set, with the margins of a run that was tested on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import polars as pl

from dashboard.parquet import FileVersion, read_table, select, version
from lurker.comparison import Comparison, compare_accuracy
from lurker.errors import LurkerError
from lurker.listings import RESULT
from lurker.pair_sets import PAIRS_FILE, SPLITS, require_row_count
from lurker.predictions import require_current
from lurker.schema import PAIRS, PREDICTIONS, check
from lurker.workspace import Workspace

Outcome = Literal["any", "right", "wrong"]
OUTCOMES: tuple[Outcome, ...] = ("any", "right", "wrong")
PairOrder = Literal["shuffled", "score gap", "surest mistakes", "closest calls", "surest hits"]
_ORDERS: dict[PairOrder, str] = {"shuffled": "md5(pair_id)", "score gap": "chosen_score - rejected_score DESC"}
_MARGIN_ORDERS: dict[PairOrder, str] = {
    "surest mistakes": "margin ASC NULLS LAST",
    "closest calls": "abs(margin) ASC NULLS LAST",
    "surest hits": "margin DESC NULLS LAST",
}
_TESTED = "(SELECT NULL::VARCHAR AS chosen_id WHERE false UNION ALL BY NAME SELECT * FROM read_parquet({}))"
"""Prediction files; older ones do not say which response was the winner when the pair was tested"""
_SAME_WINNER = "coalesce(tested.chosen_id = pairs.chosen_id, true)"
ORDERS_WITHOUT_RUN = tuple(_ORDERS)
ORDERS_WITH_RUN = (*_MARGIN_ORDERS, *_ORDERS)


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
    """reading order; ties are sorted by pair_id"""


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


@lru_cache(maxsize=32)
def pair_counts(file: FileVersion) -> pl.DataFrame:
    """Columns subreddit, split, n_pairs."""
    return select(
        "SELECT subreddit, split, count(*) AS n_pairs FROM read_parquet($path) GROUP BY ALL ORDER BY ALL", file
    )


@lru_cache(maxsize=4)
def find_pairs(
    file: FileVersion,
    pair_filter: PairFilter,
    predictions: tuple[FileVersion, ...] = (),
    others: tuple[FileVersion, ...] = (),
) -> pl.Series:
    """Ids of the pairs that pass the filter, in reading order.

    Args:
        predictions: files of one run; needed by an outcome and by the orders by margin.
        others: files of another run, which must be right.

    Raises:
        LurkerError: a file is damaged.
        ValueError: the filter needs predictions and there are none.
    """
    if not predictions and (pair_filter.outcome != "any" or pair_filter.order in _MARGIN_ORDERS):
        raise ValueError(
            f"outcome {pair_filter.outcome!r} in the order {pair_filter.order!r} needs the predictions of a run"
        )
    conditions = ["true"]
    parameters: dict[str, Any] = {}
    for name in ("subreddit", "split"):
        if (value := getattr(pair_filter, name)) is not None:
            conditions.append(f"{name} = ${name}")
            parameters[name] = value
    if pair_filter.search:
        # The NUL keeps a match from running from one text into the next.
        conditions.append("contains(lower(concat_ws(chr(0), prompt, chosen, rejected)), lower($search))")
        parameters["search"] = pair_filter.search
    if pair_filter.outcome != "any":
        conditions.append("is_correct = 1" if pair_filter.outcome == "right" else "is_correct < 1")
    if others:
        for other in others:
            _require_predictions(other)
        both = f"{_TESTED.format('$others')} AS tested JOIN read_parquet($path) AS pairs USING (pair_id)"
        conditions.append(f"pair_id IN (SELECT pair_id FROM {both} WHERE is_correct = 1 AND {_SAME_WINNER})")
        parameters["others"] = [str(other.path) for other in others]
    order = (_ORDERS | _MARGIN_ORDERS)[pair_filter.order]
    source, condition = _pairs_with_margins(predictions), " AND ".join(conditions)
    sql = f"SELECT pair_id FROM ({source}) WHERE {condition} ORDER BY {order}, pair_id"
    return select(sql, file, predictions, **parameters)["pair_id"]


@lru_cache(maxsize=8)
def read_pairs(file: FileVersion, pair_ids: tuple[str, ...], predictions: tuple[FileVersion, ...] = ()) -> pl.DataFrame:
    """Whole pairs in the order of `pair_ids`: PAIRS, and margin and is_correct if the run was tested on it, else null.

    Reading those of one page at once makes the step from one pair to the next a look-up.

    Raises:
        LurkerError: the set lacks one of the pairs.
    """
    wanted = "pair_id IN (SELECT unnest($pair_ids::VARCHAR[]))"
    rows = select(_pairs_with_margins(predictions, wanted), file, predictions, pair_ids=list(pair_ids))
    if absent := set(pair_ids) - set(rows["pair_id"]):
        raise LurkerError(f"{file.path} has no pair {min(absent)!r}.")
    check(rows, PAIRS)
    order = pl.DataFrame({"pair_id": pair_ids}, schema={"pair_id": pl.String})
    return order.join(rows, on="pair_id", how="left", maintain_order="left")


def compare_predictions(
    workspace: Workspace, first: Sequence[str], second: Sequence[str], pairs: str, split: str, names: tuple[str, str]
) -> Comparison:
    """The difference of two runs, or of two groups of runs that differ by seed, pair by pair.

    Args:
        first, second: runs; what those of one side get right is averaged.
        pairs, split: what all of them were tested on.
        names: of the two sides, for the sentence.

    Raises:
        LurkerError: a run was not tested on these pairs, a file is damaged, or both sides share no pair.
    """
    sides = []
    for runs in (first, second):
        paths = [workspace.folder("runs", run) / "predictions" / f"{pairs}-{split}.parquet" for run in runs]
        for run, path in zip(runs, paths, strict=True):
            if not path.exists():
                step = f"Evaluate it: `lurker rm evaluate {run} --pairs {pairs} --split {split}`."
                raise LurkerError(f"Run {run} was not evaluated on {pairs} ({split}).", step)
        sides.append(tuple(version(path) for path in paths))
    return _compared(pairs_file(workspace, pairs), sides[0], sides[1], pairs, split, names)


@lru_cache(maxsize=64)
def _compared(
    file: FileVersion,
    first: tuple[FileVersion, ...],
    second: tuple[FileVersion, ...],
    pairs: str,
    split: str,
    names: tuple[str, str],
) -> Comparison:
    tested = select("SELECT pair_id, post_id, chosen_id FROM read_parquet($path)", file)
    tables = [_mean_correct(side, tested, pairs) for side in (first, second)]
    both = tables[0].join(tables[1], on="pair_id", suffix="_second").join(tested, on="pair_id").sort("pair_id")
    if not both.height == tables[0].height == tables[1].height or both.is_empty():
        counts = " and ".join(f"{table.height:,}" for table in tables)
        raise LurkerError(f"The runs were evaluated on {counts} pairs of {pairs}, and {both.height:,} are the same.")
    compared = compare_accuracy(
        both["is_correct"].to_numpy(), both["is_correct_second"].to_numpy(), both["post_id"].to_numpy()
    )
    return replace(compared, first=names[0], second=names[1], pairs=pairs, split=split)


def _mean_correct(files: tuple[FileVersion, ...], pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """The mean of is_correct over files, for the pairs that all of them have."""
    tables = [require_current(read_table(file, PREDICTIONS), pairs, file.path.parents[1].name, name) for file in files]
    correct = pl.concat(table.select("pair_id", "is_correct") for table in tables)
    means = correct.group_by("pair_id").agg(pl.col("is_correct").mean(), n=pl.len())
    return means.filter(pl.col("n") == len(files)).drop("n")


def _pairs_with_margins(predictions: tuple[FileVersion, ...], wanted: str = "true") -> str:
    """SQL for the pairs with margin and is_correct, null without a run.

    Args:
        wanted: condition on pair_id; both files are filtered by it before they are joined.
    """
    for file in predictions:
        _require_predictions(file)
    pairs = f"SELECT * FROM read_parquet($path) WHERE {wanted}"
    if not predictions:
        return f"SELECT *, NULL::DOUBLE AS margin, NULL::DOUBLE AS is_correct FROM ({pairs})"
    return (
        f"SELECT pairs.*, tested.margin, tested.is_correct FROM ({pairs}) AS pairs "
        f"LEFT JOIN (SELECT DISTINCT ON (pair_id) * FROM {_TESTED.format('$predictions')} WHERE {wanted}) AS tested "
        f"ON pairs.pair_id = tested.pair_id AND {_SAME_WINNER}"
    )


@lru_cache(maxsize=512)
def _require_predictions(file: FileVersion) -> None:
    """Check that a file is a PREDICTIONS table; the query itself would not name it."""
    read_table(file, PREDICTIONS)
