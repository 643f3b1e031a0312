"""Judgements from outside as a pair set, so that runs train on them and are tested on topics they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from features.hashing import hash_ids, salted
from features.ledger import Ledger
from features.recipes.recipe import Recipe
from features.sets.store import describe_blocks, write_pairs
from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.judgements.read import Judgements, read_judgements
from lurker.pair_sets import EXTERNAL, HARD_TEST, SPLITS
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace

SALT = "import-split"
MIN_UNITS = len(SPLITS)
"""Topics, or prompts, that three splits need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """How imported judgements are split."""

    validation_fraction: float = 0.1
    """share of the judgements in validation, at least, in whole topics"""
    test_fraction: float = 0.2
    """share of the judgements in test, at least, in whole topics"""
    seed: int = 0
    """draws which topics are held out"""

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if (held_out := self.validation_fraction + self.test_fraction) >= 1:
            raise ValueError(f"validation_fraction and test_fraction must leave some to train on, got {held_out:g}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def import_judgements(
    workspace: Workspace, name: str, path: Path, group: str, config: ImportConfig | None = None
) -> dict[str, Any]:
    """Write the pair set `name` from a file, folder or archive of judgements.

    A prompt is a post, and `group`, who judged, is the community. Whole topics are held out; where a file has fewer
    than three, whole prompts.

    Returns:
        The manifest.

    Raises:
        CallError: the name is taken, or no file can be read.
        LurkerError: a file cannot be used, or there are too few prompts to split.
    """
    config = config or ImportConfig()
    if name == HARD_TEST or workspace.folder("pairs", name).exists():
        raise CallError(f"There is a pair set {name!r} already.", "Choose another name.")
    if not group.strip():
        raise CallError("The group that judged has no name.", "Name it: `--group NAME`.")
    judgements = read_judgements(path)
    units, split_by = _units(judgements, path)
    splits = _splits(units, config)
    pairs = judgements.frame.with_columns(units.replace_strict(splits).alias("split"), subreddit=pl.lit(group.strip()))
    pairs = check(pairs, PAIRS)
    sha256 = frame_sha256(pairs)
    manifest = describe_blocks([pairs], sha256, name, Recipe(name=EXTERNAL), [group.strip()]) | {
        "recipe": {
            "name": EXTERNAL,
            "file": path.resolve().name,
            "format": judgements.format_name,
            "sha256": judgements.sha256,
            "split_by": split_by,
            "validation_fraction": config.validation_fraction,
            "test_fraction": config.test_fraction,
            "seed": config.seed,
        },
        "held_out": {split: sorted(unit for unit, of in splits.items() if of == split) for split in SPLITS[1:]},
        "ledger": {"judgements": Ledger(judgements.n_rows, tuple(judgements.dropped.items())).to_dict()},
        "ceiling": None,
    }
    with workspace.lock("pairs import"):
        write_pairs(workspace, name, pairs, manifest)
    return manifest


def _units(judgements: Judgements, path: Path) -> tuple[pl.Series, str]:
    """What is held out as a whole, for each judgement, and its name: the topic of its prompt, or the prompt.

    Raises:
        LurkerError: there are too few prompts.
    """
    frame = judgements.frame
    topics = frame.select(pl.col("subreddit").min().over("post_id"))["subreddit"]  # a prompt is in one split only
    if topics.n_unique() >= MIN_UNITS:
        return topics, "topic"
    if (n_prompts := frame["post_id"].n_unique()) < MIN_UNITS:
        raise LurkerError(
            f"{path} has judgements on {n_prompts} prompts, and three splits need {MIN_UNITS}.",
            "Use it as a test: `lurker rm evaluate RUN --external FILE`.",
        )
    return frame["post_id"], "prompt"


def _splits(units: pl.Series, config: ImportConfig) -> dict[str, str]:
    """unit -> split: units in random order go to test until it has its share, then to validation, then to train.

    At least one unit is left for each of the splits that follow.
    """
    counts = units.value_counts(name="n").rename({units.name: "unit"})
    order = counts.with_columns(rank=pl.Series(hash_ids(counts["unit"], salted(SALT, config.seed))))
    rows: Sequence[tuple[str, int]] = order.sort("rank", "unit").select("unit", "n").rows()
    quotas = [("test", config.test_fraction * len(units)), ("validation", config.validation_fraction * len(units))]
    splits: dict[str, str] = {}
    n_in_split = 0
    for number, (unit, n) in enumerate(rows):
        n_left = len(rows) - number
        if quotas and n_in_split and (n_in_split >= quotas[0][1] or n_left <= len(quotas)):
            quotas.pop(0)
            n_in_split = 0
        splits[unit] = quotas[0][0] if quotas else "train"
        n_in_split += n
    return splits
