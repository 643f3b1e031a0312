"""What an arena asks about pairs of a set: which ones, which of them are gold, and how much a vote on each tells."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from dashboard.arena.responses import HUMAN
from lurker.errors import CallError
from lurker.pair_sets import SPLITS, read_pairs
from lurker.predictions import of_these_pairs, predictions_on
from lurker.schema import ITEMS, check
from lurker.votes.arenas import ArenaConfig, digest, draw
from lurker.workspace import Workspace

SURE_SHARE = 0.1
"""Gold is taken from this share of the pairs, those with the surest labels."""


def items_of_pairs(
    workspace: Workspace,
    name: str,
    arena: str,
    config: ArenaConfig,
    *,
    split: str | None = None,
    runs: Sequence[str] = (),
) -> pl.DataFrame:
    """Items from a pair set: drawn by hash, with qualifying and gold ones from the pairs with the surest labels.

    Args:
        split: only pairs of this split; of all when None.
        runs: none; or one whose uncertainty, or two whose difference, the active design follows. Only pairs that all
            of them were tested on are asked.

    Returns:
        ITEMS.

    Raises:
        CallError: there is no such set or run, or nothing is left to ask.
    """
    pairs = read_pairs(workspace, name)
    if split is not None:
        pairs = pairs.filter(pl.col("split") == split)
    information = pl.DataFrame({"pair_id": pairs["pair_id"], "information": np.zeros(pairs.height)})
    if runs:
        information = _information([_margins(workspace, run, name, pairs) for run in runs])
        pairs = pairs.join(information.select("pair_id"), on="pair_id", how="semi")
    if pairs.is_empty():
        raise CallError(f"No pair of {name} is left to ask about.", "Name another split or other runs.")
    pairs = pairs.with_columns(
        item_id=pl.Series([digest(arena, pair_id) for pair_id in pairs["pair_id"]], dtype=pl.String),
        place=pl.Series([draw(config.seed, arena, pair_id) for pair_id in pairs["pair_id"]], dtype=pl.Float64),
    )
    n_sure = int(pairs.height * SURE_SHARE)
    surest = pairs.sort("label_confidence", "place", descending=[True, False]).head(n_sure)
    known = surest.sort("place").head(config.n_gold + config.n_qualifying)
    known = known.with_columns(
        role=pl.when(pl.int_range(pl.len()) < config.n_qualifying).then(pl.lit("qualify")).otherwise(pl.lit("gold"))
    )
    asked = pairs.join(known.select("pair_id"), on="pair_id", how="anti").sort("place").head(config.n_items)
    items = pl.concat([known, asked.with_columns(role=pl.lit("main"))]).join(information, on="pair_id", how="left")
    return check(
        items.with_columns(
            reference=pl.lit("reddit"),
            chosen_source=pl.lit(HUMAN),
            rejected_source=pl.lit(HUMAN),
            reason=pl.lit(None, pl.String),
            information=pl.col("information").fill_null(0.0),
        ),
        ITEMS,
    )


def _margins(workspace: Workspace, run: str, name: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """PREDICTIONS of a run on these pairs, as far as it was tested on their splits."""
    tested = predictions_on(workspace.folder("runs", run), name, SPLITS)
    if tested.is_empty():
        raise CallError(
            f"Run {run!r} was not tested on {name}.", f"Test it first: `lurker rm evaluate {run} --pairs {name}`."
        )
    return of_these_pairs(tested, pairs)


def _information(margins: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """How much a vote on a pair tells: of one run, the variance p(1 - p) of its prediction; of two runs, the squared
    difference of their predictions, which is what moves the difference of their accuracies and losses."""
    first = margins[0].select("pair_id", p=1 / (1 + (-pl.col("margin")).exp()))
    if len(margins) == 1:
        return first.select("pair_id", information=pl.col("p") * (1 - pl.col("p")))
    second = margins[1].select("pair_id", q=1 / (1 + (-pl.col("margin")).exp()))
    return first.join(second, on="pair_id").select("pair_id", information=(pl.col("p") - pl.col("q")).pow(2))
