"""The frozen hard test: test posts, tight calipers, confident labels, thinned until no confounder names the winner.

The effect of the confounders is learned from the subreddit's other posts, the signs of delay and length are balanced
exactly, and every pair weighs 1. Each subreddit has its own.

Comparisons across recipes, sizes and communities all use it, so it is built at the first build that touches a
subreddit, and kept: a later build reuses it unchanged, and reports if the changed input would give another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from features.blocks import Blocks
from features.build_context import BuildContext
from features.ledger import total
from features.pairing.select import select_pairs
from features.recipes.presets import hard_test_recipe
from features.responses.exclusions import no_exclusions
from features.responses.measure import MeasuredComments
from features.sets.join_texts import attach_texts
from features.sets.store import describe_blocks, read_parts, stream_pairs, write_parts
from lurker.config import fingerprint
from lurker.digest import FrameDigest
from lurker.files import read_json, write_json
from lurker.pair_sets import HARD_TEST, MANIFEST, PAIRS_FILE, TEXTS
from lurker.progress import progress, say
from lurker.schema import PAIRS
from lurker.workspace import Workspace

EMPTY_SHA256 = FrameDigest().hexdigest()
CHECKS_FILE = "hard-test-checks.json"
"""In the workspace: subreddit -> input and result of the last hard test that was made but not frozen."""


@dataclass(frozen=True, slots=True)
class FrozenHardTest:
    """The hard test of one subreddit."""

    path: Path
    """File that holds its pairs, perhaps among others."""
    sha256: str
    ledger: dict[str, Any]
    input_sha256: str | None
    """Digest of the input it was last made from; None if frozen before this was recorded."""


def freeze_hard_test(measured: MeasuredComments, context: BuildContext, *, refreeze: bool = False) -> dict[str, str]:
    """Freeze the hard test of every measured subreddit that has none.

    Args:
        refreeze: replace a frozen test that today's input would change.

    Returns:
        subreddit -> SHA-256 of its hard test.
    """
    workspace = context.workspace
    before, checks = _read_frozen(workspace), _read_checks(workspace)
    subreddits = sorted(set(measured.blocks.subreddits))
    inputs = {one["subreddit"]: one["sha256"] for one in measured.inputs}
    fresh: dict[str, FrozenHardTest] = {}
    with progress("Hard test", len(subreddits), "subreddits") as advance:
        for name in subreddits:
            is_frozen_from_it = name in before and before[name].input_sha256 == inputs[name]
            is_checked = checks.get(name, {}).get("input_sha256") == inputs[name]
            if refreeze or not (is_frozen_from_it or is_checked):
                blocks, subcontext = measured.blocks.for_subreddit(name), context.subfolder(str(len(fresh)))
                fresh[name] = _build_hard_test(blocks, inputs[name], subcontext)
                checks[name] = {"input_sha256": inputs[name], "sha256": fresh[name].sha256}
            advance(1)
    results = {name: checks[name]["sha256"] for name in subreddits if name in checks}
    changed = [name for name in results if name in before and results[name] != before[name].sha256]
    frozen = dict(before)
    for name, one in fresh.items():
        if one.sha256 != EMPTY_SHA256 and (name not in before or (name in changed and refreeze)):
            frozen[name] = one
        elif name in before and name not in changed:
            frozen[name] = replace(before[name], input_sha256=one.input_sha256)
    _report(changed, [name for name in results if results[name] == EMPTY_SHA256 and name not in before], refreeze)
    if frozen != before:
        _write_frozen(workspace, {name: frozen[name] for name in sorted(frozen)})
    unfrozen = {name: one for name, one in checks.items() if name not in frozen or frozen[name].sha256 != one["sha256"]}
    write_json({"rules": fingerprint(hard_test_recipe()), "subreddits": unfrozen}, workspace.root / CHECKS_FILE)
    return {name: one.sha256 for name, one in frozen.items() if name in subreddits}


def _read_checks(workspace: Workspace) -> dict[str, dict[str, str]]:
    """What CHECKS_FILE knows of today's rules."""
    path = workspace.root / CHECKS_FILE
    checks = read_json(path) if path.exists() else {}
    return checks["subreddits"] if checks.get("rules") == fingerprint(hard_test_recipe()) else {}


def _build_hard_test(measured: Blocks, input_sha256: str, context: BuildContext) -> FrozenHardTest:
    """Today's hard test of one subreddit."""
    recipe = hard_test_recipe()
    # From this subreddit alone, so that its test does not depend on what else is ingested or built.
    selected = select_pairs(measured, recipe, no_exclusions(), context, own_records=True)
    path = context.folder / "hard.parquet"
    sha256 = write_parts(path, attach_texts(selected.pairs, recipe, context))
    ledger = {name: one.to_dict() for name, one in selected.ledgers.items()}
    return FrozenHardTest(path, sha256, ledger, input_sha256)


def _read_frozen(workspace: Workspace) -> dict[str, FrozenHardTest]:
    folder = workspace.folder("pairs", HARD_TEST)
    if not (folder / MANIFEST).exists():
        return {}
    manifest = read_json(folder / MANIFEST)
    ledgers, inputs = manifest["ledger_by_subreddit"], manifest.get("input_sha256", {})
    return {
        name: FrozenHardTest(folder / PAIRS_FILE, sha256, ledgers[name], inputs.get(name))
        for name, sha256 in manifest["hard_test"].items()
    }


def _write_frozen(workspace: Workspace, frozen: dict[str, FrozenHardTest]) -> None:
    sha256 = stream_pairs(workspace, HARD_TEST, _parts(frozen))
    folder = workspace.folder("pairs", HARD_TEST)
    columns = [name for name in PAIRS.columns if name not in TEXTS]
    pairs = pl.read_parquet(folder / PAIRS_FILE, columns=columns)
    ledgers = {name: one.ledger for name, one in frozen.items()}
    manifest = describe_blocks([pairs], sha256, HARD_TEST, hard_test_recipe(), list(frozen)) | {
        "ledger": {stage: total([ledger[stage] for ledger in ledgers.values()]) for stage in ("responses", "pairs")},
        "ledger_by_subreddit": ledgers,
        "hard_test": {name: one.sha256 for name, one in frozen.items()},
        "input_sha256": {name: one.input_sha256 for name, one in frozen.items()},
    }
    write_json(manifest, folder / MANIFEST)


def _parts(frozen: dict[str, FrozenHardTest]) -> Iterator[pl.DataFrame]:
    """The pairs of each subreddit, from the frozen file or from today's."""
    for name, one in frozen.items():
        for part in read_parts(one.path):
            if not (own := part.filter(pl.col("subreddit") == name)).is_empty():
                yield own


def _report(changed: list[str], too_small: list[str], refreeze: bool) -> None:
    names = f"r/{', r/'.join(changed)}"
    if changed and refreeze:
        say(f"The hard test of {names} was replaced: results on the old one are not comparable with new ones.")
    elif changed:
        say(f"The hard test of {names} stays frozen, though the changed input would give another (see --refreeze).")
    if too_small:
        say(f"Too few comments for a hard test in r/{', r/'.join(too_small)}: no matched pair in their test posts.")
