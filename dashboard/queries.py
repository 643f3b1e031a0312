"""All SQL of the dashboard: Parquet files of a workspace -> small frames.

Every query takes `FileVersion`s, a path with the state it was seen in, so that answers are remembered until the file
changes. DuckDB runs in memory: nothing is written, and a command that replaces a file meanwhile is never in the way.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import duckdb
import polars as pl

from lurker import charts
from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, SPLITS
from lurker.schema import (
    COMMENTS,
    EVALUATIONS,
    OBSERVATIONS,
    PAIRS,
    POSTS,
    PREDICTIONS,
    RECIPE_DIFFERENCES,
    RECIPES,
    SCALING,
    TRANSFER,
    Table,
    check,
)
from lurker.workspace import Workspace

ExperimentKind = Literal["scaling", "transfer", "recipes"]
Outcome = Literal["any", "right", "wrong"]
OUTCOMES: tuple[Outcome, ...] = ("any", "right", "wrong")
PairOrder = Literal["shuffled", "score gap", "surest mistakes", "closest calls", "surest hits"]
_ORDERS: dict[PairOrder, str] = {"shuffled": "md5(pair_id)", "score gap": "chosen_score - rejected_score DESC"}
_JUDGED_ORDERS: dict[PairOrder, str] = {
    "surest mistakes": "margin ASC NULLS LAST",
    "closest calls": "abs(margin) ASC NULLS LAST",
    "surest hits": "margin DESC NULLS LAST",
}
ORDERS_WITHOUT_RUN = tuple(_ORDERS)
ORDERS_WITH_RUN = (*_ORDERS, *_JUDGED_ORDERS)


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file in the state it was last seen in: the key under which answers about it are remembered."""

    path: Path
    mtime_ns: int
    n_bytes: int


def version(path: Path) -> FileVersion:
    """The file as it is now.

    Errors: LurkerError when it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise LurkerError(f"Cannot read {path}: {error.strerror}.") from error
    return FileVersion(path, found.st_mtime_ns, found.st_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFilter:
    """Which pairs of a set to read, and in which order."""

    subreddit: str | None = None
    """one community's display name, or None for all"""
    split: str | None = None
    """train | validation | test, or None for all"""
    search: str = ""
    """text that the prompt or a response holds, in any case"""
    outcome: Outcome = "any"
    """what the run's model made of the pair; pairs it never judged are only in 'any'"""
    order: PairOrder = "shuffled"
    """reading order; ties stand by pair_id"""


def experiments(workspace: Workspace, kind: ExperimentKind) -> list[str]:
    """Names of the finished experiments of a kind."""
    names = workspace.names("experiments", "manifest.json")
    return [name for name in names if experiment_file(workspace, name, kind).exists()]


def experiment_file(workspace: Workspace, name: str, table: ExperimentKind | Literal["differences"]) -> Path:
    """A table of an experiment: that of its kind, or the differences of one over recipes."""
    return workspace.root / "experiments" / name / f"{table}.parquet"


# --- experiments -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def scaling_cells(file: FileVersion) -> pl.DataFrame:
    """The SCALING table of one experiment, ordered by model size, data size and seed."""
    cells = _read("SELECT * FROM read_parquet($path)", file, SCALING)
    return cells.sort("is_baseline", "n_parameters", "predictor", "n_train_pairs", "seed", nulls_last=True)


@lru_cache(maxsize=32)
def scaling_curve(file: FileVersion) -> pl.DataFrame:
    """One row a predictor and data size: the mean over seeds.

    accuracy_low, accuracy_high: the mean of the seeds' 95 % intervals. All seeds are judged on the same test pairs, so
    more seeds do not make this interval narrower; lowest_seed and highest_seed tell how far the seeds lie apart.
    """
    return charts.scaling_curve(scaling_cells(file))


@lru_cache(maxsize=32)
def hard_test_reach(file: FileVersion) -> pl.DataFrame:
    """What each predictor reaches on the hard test with the most training pairs: one row a pair set and predictor.

    Of the models, only the largest is kept (it is named before any score is seen, unlike the best one).
    """
    scaling_cells(file)
    return _select(
        f"""
        WITH cells AS (SELECT * FROM read_parquet($path) WHERE test_pairs = '{HARD_TEST}'),
        most AS (SELECT *, max(n_train_pairs) OVER (PARTITION BY pairs, predictor) AS n_most FROM cells),
        means AS (
            SELECT pairs, predictor, is_baseline, max(n_parameters) AS n_parameters, n_train_pairs,
                   count(*) AS n_seeds, avg(accuracy) AS accuracy, avg(accuracy_low) AS accuracy_low,
                   avg(accuracy_high) AS accuracy_high
            FROM most WHERE n_train_pairs = n_most GROUP BY pairs, predictor, is_baseline, n_train_pairs
        )
        SELECT * FROM means
        QUALIFY is_baseline OR row_number() OVER (
            PARTITION BY pairs, is_baseline ORDER BY n_parameters DESC, predictor) = 1
        ORDER BY pairs, is_baseline, predictor
        """,
        file,
    )


@lru_cache(maxsize=32)
def transfer_matrix(file: FileVersion) -> pl.DataFrame:
    """One row a predictor, source and target: the mean over seeds, and its difference from the in-domain model.

    difference: accuracy minus that of the same predictor trained on the target itself; null where that was not run.
    """
    return charts.transfer_matrix(_read("SELECT * FROM read_parquet($path)", file, TRANSFER))


@lru_cache(maxsize=32)
def recipe_figures(file: FileVersion) -> pl.DataFrame:
    """One row a figure of RECIPES: the means over seeds of value, interval and standard error, in the table's order."""
    return charts.recipe_figures(_read("SELECT * FROM read_parquet($path)", file, RECIPES))


@lru_cache(maxsize=32)
def recipe_differences(file: FileVersion) -> pl.DataFrame:
    """The RECIPE_DIFFERENCES of an experiment."""
    return _read("SELECT * FROM read_parquet($path)", file, RECIPE_DIFFERENCES)


@lru_cache(maxsize=2048)
def run_evaluations(file: FileVersion) -> pl.DataFrame:
    """The EVALUATIONS table of one run."""
    return _read("SELECT * FROM read_parquet($path)", file, EVALUATIONS)


# --- what was ingested -----------------------------------------------------------------------------------------------


def holdings(workspace: Workspace) -> tuple[pl.DataFrame, list[LurkerError]]:
    """Rows and dates of each ingested table by subreddit, and what could not be read.

    Columns: table, subreddit, n_rows, first_utc, last_utc (seconds; null when the table is empty).
    """
    rows: list[dict[str, Any]] = []
    damaged: list[LurkerError] = []
    for table in (POSTS, COMMENTS, OBSERVATIONS):
        moment = "observed_utc" if table is OBSERVATIONS else "created_utc"
        for manifest in sorted((workspace.root / table.name).glob("*/manifest.json")):
            try:
                found = workspace.manifest(table, manifest.parent.name)
                files = tuple(version(manifest.parent / file["name"]) for file in found["files"])
                rows.append({"table": table.name, "subreddit": found["subreddit"], **_span(files, moment)})
            except LurkerError as error:
                damaged.append(error)
            except (KeyError, TypeError) as error:
                damaged.append(LurkerError(f"{manifest} is no manifest of {table.name}: {error!r}."))
    schema = {
        "table": pl.String,
        "subreddit": pl.String,
        "n_rows": pl.Int64,
        "first_utc": pl.Int64,
        "last_utc": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema), damaged


@lru_cache(maxsize=512)
def _span(files: tuple[FileVersion, ...], moment: str) -> dict[str, int | None]:
    if not files:
        return {"n_rows": 0, "first_utc": None, "last_utc": None}
    frames = [
        _select(f"SELECT count(*) AS n, min({moment}) AS first, max({moment}) AS last FROM read_parquet($path)", file)
        for file in files
    ]
    counts = pl.concat(frames)
    n_rows, first, last = counts.select(pl.col("n").sum(), pl.col("first").min(), pl.col("last").max()).row(0)
    return {"n_rows": n_rows, "first_utc": first, "last_utc": last}


# --- pairs -----------------------------------------------------------------------------------------------------------


def predictions_of(workspace: Workspace, pairs: str) -> dict[str, tuple[FileVersion, ...]]:
    """The runs that judged a pair set: run id -> one predictions file a split that was judged."""
    found: dict[str, tuple[FileVersion, ...]] = {}
    for run in workspace.names("runs", "result.json"):
        folder = workspace.root / "runs" / run / "predictions"
        paths = [path for split in SPLITS if (path := folder / f"{pairs}-{split}.parquet").exists()]
        if paths:
            found[run] = tuple(version(path) for path in paths)
    return found


@lru_cache(maxsize=32)
def pair_counts(file: FileVersion) -> pl.DataFrame:
    """How many pairs each subreddit and split holds: subreddit, split, n_pairs."""
    return _select(
        "SELECT subreddit, split, count(*) AS n_pairs FROM read_parquet($path) GROUP BY ALL ORDER BY ALL", file
    )


@lru_cache(maxsize=16)
def find_pairs(file: FileVersion, wanted: PairFilter, predictions: tuple[FileVersion, ...] = ()) -> list[str]:
    """Ids of the pairs that pass the filter, in reading order.

    predictions: files of one run; the filters on what its model made of a pair need them.
    Errors: LurkerError when a file is damaged; ValueError when a filter needs predictions and there are none.
    """
    if not predictions and (wanted.outcome != "any" or wanted.order in _JUDGED_ORDERS):
        raise ValueError(f"outcome {wanted.outcome!r} in the order {wanted.order!r} needs the predictions of a run")
    conditions = ["true"]
    values: dict[str, Any] = {}
    for name in ("subreddit", "split"):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(f"{name} = ${name}")
            values[name] = value
    if wanted.search:
        # A NUL in between keeps a match from running from one text into the next.
        conditions.append("contains(lower(concat_ws(chr(0), prompt, chosen, rejected)), lower($search))")
        values["search"] = wanted.search
    if wanted.outcome != "any":
        conditions.append("is_correct = 1" if wanted.outcome == "right" else "is_correct < 1")
    order = (_ORDERS | _JUDGED_ORDERS)[wanted.order]
    source, condition = _judged_pairs(predictions), " AND ".join(conditions)
    sql = f"SELECT pair_id FROM ({source}) WHERE {condition} ORDER BY {order}, pair_id"
    return _select(sql, file, predictions, **values)["pair_id"].to_list()


@lru_cache(maxsize=64)
def read_pair(file: FileVersion, pair_id: str, predictions: tuple[FileVersion, ...] = ()) -> dict[str, Any]:
    """One pair with all columns of PAIRS, and margin and is_correct when the run judged it (else None).

    Errors: LurkerError when the set has no such pair.
    """
    found = _select(
        f"SELECT * FROM ({_judged_pairs(predictions)}) WHERE pair_id = $pair_id", file, predictions, pair_id=pair_id
    )
    if found.is_empty():
        raise LurkerError(f"{file.path} holds no pair {pair_id!r}.")
    check(found, PAIRS)
    return found.row(0, named=True)


def _judged_pairs(predictions: tuple[FileVersion, ...]) -> str:
    if not predictions:
        return "SELECT *, NULL::DOUBLE AS margin, NULL::DOUBLE AS is_correct FROM read_parquet($path)"
    return (
        "SELECT pairs.*, judged.margin, judged.is_correct FROM read_parquet($path) AS pairs "
        "LEFT JOIN (SELECT DISTINCT ON (pair_id) * FROM read_parquet($predictions)) AS judged USING (pair_id)"
    )


# --- DuckDB ----------------------------------------------------------------------------------------------------------


def _read(sql: str, file: FileVersion, table: Table) -> pl.DataFrame:
    try:
        return check(_select(sql, file), table)
    except LurkerError as error:
        message = error.message if str(file.path) in error.message else f"{file.path}: {error.message}"
        raise LurkerError(message, error.next_step) from error


def _select(sql: str, file: FileVersion, predictions: tuple[FileVersion, ...] = (), **values: Any) -> pl.DataFrame:
    values["path"] = str(file.path)
    if predictions:
        for judged in predictions:
            _require_predictions(judged)
        values["predictions"] = [str(judged.path) for judged in predictions]
    with duckdb.connect() as connection:
        try:
            found = connection.sql(sql, params=values).to_arrow_table()
        except (duckdb.Error, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise LurkerError(f"Cannot read {file.path}: {reason}.") from error
    frame = pl.from_arrow(found)
    assert isinstance(frame, pl.DataFrame), "a table of Arrow becomes a frame"
    return frame


@lru_cache(maxsize=512)
def _require_predictions(file: FileVersion) -> None:
    _read("SELECT * FROM read_parquet($path) LIMIT 0", file, PREDICTIONS)
