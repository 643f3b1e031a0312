"""The config of a run, the pairs it uses, and the files in its folder."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import as_list
from lurker.config import fingerprint, to_dict
from lurker.errors import CallError, LurkerError, nearest
from lurker.files import read_json
from lurker.locks import holder, locked
from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.workspace import Workspace
from rm.pairs.subsets import content_digest, half_of_posts, subset
from rm.training.config import TrainConfig

CONFIG = "config.json"
"""All that determines a run, written when its training starts."""
RESULT = "result.json"
"""Written last: a run folder that holds it is finished."""
MAX_NAME = 100
"""Characters of a run's name."""
WORDS = ("Run", "another name with `--run ID`")
"""How errors name a run, and how another one is named."""
RUN_PREFIX = "run:"
"""A SPEC that starts with it names the model of a run in the same workspace."""
ADDED_LATER = {"half": "both", "head_seed": None, "subset_of": "posts"}
"""Fields of TrainConfig that earlier versions lack, and what they did."""
LOCKS = ".locks"
"""Folder of a workspace for the locks of runs."""
MODEL = "model"
"""The model's own name among the predictors of an evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything that determines a run: equal fingerprints mean the same run."""

    pairs: str
    """name of the pair set to train on"""
    model: str
    """SPEC: a name on the ladder, a Hugging Face id or a local folder, such as a run's model"""
    train: TrainConfig
    """how to train"""
    subreddits: tuple[str, ...] = ()
    """communities to train on; all of the pair set when empty"""
    max_pairs: int | None = None
    """number of training pairs, a nested subset by hash of their post; all when absent"""
    validation_pairs: str | None = None
    """pair set whose validation split selects the best step; the training pair set when absent"""
    test_pairs: tuple[str, ...] = ()
    """pair sets whose test split evaluates the model"""
    test_subreddits: tuple[str, ...] = ()
    """communities to evaluate on; when empty, those of the pairs that the training subset is drawn from"""
    curve_points: tuple[int, ...] = ()
    """numbers of training pairs after which the model is also evaluated, on the way of its first pass"""
    tokenizer: str | None = None
    """folder of a tokenizer shared by the runs of an experiment; trained on the run's own texts when absent"""

    def __post_init__(self) -> None:
        if self.max_pairs is not None and self.max_pairs < 2:
            raise ValueError(f"max_pairs must be at least 2, got {self.max_pairs}")
        if self.curve_points and (self.max_pairs is None or self.train.epochs != 1 or self.train.min_steps):
            raise ValueError("curve_points needs max_pairs, epochs=1 and min_steps=0")


@dataclass(frozen=True, slots=True)
class RunPairs:
    """The PAIRS of a run; `test` maps the name of each pair set to its test split."""

    training: pl.DataFrame
    validation: pl.DataFrame
    test: dict[str, pl.DataFrame]

    @property
    def digest(self) -> str:
        """Digest of their content: changes when a pair set is rebuilt with other pairs."""
        return fingerprint(*(content_digest(frame) for frame in (self.training, self.validation, *self.test.values())))


def finished_run(workspace: Workspace, run_id: str) -> Path:
    """The folder of a finished run.

    Raises:
        CallError: There is no such run; the error lists the existing ones.
    """
    folder = workspace.folder("runs", run_id)
    if not (folder / RESULT).exists():
        existing = nearest(run_id, workspace.names("runs", RESULT))
        raise CallError(
            f"There is no finished run {run_id!r} in {workspace.root} (finished runs: {existing}).",
            "See `lurker rm list`, or train one: `lurker rm train NAME --model SPEC`.",
        )
    return folder


def run_lock(workspace: Workspace, run_id: str, *, waits: bool) -> AbstractContextManager[None]:
    """Hold a run's folder for one writer.

    Args:
        workspace: where the run is.
        run_id: the run.
        waits: wait for another writer; otherwise refuse.

    Raises:
        CallError: a file stands where the run's folder should be.
        LurkerError: another process writes the run.
    """
    folder = workspace.folder("runs", run_id)
    if folder.exists() and not folder.is_dir():
        raise CallError(f"{folder} is a file, not the folder of a run.", "Remove it, or choose another name.")
    busy = LurkerError(
        f"Run {run_id} is being written by {run_writer(workspace, run_id) or 'another process'}.",
        "Wait until it has finished, then repeat the command.",
    )
    return locked(_lock_file(workspace, run_id), waits=waits, busy=busy)


@contextmanager
def unwritten_runs(workspace: Workspace, run_ids: Sequence[str]) -> Iterator[None]:
    """Hold the folders of runs, none of which another process may be writing.

    Raises:
        LurkerError: one is being written.
    """
    with ExitStack() as locks:
        for run_id in run_ids:
            locks.enter_context(run_lock(workspace, run_id, waits=False))
        yield


def require_same_config(folder: Path, described: dict[str, Any], words: tuple[str, str], *, resume: bool) -> None:
    """Check that the folder of a run or policy is new, or may be resumed and has the same config.

    Args:
        folder: of the run or policy.
        described: what its config.json would hold.
        words: how to name it, and how to choose another.
        resume: continue what was interrupted.

    Raises:
        CallError: neither is true.
    """
    path = folder / CONFIG
    if not path.exists():
        return
    what, other = words
    if not resume:
        raise CallError(f"{what} {folder.name} exists already.", f"Continue it with `--resume`, or choose {other}.")
    before = read_json(path)
    if changed := sorted(name for name in described if before.get(name) != described[name]):
        raise CallError(
            f"{what} {folder.name} was made with another {', '.join(changed)}.",
            f"Repeat its original command, or choose {other}.",
        )


def run_writer(workspace: Workspace, run_id: str) -> str:
    """The process that writes a run now, in words; empty if none does."""
    return holder(_lock_file(workspace, run_id))


def _lock_file(workspace: Workspace, run_id: str) -> Path:
    return workspace.root / LOCKS / f"run-{run_id}"


def short_name(name: str) -> str:
    """A name made of others, cut at its start to what a folder's name may have; it ends in a digest."""
    return name[-MAX_NAME:].lstrip("-._")


def model_of_run(workspace: Workspace, spec: str) -> str:
    """The SPEC of a model that is named by its run (`run:ID`, its folder, its id, or `runs/ID`); any other as it is.

    Without `run:`, a folder of that name, relative to the current one, comes first.

    Raises:
        CallError: there is no finished run of the ID after `run:`; the message lists those that exist.
    """
    if not isinstance(spec, str):
        return spec  # what is no text is refused where the config is made
    if spec.startswith(RUN_PREFIX):
        return str(finished_run(workspace, spec.removeprefix(RUN_PREFIX).strip()) / "model")
    path = Path(spec)
    candidates = [path] if path.is_dir() else [workspace.root / path]
    if not path.is_absolute() and len(path.parts) == 1 and spec.strip():
        candidates.append(workspace.root / "runs" / spec)
    for folder in candidates:
        if (folder / RESULT).exists() and (folder / "model" / "config.json").exists():
            return str(folder / "model")
    return spec


def models_of_runs(workspace: Workspace, specs: Sequence[str] | str) -> list[str]:
    """`model_of_run` of each; one SPEC is a list of one."""
    return [model_of_run(workspace, spec) for spec in as_list(specs, "models")]


def describe_run(config: RunConfig) -> dict[str, Any]:
    """The config as config.json has it and fingerprints read it; fields added later are absent at their default."""
    described = to_dict(config)
    for name, default in ADDED_LATER.items():
        if described["train"][name] == default:
            del described["train"][name]
    if not config.curve_points:
        del described["curve_points"]
    return described


def predictions_file(folder: Path, pairs: str, split: str, predictor: str = MODEL) -> Path:
    """Path within a run's folder of the PREDICTIONS of its model, or a baseline, for a split of a pair set."""
    parent = folder / "predictions" if predictor == MODEL else folder / "baselines" / predictor
    return parent / f"{pairs}-{split}.parquet"


def run_config(described: dict[str, Any]) -> RunConfig:
    """The RunConfig in the content of a run's config.json."""
    names = {field.name for field in fields(RunConfig)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
    }
    values["train"] = TrainConfig(**described["train"])
    return RunConfig(**{name: value for name, value in values.items() if name in names})


def read_run_pairs(workspace: Workspace, config: RunConfig) -> RunPairs:
    """Read a run's training subset, validation pairs and test pairs, whose posts do not overlap.

    Raises:
        CallError: A pair set or community does not exist, or there are fewer pairs than max_pairs.
        LurkerError: A split is empty, or splits share a post.
    """
    frame, half = read_pairs(workspace, config.pairs, config.subreddits), config.train.half
    available = half_of_posts(split_of(frame, config.pairs, "train"), half)
    training = subset(available, config.max_pairs, config.train.seed, of=config.train.subset_of)
    validation = half_of_posts(_validation(workspace, config, frame), half)
    require_disjoint(training, validation, config.validation_pairs or config.pairs)
    n_validation = min(config.train.max_validation_pairs, validation.height)
    of_validation = "communities" if config.train.subset_of == "communities" else "posts"
    validation = subset(validation, n_validation, seed=0, of=of_validation)
    if training.height < 2:
        raise LurkerError(
            f"Pair set {config.pairs} has {training.height} training pair for this run, and 2 are needed.",
            "Build it from more posts.",
        )
    test = {}
    # Not those of the subset: a few pairs may miss a community, and runs of other sizes would have another test.
    subreddits = config.test_subreddits or tuple(available["subreddit"].unique().sort())
    for name in config.test_pairs:
        test[name] = split_of(read_pairs(workspace, name).filter(pl.col("subreddit").is_in(subreddits)), name, "test")
        require_disjoint(pl.concat([training, validation]), test[name], name)
    return RunPairs(training, validation, test)


def _validation(workspace: Workspace, config: RunConfig, frame: pl.DataFrame) -> pl.DataFrame:
    """The validation split; frame: the pair set that is trained on."""
    name = config.validation_pairs or config.pairs
    if name != config.pairs:
        frame = read_pairs(workspace, name, config.subreddits)
    return split_of(frame, name, "validation")
