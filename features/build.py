"""Build a pair set: comments -> eligible responses -> candidate pairs -> caps -> texts, every dropped row counted."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import polars as pl

from features.choose import choose_pairs
from features.context import read_context
from features.copies import read_ties
from features.hard_test import HARD_TEST, freeze_hard_test
from features.ledger import Ledger
from features.neighbours import Means
from features.noise import check_second_window
from features.recipes import Recipe
from features.responses import REPLY, measure_responses, select_responses
from features.splits import time_cuts
from features.store import describe_pairs, write_pairs
from features.texts import attach_texts
from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.progress import progress, say
from lurker.schema import COMMENTS, OBSERVATIONS
from lurker.workspace import Workspace


def build_pairs(
    workspace: Workspace,
    name: str,
    recipe: Recipe,
    subreddits: Sequence[str] | None = None,
    *,
    refreeze: bool = False,
    means: Means | None = None,
) -> dict[str, Any]:
    """Build the pair set `name` and, where it is not frozen yet, the hard test of its subreddits; return the manifest.

    subreddits: all that were ingested when None. refreeze: replace the frozen hard test where the input has changed.
    means: where and within what memory pairs are looked for; the same bytes come of it.
    Errors: CallError for a name that is reserved or none; LurkerError when nothing was ingested, a subreddit has no
    comments, or no pairs are left (it names the rule that took most).
    """
    if name == HARD_TEST:
        raise CallError(f"{HARD_TEST!r} is the frozen test that every build keeps.", "Take another name.")
    folder = workspace.folder("pairs", name)
    with workspace.lock("pairs build"):
        known = _resolve_subreddits(workspace, subreddits)
        n_comments = sum(workspace.manifest(COMMENTS, subreddit)["n_rows"] for subreddit in known)
        with progress("Measuring comments", n_comments, "comments") as advance:
            measured = measure_responses(workspace, known, advance)
        responses, response_ledger = select_responses(measured, recipe, read_ties(workspace, recipe))
        chosen = choose_pairs(responses, recipe, lambda: read_context(workspace, known), means)
        if chosen.pairs.is_empty():
            raise _no_pairs_left(name, recipe, response_ledger, chosen.ledgers["pairs"])
        pairs = attach_texts(workspace, chosen.pairs, recipe)
        hard_test = freeze_hard_test(workspace, measured, refreeze=refreeze)
        ledgers = {"responses": response_ledger} | chosen.ledgers
        manifest = describe_pairs(pairs, name, recipe, known) | {
            "ledger": {stage: ledger.to_dict() for stage, ledger in ledgers.items()},
            "balance_rounds": chosen.rounds,
            "differences_before": chosen.differences_before,
            "inputs": fingerprint_inputs(measured),
            "hard_test": hard_test,
            "time_cuts": _time_cuts(measured, recipe),
            "second_window": check_second_window(pairs, _looks(workspace, pairs)),
        }
        write_pairs(workspace, name, pairs, manifest)
    say(f"Wrote {pairs.height:,} pairs to {folder}. Next: `lurker pairs audit {name}`.")
    return manifest


def fingerprint_inputs(measured: pl.DataFrame) -> list[dict[str, Any]]:
    """For every subreddit: comments and a SHA-256 of all that the rules saw of them and their posts."""
    seen = measured.drop("text_hash")
    return [
        {"subreddit": name, "n_comments": group.height, "sha256": frame_sha256(group)}
        for (name,), group in sorted(seen.group_by("subreddit", maintain_order=True), key=lambda item: item[0])
    ]


def _time_cuts(measured: pl.DataFrame, recipe: Recipe) -> dict[str, int] | None:
    """Where the splits by time were cut, seconds since 1970; None for other splits."""
    if recipe.split_by != "time":
        return None
    return dataclasses.asdict(time_cuts(measured.unique("post_id")["post_created_utc"], recipe))


def _looks(workspace: Workspace, pairs: pl.DataFrame) -> pl.DataFrame:
    """What was seen of the scores of the pairs' responses, look by look."""
    ids = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique()
    return workspace.scan(OBSERVATIONS).join(pl.LazyFrame({"item_id": ids}), on="item_id", how="semi").collect()


def _resolve_subreddits(workspace: Workspace, subreddits: Sequence[str] | None) -> list[str]:
    known = {name.lower(): name for name in workspace.subreddits(COMMENTS)}
    if not known:
        raise LurkerError(f"No comments in {workspace.root}.", "Ingest some: `lurker ingest dump FILE...`.")
    if subreddits is None:
        return sorted(known.values())
    workspace.files(COMMENTS, subreddits)  # says which one is not there
    return sorted({known[name.lower().removeprefix("r/")] for name in subreddits})


def _no_pairs_left(name: str, recipe: Recipe, responses: Ledger, pairs: Ledger) -> LurkerError:
    stage, ledger = ("candidate pairs", pairs) if pairs.n_input else ("comments", responses)
    if not ledger.dropped:  # too few responses to a post to make a single candidate
        return LurkerError(
            f"No pairs: no post has two of the {responses.n_kept:,} eligible responses.", "Ingest more comments."
        )
    # Most comments of any thread are replies: where a rule of choice took responses too, that is the one to loosen.
    of_choice = [line for line in ledger.dropped if line[0] != REPLY] or list(ledger.dropped)
    reason, n_dropped = max(of_choice, key=lambda line: line[1])
    return LurkerError(
        f"No pairs left by recipe {recipe.name!r}: of {ledger.n_input:,} {stage}, {n_dropped:,} went by the rule "
        f"'{reason}'.",
        f"Loosen it (`lurker pairs build {name} --recipe naive`, or `--set field=value`) or ingest more.",
    )
