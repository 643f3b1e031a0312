"""Find and read the pairs of a set, with the margins of a run that was tested on them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import polars as pl

from dashboard.parquet import FileVersion, read_table, select, version
from lurker.errors import LurkerError
from lurker.pair_sets import PAIRS_FILE, SPLITS, require_row_count
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
ORDERS_WITHOUT_RUN = tuple(_ORDERS)
ORDERS_WITH_RUN = (*_ORDERS, *_MARGIN_ORDERS)


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
    """The runs tested on a pair set: run id -> one file per split."""
    files: dict[str, tuple[FileVersion, ...]] = {}
    for run_id in workspace.names("runs", "result.json"):
        folder = workspace.root / "runs" / run_id / "predictions"
        paths = [path for split in SPLITS if (path := folder / f"{pairs}-{split}.parquet").exists()]
        if paths:
            files[run_id] = tuple(version(path) for path in paths)
    return files


@lru_cache(maxsize=32)
def pair_counts(file: FileVersion) -> pl.DataFrame:
    """Columns subreddit, split, n_pairs."""
    return select(
        "SELECT subreddit, split, count(*) AS n_pairs FROM read_parquet($path) GROUP BY ALL ORDER BY ALL", file
    )


@lru_cache(maxsize=16)
def find_pairs(file: FileVersion, pair_filter: PairFilter, predictions: tuple[FileVersion, ...] = ()) -> list[str]:
    """Ids of the pairs that pass the filter, in reading order.

    Args:
        predictions: files of one run; needed by an outcome and by the orders by margin.

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
    order = (_ORDERS | _MARGIN_ORDERS)[pair_filter.order]
    source, condition = _pairs_with_margins(predictions), " AND ".join(conditions)
    sql = f"SELECT pair_id FROM ({source}) WHERE {condition} ORDER BY {order}, pair_id"
    return select(sql, file, predictions, **parameters)["pair_id"].to_list()


@lru_cache(maxsize=64)
def read_pair(file: FileVersion, pair_id: str, predictions: tuple[FileVersion, ...] = ()) -> dict[str, Any]:
    """One pair: the columns of PAIRS, and margin and is_correct if the run was tested on it, else None.

    Raises:
        LurkerError: the set has no such pair.
    """
    sql = f"SELECT * FROM ({_pairs_with_margins(predictions)}) WHERE pair_id = $pair_id"
    rows = select(sql, file, predictions, pair_id=pair_id)
    if rows.is_empty():
        raise LurkerError(f"{file.path} has no pair {pair_id!r}.")
    check(rows, PAIRS)
    return rows.row(0, named=True)


def _pairs_with_margins(predictions: tuple[FileVersion, ...]) -> str:
    """SQL for the pairs with margin and is_correct, null without a run."""
    for file in predictions:
        _require_predictions(file)
    if not predictions:
        return "SELECT *, NULL::DOUBLE AS margin, NULL::DOUBLE AS is_correct FROM read_parquet($path)"
    return (
        "SELECT pairs.*, tested.margin, tested.is_correct FROM read_parquet($path) AS pairs "
        "LEFT JOIN (SELECT DISTINCT ON (pair_id) * FROM read_parquet($predictions)) AS tested USING (pair_id)"
    )


@lru_cache(maxsize=512)
def _require_predictions(file: FileVersion) -> None:
    """Check that a file is a PREDICTIONS table; the query itself would not name it."""
    read_table(file, PREDICTIONS)
