"""Pairs of a post's neighbouring responses: rules decide which candidates stay, then caps.

One implementation serves every recipe; the order of neighbours and the rules are the recipe's fields. A block holds
posts whole, so what looks within a post (most rules, the caps) is done block by block, and the rest on what is left.
"""

from collections import Counter
from collections.abc import Callable
from itertools import takewhile

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.balance import sign, thin_to_mirror
from features.hashing import hash_sql
from features.ledger import Ledger
from features.neighbours import Means, candidates, match_blocks, pair_rules
from features.noise import add_label_confidence
from features.recipes import Recipe
from lurker.progress import progress

LENGTH_BIN_NATS = 0.1
"""Width of the bins of |log length difference| in which `length_symmetric` balances."""
DELAY_BIN_NATS = 0.05
"""Width of the bins of |log delay difference| in which `balance_signs` balances: with one bin for all, a probe still
finds that the earlier one wins where the difference is large and loses where it is small."""
PairRule = Callable[[pl.DataFrame, Recipe], pl.DataFrame]


def match_pairs(responses: pl.DataFrame, recipe: Recipe, means: Means | None = None) -> tuple[pl.DataFrame, Ledger]:
    """Pairs of responses without their texts, sorted by post and pair, and the ledger of every candidate pair.

    Of a recipe that balances these are the pool to thin: the caps come after that (`features.deconfound`).
    responses: as of `select_responses`. The result depends on the set of rows only: not on their order, the means,
    the number of threads or how the input was cut into files.
    """
    blocks, counts = [], Counter[str]()
    with progress("Pairing responses", responses.height, "responses") as advance:
        for pairs, found in match_blocks(responses, recipe, match_block, means or Means()):
            blocks.append(pairs)
            counts.update(found)
            advance(found["responses"])
    pairs = pl.concat(blocks) if blocks else match_block(responses, recipe)[0]
    pairs = add_label_confidence(pairs, responses, recipe)
    ledger = Ledger(counts["candidates"])
    within, across = _stages(recipe)
    for reason in (*pair_rules(recipe), *within):
        ledger = ledger.drop(reason, counts[reason])
    for reason, rule in across.items():
        kept = rule(pairs, recipe)
        ledger, pairs = ledger.drop(reason, pairs.height - kept.height), kept
    return pairs.sort("subreddit", "post_id", "pair_id"), ledger


def match_block(block: pl.DataFrame, recipe: Recipe) -> tuple[pl.DataFrame, Counter[str]]:
    """The pairs of a block of whole posts after all that looks within posts.

    Beside them how many responses and candidates there were, and how many pairs went by each rule.
    """
    chosen, rejected, counts = candidates(block, recipe)
    counts["responses"] = block.height
    pairs = _orient(block, chosen, rejected)
    for reason, rule in _stages(recipe)[0].items():
        kept = rule(pairs, recipe)
        counts[reason] += pairs.height - kept.height
        pairs = kept
    return pairs, counts


def _orient(block: pl.DataFrame, chosen: NDArray[np.int64], rejected: NDArray[np.int64]) -> pl.DataFrame:
    """Pairs of the rows chosen and rejected of the block, with their id and its hash."""
    of_post = block.select("post_id", pl.col("subreddit", "split").cast(pl.String))[chosen]
    sides = [
        block.select(
            pl.col("comment_id").alias(f"{side}_id"),
            pl.col("score").alias(f"{side}_score"),
            pl.col("delay_s").alias(f"{side}_delay_s"),
            pl.col("n_chars").alias(f"{side}_chars"),
        )[rows]
        for side, rows in (("chosen", chosen), ("rejected", rejected))
    ]
    pairs = pl.concat([of_post, *sides], how="horizontal")
    pair_id = (
        pl.when(pl.col("chosen_id") < pl.col("rejected_id"))
        .then(pl.concat_str("chosen_id", "rejected_id", separator="-"))
        .otherwise(pl.concat_str("rejected_id", "chosen_id", separator="-"))
    )
    pairs = pairs.with_columns(pair_id=pair_id)
    return pairs.with_columns(pair_hash=_pair_hashes(pairs.select("pair_id")))


def _pair_hashes(pairs: pl.DataFrame) -> pl.Series:
    """Numbers in [0, SPAN) of the pairs' ids: in their order pairs stay where a rule takes some. [n]."""
    with duckdb.connect(config={"threads": 1}) as connection:  # DuckDB's md5 takes a quarter of Python's time
        connection.register("_pairs", pairs.to_arrow())
        found = connection.sql(f"SELECT {hash_sql('pair_id', 'pair')} AS pair_hash FROM _pairs").fetchnumpy()
    return pl.Series("pair_hash", found["pair_hash"], dtype=pl.Int64)


def _stages(recipe: Recipe) -> tuple[dict[str, PairRule], dict[str, PairRule]]:
    """Rules on pairs by the reason they give, in their order: those done within posts, and those after them."""
    rules: list[tuple[str, PairRule, bool]] = [
        ("label confidence below min_label_confidence", _confident, recipe.min_label_confidence > 0.5),
        ("length signs balanced", _length_symmetric, recipe.length_symmetric),
        ("over max_pool_pairs_per_response", _cap_pool_per_response, recipe.max_pool_pairs_per_response is not None),
        ("over max_pool_pairs_per_post", _cap_pool, recipe.max_pool_pairs_per_post is not None),
    ]
    if recipe.deconfound != "balance":
        rules += [
            ("over max_pairs_per_response", cap_per_response, recipe.max_pairs_per_response is not None),
            ("over max_pairs_per_post", cap_per_post, recipe.max_pairs_per_post is not None),
            ("signs balanced", balance_signs, recipe.balance_signs),
        ]
    asked = {reason: rule for reason, rule, is_asked in rules if is_asked}
    caps = (_cap_pool_per_response, _cap_pool, cap_per_response, cap_per_post)
    within = dict(takewhile(lambda item: item[1] in caps, asked.items()))
    return within, {reason: rule for reason, rule in asked.items() if reason not in within}


# --- rules on the kept pairs: each pairs, recipe -> pairs


def _confident(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return pairs.filter(pl.col("label_confidence") >= recipe.min_label_confidence)


def _length_symmetric(pairs: pl.DataFrame, _: Recipe) -> pl.DataFrame:
    difference = pl.col("chosen_chars").log() - pl.col("rejected_chars").log()
    size = (difference.abs() / LENGTH_BIN_NATS).floor().cast(pl.Int64)
    return thin_to_mirror(pairs, [sign(difference)], within=[pl.col("split"), size])


def balance_signs(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Pairs thinned until earlier and later, longer and shorter are chosen equally often, in every subreddit.

    Where nothing else takes out the delay it is done at every size of its difference.
    """
    if not recipe.balance_signs:
        return pairs
    time = sign(pl.col("chosen_delay_s") - pl.col("rejected_delay_s"))
    length = sign(pl.col("chosen_chars") - pl.col("rejected_chars"))
    log_delay_difference = pl.col("chosen_delay_s").log1p() - pl.col("rejected_delay_s").log1p()
    size = (log_delay_difference.abs() / DELAY_BIN_NATS).floor().cast(pl.Int64)
    within = [pl.col("subreddit")] if recipe.deconfound == "balance" else [pl.col("subreddit"), size]
    return thin_to_mirror(pairs, [time, length], within=within)


def cap_per_response(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Pairs that are among the first of both their responses in the order of pair_hash."""
    return _first_of_responses(pairs, recipe.max_pairs_per_response)


def _cap_pool_per_response(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return _first_of_responses(pairs, recipe.max_pool_pairs_per_response)


def _first_of_responses(pairs: pl.DataFrame, n_pairs: int | None) -> pl.DataFrame:
    if n_pairs is None:
        return pairs
    ordered = pairs.sort("pair_hash", "pair_id").with_row_index("_n")
    roles = [ordered.select("_n", pl.col(role).alias("response")) for role in ("chosen_id", "rejected_id")]
    places = pl.concat(roles).sort("_n", "response").with_columns(place=pl.int_range(pl.len()).over("response"))
    over = places.filter(pl.col("place") >= n_pairs).select("_n").unique()
    return ordered.join(over, on="_n", how="anti").drop("_n")


def cap_per_post(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The first pairs of every post in the order of pair_hash."""
    return _first_of_post(pairs, recipe.max_pairs_per_post)


def _cap_pool(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return _first_of_post(pairs, recipe.max_pool_pairs_per_post)


def _first_of_post(pairs: pl.DataFrame, n_pairs: int | None) -> pl.DataFrame:
    if n_pairs is None:
        return pairs
    return pairs.sort("pair_hash", "pair_id").filter(pl.int_range(pl.len()).over("post_id") < n_pairs)
