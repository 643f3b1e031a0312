"""Thinning that makes a confounder's sign uninformative: every kind of pair is as frequent as its mirror image."""

from dataclasses import dataclass

import polars as pl

from features.blocks import Blocks, map_blocks
from features.build_context import BuildContext
from features.databases import connect


@dataclass(frozen=True, slots=True)
class Mirror:
    """Keeps as many pairs of every pattern of signs as of the opposite pattern, those with the lowest pair_hash."""

    reason: str
    """Name of the rule in the ledger."""
    signs: tuple[pl.Expr, ...]
    """Each -1, 0 or 1 (chosen earlier or later, chosen longer or shorter). Pattern (1, -1) is thinned against (-1, 1),
    so each sign on its own is positive exactly as often as negative. Pairs whose signs are all 0 are kept."""
    within: tuple[pl.Expr, ...]
    """The balance holds in every group of these."""


def mirror_limits(mirror: Mirror, pairs: Blocks, context: BuildContext) -> pl.DataFrame:
    """The last pair to keep on each side of every group.

    Args:
        pairs: with pair_hash and pair_id.

    Returns:
        group, side, last_hash, last_id; no row for a side that keeps no pair.
    """
    marks, _ = map_blocks(_marks, pairs, context, "Balancing", mirror=mirror)
    with connect(context.options) as connection:
        limits: pl.DataFrame = connection.sql(
            f"WITH marks AS (SELECT * FROM {marks.sql()} WHERE side <> 0), "
            'ranked AS (SELECT *, row_number() OVER (PARTITION BY "group", side ORDER BY pair_hash, pair_id) AS rank '
            "FROM marks), "
            'sizes AS (SELECT "group", least(count(*) FILTER (side = 1), count(*) FILTER (side = -1)) AS n_kept '
            'FROM marks GROUP BY "group") '
            'SELECT "group", side, pair_hash AS last_hash, pair_id AS last_id FROM ranked JOIN sizes USING ("group") '
            "WHERE rank = n_kept"
        ).pl()
    marks.remove()
    return limits


def thin_to_limits(pairs: pl.DataFrame, mirror: Mirror, limits: pl.DataFrame) -> pl.DataFrame:
    """The pairs within the limits, in their order."""
    marked = pairs.hstack(_marks(pairs, mirror)[0].select("group", "side"))
    marked = marked.join(limits, on=["group", "side"], how="left", maintain_order="left")
    hash_, last = pl.col("pair_hash"), pl.col("last_hash")
    is_kept = (hash_ < last) | ((hash_ == last) & (pl.col("pair_id") <= pl.col("last_id")))
    return marked.filter((pl.col("side") == 0) | is_kept.fill_null(False)).select(pairs.columns)


def _marks(block: pl.DataFrame, mirror: Mirror) -> tuple[pl.DataFrame, None]:
    """The pattern of every pair: its group, equal for opposite patterns, and which of the two it is."""
    side = pl.concat_list(mirror.signs).list.eval(pl.element().filter(pl.element() != 0)).list.first().fill_null(0)
    marked = block.with_columns(side=side)
    kinds = [*mirror.within, *(one * pl.col("side") for one in mirror.signs)]
    group = pl.concat_str([kind.cast(pl.String) for kind in kinds], separator=" ")
    return marked.select("pair_id", "pair_hash", "side", group=group), None


def sign(difference: pl.Expr) -> pl.Expr:
    """-1, 0 or 1."""
    return difference.sign().cast(pl.Int8)
