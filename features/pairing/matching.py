"""Pairs of a post's neighbouring responses: rules select the candidates, then caps limit them.

One implementation serves every recipe; the order of neighbours and the rules are fields of the recipe. A block holds
complete posts, so nearly everything is done block by block; balancing over all pairs (`features.pairing.mirror`) takes
a second pass over the blocks.
"""

from collections import Counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.blocks import Blocks, map_blocks
from features.build_context import BuildContext
from features.confounders.measures import add_confounders
from features.hashing import quick_hashes, salted
from features.ledger import Ledger
from features.pairing.caps import (
    PairRule,
    apply_pair_rules,
    cap_per_post,
    cap_per_response,
    cap_pool_per_post,
    cap_pool_per_response,
)
from features.pairing.label_noise import VoteModel, add_label_confidence
from features.pairing.mirror import Mirror, mirror_limits, sign, thin_to_limits
from features.pairing.neighbours import candidates, pair_rules, sort_by_neighbour_order
from features.recipes.recipe import Recipe
from lurker.formatting import FORMATTING_COUNTS

RESPONSE_COLUMNS = ("comment_id", "post_id", "subreddit", "split", "score", "delay_s", "n_chars", "text_hash")
"""Columns of a response that every recipe uses."""
LENGTH_BIN_NATS = 0.1
"""Width of the bins of |log length difference| in which `length_symmetric` balances."""
DELAY_BIN_NATS = 0.05
"""Width of the bins of |log delay difference| in which `balance_signs` balances. With a single bin, a probe still finds
that the earlier response wins when the difference is large and loses when it is small."""


def match_pairs(
    responses: Blocks, recipe: Recipe, vote_models: dict[str, VoteModel], context: BuildContext
) -> tuple[Blocks, Ledger]:
    """Match the responses of each post.

    Args:
        responses: as returned by `select_responses`.
        vote_models: one per subreddit.

    Returns:
        Pairs without their texts, sorted by post and pair, and the ledger of every candidate pair. A recipe that
        deconfounds gets the pool to thin, with the confounders of both sides: its caps come after that
        (`features.pairing.deconfound`).
    """
    pairs, counts = map_blocks(
        match_block,
        responses,
        context.subfolder("matched"),
        "Pairing responses",
        recipe=recipe,
        vote_models=vote_models,
    )
    stages = _stages(recipe)
    reasons = [*pair_rules(recipe), *stages[0][1]]
    for number, (mirror, rules) in enumerate(stages[1:]):
        assert mirror is not None
        pairs, more = balance_by_mirror(mirror, pairs, recipe, rules, context.subfolder(f"balanced-{number}"))
        counts += more
        reasons += [mirror.reason, *rules]
    n_candidates = sum(count["candidates"] for count in counts)
    return pairs, Ledger(n_candidates).drop_counted(counts, reasons)


def match_block(
    block: pl.DataFrame, recipe: Recipe, vote_models: dict[str, VoteModel]
) -> tuple[pl.DataFrame, Counter[str]]:
    """The pairs of a block of complete posts, up to the first rule that balances over all pairs.

    Returns:
        The pairs, and counts: the candidates, and how many pairs each rule dropped.
    """
    block = sort_by_neighbour_order(block, recipe)
    chosen, rejected, counts = candidates(block, recipe)
    pairs = add_label_confidence(_join_sides(block, chosen, rejected, recipe), block, vote_models, recipe)
    pairs = apply_pair_rules(_stages(recipe)[0][1], pairs, recipe, counts)
    if recipe.deconfound != "none":
        pairs = add_confounders(_add_formatting(pairs, block), block)
    return pairs, counts


def balance_by_mirror(
    mirror: Mirror, pairs: Blocks, recipe: Recipe, rules: dict[str, PairRule], context: BuildContext
) -> tuple[Blocks, list[Counter[str]]]:
    """The pairs that a mirror and the rules after it keep, and how many each dropped in every block."""
    limits = mirror_limits(mirror, pairs, context.subfolder("marks"))
    kept, counts = map_blocks(
        _thin_block,
        pairs,
        context.subfolder("kept"),
        "Balancing",
        mirror=mirror,
        limits=limits,
        rules=rules,
        recipe=recipe,
    )
    pairs.remove()
    return kept, counts


def _thin_block(
    block: pl.DataFrame, mirror: Mirror, limits: pl.DataFrame, rules: dict[str, PairRule], recipe: Recipe
) -> tuple[pl.DataFrame, Counter[str]]:
    counts = Counter[str]()
    kept = thin_to_limits(block, mirror, limits)
    counts[mirror.reason] = block.height - kept.height
    return apply_pair_rules(rules, kept, recipe, counts), counts


def _join_sides(
    block: pl.DataFrame, chosen: NDArray[np.int64], rejected: NDArray[np.int64], recipe: Recipe
) -> pl.DataFrame:
    """Pairs of the chosen and rejected rows of the block, with pair_id and pair_hash."""
    posts = block.select("post_id", pl.col("subreddit", "split").cast(pl.String))[chosen]
    names = {"comment_id": "id", "score": "score", "delay_s": "delay_s", "n_chars": "chars"}
    names |= {name: name for name in ("first_score", "first_age_s", "later_votes") if name in block.columns}
    sides = [
        block.select(pl.col(name).alias(f"{side}_{new}") for name, new in names.items())[rows]
        for side, rows in (("chosen", chosen), ("rejected", rejected))
    ]
    pairs = pl.concat([posts, *sides], how="horizontal")
    pair_id = (
        pl.when(pl.col("chosen_id") < pl.col("rejected_id"))
        .then(pl.concat_str("chosen_id", "rejected_id", separator="-"))
        .otherwise(pl.concat_str("rejected_id", "chosen_id", separator="-"))
    )
    pairs = pairs.with_columns(pair_id=pair_id)
    return pairs.with_columns(pair_hash=quick_hashes(pairs["pair_id"], salted("pair", recipe.seed)))


def _add_formatting(pairs: pl.DataFrame, block: pl.DataFrame) -> pl.DataFrame:
    """The pairs with the formatting counts of both sides."""
    for side in ("chosen", "rejected"):
        named = {"comment_id": f"{side}_id"} | {name: f"{side}_{name}" for name in FORMATTING_COUNTS}
        counts = block.select("comment_id", *FORMATTING_COUNTS).rename(named)
        pairs = pairs.join(counts, on=f"{side}_id", how="left", maintain_order="left")
    return pairs


def _stages(recipe: Recipe) -> list[tuple[Mirror | None, dict[str, PairRule]]]:
    """The rules on pairs by their reason, in order; a new stage starts at each mirror, which looks at all pairs."""
    rules: list[tuple[str, PairRule | Mirror, bool]] = [
        ("label confidence below min_label_confidence", _confident, recipe.min_label_confidence > 0.5),
        ("length signs balanced", _length_mirror(), recipe.length_symmetric),
        ("over max_pool_pairs_per_response", cap_pool_per_response, recipe.max_pool_pairs_per_response is not None),
        ("over max_pool_pairs_per_post", cap_pool_per_post, recipe.max_pool_pairs_per_post is not None),
    ]
    if recipe.deconfound != "balance":
        rules += [
            ("over max_pairs_per_response", cap_per_response, recipe.max_pairs_per_response is not None),
            ("over max_pairs_per_post", cap_per_post, recipe.max_pairs_per_post is not None),
            ("signs balanced", signs_mirror(recipe), recipe.balance_signs),
        ]
    stages: list[tuple[Mirror | None, dict[str, PairRule]]] = [(None, {})]
    for reason, rule, is_on in rules:
        if is_on and isinstance(rule, Mirror):
            stages.append((rule, {}))
        elif is_on and not isinstance(rule, Mirror):
            stages[-1][1][reason] = rule
    return stages


def _confident(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return pairs.filter(pl.col("label_confidence") >= recipe.min_label_confidence)


def _length_mirror() -> Mirror:
    """As many longer as shorter winners at every size of the length difference."""
    difference = pl.col("chosen_chars").log() - pl.col("rejected_chars").log()
    size = (difference.abs() / LENGTH_BIN_NATS).floor().cast(pl.Int64)
    return Mirror("length signs balanced", (sign(difference),), (pl.col("split"), size))


def signs_mirror(recipe: Recipe) -> Mirror:
    """Earlier and later, longer and shorter are chosen equally often in every subreddit.

    Unless thinning removes the delay already, the balance also holds at every size of the delay difference.
    """
    time = sign(pl.col("chosen_delay_s") - pl.col("rejected_delay_s"))
    length = sign(pl.col("chosen_chars") - pl.col("rejected_chars"))
    log_delay_difference = pl.col("chosen_delay_s").log1p() - pl.col("rejected_delay_s").log1p()
    size = (log_delay_difference.abs() / DELAY_BIN_NATS).floor().cast(pl.Int64)
    within = (pl.col("subreddit"),) if recipe.deconfound == "balance" else (pl.col("subreddit"), size)
    return Mirror("signs balanced", (time, length), within)
