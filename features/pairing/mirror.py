"""Thinning that makes a confounder's sign say nothing: for each kind of pair, as many of its mirror image."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.blocks import Blocks, Means, connect, map_blocks


@dataclass(frozen=True, slots=True)
class Mirror:
    """As many pairs of every pattern of signs stay as of the opposite pattern, those with the lowest pair_hash."""

    reason: str
    """What the ledger calls it."""
    signs: tuple[pl.Expr, ...]
    """Each -1, 0 or 1 (chosen earlier/later, chosen longer/shorter); (1, -1) is thinned against (-1, 1), so every sign
    by itself is positive exactly as often as negative. Pairs whose signs are all 0 stay."""
    within: tuple[pl.Expr, ...]
    """The balance holds in every group of these."""


def mirror_limits(mirror: Mirror, pairs: Blocks, folder: Path, means: Means) -> pl.DataFrame:
    """The last pair that stays on each side of every group: group, side, last_hash, last_id; none where none stays.

    pairs: with pair_hash, pair_id. folder: for what is looked at of them.
    """
    marks, _ = map_blocks(_marks, pairs, folder, means, mirror=mirror)
    with connect(means) as connection:
        limits: pl.DataFrame = connection.sql(
            f"WITH marks AS (SELECT * FROM {marks.sql()} WHERE side <> 0), "
            'placed AS (SELECT *, row_number() OVER (PARTITION BY "group", side ORDER BY pair_hash, pair_id) AS place '
            "FROM marks), "
            'sizes AS (SELECT "group", least(count(*) FILTER (side = 1), count(*) FILTER (side = -1)) AS n_kept '
            'FROM marks GROUP BY "group") '
            'SELECT "group", side, pair_hash AS last_hash, pair_id AS last_id FROM placed JOIN sizes USING ("group") '
            "WHERE place = n_kept"
        ).pl()
    marks.remove()
    return limits


def thin_to_limits(pairs: pl.DataFrame, mirror: Mirror, limits: pl.DataFrame) -> pl.DataFrame:
    """The pairs that stay, in their order."""
    marked = pairs.hstack(_marks(pairs, mirror)[0].select("group", "side"))
    marked = marked.join(limits, on=["group", "side"], how="left", maintain_order="left")
    hash_, last = pl.col("pair_hash"), pl.col("last_hash")
    stays = (hash_ < last) | ((hash_ == last) & (pl.col("pair_id") <= pl.col("last_id")))
    return marked.filter((pl.col("side") == 0) | stays.fill_null(False)).select(pairs.columns)


def _marks(block: pl.DataFrame, mirror: Mirror) -> tuple[pl.DataFrame, None]:
    """The pattern of every pair: its group, alike for opposite patterns, and which of the two it is."""
    side = pl.concat_list(mirror.signs).list.eval(pl.element().filter(pl.element() != 0)).list.first().fill_null(0)
    marked = block.with_columns(side=side)
    kinds = [*mirror.within, *(one * pl.col("side") for one in mirror.signs)]
    group = pl.concat_str([kind.cast(pl.String) for kind in kinds], separator=" ")
    return marked.select("pair_id", "pair_hash", "side", group=group), None


def sign(difference: pl.Expr) -> pl.Expr:
    """-1, 0 or 1."""
    return difference.sign().cast(pl.Int8)
