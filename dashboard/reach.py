"""Accuracy of the shortcuts, TF-IDF, a reward model and the truth per pair set, as one frame."""

import polars as pl

from dashboard import documents, experiments
from dashboard.documents import Audit, RunResult
from dashboard.parquet import version
from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, pair_set_names
from lurker.workspace import Workspace

REACH_SCHEMA = pl.Schema(
    {
        "pairs": pl.String,
        "what": pl.String,
        "accuracy": pl.Float64,
        "accuracy_low": pl.Float64,
        "accuracy_high": pl.Float64,
        "measured_on": pl.String,
    }
)
_PROBES = {"time": "time alone", "length": "length alone", "joint": "all confounders"}
_INTERVAL = ("accuracy", "accuracy_low", "accuracy_high")
_RESULTS = ("pairs", "predictor", "is_baseline", "n_parameters", "n_train_pairs", *_INTERVAL)
Row = tuple[str, str, float, float, float, str]


def reach(workspace: Workspace, audits: dict[str, Audit]) -> tuple[pl.DataFrame, list[LurkerError]]:
    """Accuracy per pair set and predictor, the hard test itself last, and the errors of what could not be read.

    Shortcuts: the more accurate probe on the set's own pairs. TF-IDF and the reward model: trained on the set and
    tested on the hard test, with the most training pairs; of the models the largest. Truth: the simulator's accuracy on
    the hard test.

    Args:
        audits: by pair set.

    Returns:
        A frame of REACH_SCHEMA, and the errors.
    """
    results, errors = hard_test_results(workspace)
    truth = audits[HARD_TEST].truth if HARD_TEST in audits else None
    rows: list[Row] = []
    for name in sorted({*audits, *results["pairs"]}, key=lambda name: (name == HARD_TEST, name)):
        rows += _shortcuts(name, audits[name]) if name in audits else []
        for result in results.filter(pl.col("pairs") == name).iter_rows(named=True):
            what = "TF-IDF" if result["is_baseline"] else "reward model"
            measured_on = f"{HARD_TEST}: {result['predictor']}, {result['n_train_pairs']:,} training pairs"
            rows.append((name, what, *(result[end] for end in _INTERVAL), measured_on))
        if truth is not None and name != HARD_TEST:
            rows.append((name, "the truth", *truth, HARD_TEST))
    return pl.DataFrame(rows, schema=REACH_SCHEMA, orient="row"), errors


def hard_test_results(workspace: Workspace) -> tuple[pl.DataFrame, list[LurkerError]]:
    """The model and the TF-IDF with the most training pairs per pair set, and the errors of what could not be read.

    Scaling experiments come before single runs of the same size, as they average over seeds.
    """
    scaling, errors = documents.read_each(
        experiments.experiment_names(workspace, "scaling"),
        lambda name: experiments.hard_test_accuracy(version(experiments.experiment_file(workspace, name, "scaling"))),
    )
    runs, run_errors = _single_runs(workspace)
    frames = [frame.select(_RESULTS) for frame in (*scaling.values(), *runs)]
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(_RESULTS, pl.String)), errors + run_errors
    results = pl.concat(frames).filter(~pl.col("is_baseline") | (pl.col("predictor") == "tfidf"))
    ranked = results.sort("n_train_pairs", "n_parameters", descending=True, nulls_last=True, maintain_order=True)
    return ranked.unique(["pairs", "is_baseline"], keep="first", maintain_order=True), errors + run_errors


def _single_runs(workspace: Workspace) -> tuple[list[pl.DataFrame], list[LurkerError]]:
    """Per pair set the run with the most training pairs of all its communities, with the columns `_RESULTS`."""
    results, errors = documents.read_each(
        workspace.names("runs", "result.json"), lambda run_id: documents.run_result(workspace, run_id)
    )
    sets, _ = documents.read_each(pair_set_names(workspace), lambda name: documents.pair_set(workspace, name))
    largest: dict[str, RunResult] = {}
    for run in sorted(results.values(), key=lambda run: (run.n_train_pairs, run.n_parameters, run.run_id)):
        if run.pairs in sets and set(run.subreddits) == set(sets[run.pairs].subreddits):
            largest[run.pairs] = run
    frames, frame_errors = documents.read_each(
        [run.run_id for run in largest.values()], lambda run_id: _hard_test_rows(workspace, results[run_id])
    )
    return list(frames.values()), errors + frame_errors


def _hard_test_rows(workspace: Workspace, run: RunResult) -> pl.DataFrame:
    """The run's evaluations on the hard test, with the columns `_RESULTS`."""
    path = workspace.root / "runs" / run.run_id / "evaluations.parquet"
    rows = experiments.run_evaluations(version(path)).filter(
        (pl.col("pairs") == HARD_TEST) & (pl.col("split") == "test") & (pl.col("subreddit") == "all")
    )
    is_model = pl.col("predictor") == "model"
    return rows.with_columns(
        pairs=pl.lit(run.pairs),
        predictor=pl.when(is_model).then(pl.lit(run.model)).otherwise("predictor"),
        is_baseline=~is_model,
        n_parameters=pl.when(is_model).then(pl.lit(run.n_parameters, pl.Int64)),
        n_train_pairs=pl.lit(run.n_train_pairs, pl.Int64),
    ).select(_RESULTS)


def _shortcuts(name: str, audit: Audit) -> list[Row]:
    """The most accurate probe per kind of shortcut."""
    if audit.probes.is_empty():
        return []
    split = documents.widest_split(audit.probes)
    over_all = audit.probes.filter((pl.col("split") == split) & (pl.col("subreddit") == "all"))
    return [
        (name, _PROBES[row["confounders"]], *(row[end] for end in _INTERVAL), f"its own pairs: {row['probe']} probe")
        for row in documents.strongest_probes(over_all).iter_rows(named=True)
        if row["confounders"] in _PROBES
    ]
