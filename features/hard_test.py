"""The frozen hard test: test posts, tight calipers, confident labels, thinned until no confounder names the winner.

What the confounders say is learned from the subreddit's other posts, signs of delay and length are balanced exactly,
and every pair weighs 1. One for each subreddit.

Comparisons across recipes, sizes and communities all use it, so it is built once, at the first build that touches a
subreddit, and kept: a later build reuses it unchanged and says so in a line when today's input would give another.
"""

from typing import Any

import polars as pl

from features.choose import choose_pairs
from features.context import read_context
from features.ledger import total
from features.recipes import hard_test
from features.responses import select_responses
from features.store import describe_pairs, write_pairs
from features.texts import attach_texts
from lurker.digest import frame_sha256
from lurker.progress import progress, say
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace, read_json

HARD_TEST = "hard-test"
Ledgers = dict[str, dict[str, Any]]


def freeze_hard_test(workspace: Workspace, measured: pl.DataFrame, *, refreeze: bool = False) -> dict[str, str]:
    """Freeze the hard test of every subreddit in `measured` that has none; return subreddit -> SHA-256 of its pairs.

    refreeze: take today's test where it differs from the frozen one.
    """
    frozen, ledgers = _read_frozen(workspace)
    before = dict(frozen)
    subreddits = measured["subreddit"].unique().sort().to_list()
    changed, too_small = [], []
    with progress("Hard test", len(subreddits), "subreddits") as advance:
        for subreddit in subreddits:
            fresh, ledger = _hard_pairs(workspace, measured.filter(pl.col("subreddit") == subreddit))
            advance(1)
            if subreddit in frozen and not fresh.equals(frozen[subreddit]):
                changed.append(subreddit)
                if not refreeze:
                    continue
            if fresh.is_empty():
                too_small.append(subreddit)
            frozen[subreddit], ledgers[subreddit] = fresh, ledger
    _report(changed, too_small, refreeze)
    frozen = {name: frozen[name] for name in sorted(frozen) if not frozen[name].is_empty()}
    if list(frozen) != sorted(before) or any(not frozen[name].equals(before[name]) for name in frozen):
        _write_frozen(workspace, frozen, {name: ledgers[name] for name in frozen})
    return {name: frame_sha256(pairs) for name, pairs in frozen.items() if name in subreddits}


def _hard_pairs(workspace: Workspace, measured: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Today's hard test of one subreddit and its ledgers."""
    recipe = hard_test()
    responses, response_ledger = select_responses(measured, recipe)
    # Of this subreddit alone, so that its test is the same whatever else is ingested or built.
    subreddit = measured["subreddit"].unique().to_list()
    chosen = choose_pairs(responses, recipe, lambda: read_context(workspace, subreddit))
    ledger = {"responses": response_ledger.to_dict(), "pairs": chosen.ledgers["pairs"].to_dict()}
    return attach_texts(workspace, chosen.pairs, recipe), ledger


def _read_frozen(workspace: Workspace) -> tuple[dict[str, pl.DataFrame], Ledgers]:
    folder = workspace.folder("pairs", HARD_TEST)
    if not (folder / "manifest.json").exists():
        return {}, {}
    pairs = check(pl.read_parquet(folder / "pairs.parquet"), PAIRS)
    by_subreddit = {name: group for (name,), group in pairs.group_by("subreddit", maintain_order=True)}
    return by_subreddit, read_json(folder / "manifest.json")["ledger_by_subreddit"]


def _write_frozen(workspace: Workspace, frozen: dict[str, pl.DataFrame], ledgers: Ledgers) -> None:
    pairs = pl.concat([PAIRS.empty(), *frozen.values()])
    manifest = describe_pairs(pairs, HARD_TEST, hard_test(), list(frozen)) | {
        "ledger": {stage: total([ledger[stage] for ledger in ledgers.values()]) for stage in ("responses", "pairs")},
        "ledger_by_subreddit": ledgers,
        "hard_test": {name: frame_sha256(group) for name, group in frozen.items()},
    }
    write_pairs(workspace, HARD_TEST, pairs, manifest)


def _report(changed: list[str], too_small: list[str], refreeze: bool) -> None:
    if changed and refreeze:
        say(f"The hard test of r/{', r/'.join(changed)} was replaced: figures on the old one do not compare with new.")
    elif changed:
        say(f"The hard test of r/{', r/'.join(changed)} stays frozen though the input now gives another; --refreeze.")
    if too_small:
        say(f"Too few comments for a hard test in r/{', r/'.join(too_small)}: no matched pair in its test posts.")
