"""A trained run as an object: its files, its rewards of texts, and its evaluation on further pairs."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import as_path, require_kind
from lurker.errors import CallError
from lurker.files import read_json, require_file_name
from lurker.pair_sets import PairSet, pair_set_name, require_split
from lurker.progress import progress, say
from lurker.report import Displayed, ResultTable
from lurker.workspace import Workspace
from rm.evaluation.baselines import BASELINES, Which, require_which
from rm.evaluation.compare import read_predictions
from rm.evaluation.evaluate_run import Evaluation, accuracy_rows, evaluate_run
from rm.evaluation.external import ExternalEvaluation, evaluate_external
from rm.evaluation.score import TextScorer, is_parquet, score_columns, score_file, text_scorer
from rm.evaluation.texts import scored_columns
from rm.evaluation.trained_run import load_trained
from rm.models.scorer import choose_device, describe_device
from rm.training.run_folder import MODEL, RESULT, RunConfig, run_config


@dataclass(frozen=True, slots=True, repr=False)
class Evaluations(Displayed):
    """Everything that a run was evaluated on."""

    run_id: str
    frame: pl.DataFrame
    """EVALUATIONS: one row per pair set, split, subreddit and predictor"""

    def table(self) -> ResultTable:
        """Accuracy of each predictor by pair set, split and subreddit, with intervals."""
        return ResultTable(f"Run {self.run_id}", accuracy_rows(self.frame.to_dicts(), "split", "subreddit"))


class Run(Displayed):
    """A trained reward model and its run's folder; files and weights are read when they are first needed."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace = workspace
        self.run_id = run_id

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.workspace.folder("runs", self.run_id)

    @property
    def config(self) -> RunConfig:
        """What makes the run: pair sets, model and training config."""
        return run_config(read_json(self.folder / "config.json"))

    @property
    def result(self) -> dict[str, Any]:
        """Facts about the training, and accuracies on the tests, as in `result.json`."""
        return dict(read_json(self.folder / RESULT))

    @property
    def evaluations(self) -> Evaluations:
        """Accuracies by pair set, split, subreddit and predictor; `.frame` is the EVALUATIONS table."""
        return Evaluations(self.run_id, pl.read_parquet(self.folder / "evaluations.parquet"))

    @property
    def metrics(self) -> pl.DataFrame:
        """Training loss, learning rate and validation, one row per step."""
        return pl.read_ndjson(self.folder / "metrics.jsonl", infer_schema_length=None)

    def predictions(self, pairs: PairSet | str, split: str = "test", predictor: str = MODEL) -> pl.DataFrame:
        """PREDICTIONS of the model, or of a baseline, on a split that the run was evaluated on.

        Args:
            pairs: pair set.
            split: its split.
            predictor: "model", or a baseline: length, time, both, tfidf or embeddings.

        Raises:
            CallError: there is no such predictor, or the run was not evaluated there; `Run.evaluate` does it.
        """
        if predictor not in (MODEL, *BASELINES):
            raise CallError(f"Unknown predictor {predictor!r}.", f"Use one of: {', '.join((MODEL, *BASELINES))}.")
        return read_predictions(self.workspace, self.run_id, pair_set_name(pairs), split, predictor)

    def score(
        self,
        prompts: Iterable[str] | str,
        responses: Iterable[str] | str,
        delays_s: Iterable[int] | int | None = None,
    ) -> pl.Series:
        """The reward of each response to its prompt, [n]; differences between responses to one prompt are log-odds.

        Args:
            prompts, responses: [n] each; one text is a list of one.
            delays_s: seconds from prompt to response, [n]; needed by a run trained with_delay.

        Raises:
            CallError: a value is not text, the run is pairwise, or it needs delays.
        """
        columns = scored_columns(prompts, responses, delays_s)
        if not columns["prompt"]:
            return pl.Series("reward", [], dtype=pl.Float64)
        if self._scorer.with_delay and delays_s is None:
            raise CallError(f"Run {self.run_id} reads the response's delay.", "Pass delays_s, in seconds.")
        return pl.Series("reward", score_columns(self._scorer, columns), dtype=pl.Float64)

    def score_file(self, source: str | Path, target: str | Path) -> int:
        """Copy a JSONL or Parquet file of prompts and responses with an added column `reward`; the number of rows.

        Raises:
            LurkerError: a row is not usable; the message names it, and nothing is written.
        """
        source, target = as_path(source, "source"), as_path(target, "target")
        is_parquet(source)  # refuses an unreadable file before the model is loaded
        require_file_name(target)
        scorer = self._scorer
        say(f"Scoring on {describe_device(choose_device())}.")
        with progress("Scoring", source.stat().st_size, "bytes"):
            return score_file(scorer, source, target)

    def evaluate(self, pairs: PairSet | str, split: str = "test", *, baselines: Which = "all") -> Evaluation:
        """Evaluate the model and its baselines on a split of any pair set, by subreddit; see `rm.evaluate`."""
        require_which(baselines)
        return evaluate_run(self.workspace, self.run_id, pair_set_name(pairs), require_split(split), baselines)

    def external(self, path: str | Path, *, baselines: Which = "all") -> ExternalEvaluation:
        """Judge the model on judgements from outside: a file, folder or archive of prompt, chosen and rejected.

        Args:
            path: JSON, JSONL, CSV, TSV or Parquet, also with the columns of SHP or UKPConvArg1.
            baselines: "none" for lengths only, "cheap" also for TF-IDF, or "all".

        Raises:
            CallError: the file cannot be read.
            LurkerError: a row cannot be used, or no prompt is left that the run has not read.
        """
        require_which(baselines)
        return evaluate_external(self.workspace, self.run_id, as_path(path, "path"), baselines)

    def table(self) -> ResultTable:
        """Accuracies of the model and its baselines on the tests."""
        result = self.result
        trained = f"{result['n_train_pairs']:,} training pairs"
        if "mean_of" in result:
            trained = f"the mean of {len(result['mean_of'])} runs"
        return ResultTable(f"Run {self.run_id}: {trained}", accuracy_rows(result["evaluations"]))

    @cached_property
    def _scorer(self) -> TextScorer:
        trained = load_trained(self.workspace, self.run_id)
        return text_scorer(trained.reward_model, trained.config.train)


def require_run(run: Any) -> Run:
    """The value, if it is a run.

    Raises:
        CallError: it is not; the message says how to open one by its id.
    """
    return require_kind(run, Run, "A run", "Open it by its id: `rm.load(workspace, ID)`.")
