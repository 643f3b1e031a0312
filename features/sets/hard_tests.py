"""The frozen hard test: test posts, tight calipers, confident labels, thinned until no confounder names the winner.

What the confounders say is learned from the subreddit's other posts, signs of delay and length are balanced exactly,
and every pair weighs 1. One for each subreddit.

Comparisons across recipes, sizes and communities all use it, so it is built once, at the first build that touches a
subreddit, and kept: a later build reuses it unchanged, and where its input has changed since, says so in a line when
that would give another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from features.blocks import Blocks, Means
from features.ledger import total
from features.pairing.select import choose_pairs
from features.recipes.presets import hard_test
from features.responses.duplicates import no_ties
from features.responses.eligible import Measured
from features.sets.join_texts import attach_texts
from features.sets.store import describe_blocks, read_parts, stream_pairs, write_parts
from lurker.digest import FrameDigest
from lurker.pair_sets import HARD_TEST
from lurker.progress import progress, say
from lurker.schema import PAIRS
from lurker.workspace import Workspace, read_json, write_json

EMPTY_SHA256 = FrameDigest().hexdigest()


@dataclass(frozen=True, slots=True)
class Frozen:
    """The hard test of one subreddit: a file that holds it, its digest and its ledgers."""

    path: Path
    sha256: str
    ledger: dict[str, Any]
    input_sha256: str | None
    """Of what it was last made of; None of a test that was frozen before this was kept."""


def freeze_hard_test(
    workspace: Workspace, measured: Measured, folder: Path, means: Means, *, refreeze: bool = False
) -> dict[str, str]:
    """Freeze the hard test of every subreddit in `measured` that has none; return subreddit -> SHA-256 of its pairs.

    refreeze: take today's test where it differs from the frozen one. folder: to put blocks in.
    """
    before = _read_frozen(workspace)
    subreddits = sorted(set(measured.blocks.subreddits))
    inputs = {one["subreddit"]: one["sha256"] for one in measured.inputs}
    fresh: dict[str, Frozen] = {}
    with progress("Hard test", len(subreddits), "subreddits") as advance:
        for subreddit in subreddits:
            known = before.get(subreddit)
            if known is None or known.input_sha256 != inputs[subreddit] or refreeze:
                blocks, place = measured.blocks.of(subreddit), folder / str(len(fresh))
                fresh[subreddit] = _hard_pairs(workspace, blocks, inputs[subreddit], place, means)
            advance(1)
    changed = [name for name, one in fresh.items() if name in before and one.sha256 != before[name].sha256]
    frozen = dict(before)
    for name, one in fresh.items():
        if name not in before or (name in changed and refreeze):
            frozen[name] = one
        elif name not in changed:
            frozen[name] = replace(before[name], input_sha256=one.input_sha256)
    too_small = [name for name, one in frozen.items() if one.sha256 == EMPTY_SHA256]
    _report(changed, too_small, refreeze)
    frozen = {name: frozen[name] for name in sorted(frozen) if frozen[name].sha256 != EMPTY_SHA256}
    if frozen != before:
        _write_frozen(workspace, frozen)
    return {name: one.sha256 for name, one in frozen.items() if name in subreddits}


def _hard_pairs(workspace: Workspace, measured: Blocks, input_sha256: str, folder: Path, means: Means) -> Frozen:
    """Today's hard test of one subreddit."""
    recipe = hard_test()
    # Of this subreddit alone, so that its test is the same whatever else is ingested or built.
    chosen = choose_pairs(measured, recipe, no_ties(), folder, means, own_records=True)
    sha256 = write_parts(folder / "hard.parquet", attach_texts(workspace, chosen.pairs, recipe, means))
    ledger = {name: one.to_dict() for name, one in chosen.ledgers.items()}
    return Frozen(folder / "hard.parquet", sha256, ledger, input_sha256)


def _read_frozen(workspace: Workspace) -> dict[str, Frozen]:
    folder = workspace.folder("pairs", HARD_TEST)
    if not (folder / "manifest.json").exists():
        return {}
    manifest = read_json(folder / "manifest.json")
    ledgers, inputs = manifest["ledger_by_subreddit"], manifest.get("input_sha256", {})
    return {
        name: Frozen(folder / "pairs.parquet", sha256, ledgers[name], inputs.get(name))
        for name, sha256 in manifest["hard_test"].items()
    }


def _write_frozen(workspace: Workspace, frozen: dict[str, Frozen]) -> None:
    sha256 = stream_pairs(workspace, HARD_TEST, _parts(frozen))
    path = workspace.folder("pairs", HARD_TEST)
    numbers = [name for name in PAIRS.columns if name not in ("prompt", "chosen", "rejected")]
    pairs = pl.read_parquet(path / "pairs.parquet", columns=numbers)
    ledgers = {name: one.ledger for name, one in frozen.items()}
    manifest = describe_blocks([pairs], sha256, HARD_TEST, hard_test(), list(frozen)) | {
        "ledger": {stage: total([ledger[stage] for ledger in ledgers.values()]) for stage in ("responses", "pairs")},
        "ledger_by_subreddit": ledgers,
        "hard_test": {name: one.sha256 for name, one in frozen.items()},
        "input_sha256": {name: one.input_sha256 for name, one in frozen.items()},
    }
    write_json(manifest, path / "manifest.json")


def _parts(frozen: dict[str, Frozen]) -> Iterator[pl.DataFrame]:
    """The pairs of each subreddit, from the frozen file or from today's."""
    for name, one in frozen.items():
        for part in read_parts(one.path):
            if not (mine := part.filter(pl.col("subreddit") == name)).is_empty():
                yield mine


def _report(changed: list[str], too_small: list[str], refreeze: bool) -> None:
    if changed and refreeze:
        say(f"The hard test of r/{', r/'.join(changed)} was replaced: figures on the old one do not compare with new.")
    elif changed:
        say(f"The hard test of r/{', r/'.join(changed)} stays frozen though the input now gives another; --refreeze.")
    if too_small:
        say(f"Too few comments for a hard test in r/{', r/'.join(too_small)}: no matched pair in its test posts.")
