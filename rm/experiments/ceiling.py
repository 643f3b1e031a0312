"""The ceilings of a pair set: what labels of noisy votes allow, by every estimator that its data permit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from lurker.arguments import as_names
from lurker.decimals import decimal
from lurker.errors import CallError, LurkerError
from lurker.files import write_json, write_parquet
from lurker.pair_sets import (
    EXTERNAL,
    JUDGED_BY_PEOPLE,
    SPLITS,
    PairSet,
    pair_set_name,
    read_pair_set,
    require_pair_set,
    split_of,
)
from lurker.progress import progress
from lurker.report import ResultTable
from lurker.schema import CEILING, check
from lurker.stats import accuracy_interval
from lurker.workspace import Workspace
from rm.experiments.ceiling_inputs import (
    Predictor,
    chosen_gap,
    finished_runs,
    read_fuzz,
    read_looks,
    read_margins,
    read_predictors,
    read_truth,
)
from rm.experiments.config import Experiment
from rm.experiments.results import ExperimentResult
from rm.experiments.text_ceilings import CALIBRATED, TRIAD, bracket, calibrated_margins, triad
from rm.experiments.vote_ceilings import (
    POSTERIOR_OF_VOTES,
    Ceiling,
    Kind,
    nothing_yet,
    posterior,
    reliability,
    two_looks,
)

ORDER = ("truth", "bracket", "triad", "calibrated margins", "two looks", "two-look reliability", "posterior")
"""Rows of the table, text ceiling first. Of each ceiling, the one comes first that contains the truth in at least nine
of ten simulated cases whatever the models (docs/ceiling.md)."""
TRUTHS: dict[Kind, str] = {
    "vote": "The simulator's truth: an oracle of each response's net vote rate, its luck included.",
    "text": "The simulator's truth: an oracle of each response's quality.",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """The pairs whose labels are judged."""

    pair_set: PairSet
    split: str
    pairs: pl.DataFrame
    """PAIRS of the split"""

    @property
    def workspace(self) -> Workspace:
        """Where they are."""
        return self.pair_set.workspace

    @property
    def name(self) -> str:
        """Of the pair set."""
        return self.pair_set.name


@dataclass(frozen=True, slots=True, repr=False)
class CeilingResult(ExperimentResult):
    """The CEILING table: one row per estimator and ceiling."""

    pairs: str
    """pair set whose labels are judged"""
    split: str
    best: str | None
    """the best model of texts, RUN or RUN:BASELINE; None without one"""
    best_accuracy: float | None

    @property
    def sentence(self) -> str:
        """What can be said about the text ceiling."""
        (row,) = self.frame.filter(ceiling="text", estimator="bracket").to_dicts()
        on = f"on {row['n_pairs']:,} pairs of {row['n_posts']:,} posts"
        if row["high"] is None:
            return f"Text ceiling: cannot tell {on}."
        if row["low"] is None or self.best_accuracy is None:
            return f"Text ceiling at most {decimal(row['high'])} {on}; no model of texts was evaluated on them."
        low, high = decimal(row["low"]), decimal(row["high"])
        return f"Text ceiling between {low} and {high} {on}; best model {decimal(self.best_accuracy)}."

    def table(self) -> ResultTable:
        """Value, interval and pairs of each estimator; what it assumes is in `tables()`."""
        rows = [
            {
                "ceiling": row["ceiling"],
                "estimator": row["estimator"],
                "value": row["value"],
                "from": row["low"],
                "to": row["high"],
                "pairs": row["n_pairs"],
                "posts": row["n_posts"],
            }
            for row in self.frame.to_dicts()
        ]
        return ResultTable(f"Ceilings of {self.pairs} ({self.split})", rows, self.sentence)

    def result_tables(self) -> Sequence[ResultTable]:
        """What each estimator assumes or lacks, then the figures."""
        columns = ("ceiling", "estimator", "assumption", "reason")
        rows = self.frame.filter(pl.col("estimator") != "truth").select(columns).to_dicts()
        return [ResultTable("What they assume, and why a figure is missing", rows), self.table()]

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        best = None if self.best_accuracy is None else {"model": self.best, "accuracy": self.best_accuracy}
        return {**ExperimentResult.report(self), "sentence": self.sentence, "best_model": best}

    def plot(self) -> Any:
        """The estimators with their intervals, brackets as bars, and the best model.

        Raises:
            LurkerError: nothing could be estimated.
        """
        from lurker.charts import ceiling_intervals

        if not self.frame.select(pl.any_horizontal(pl.col("value", "low", "high").is_not_null()).any()).item():
            reasons = "; ".join(self.frame["reason"].unique(maintain_order=True).drop_nulls())
            raise LurkerError(f"There is nothing to plot, as nothing could be estimated: {reasons}.")
        return ceiling_intervals(self.frame, self.best_accuracy)


def ceiling(
    pairs: PairSet,
    *,
    split: str = "test",
    test: PairSet | str | None = None,
    runs: Sequence[str] | str | None = None,
    name: str | None = None,
) -> CeilingResult:
    """Estimate the accuracy that no predictor can exceed on the labels of a pair set.

    Nothing is trained: models count if they were evaluated on these pairs. What cannot be told is named in the table's
    column `reason`, with what to do; the rest is estimated.

    Args:
        pairs: pair set.
        split: whose pairs are judged.
        test: pair set whose labels are judged instead, with the runs that were trained on `pairs`.
        runs: ids of finished runs; by default all that were evaluated on these pairs.
        name: of the experiment; `<pairs>-ceiling` by default.

    Raises:
        CallError: there is no such split, pair set or run.
        LurkerError: the split is empty.
    """
    require_pair_set(pairs)
    if split not in SPLITS:
        raise CallError(f"The split is one of {', '.join(SPLITS)}, got {split!r}.")
    workspace = pairs.workspace
    experiment = Experiment(workspace, name or f"{pairs.name}-ceiling")
    judged_set = pairs if test is None else read_pair_set(workspace, pair_set_name(test))
    judged = Judged(judged_set, split, split_of(judged_set.frame, judged_set.name, split))
    chosen = finished_runs(workspace, None if test is None else pairs.name) if runs is None else as_names(runs, "runs")
    return run_ceiling(experiment, judged, chosen)


def run_ceiling(experiment: Experiment, judged: Judged, runs: Sequence[str]) -> CeilingResult:
    """Read looks, predictions and truth; estimate; write CEILING, then the manifest."""
    with progress("Estimating ceilings", 4, "steps") as advance:
        predictors = read_predictors(judged.workspace, judged.pairs, judged.name, judged.split, runs)
        advance(1)
        rows = vote_rows(judged)
        advance(1)
        rows += text_rows(judged, predictors, next(one.high for one in rows if one.estimator == "two looks"))
        advance(1)
        rows += truth_rows(judged)
        advance(1)
    rows.sort(key=lambda row: (row.ceiling != "text", ORDER.index(row.estimator)))
    frame = check(pl.DataFrame([asdict(row) for row in rows], schema_overrides=CEILING.schema), CEILING)
    best = predictors[0] if predictors else None
    best_name, accuracy = (best.name, best.accuracy) if best else (None, None)
    result = CeilingResult(experiment, frame, (), judged.name, judged.split, best_name, accuracy)
    write_parquet(frame, experiment.folder / "ceiling.parquet")
    manifest = {
        "kind": "ceiling",
        "pairs": judged.name,
        "pairs_sha256": judged.pair_set.manifest["pairs_sha256"],
        "split": judged.split,
        "models": {one.name: one.accuracy for one in predictors},
        "sentence": result.sentence,
    }
    write_json(manifest, experiment.folder / "manifest.json")
    return result


def text_rows(judged: Judged, predictors: Sequence[Predictor], vote_ceiling: float | None) -> list[Ceiling]:
    """Estimates of the text ceiling, from the models of texts, the best first.

    Args:
        vote_ceiling: upper end of two looks, if there is one.
    """
    confidence, posts = judged.pairs["label_confidence"].to_numpy(), judged.pairs["post_id"].to_numpy()
    found = bracket({one.name: one.is_correct for one in predictors}, confidence, posts, vote_ceiling)
    evaluate = f"`lurker rm evaluate RUN --pairs {judged.name} --split {judged.split}`"
    if not predictors:
        found = replace(found, reason=f"{found.reason}: {evaluate}")
    return [found, _triad(predictors, posts, evaluate), _calibrated(judged, predictors, posts)]


def _triad(predictors: Sequence[Predictor], posts: Any, evaluate: str) -> Ceiling:
    """The triad of the two best models of different builds."""
    first = predictors[0] if predictors else None
    second = next((one for one in predictors if first and one.build != first.build), None)
    if first is None or second is None:
        missing = nothing_yet("triad", "text", posts, TRIAD)
        reason = f"it needs two differently built models evaluated on these pairs, such as one of words: {evaluate}"
        return replace(missing, reason=reason)
    found = triad(first.is_correct, second.is_correct, posts)
    return replace(found, assumption=f"{found.assumption} Models: {first.name} and {second.name}.")


def _calibrated(judged: Judged, predictors: Sequence[Predictor], posts: Any) -> Ceiling:
    """The calibrated margins of the best model, if it has predictions on validation."""
    held_out = judged.pair_set.frame.filter(pl.col("split") == "validation").sort("pair_id")
    best = predictors[0] if predictors else None
    margins = None
    if best and judged.split != "validation" and held_out.height:
        margins = read_margins(judged.workspace, best, held_out, judged.name, "validation")
    if best is None or margins is None:
        run_id = best.run_id if best else "RUN"
        command = f"`lurker rm evaluate {run_id} --pairs {judged.name} --split validation`"
        empty = nothing_yet("calibrated margins", "text", posts, CALIBRATED)
        return replace(empty, reason=f"it needs the best model's predictions on validation pairs: {command}")
    rng = np.random.default_rng(0)
    found = calibrated_margins(best.margins, posts, margins, held_out["post_id"].to_numpy(), rng=rng)
    return replace(found, assumption=f"{found.assumption} Model: {best.name}.")


def vote_rows(judged: Judged) -> list[Ceiling]:
    """Estimates of the vote ceiling, from scores and from looks at them."""
    posts, recipe = judged.pairs["post_id"].to_numpy(), judged.pair_set.manifest["recipe"]
    gap = chosen_gap(recipe, judged.pairs)
    looks = read_looks(judged.workspace, judged.pairs, "first" if gap is None else "last")
    measured = read_fuzz(judged.workspace, judged.pair_set.frame)
    told = float(recipe.get("vote_fuzz", 0.0)) / _root_score(judged.pairs)
    fuzz = max(measured or 0.0, told)
    arrays = looks.pairs["first"].to_numpy(), looks.pairs["later"].to_numpy(), looks.pairs["post_id"].to_numpy()
    twice = [
        two_looks(*arrays, first_share=looks.first_share, min_gap=gap, fuzz=fuzz),
        reliability(*arrays, first_share=looks.first_share, fuzz=fuzz),
    ]
    if gap is None:  # a window's label, not that of both
        reason = "it is of labels by all votes, and these are labels of the first look"
        twice[1] = replace(twice[1], value=None, low=None, high=None, reason=reason)
    if recipe.get("require_agreeing_looks"):
        reason = "these pairs were chosen because two looks agree; judge a set without require_agreeing_looks"
        twice = [replace(one, value=None, low=None, high=None, reason=reason) for one in twice]
    elif recipe["name"] in JUDGED_BY_PEOPLE:
        reason = "it does not apply: people judged these pairs, and it is of Reddit's scores, seen twice"
        twice = [replace(one, reason=reason) for one in twice]
    elif looks.pairs.is_empty():
        reason = "these scores were seen once; see them again with `lurker ingest refresh`, then build the pairs again"
        twice = [replace(one, reason=reason) for one in twice]
    elif measured is None:
        unknown = " Fuzz is not measured: no score was seen twice at the age of a week."
        twice = [replace(one, assumption=one.assumption + unknown) for one in twice]
    found = posterior(judged.pairs["label_confidence"].to_numpy(), posts)
    if recipe["name"] == EXTERNAL:
        reason = "it does not apply: imported judgements do not say how sure they are"
        found = replace(found, value=None, low=None, high=None, reason=reason)
    if recipe.get("label_model", "score") == "votes":
        found = replace(found, assumption=POSTERIOR_OF_VOTES.format(luck=recipe["exposure_luck"]))
    return [found, *twice]


def _root_score(pairs: pl.DataFrame) -> float:
    """The square root of 1 + |score| of a typical response, the unit of fuzz, votes."""
    return float(np.sqrt(1 + np.abs(pairs.select("chosen_score", "rejected_score").to_numpy()).mean()))


def truth_rows(judged: Judged) -> list[Ceiling]:
    """The true ceilings, where the pairs are simulated."""
    rows = []
    for kind, oracle in read_truth(judged.workspace, judged.pairs).items():
        posts = oracle["post_id"].to_numpy()
        estimate = accuracy_interval(oracle["is_correct"].to_numpy(), posts)
        empty = nothing_yet("truth", kind, posts, TRUTHS[kind])
        rows.append(replace(empty, value=estimate.value, low=estimate.low, high=estimate.high))
    return rows
