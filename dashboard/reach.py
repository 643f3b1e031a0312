"""What the shortcuts, TF-IDF, a reward model and the truth reach, per pair set: the project's question as one frame."""

import polars as pl

from dashboard import documents, queries
from dashboard.documents import Audit, RunResult
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
    """One row a pair set and kind of knowledge (REACH_SCHEMA), the hard test itself last; and what could not be read.

    Shortcuts: the stronger probe on the set's own pairs. TF-IDF and the reward model: trained on the set, judged on
    the hard test, with the most training pairs; of the models the largest. Truth: the simulator's, on the hard test.
    """
    results, damaged = hard_test_results(workspace)
    truth = audits[HARD_TEST].truth if HARD_TEST in audits else None
    rows: list[Row] = []
    for name in sorted({*audits, *results["pairs"]}, key=lambda name: (name == HARD_TEST, name)):
        rows += _shortcuts(name, audits[name]) if name in audits else []
        for result in results.filter(pl.col("pairs") == name).iter_rows(named=True):
            what = "TF-IDF" if result["is_baseline"] else "reward model"
            on = f"{HARD_TEST}: {result['predictor']}, {result['n_train_pairs']:,} training pairs"
            rows.append((name, what, *(result[end] for end in _INTERVAL), on))
        if truth is not None and name != HARD_TEST:
            rows.append((name, "the truth", *truth, HARD_TEST))
    return pl.DataFrame(rows, schema=REACH_SCHEMA, orient="row"), damaged


def hard_test_results(workspace: Workspace) -> tuple[pl.DataFrame, list[LurkerError]]:
    """The model and the TF-IDF with the most training pairs, a row each a pair set; and what could not be read.

    Scaling experiments come before single runs of the same size, for they average over seeds.
    """
    experiments, damaged = documents.each(
        queries.experiments(workspace, "scaling"),
        lambda name: queries.hard_test_reach(queries.version(queries.experiment_file(workspace, name, "scaling"))),
    )
    runs, damaged_runs = _single_runs(workspace)
    found = [frame.select(_RESULTS) for frame in (*experiments.values(), *runs)]
    if not found:
        return pl.DataFrame(schema=dict.fromkeys(_RESULTS, pl.String)), damaged + damaged_runs
    every = pl.concat(found).filter(~pl.col("is_baseline") | (pl.col("predictor") == "tfidf"))
    ranked = every.sort("n_train_pairs", "n_parameters", descending=True, nulls_last=True, maintain_order=True)
    return ranked.unique(["pairs", "is_baseline"], keep="first", maintain_order=True), damaged + damaged_runs


def _single_runs(workspace: Workspace) -> tuple[list[pl.DataFrame], list[LurkerError]]:
    """Per pair set the run with the most training pairs of all its communities, as rows of `_RESULTS`."""
    results, damaged = documents.each(
        workspace.names("runs", "result.json"), lambda run_id: documents.run_result(workspace, run_id)
    )
    sets, _ = documents.each(pair_set_names(workspace), lambda name: documents.pair_set(workspace, name))
    largest: dict[str, RunResult] = {}
    for run in sorted(results.values(), key=lambda run: (run.n_train_pairs, run.n_parameters, run.run_id)):
        if run.pairs in sets and set(run.subreddits) == set(sets[run.pairs].subreddits):
            largest[run.pairs] = run
    frames, unreadable = documents.each(
        [run.run_id for run in largest.values()], lambda run_id: _judged(workspace, results[run_id])
    )
    return list(frames.values()), damaged + unreadable


def _judged(workspace: Workspace, run: RunResult) -> pl.DataFrame:
    path = workspace.root / "runs" / run.run_id / "evaluations.parquet"
    rows = queries.run_evaluations(queries.version(path)).filter(
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
    if audit.probes.is_empty():
        return []
    split = documents.widest_split(audit.probes)
    over_all = audit.probes.filter((pl.col("split") == split) & (pl.col("subreddit") == "all"))
    return [
        (name, _PROBES[row["confounders"]], *(row[end] for end in _INTERVAL), f"its own pairs: {row['probe']} probe")
        for row in documents.strongest_probes(over_all).iter_rows(named=True)
        if row["confounders"] in _PROBES
    ]
