"""Build a pair set: comments -> eligible responses -> candidate pairs -> caps -> texts, every dropped row counted."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import polars as pl

from features.context import read_context
from features.copies import read_ties
from features.deconfound import adjust_pairs, balance_pairs
from features.form import FORM
from features.hard_test import HARD_TEST, freeze_hard_test
from features.ledger import Ledger
from features.matching import match_pairs
from features.neighbours import Means
from features.noise import check_second_window
from features.recipes import Recipe, balanced
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
        matched, ledgers, rounds = _choose_pairs(workspace, responses, recipe, known, means)
        if matched.is_empty():
            raise _no_pairs_left(name, recipe, response_ledger, ledgers["pairs"])
        pairs = attach_texts(workspace, matched, recipe)
        hard_test = freeze_hard_test(workspace, measured, refreeze=refreeze)
        manifest = describe_pairs(pairs, name, recipe, known) | {
            "ledger": {stage: ledger.to_dict() for stage, ledger in ({"responses": response_ledger} | ledgers).items()},
            "balance_rounds": rounds,
            "inputs": fingerprint_inputs(measured),
            "hard_test": hard_test,
            "time_cuts": _time_cuts(measured, recipe),
            "second_window": check_second_window(pairs, _looks(workspace, pairs)),
        }
        write_pairs(workspace, name, pairs, manifest)
    say(f"Wrote {pairs.height:,} pairs to {folder}. Next: `lurker pairs audit {name}`.")
    return manifest


def _choose_pairs(
    workspace: Workspace, responses: pl.DataFrame, recipe: Recipe, subreddits: list[str], means: Means | None
) -> tuple[pl.DataFrame, dict[str, Ledger], list[dict[str, Any]]]:
    """The recipe's pairs without texts, a ledger for each pool they come from, and the rounds of balancing."""
    pool, ledger = match_pairs(responses, recipe, means)
    if recipe.deconfound == "none" or pool.is_empty():
        return pool, {"pairs": ledger}, []
    say("Probing what the confounders say of the outcome.")
    context = read_context(workspace, subreddits)
    pool = _add_form(pool, responses)
    if recipe.deconfound == "balance":
        pairs, ledger, rounds = balance_pairs(pool, ledger, context, recipe)
        return pairs.sort("subreddit", "post_id", "pair_id"), {"pairs": ledger}, rounds
    train = pool.filter(pl.col("split") == "train")
    ledger = ledger.drop("held out: balanced pairs stand there", pool.height - train.height)
    rules = dataclasses.replace(
        balanced(), validation_fraction=recipe.validation_fraction, test_fraction=recipe.test_fraction
    )
    held_pool, held_ledger = match_pairs(responses, rules, means)
    held, held_ledger, rounds = balance_pairs(_add_form(held_pool, responses), held_ledger, context, rules)
    held_out = held.filter(pl.col("split") != "train")
    held_ledger = held_ledger.drop("train: adjusted pairs stand there", held.height - held_out.height)
    adjusted = adjust_pairs(train, context).with_columns(weight=pl.lit(1.0))
    pairs = pl.concat([adjusted, held_out.with_columns(confounder_log_odds=pl.lit(0.0))], how="diagonal")
    return pairs.sort("subreddit", "post_id", "pair_id"), {"pairs": ledger, "held-out pairs": held_ledger}, rounds


def _add_form(pool: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """The pairs with the counts of form of both sides."""
    for side in ("chosen", "rejected"):
        named = {"comment_id": f"{side}_id"} | {name: f"{side}_{name}" for name in FORM}
        counts = responses.select("comment_id", *FORM).rename(named)
        pool = pool.join(counts, on=f"{side}_id", how="left", maintain_order="left")
    return pool


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
