"""Build a pair set: comments -> eligible responses -> candidate pairs -> caps -> texts, every dropped row counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from features.blocks import Blocks, Means, staging
from features.ledger import Ledger
from features.pairing.label_noise import check_second_window, second_window
from features.pairing.select import choose_pairs
from features.recipes.recipe import Recipe
from features.responses.duplicates import read_ties
from features.responses.eligible import REPLY, measure_responses
from features.responses.splits import with_time_cuts
from features.sets.hard_tests import freeze_hard_test
from features.sets.join_texts import attach_texts
from features.sets.store import describe_blocks, stream_pairs
from lurker.engine import running
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import HARD_TEST
from lurker.progress import progress, say
from lurker.schema import COMMENTS
from lurker.workspace import Workspace, write_json


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
    means = means or Means()
    target = workspace.folder("pairs", name)
    with workspace.lock("pairs build"), running(means.engine), staging(means) as folder:
        known = _resolve_subreddits(workspace, subreddits)
        n_comments = sum(workspace.manifest(COMMENTS, subreddit)["n_rows"] for subreddit in known)
        with progress("Measuring comments", n_comments, "comments") as advance:
            measured = measure_responses(workspace, known, folder, means, advance)
        ties = read_ties(workspace, recipe, means)
        rules = with_time_cuts(recipe, measured.post_times)
        chosen = choose_pairs(measured.blocks, rules, ties, folder / "set", means)
        if chosen.pairs.n_rows == 0:
            raise _no_pairs_left(name, recipe, chosen.ledgers["responses"], chosen.ledgers["pairs"])
        hard_test = freeze_hard_test(workspace, measured, folder / "hard", means, refreeze=refreeze)
        with progress("Joining texts", chosen.pairs.n_rows, "pairs") as advance:
            parts = _counted(attach_texts(workspace, chosen.pairs, recipe, means), advance)
            sha256 = stream_pairs(workspace, name, parts)
        manifest = describe_blocks(chosen.pairs, sha256, name, recipe, known) | {
            "ledger": {stage: ledger.to_dict() for stage, ledger in chosen.ledgers.items()},
            "balance_rounds": chosen.rounds,
            "differences_before": chosen.differences_before,
            "inputs": measured.inputs,
            "hard_test": hard_test,
            "time_cuts": _time_cuts(rules),
            "second_window": check_second_window(_later_votes(chosen.pairs)),
        }
        write_json(manifest, target / "manifest.json")
    say(f"Wrote {manifest['n_pairs']:,} pairs to {target}. Next: `lurker pairs audit {name}`.")
    return manifest


def _counted(parts: Iterable[pl.DataFrame], advance: Callable[[float], None]) -> Iterator[pl.DataFrame]:
    for part in parts:
        yield part
        advance(part.height)


def _time_cuts(rules: Recipe) -> dict[str, int | None] | None:
    """Where the splits by time were cut, seconds since 1970; None for other splits."""
    if rules.split_by != "time":
        return None
    return {name: getattr(rules, name) for name in ("validation_from_utc", "test_from_utc")}


def _later_votes(pairs: Blocks) -> pl.DataFrame:
    """What the second windows of the pairs say; numbers only, of those whose responses were seen twice."""
    return pl.concat(
        second_window(block if "weight" in block.columns else block.with_columns(weight=pl.lit(1.0))) for block in pairs
    )


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
