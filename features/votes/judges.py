"""Judges that are no raters: Reddit, length, TF-IDF, tested runs, and the reward that a responses file gives."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import polars as pl

from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.pair_sets import VOTES_RECIPE, pair_set_names, read_manifest, read_pairs
from lurker.pairwise import fit_tfidf
from lurker.predictions import predictions_on
from lurker.votes.arenas import Arena
from lurker.workspace import Workspace

MAX_TFIDF_PAIRS = 12_000
Judges = dict[str, pl.DataFrame]
"""Name -> item_id and verdict: 1 for chosen, 0 for rejected, 0.5 for neither."""


def machine_judges(arena: Arena, items: pl.DataFrame) -> Judges:
    """The judges that have a verdict on some items.

    A run is among them if it was tested on the pair set of the arena, or on a set made from its votes; only its test
    pairs count, which it was not trained on. The many runs of an experiment are left to its own tables. TF-IDF is
    trained on the set's training pairs and judges other posts only.

    Args:
        items: ITEMS.
    """
    known = items.filter(pl.col("reference") == "reddit").select("item_id", verdict=pl.lit(1.0))
    judges = {"reddit": known} if known.height else {}
    judges["length"] = _by_difference(items, "chars")
    rewarded = items.filter(pl.col("chosen_reward").is_not_null() & pl.col("rejected_reward").is_not_null())
    if rewarded.height:
        judges["reward"] = _by_difference(rewarded, "reward")
    sets = _pair_sets(arena)
    cells = _cells(arena.workspace)
    for run in arena.workspace.names("runs", "result.json"):
        if run not in cells and (verdicts := _verdicts(arena, run, sets, items)).height:
            judges[run_judge(run)] = verdicts
    pairs = arena.origin.get("pairs")
    if pairs is not None and (tfidf := _tfidf(arena, str(pairs), items)) is not None:
        judges["tfidf"] = tfidf
    return judges


def run_judge(run: str) -> str:
    """The name of a run among the judges: a run may be called reddit or length."""
    return f"run:{run}"


def _cells(workspace: Workspace) -> set[str]:
    """The runs that an experiment made."""
    cells: set[str] = set()
    for name in workspace.names("experiments", "manifest.json"):
        with suppress(LurkerError):  # a damaged experiment says nothing about the votes
            cells.update(
                map(str, read_object(workspace.folder("experiments", name) / "manifest.json").get("cells", []))
            )
    return cells


def _by_difference(items: pl.DataFrame, what: str) -> pl.DataFrame:
    """The judge that prefers the response with more of something."""
    sign = (pl.col(f"chosen_{what}") - pl.col(f"rejected_{what}")).sign()
    return items.select("item_id", verdict=sign / 2 + 0.5)


def _pair_sets(arena: Arena) -> list[str]:
    """The pair sets whose pairs are items of the arena: the one it asks about, and those made from its votes."""
    made = []
    for name in pair_set_names(arena.workspace):
        try:
            recipe = read_manifest(arena.workspace, name)["recipe"]
        except LurkerError:  # a damaged set says nothing about the votes
            continue
        if recipe["name"] == VOTES_RECIPE and recipe.get("arena") == arena.name:
            made.append(name)
    asked = arena.origin.get("pairs")
    return [*([str(asked)] if asked is not None else []), *made]


def _verdicts(arena: Arena, run: str, sets: Sequence[str], items: pl.DataFrame) -> pl.DataFrame:
    """What a run prefers; a set made from votes may have swapped the two responses of a pair."""
    folder = arena.workspace.folder("runs", run)
    tested = pl.concat(predictions_on(folder, name, ("test",)) for name in sets) if sets else None
    if tested is None or tested.is_empty():
        return items.select("item_id", verdict=pl.lit(0.5)).clear()
    joined = items.select("item_id", "pair_id", "rejected_id", first="chosen_id").join(
        tested, on="pair_id", maintain_order="right"
    )
    winner = pl.col("chosen_id").fill_null(pl.col("first"))
    verdict = pl.when(winner == pl.col("first")).then(pl.col("is_correct")).otherwise(1 - pl.col("is_correct"))
    is_of_item = (winner == pl.col("first")) | (winner == pl.col("rejected_id"))
    return (
        joined.filter(is_of_item)
        .select("item_id", verdict=verdict)
        .unique("item_id", keep="first", maintain_order=True)
    )


def _tfidf(arena: Arena, pairs: str, items: pl.DataFrame) -> pl.DataFrame | None:
    try:
        known = read_pairs(arena.workspace, pairs)
    except LurkerError:  # the set was removed since
        return None
    training, validation = (known.filter(pl.col("split") == split) for split in ("train", "validation"))
    asked = items.join(training.select("post_id").unique(), on="post_id", how="anti")
    asked = asked.join(validation.select("post_id").unique(), on="post_id", how="anti")
    if training.is_empty() or validation.is_empty() or asked.is_empty():
        return None
    if training.height > MAX_TFIDF_PAIRS:
        training = training.sort("pair_id").sample(MAX_TFIDF_PAIRS, seed=0)
    reward = fit_tfidf(training, validation)
    if reward is None:
        return None
    margin = reward(asked["chosen"].to_list()) - reward(asked["rejected"].to_list())
    return asked.select("item_id", verdict=pl.Series(np.sign(margin) / 2 + 0.5))
