"""What a notebook and the command line call: train, evaluate and compare reward models, and run experiments."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import polars as pl

from lurker.arguments import as_list, as_path, require_kind
from lurker.config import fingerprint
from lurker.errors import CallError
from lurker.pair_sets import EXTERNAL, HARD_TEST, SPLITS, PairSet, has_hard_test, pair_set_name, require_pair_set
from lurker.progress import progress, say
from lurker.report import Displayed, ResultTable
from lurker.workspace import AnyWorkspace, Workspace, as_workspace, read_json, require_file_name
from rm.evaluation.baselines import BASELINES, Which
from rm.evaluation.compare import Comparison, compare_runs, read_predictions
from rm.evaluation.diagnose import Diagnosis, diagnose_run
from rm.evaluation.evaluate_run import Evaluation, accuracy_rows, evaluate_run
from rm.evaluation.external import ExternalEvaluation, evaluate_external
from rm.evaluation.score import TextScorer, is_parquet, score_columns, score_file, text_scorer
from rm.evaluation.texts import scored_columns
from rm.evaluation.trained_run import load_trained
from rm.experiments.ceiling import ceiling
from rm.experiments.config import make_config, pair_set_names
from rm.experiments.few_shot import few_shot
from rm.experiments.recipe_comparison import recipes
from rm.experiments.scaling import scaling
from rm.experiments.search import search
from rm.experiments.transfer import transfer
from rm.models.ladder import check_spec, slug
from rm.models.scorer import choose_device, describe_device
from rm.runs.average import average_runs
from rm.runs.export import export_run
from rm.runs.train_run import train_run
from rm.training.identity import model_digest
from rm.training.run_folder import (
    MODEL,
    RESULT,
    RunConfig,
    describe_run,
    finished_run,
    model_of_run,
    run_config,
    short_name,
)
from rm.training.settings import as_settings
from rm.training.trainable import train_config

__all__ = [
    "Run",
    "average",
    "ceiling",
    "compare",
    "diagnose",
    "evaluate",
    "export",
    "few_shot",
    "load",
    "recipes",
    "scaling",
    "search",
    "train",
    "transfer",
]


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
        """Evaluate the model and its baselines on a split of any pair set, by subreddit."""
        return evaluate(self, pairs, split, baselines=baselines)

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


def train(
    pairs: PairSet,
    model: str,
    *,
    seed: int = 0,
    max_pairs: int | None = None,
    validation: PairSet | str | None = None,
    tests: Sequence[PairSet | str] | PairSet | str | None = None,
    subreddits: Sequence[str] | str = (),
    run_id: str | None = None,
    resume: bool = True,
    baselines: Which = "all",
    **train_fields: Any,
) -> Run:
    """Train a reward model and evaluate it next to its baselines.

    The same call again resumes a run that was interrupted and returns one that is finished.

    Args:
        pairs: pair set trained on.
        model: SPEC: "scratch-10k" to "scratch-16m", a Hugging Face id, a local folder, or a run to start from:
            "run:ID", its id or its folder.
        seed: of the subset, initial weights and order.
        max_pairs: training pairs; all by default.
        validation: pair set whose validation split chooses the best step; `pairs` by default.
        tests: pair sets whose test split is evaluated on; `pairs` and the hard test by default.
        subreddits: communities trained and tested on; all by default.
        run_id: folder of the run; made from the arguments by default.
        resume: False refuses a run that exists.
        baselines: which are fitted after the model: "none", "cheap" (all but embeddings) or "all".
        **train_fields: fields of `rm.training.config.TrainConfig`, such as epochs=1 or learning_rate=1e-3.

    Raises:
        CallError: an argument is not possible, or the run exists with other content.
        LurkerError: a split is empty, or a test post was trained on.
    """
    require_which(baselines)
    workspace = require_pair_set(pairs).workspace
    model = model_of_run(workspace, model)
    check_spec(model)
    has_own_test = pairs.name == HARD_TEST or pairs.manifest["recipe"]["name"] == EXTERNAL
    hard_test = (HARD_TEST,) if has_hard_test(workspace) and not has_own_test else ()
    config = make_config(
        RunConfig,
        pairs=pairs.name,
        model=model,
        train=train_config(model, seed, as_settings(train_fields)),
        subreddits=subreddits,
        max_pairs=max_pairs,
        validation_pairs=None if validation is None else pair_set_name(validation),
        test_pairs=pair_set_names(tests, "tests") if tests else (pairs.name, *hard_test),
    )
    of_model = model_digest(model)
    digest = fingerprint(describe_run(config), *([of_model] if of_model else []))[:8]
    run_id = run_id or short_name(f"{pairs.name}-{slug(model)}-{digest}")
    train_run(workspace, run_id, config, resume=resume, baselines=baselines)
    return Run(workspace, run_id)


def load(workspace: AnyWorkspace, run_id: str) -> Run:
    """A finished run.

    Raises:
        CallError: there is no such run; the message lists those that exist.
    """
    opened = as_workspace(workspace)
    finished_run(opened, run_id)
    return Run(opened, run_id)


def evaluate(run: Run, pairs: PairSet | str, split: str = "test", *, baselines: Which = "all") -> Evaluation:
    """Evaluate a run and its baselines on a split of any pair set, by subreddit; added to the run's evaluations.

    Args:
        run: a finished run.
        pairs: pair set.
        split: its split.
        baselines: "none", "cheap" (all but embeddings) or "all".

    Raises:
        CallError: there is no such pair set or split.
        LurkerError: the pair sets the run used have changed, or an evaluated post was trained on.
    """
    require_which(baselines)
    require_run(run)
    return evaluate_run(run.workspace, run.run_id, pair_set_name(pairs), require_split(split), baselines)


def diagnose(run: Run, pairs: PairSet | str, split: str = "test") -> Diagnosis:
    """Calibration, accuracy by length, delay and score gap, and how changed texts move the reward.

    Raises:
        CallError: there is no such pair set or split.
        LurkerError: a post of the split was trained on.
    """
    require_run(run)
    return diagnose_run(run.workspace, run.run_id, pair_set_name(pairs), require_split(split))


def compare(
    run: Run | Sequence[Run] | str, other: Run | Sequence[Run] | str, pairs: PairSet | str, split: str = "test"
) -> Comparison:
    """Compare two runs, or a run and a baseline, on the same pairs.

    Args:
        run: a run, or several that differ by seed; or the same as text, `RUN,RUN` or `RUN:tfidf` for a baseline.
        other: the same, or a baseline of the first: length, time, both, tfidf or embeddings.
        pairs: pair set that both were evaluated on; its name is enough where a run is given as a `Run`.
        split: its split.

    Raises:
        CallError: there is no such run or baseline, a run was not evaluated on these pairs, or has no such baseline.
        LurkerError: the two were evaluated on different pairs.
    """
    workspace = _workspace_of(pairs, *as_list(run, "run"), *as_list(other, "other"))
    first, second, name = _run_ids(run), _run_ids(other), pair_set_name(pairs)
    if second not in BASELINES:
        _require_runs(workspace, second, " or a baseline of the first run")
    _require_runs(workspace, first)
    return compare_runs(workspace, first, second, name, require_split(split))


def average(runs: Sequence[Run], *, run_id: str | None = None) -> Run:
    """One model with the mean weights of runs that differ by seed, evaluated as they were.

    Args:
        runs: at least two, of a pretrained model.
        run_id: folder of the new run; made from the runs' ids by default.

    Raises:
        CallError: the runs differ in more than their seed.
    """
    averaged = [require_run(run) for run in as_list(runs, "runs")]
    if not averaged:
        raise CallError("An average needs two runs or more, got none.", "Train them with different seeds.")
    workspace = averaged[0].workspace
    return Run(workspace, average_runs(workspace, [run.run_id for run in averaged], run_id)["run_id"])


def export(run: Run, out: str | Path) -> Path:
    """Write a run as a Hugging Face folder that transformers and TRL load, with a model card.

    Raises:
        CallError: the folder exists, or the run is pairwise.
    """
    return export_run(require_run(run).workspace, run.run_id, as_path(out, "out"))


def is_reporting_process() -> bool:
    """Whether this process reports a training run: the only one, or the first that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0


def require_which(baselines: str) -> None:
    """Raises CallError for baselines that are none of "none", "cheap" and "all"."""
    if baselines not in get_args(Which):
        raise CallError(f"Baselines are one of {', '.join(get_args(Which))}, got {baselines!r}.")


def require_split(split: str) -> str:
    """The split, if there is one of this name.

    Raises:
        CallError: there is not.
    """
    if split not in SPLITS:
        raise CallError(f"The split is one of {', '.join(SPLITS)}, got {split!r}.")
    return split


def require_run(run: Any) -> Run:
    """The value, if it is a run.

    Raises:
        CallError: it is not; the message says how to open one by its id.
    """
    return require_kind(run, Run, "A run", "Open it by its id: `rm.load(workspace, ID)`.")


def _run_ids(runs: Run | Sequence[Run | str] | str) -> str:
    """Runs as `compare_runs` reads them."""
    return ",".join(one if isinstance(one, str) else require_run(one).run_id for one in as_list(runs, "a run"))


def _workspace_of(*values: Any) -> Workspace:
    """The workspace of the first pair set or run among the values; the others are names."""
    for value in values:
        if isinstance(value, PairSet | Run):
            return value.workspace
    raise CallError(
        f"These are only names: {', '.join(map(str, values))}.",
        "Pass a run or the pair set itself: `rm.load(workspace, ID)` or `features.load(workspace, NAME)`.",
    )


def _require_runs(workspace: Workspace, runs: str, alternative: str = "") -> None:
    """Check that each part of `RUN,RUN:BASELINE` names a finished run.

    Raises:
        CallError: one does not; the message lists runs and baselines.
    """
    finished = workspace.names("runs", RESULT)
    for part in runs.split(","):
        if (run_id := part.strip().partition(":")[0]) not in finished:
            raise CallError(
                f"{run_id!r} is not a finished run{alternative} (finished runs: {', '.join(finished) or 'none yet'}).",
                f"Name one of these; baselines: {', '.join(BASELINES)}, alone or as RUN:BASELINE.",
            )
