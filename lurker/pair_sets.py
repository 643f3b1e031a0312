"""The one reader of pair sets: `pairs/NAME/pairs.parquet`, described by a `manifest.json` that is written last.

A set without a manifest does not exist, and one that does not match its manifest is refused. All packages read pairs
here, so none of them accepts what another refuses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import require_kind
from lurker.decimals import counted
from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.files import read_object
from lurker.progress import say
from lurker.report import Displayed, ResultTable
from lurker.schema import PAIRS, check
from lurker.subreddits import plain_name
from lurker.workspace import Workspace

HARD_TEST = "hard-test"
"""Name of the frozen pair set that all recipes are tested on."""
EXTERNAL = "external"
"""Recipe of a pair set that was imported: judgements that no votes of Reddit made."""
VOTES_RECIPE = "votes"
"""Recipe of a pair set that was made from the votes of an arena."""
JUDGED_BY_PEOPLE = (EXTERNAL, VOTES_RECIPE)
"""Recipes whose pairs have no scores and times to audit."""
SPLITS = ("train", "validation", "test")
TEXTS = ("prompt", "chosen", "rejected")
PAIRS_FILE = "pairs.parquet"
MANIFEST = "manifest.json"
AUDIT_FILE = "audit.json"


@dataclass(frozen=True, repr=False)
class PairSet(Displayed):
    """A finished pair set; `read_pair_set` opens one."""

    workspace: Workspace
    name: str
    manifest: dict[str, Any]
    """Recipe, ledger, counts and digests, as in `manifest.json`."""

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The PAIRS table, without pairs whose texts a purge erased; read and checked at first use."""
        pairs = _read_intact(self.workspace, self.name, self.manifest)
        return with_texts(check(pairs, PAIRS), self.name)

    @property
    def ledger(self) -> ResultTable:
        """How many rows each rule dropped, stage by stage."""
        rows: list[dict[str, Any]] = []
        for stage, counts in self.manifest["ledger"].items():
            rows.append({"stage": stage, "rule": "input", "rows": counts["input"]})
            rows += [{"stage": stage, "rule": one["reason"], "rows": -one["n"]} for one in counts["dropped"]]
            rows.append({"stage": stage, "rule": "kept", "rows": counts["kept"]})
        return ResultTable(f"Ledger of {self.name}", rows)

    def table(self) -> ResultTable:
        """Pairs, posts and responses by split."""
        splits = self.frame.group_by("split").agg(pairs=pl.len(), posts=pl.col("post_id").n_unique())
        order = pl.DataFrame({"split": SPLITS})
        rows = order.join(splits, on="split", how="left", maintain_order="left").fill_null(0).to_dicts()
        recipe = self.manifest["recipe"]["name"]
        return ResultTable(f"Pair set {self.name} (recipe {recipe}, {self.frame.height:,} pairs)", rows)


def require_pair_set(pairs: Any) -> PairSet:
    """The value, if it is a pair set.

    Raises:
        CallError: it is not; the message says how to open one by its name.
    """
    return require_kind(pairs, PairSet, "A pair set", "Open it by its name: `features.load(workspace, NAME)`.")


def pair_set_name(pairs: PairSet | str) -> str:
    """The name of a pair set; a name stays as it is.

    Raises:
        CallError: it is neither.
    """
    return pairs if isinstance(pairs, str) else require_pair_set(pairs).name


def require_split(split: str) -> str:
    """The split, if there is one of this name.

    Raises:
        CallError: there is not.
    """
    if split not in SPLITS:
        raise CallError(f"The split is one of {', '.join(SPLITS)}, got {split!r}.")
    return split


def require_votes(pairs: PairSet, purpose: str) -> None:
    """Refuse an imported set for what needs Reddit's times, authors and scores.

    Args:
        purpose: what was asked for, as the subject of a sentence.

    Raises:
        CallError: the set was imported, or made from votes of an arena.
    """
    if pairs.manifest["recipe"]["name"] == VOTES_RECIPE:
        raise CallError(
            f"{purpose} needs Reddit's votes, times and authors, and {pairs.name} holds votes of an arena.",
            "See how far length agrees with the raters: `lurker arena results ARENA`.",
        )
    if pairs.manifest["recipe"]["name"] == EXTERNAL:
        raise CallError(
            f"{purpose} needs Reddit's votes, times and authors, and {pairs.name} holds judgements from outside.",
            "See what length alone reaches: `lurker rm evaluate RUN --external FILE`.",
        )


def pair_set_names(workspace: Workspace) -> list[str]:
    """Names of the finished pair sets, sorted."""
    return workspace.names("pairs", MANIFEST)


def has_hard_test(workspace: Workspace) -> bool:
    """Whether this workspace has a frozen hard test."""
    return HARD_TEST in pair_set_names(workspace)


def pair_set_folder(workspace: Workspace, name: str) -> Path:
    """The folder of a finished pair set.

    Raises:
        CallError: there is no such set; the message lists those that exist.
    """
    folder = workspace.folder("pairs", name)
    if not (folder / MANIFEST).exists():
        existing = ", ".join(pair_set_names(workspace)) or "none yet"
        build = (
            "Run `lurker pairs build balanced`, which also freezes the hard test."
            if name == HARD_TEST
            else f"Build it: `lurker pairs build {name} --recipe balanced`."
        )
        raise CallError(f"There is no pair set {name!r} in {workspace.root} (it has: {existing}).", build)
    return folder


def read_manifest(workspace: Workspace, name: str) -> dict[str, Any]:
    """The manifest of a finished pair set: recipe, ledger, counts and digests.

    Raises:
        CallError: there is no such set.
        LurkerError: the manifest is damaged.
    """
    path = pair_set_folder(workspace, name) / MANIFEST
    try:
        manifest = read_object(path)
    except LurkerError as error:
        raise LurkerError(error.message, _rebuild(name, {})) from error
    recipe = manifest.get("recipe")
    if not isinstance(recipe, dict) or "name" not in recipe:
        raise LurkerError(f"{path} is damaged: it lacks 'recipe'.", _rebuild(name, {}))
    return manifest


def read_pairs(workspace: Workspace, name: str, subreddits: Sequence[str] = ()) -> pl.DataFrame:
    """The pairs of a set in the file's order, without those whose texts a purge erased.

    Args:
        subreddits: keep only these, in any case and with or without `r/`; all when empty.

    Raises:
        CallError: there is no such set, or it has no pairs of a subreddit.
        LurkerError: the file does not match the manifest.
    """
    return of_subreddits(read_pair_set(workspace, name).frame, name, subreddits)


def read_pair_set(workspace: Workspace, name: str) -> PairSet:
    """A finished pair set with its manifest.

    Raises:
        CallError: there is no such set.
        LurkerError: the file does not match the manifest.
    """
    pair_set = PairSet(workspace, name, read_manifest(workspace, name))
    _ = pair_set.frame  # raises if damaged
    return pair_set


def intact_digest(workspace: Workspace, name: str) -> str:
    """SHA-256 of the pairs, as the manifest records it and the file still has it.

    Raises:
        CallError: there is no such set.
        LurkerError: the file does not match the manifest.
    """
    manifest = read_manifest(workspace, name)
    _read_intact(workspace, name, manifest)
    return str(manifest["pairs_sha256"])


def require_row_count(workspace: Workspace, name: str) -> dict[str, Any]:
    """Check cheaply, without reading the pairs, that a set has as many rows as its manifest says; the manifest.

    Raises:
        CallError: there is no such set.
        LurkerError: the file is damaged or has another number of rows.
    """
    manifest = read_manifest(workspace, name)
    file = workspace.folder("pairs", name) / PAIRS_FILE
    with _readable(file, name, manifest):
        n_rows = pl.scan_parquet(file).select(pl.len()).collect().item()
    if n_rows != manifest.get("n_pairs"):
        raise _damaged(name, manifest)
    return manifest


def _read_intact(workspace: Workspace, name: str, manifest: dict[str, Any]) -> pl.DataFrame:
    file = workspace.folder("pairs", name) / PAIRS_FILE
    with _readable(file, name, manifest):
        pairs = pl.read_parquet(file)
    if frame_sha256(pairs) != manifest.get("pairs_sha256"):
        raise _damaged(name, manifest)
    return pairs


@contextmanager
def _readable(file: Path, name: str, manifest: dict[str, Any]) -> Iterator[None]:
    """Turn what a missing or damaged file raises into an error that says how to rebuild the set."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LurkerError(f"Cannot read {file}: {str(error).splitlines()[0]}.", _rebuild(name, manifest)) from error


def _damaged(name: str, manifest: dict[str, Any]) -> LurkerError:
    return LurkerError(
        f"Pair set {name!r} is not what its manifest describes: a build was interrupted or the file was changed.",
        _rebuild(name, manifest),
    )


def _rebuild(name: str, manifest: dict[str, Any]) -> str:
    if name == HARD_TEST:
        return "Freeze it again: add `--refreeze` to any `lurker pairs build`."
    return f"Build it again: `{build_command(name, manifest)}`."


def build_command(name: str, manifest: dict[str, Any]) -> str:
    """The command that builds a set again, by its recipe and the fields that were set."""
    recipe = manifest.get("recipe", {}).get("name", "RECIPE")
    if recipe == EXTERNAL:
        return f"lurker pairs import {name} {manifest['recipe'].get('file', 'FILE')}"
    settings = "".join(f" --set {setting}" for setting in manifest.get("settings", ()))
    return f"lurker pairs build {name} --recipe {recipe}{settings}"


def of_subreddits(pairs: pl.DataFrame, name: str, subreddits: Sequence[str]) -> pl.DataFrame:
    """The pairs of these subreddits, in any case and with or without `r/`; all pairs when none is given.

    Raises:
        CallError: the set `name` has no pairs of one of them.
    """
    if not subreddits:
        return pairs
    known = {str(display).lower(): display for display in pairs["subreddit"].unique().sort()}
    wanted = [plain_name(subreddit).lower() for subreddit in subreddits]
    if unknown := [subreddit for subreddit in wanted if subreddit not in known]:
        raise CallError(
            f"Pair set {name} has no pairs of r/{', r/'.join(unknown)} (it has: {', '.join(known.values())})."
        )
    return pairs.filter(pl.col("subreddit").is_in([known[subreddit] for subreddit in wanted]))


def split_of(pairs: pl.DataFrame, name: str, split: str) -> pl.DataFrame:
    """The pairs of one split of the set `name`, sorted by pair_id.

    Raises:
        LurkerError: the split is empty; the message counts the others.
    """
    part = pairs.filter(pl.col("split") == split)
    if part.is_empty():
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(pairs["split"].value_counts().rows()))
        raise LurkerError(
            f"Pair set {name} has no {split} pairs here (it has: {counts or 'no pairs'}).",
            "Build from more posts or subreddits: `lurker pairs build`.",
        )
    return part.sort("pair_id")


def with_texts(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """The pairs of set `name` that still have all their texts, in order; reports how many a purge erased."""
    complete = pairs.filter(pl.all_horizontal(pl.col(TEXTS) != ""))
    if n_erased := pairs.height - complete.height:
        say(f"Left out: {counted(n_erased, 'pair')} of {name} that lost texts to a purge; build the set again.")
    return complete


def require_disjoint(training: pl.DataFrame, test: pl.DataFrame, name: str) -> None:
    """Refuse to test on posts that were trained on.

    Raises:
        LurkerError: posts are shared; the message counts them and names one.
    """
    shared = training.select("post_id").unique().join(test.select("post_id").unique(), on="post_id")["post_id"].sort()
    if len(shared):
        raise LurkerError(
            f"{len(shared):,} posts of {name} were trained on, {shared[0]} for example: accuracy would be too high.",
            "Test on the split `test`, or build both pair sets with the same split.",
        )
