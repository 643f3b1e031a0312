"""Thinning that makes a confounder's sign say nothing: for each kind of pair, as many of its mirror image."""

import polars as pl


def thin_to_mirror(pairs: pl.DataFrame, signs: list[pl.Expr], within: list[pl.Expr]) -> pl.DataFrame:
    """Keep as many pairs of every pattern of signs as of the opposite pattern; those with the lowest pair_hash stay.

    signs: each -1, 0 or 1 (chosen earlier/later, chosen longer/shorter); (1, -1) is thinned against (-1, 1), so every
    sign by itself is positive exactly as often as negative. Pairs whose signs are all 0 stay. within: the balance
    holds in every group of these. pairs: with pair_hash, pair_id.
    """
    side = pl.concat_list(signs).list.eval(pl.element().filter(pl.element() != 0)).list.first().fill_null(0)
    marked = pairs.with_columns(
        _side=side,
        **{f"_within_{i}": group for i, group in enumerate(within)},
    ).with_columns(**{f"_sign_{i}": sign * pl.col("_side") for i, sign in enumerate(signs)})
    group = [f"_within_{i}" for i in range(len(within))] + [f"_sign_{i}" for i in range(len(signs))]
    ordered = marked.sort("pair_hash", "pair_id")
    place = pl.int_range(pl.len()).over(*group, "_side")
    n_kept = pl.min_horizontal((pl.col("_side") == 1).sum().over(group), (pl.col("_side") == -1).sum().over(group))
    kept = ordered.filter((pl.col("_side") == 0) | (place < n_kept))
    return kept.select(pairs.columns)


def sign(difference: pl.Expr) -> pl.Expr:
    """-1, 0 or 1."""
    return difference.sign().cast(pl.Int8)
