"""Build a pair set: comments -> responses -> candidate pairs -> caps -> texts; every dropped row is counted."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from features.blocks import Blocks
from features.build_context import BuildOptions, open_context
from features.ledger import Ledger
from features.pairing.second_window import check_second_window, second_window
from features.pairing.select import SelectedPairs, select_pairs
from features.recipes.presets import PRESETS
from features.recipes.recipe import Recipe
from features.responses.exclusions import find_exclusions
from features.responses.measure import MeasuredComments, measure_comments
from features.responses.rules import REPLY
from features.responses.splits import with_time_cuts
from features.sets.hard_tests import freeze_hard_test
from features.sets.join_texts import attach_texts
from features.sets.store import describe_blocks, stream_pairs
from lurker.config import to_dict
from lurker.engine import running
from lurker.errors import CallError, LurkerError
from lurker.files import read_object, write_json
from lurker.listings import trained_on
from lurker.pair_sets import HARD_TEST, MANIFEST, pair_set_names, read_manifest
from lurker.progress import advance, progress, say
from lurker.schema import COMMENTS
from lurker.subreddits import plain_name
from lurker.workspace import Workspace

MOST_CHANGES = 3
"""Changed fields that an error names."""


def build_pairs(
    workspace: Workspace,
    name: str,
    recipe: Recipe,
    subreddits: Sequence[str] | None = None,
    *,
    refreeze: bool = False,
    replace: bool = False,
    options: BuildOptions | None = None,
) -> dict[str, Any]:
    """Build the pair set `name`, and the hard test of its subreddits if it is not frozen yet.

    Args:
        subreddits: all that were ingested when None.
        refreeze: replace the frozen hard test where the input has changed.
        replace: replace a set of this name that another recipe built.
        options: how to compute; the result is the same to the byte.

    Returns:
        The manifest.

    Raises:
        CallError: the name is reserved, not a valid name, or that of a set that another recipe built.
        LurkerError: nothing was ingested, a subreddit has no comments, or no pairs are left (the message names the rule
            that dropped most).
    """
    if name == HARD_TEST:
        raise CallError(f"{HARD_TEST!r} is reserved for the frozen test that every build makes.", "Use another name.")
    options = options or BuildOptions()
    target = workspace.folder("pairs", name)
    if not replace:
        _require_same_recipe(workspace, name, recipe, subreddits)
    with workspace.lock("pairs build"), running(options.engine), open_context(workspace, options) as context:
        names = _resolve_subreddits(workspace, subreddits)
        n_comments = sum(workspace.manifest(COMMENTS, subreddit)["n_rows"] for subreddit in names)
        with progress("Measuring comments", n_comments, "comments"):
            measured = measure_comments(names, context)
        rules = with_time_cuts(recipe, measured.post_times)
        if recipe.deconfound != "none":
            say("Measuring how well confounders predict the outcome.")
        selected = select_pairs(measured.blocks, rules, find_exclusions(recipe, context), context.subfolder("set"))
        if selected.pairs.n_rows == 0:
            raise _no_pairs_left(name, recipe, selected.ledgers["responses"], selected.ledgers["pairs"])
        hard_test = freeze_hard_test(measured, context.subfolder("hard"), refreeze=refreeze)
        with progress("Joining texts", selected.pairs.n_rows, "pairs"):
            sha256 = stream_pairs(workspace, name, _counted(attach_texts(selected.pairs, recipe, context)))
        manifest = describe_blocks(selected.pairs, sha256, name, recipe, names)
        manifest |= _provenance(selected, measured, rules) | {"settings": _settings(recipe), "hard_test": hard_test}
        write_json(manifest, target / MANIFEST)
    if n_nsfw := _n_nsfw_dropped(workspace):
        say(f"{n_nsfw:,} rows marked over 18 are not in this set: ingest left them out (`--keep-nsfw` reads them).")
    say(f"Wrote {manifest['n_pairs']:,} pairs to {target}. Next: `lurker pairs audit {name}`.")
    return manifest


def _require_same_recipe(workspace: Workspace, name: str, recipe: Recipe, subreddits: Sequence[str] | None) -> None:
    """Refuse to build over a set of another recipe, or of other subreddits than those asked for.

    A set that cannot be read may be replaced, and a set by the same recipe may be built again from more data.
    """
    if name not in pair_set_names(workspace):
        return
    try:
        manifest = read_manifest(workspace, name)
    except LurkerError:
        return
    changes = [
        f"{field} was {manifest['recipe'][field]}, now {value}"
        for field, value in to_dict(recipe).items()
        if manifest["recipe"].get(field, value) != value  # a set of an older version may lack a field
    ]
    before = sorted(manifest.get("subreddits", []))
    if subreddits is not None and _resolve_subreddits(workspace, subreddits) != before:
        changes.append(f"it was built from {', '.join(before) or 'no subreddits'}, now from {', '.join(subreddits)}")
    if changes:
        more = f" and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
        n_runs = len(trained_on(workspace, "runs").get(name, []))
        trained = f" Runs trained on it, which could no longer be evaluated: {n_runs:,}." if n_runs else ""
        raise CallError(
            f"There is a pair set {name!r} by another recipe ({'; '.join(changes[:MOST_CHANGES])}{more}).{trained}",
            "Choose another name, or replace the set: add --replace (in Python: replace=True).",
        )


def _n_nsfw_dropped(workspace: Workspace) -> int:
    """Posts and comments marked over 18 that the ingested dumps held and their filters took."""
    records = [read_object(path) for path in sorted((workspace.root / "ingested").glob("*.json"))]
    return sum(record.get("report", {}).get("dropped", {}).get("nsfw", 0) for record in records)


def _counted(parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The parts; moves the innermost progress bar by the pairs of each."""
    for part in parts:
        yield part
        advance(part.height)


def _provenance(selected: SelectedPairs, measured: MeasuredComments, rules: Recipe) -> dict[str, Any]:
    """The part of the manifest that says how the pairs came about."""
    return {
        "ledger": {stage: ledger.to_dict() for stage, ledger in selected.ledgers.items()},
        "balance_rounds": selected.rounds,
        "differences_before": selected.differences_before,
        "inputs": measured.inputs,
        "time_cuts": _time_cuts(rules),
        "second_window": check_second_window(_second_windows(selected.pairs)),
    }


def _settings(recipe: Recipe) -> list[str]:
    """`field=value` of the fields that differ from the preset of this name, for the command that builds it again."""
    before = to_dict(PRESETS[recipe.name]()) if recipe.name in PRESETS else {}
    changed = {name: value for name, value in to_dict(recipe).items() if before and value != before[name]}
    return [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in changed.items()]


def _time_cuts(rules: Recipe) -> dict[str, int | None] | None:
    """The cut times of a split by time, seconds since 1970; None for other splits."""
    if rules.split_by != "time":
        return None
    return {name: getattr(rules, name) for name in ("validation_from_utc", "test_from_utc")}


def _second_windows(pairs: Blocks) -> pl.DataFrame:
    """`second_window` of all pairs; numbers only, of pairs whose responses were observed at least twice."""
    return pl.concat(
        second_window(block if "weight" in block.columns else block.with_columns(weight=pl.lit(1.0))) for block in pairs
    )


def _resolve_subreddits(workspace: Workspace, subreddits: Sequence[str] | None) -> list[str]:
    known = {name.lower(): name for name in workspace.subreddits(COMMENTS)}
    if not known:
        raise LurkerError(f"No comments in {workspace.root}.", "Ingest some: `lurker ingest dump FILE...`.")
    if subreddits is None:
        return sorted(known.values())
    if not subreddits:
        raise CallError("No subreddits were given.", f"Name some of {', '.join(known.values())}, or leave them out.")
    workspace.files(COMMENTS, subreddits)  # raises if one is missing
    return sorted({known[plain_name(name).lower()] for name in subreddits})


def _no_pairs_left(name: str, recipe: Recipe, responses: Ledger, pairs: Ledger) -> LurkerError:
    stage, ledger = ("candidate pairs", pairs) if pairs.n_input else ("comments", responses)
    if not ledger.dropped:
        return LurkerError(
            f"No pairs: no post has two of the {responses.n_kept:,} eligible responses.", "Ingest more comments."
        )
    # Most comments of any thread are replies; if another rule dropped responses too, that is the one to loosen.
    rules = [line for line in ledger.dropped if line[0] != REPLY] or list(ledger.dropped)
    reason, n_dropped = max(rules, key=lambda line: line[1])
    return LurkerError(
        f"Recipe {recipe.name!r} leaves no pairs: of {ledger.n_input:,} {stage}, the rule '{reason}' dropped "
        f"{n_dropped:,}.",
        f"Loosen it (`lurker pairs build {name} --recipe naive`, or `--set field=value`) or ingest more.",
    )
