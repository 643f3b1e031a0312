"""Pairs of a post's neighbouring responses: rules decide which candidates stay, then caps.

One implementation serves every recipe; the order of neighbours and the rules are the recipe's fields. A block holds
posts whole, so nearly everything is done block by block; what balances over all pairs (`features.pairing.mirror`) stands
between two passes over the blocks.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.blocks import Blocks, Means, map_blocks
from features.confounders.measures import add_confounders
from features.hashing import quick_hashes, salted
from features.ledger import Ledger
from features.pairing.label_noise import Votes, add_label_confidence
from features.pairing.mirror import Mirror, mirror_limits, sign, thin_to_limits
from features.pairing.neighbours import candidates, in_neighbour_order, pair_rules
from features.recipes.recipe import Recipe
from features.text.formatting import FORM
from lurker.progress import progress

COLUMNS = ("comment_id", "post_id", "subreddit", "split", "score", "delay_s", "n_chars", "text_hash")
"""What every recipe looks at of a response."""
ORDER = ("subreddit", "post_id", "pair_id")
LENGTH_BIN_NATS = 0.1
"""Width of the bins of |log length difference| in which `length_symmetric` balances."""
DELAY_BIN_NATS = 0.05
"""Width of the bins of |log delay difference| in which `balance_signs` balances: with one bin for all, a probe still
finds that the earlier one wins where the difference is large and loses where it is small."""
PairRule = Callable[[pl.DataFrame, Recipe], pl.DataFrame]


def match_pairs(
    responses: Blocks, recipe: Recipe, votes: dict[str, Votes], folder: Path, means: Means
) -> tuple[Blocks, Ledger]:
    """Pairs of responses without their texts, sorted by post and pair, and the ledger of every candidate pair.

    Of a recipe that balances these are the pool to thin, with the confounders of both sides: the caps come after that
    (`features.pairing.deconfound`). responses: as of `select_responses`. votes: as of `fit_votes`. folder: to put the pairs in.
    """
    with progress("Pairing responses", len(responses.files), "blocks of posts") as advance:
        pairs, counts = map_blocks(
            match_block, responses, folder / "matched", means, lambda _: advance(1), recipe=recipe, votes=votes
        )
    stages = _stages(recipe)
    reasons = [*pair_rules(recipe), *stages[0][1]]
    for number, (mirror, rules) in enumerate(stages[1:]):
        assert mirror is not None
        pairs, more = balance_pairs_by(mirror, pairs, recipe, rules, folder / f"balanced-{number}", means)
        counts += more
        reasons += [mirror.reason, *rules]
    total = sum(counts, Counter[str]())
    ledger = Ledger(total["candidates"])
    for reason in reasons:
        ledger = ledger.drop(reason, total[reason])
    return pairs, ledger


def match_block(block: pl.DataFrame, recipe: Recipe, votes: dict[str, Votes]) -> tuple[pl.DataFrame, Counter[str]]:
    """The pairs of a block of whole posts after all that looks within posts, up to what is balanced over all pairs.

    Beside them how many candidates there were, and how many pairs went by each rule.
    """
    block = in_neighbour_order(block, recipe)
    chosen, rejected, counts = candidates(block, recipe)
    pairs = add_label_confidence(_orient(block, chosen, rejected, recipe), block, votes, recipe)
    pairs = _apply(_stages(recipe)[0][1], pairs, recipe, counts)
    if recipe.deconfound != "none":
        pairs = add_confounders(_add_form(pairs, block), block)
    return pairs, counts


def balance_pairs_by(
    mirror: Mirror, pairs: Blocks, recipe: Recipe, rules: dict[str, PairRule], folder: Path, means: Means
) -> tuple[Blocks, list[Counter[str]]]:
    """The pairs that a mirror and the rules after it leave, and how many went by each in every block."""
    limits = mirror_limits(mirror, pairs, folder / "marks", means)
    kept, counts = map_blocks(
        _thin_block, pairs, folder / "kept", means, mirror=mirror, limits=limits, rules=rules, recipe=recipe
    )
    pairs.remove()
    return kept, counts


def _thin_block(
    block: pl.DataFrame, mirror: Mirror, limits: pl.DataFrame, rules: dict[str, PairRule], recipe: Recipe
) -> tuple[pl.DataFrame, Counter[str]]:
    counts = Counter[str]()
    kept = thin_to_limits(block, mirror, limits)
    counts[mirror.reason] = block.height - kept.height
    return _apply(rules, kept, recipe, counts), counts


def _apply(rules: dict[str, PairRule], pairs: pl.DataFrame, recipe: Recipe, counts: Counter[str]) -> pl.DataFrame:
    """What the rules leave, in order; what goes is counted."""
    for reason, rule in rules.items():
        kept = rule(pairs, recipe)
        counts[reason] += pairs.height - kept.height
        pairs = kept
    return pairs.sort(ORDER)


def _orient(
    block: pl.DataFrame, chosen: NDArray[np.int64], rejected: NDArray[np.int64], recipe: Recipe
) -> pl.DataFrame:
    """Pairs of the rows chosen and rejected of the block, with their id and its hash."""
    of_post = block.select("post_id", pl.col("subreddit", "split").cast(pl.String))[chosen]
    names = {"comment_id": "id", "score": "score", "delay_s": "delay_s", "n_chars": "chars"}
    names |= {name: name for name in ("first_score", "later_votes") if name in block.columns}
    sides = [
        block.select(pl.col(name).alias(f"{side}_{new}") for name, new in names.items())[rows]
        for side, rows in (("chosen", chosen), ("rejected", rejected))
    ]
    pairs = pl.concat([of_post, *sides], how="horizontal")
    pair_id = (
        pl.when(pl.col("chosen_id") < pl.col("rejected_id"))
        .then(pl.concat_str("chosen_id", "rejected_id", separator="-"))
        .otherwise(pl.concat_str("rejected_id", "chosen_id", separator="-"))
    )
    pairs = pairs.with_columns(pair_id=pair_id)
    return pairs.with_columns(pair_hash=quick_hashes(pairs["pair_id"], salted("pair", recipe.seed)))


def _add_form(pairs: pl.DataFrame, block: pl.DataFrame) -> pl.DataFrame:
    """The pairs with the counts of form of both sides."""
    for side in ("chosen", "rejected"):
        named = {"comment_id": f"{side}_id"} | {name: f"{side}_{name}" for name in FORM}
        counts = block.select("comment_id", *FORM).rename(named)
        pairs = pairs.join(counts, on=f"{side}_id", how="left", maintain_order="left")
    return pairs


def _stages(recipe: Recipe) -> list[tuple[Mirror | None, dict[str, PairRule]]]:
    """Rules on pairs by the reason they give, in their order, cut before everything that looks at all pairs."""
    rules: list[tuple[str, PairRule | Mirror, bool]] = [
        ("label confidence below min_label_confidence", _confident, recipe.min_label_confidence > 0.5),
        ("length signs balanced", _length_mirror(), recipe.length_symmetric),
        ("over max_pool_pairs_per_response", _cap_pool_per_response, recipe.max_pool_pairs_per_response is not None),
        ("over max_pool_pairs_per_post", _cap_pool, recipe.max_pool_pairs_per_post is not None),
    ]
    if recipe.deconfound != "balance":
        rules += [
            ("over max_pairs_per_response", cap_per_response, recipe.max_pairs_per_response is not None),
            ("over max_pairs_per_post", cap_per_post, recipe.max_pairs_per_post is not None),
            ("signs balanced", signs_mirror(recipe), recipe.balance_signs),
        ]
    stages: list[tuple[Mirror | None, dict[str, PairRule]]] = [(None, {})]
    for reason, rule, is_asked in rules:
        if is_asked and isinstance(rule, Mirror):
            stages.append((rule, {}))
        elif is_asked and not isinstance(rule, Mirror):
            stages[-1][1][reason] = rule
    return stages


# --- rules on the kept pairs: each pairs, recipe -> pairs


def _confident(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return pairs.filter(pl.col("label_confidence") >= recipe.min_label_confidence)


def _length_mirror() -> Mirror:
    """As many longer as shorter winners at every size of the difference."""
    difference = pl.col("chosen_chars").log() - pl.col("rejected_chars").log()
    size = (difference.abs() / LENGTH_BIN_NATS).floor().cast(pl.Int64)
    return Mirror("length signs balanced", (sign(difference),), (pl.col("split"), size))


def signs_mirror(recipe: Recipe) -> Mirror:
    """Earlier and later, longer and shorter are chosen equally often, in every subreddit.

    Where nothing else takes out the delay it is done at every size of its difference.
    """
    time = sign(pl.col("chosen_delay_s") - pl.col("rejected_delay_s"))
    length = sign(pl.col("chosen_chars") - pl.col("rejected_chars"))
    log_delay_difference = pl.col("chosen_delay_s").log1p() - pl.col("rejected_delay_s").log1p()
    size = (log_delay_difference.abs() / DELAY_BIN_NATS).floor().cast(pl.Int64)
    within = (pl.col("subreddit"),) if recipe.deconfound == "balance" else (pl.col("subreddit"), size)
    return Mirror("signs balanced", (time, length), within)


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
