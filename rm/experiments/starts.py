"""What a few-shot experiment tunes: a model from nothing, a pretrained one, or one that a run has taught."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lurker.errors import CallError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.models.ladder import require_loadable, slug
from rm.training.config import TrainConfig
from rm.training.identity import lineage, n_posts_read
from rm.training.run_folder import RESULT, model_of_run, run_config
from rm.training.settings import as_settings, parse_settings
from rm.training.trainable import train_config

NOTHING = "nothing"
"""The start that no vote, no judgement and no other text has taught, as far as its SPEC is of the ladder."""
INHERITED = ("learning_rate", "trained", "train_layers", "pooling", "max_tokens", "max_prompt_tokens", "reads")
"""Fields that a start keeps from its run unless they are set: how it reads texts, and which weights train how fast."""


@dataclass(frozen=True, slots=True)
class Start:
    """A model to tune on the target."""

    name: str
    """as the tables call it: the run's id, or the SPEC"""
    model: str
    """SPEC; a run's model is its folder"""
    run_id: str | None
    """the run in the same workspace whose model it is"""
    settings: tuple[str, ...]
    """field=value of its own, after those that it keeps from its run"""
    kept: tuple[str, ...] = ()
    """field=value that it keeps from its run"""

    def train(self, seed: int, settings: tuple[str, ...]) -> TrainConfig:
        """How its cells train; settings: field=value of all starts, before its own."""
        return train_config(self.model, seed, (*self.kept, *settings, *self.settings))


def parse_start(workspace: Workspace, text: str, name: str | None = None) -> Start:
    """A start from `SPEC field=value ...`, where SPEC may be `run:ID`.

    Raises:
        CallError: there is no such model or run, or a setting is none.
    """
    spec, *settings = text.split() or [""]
    model = model_of_run(workspace, spec)
    require_loadable(model)
    own = as_settings(parse_settings(settings))
    folder = Path(model).parent
    if not (folder / RESULT).exists():
        return Start(name or slug(spec), model, None, own)
    train = run_config(read_json(folder / "config.json")).train
    fields = {field: getattr(train, field) for field in INHERITED if getattr(train, field) is not None}
    is_here = workspace.folder("runs", folder.name).resolve() == folder.resolve()
    return Start(name or folder.name, model, folder.name if is_here else None, own, as_settings(fields))


def require_untaught(workspace: Workspace, start: Start, target: str) -> None:
    """Refuse a start that has read training pairs of the target: then no number of target pairs is 0.

    Raises:
        CallError: it, or a run that it comes from, has.
    """
    for one in lineage(start.model):
        result = workspace.folder("runs", one["run"]) / RESULT
        if result.exists() and target in read_json(result)["subreddits"]:
            raise CallError(
                f"Run {one['run']} was trained on pairs of r/{target} already, so {start.name} is no start for it.",
                "Train one on the others: `lurker rm train NAME --subreddit OTHER`.",
            )


def require_unread(start: Start, posts: Collection[str], target: str) -> None:
    """Refuse a start that has read posts of the target, wherever it was trained: an export keeps what it has read.

    Args:
        start: the model.
        posts: those of the target's training and validation pairs.
        target: what the target is called.

    Raises:
        CallError: it, or a run that it comes from, has.
    """
    if n_read := n_posts_read(start.model, posts):
        raise CallError(
            f"{start.name} has read {n_read:,} of the {len(posts):,} posts of {target} that few-shot tunes on, so it "
            "is no start for it.",
            "Train one on the others: `lurker rm train NAME --subreddit OTHER`.",
        )
