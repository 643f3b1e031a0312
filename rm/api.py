"""What a notebook and the command line call: train, evaluate and compare reward models, and run experiments."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lurker.arguments import as_list, as_path
from lurker.comparison import Comparison
from lurker.config import fingerprint
from lurker.errors import CallError
from lurker.pair_sets import (
    EXTERNAL,
    HARD_TEST,
    PairSet,
    has_hard_test,
    pair_set_name,
    require_pair_set,
    require_split,
)
from lurker.workspace import AnyWorkspace, Workspace, as_workspace
from rm.evaluation.baselines import BASELINES, Which, require_which
from rm.evaluation.compare import compare_runs
from rm.evaluation.diagnose import Diagnosis, diagnose_run
from rm.evaluation.evaluate_run import Evaluation
from rm.experiments.ceiling import ceiling
from rm.experiments.config import make_config, pair_set_names
from rm.experiments.few_shot import few_shot
from rm.experiments.recipe_comparison import recipes
from rm.experiments.report.write import report
from rm.experiments.results import ExperimentResult
from rm.experiments.scaling import scaling
from rm.experiments.search import search
from rm.experiments.stored import open_experiment
from rm.experiments.transfer import transfer
from rm.models.ladder import check_spec, require_reachable, slug
from rm.policy.agent_api import Agents, train_agent
from rm.policy.api import Policy, load_policy, sample, train_writer
from rm.policy.best_of_n_report import best_of_n
from rm.policy.responses import responses
from rm.policy.sample_file import Samples
from rm.policy.teacher import teachers
from rm.runs.average import average_runs
from rm.runs.export import export_run
from rm.runs.run import Run, require_run
from rm.runs.train_run import train_run
from rm.training.identity import model_digest
from rm.training.run_folder import (
    RESULT,
    RunConfig,
    describe_run,
    finished_run,
    model_of_run,
    short_name,
)
from rm.training.settings import as_settings
from rm.training.trainable import train_config

__all__ = [
    "Agents",
    "Policy",
    "Run",
    "Samples",
    "average",
    "best_of_n",
    "ceiling",
    "compare",
    "diagnose",
    "evaluate",
    "export",
    "few_shot",
    "load",
    "load_experiment",
    "load_policy",
    "recipes",
    "report",
    "responses",
    "sample",
    "scaling",
    "search",
    "teachers",
    "train",
    "train_agent",
    "train_writer",
    "transfer",
]


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
    if run_id is None or not workspace.folder("runs", run_id).exists():
        require_reachable(model)
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


def load_experiment(workspace: AnyWorkspace, name: str) -> ExperimentResult:
    """The table of an experiment and what it found, as its function returned them.

    Raises:
        CallError: there is no such experiment; the message lists those that exist.
        LurkerError: it has no table yet, or a file of it is damaged.
    """
    stored = open_experiment(as_workspace(workspace), name)
    return stored.require_result()


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
    return require_run(run).evaluate(pairs, split, baselines=baselines)


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
