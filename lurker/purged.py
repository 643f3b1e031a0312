"""Pairs whose texts a purge erased: their ids and scores stay in the table, but no reader may learn from them."""

import polars as pl

from lurker.progress import say

TEXTS = ("prompt", "chosen", "rejected")


def with_texts(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """The pairs of set `name` that still have all their texts, in their order; says how many have not."""
    whole = pairs.filter(pl.all_horizontal(pl.col(TEXTS) != ""))
    if n_erased := pairs.height - whole.height:
        say(f"{n_erased:,} pairs of {name} lost their texts to a purge and are left out; build the set anew.")
    return whole
