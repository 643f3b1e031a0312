"""The pairs of a recipe, without texts: matched, then deconfounded where the recipe says so, then its last rules."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from features.blocks import Blocks, Means, map_blocks, write_block
from features.confounders.context import POST_CONTEXT
from features.confounders.design import sample_pairs
from features.confounders.measures import CONFOUNDERS, OF_CONTEXT, standardised_mean_differences
from features.confounders.propensity import PropensityConfig
from features.hashing import SPAN, hash_ids
from features.ledger import Ledger, add_up
from features.pairing.deconfound import adjust_pairs, balance_pairs
from features.pairing.label_noise import Votes, VoteSums, fit_votes
from features.pairing.matching import COLUMNS, ORDER, balance_pairs_by, match_pairs, signs_mirror
from features.recipes.presets import adjusted, balanced
from features.recipes.recipe import Recipe
from features.responses.duplicates import Ties
from features.responses.eligible import response_rules, select_responses
from features.text.formatting import FORM
from lurker.progress import say

KEPT = (*COLUMNS, *FORM, *OF_CONTEXT, *POST_CONTEXT, "log_delay", "post_score", "first_score", "later_votes")
"""What goes on of a response that may be in a pair."""
CALIPERS = ("max_delay_difference_s", "max_log_delay_difference", "max_log_length_difference")
"""Fields of a recipe: how far the two responses of a pair may be apart."""
CAPS_OF_PAIRS = (
    "max_pool_pairs_per_response",
    "max_pool_pairs_per_post",
    "max_pairs_per_response",
    "max_pairs_per_post",
)
"""Fields of a recipe: in how many pairs a response, or a post, may be."""
Match = Callable[[Recipe, Path], tuple[Blocks, Ledger]]
"""Candidate pairs of the build's responses: by which rules, and where their blocks are put."""
MAX_VOTERS = 500_000
"""Responses of a subreddit that fitted exposure is learned from, at most and about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The pairs of a recipe and how they came to be."""

    pairs: Blocks
    """Sorted by subreddit, post and pair; weight where the recipe gives one, confounder_log_odds of adjusted pairs."""
    ledgers: dict[str, Ledger]
    """Of the responses, and of every pool of candidate pairs; what the pools keep adds up to the pairs."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """What each round of balancing found: round, n_pairs, accuracy, low."""
    differences_before: list[dict[str, Any]] = field(default_factory=list)
    """Standardised mean differences of the candidate pairs before they were thinned or adjusted: confounder, smd; of
    those that are learned from where there are more."""


def choose_pairs(
    measured: Blocks, recipe: Recipe, ties: Ties, folder: Path, means: Means, *, own_records: bool = False
) -> Chosen:
    """The pairs that the recipe makes of the measured comments.

    measured: as of `measure_responses`. recipe: with both times where it splits by time. folder: to put blocks in.
    own_records: know authors by what they wrote in the same subreddit only. Deconfounding learns from the posts outside
    the test, so of a recipe of test posts only the others go at the end.
    """
    responses, told = map_blocks(
        _select, measured, folder / "responses", means, recipe=recipe, ties=ties, own_records=own_records
    )
    selected = add_up((ledger for ledger, _ in told), response_rules(recipe, ties))
    votes = _fit_votes(responses, [sums for _, sums in told], recipe)

    def match(rules: Recipe, place: Path) -> tuple[Blocks, Ledger]:
        """The candidate pairs of the responses by these rules."""
        return match_pairs(responses, rules, votes, place, means)

    pool, ledger = match(recipe, folder / "pool")
    if recipe.deconfound == "none" or pool.n_rows == 0:
        return Chosen(pairs=pool, ledgers={"responses": selected, "pairs": ledger})
    say("Probing what the confounders say of the outcome.")
    before = _differences(pool)
    if recipe.deconfound == "balance":
        pairs, ledger, rounds = _balanced(pool, ledger, recipe, match, folder, means)
        ledgers = {"pairs": ledger}
    else:
        pairs, ledgers, rounds = _adjusted(pool, ledger, recipe, match, folder, means)
    return Chosen(pairs=pairs, ledgers={"responses": selected} | ledgers, rounds=rounds, differences_before=before)


def _differences(pool: Blocks) -> list[dict[str, Any]]:
    sample = sample_pairs(pool, PropensityConfig().max_learned_pairs)
    return standardised_mean_differences(sample.with_columns(weight=pl.lit(1.0)))


def _select(
    block: pl.DataFrame, recipe: Recipe, ties: Ties, own_records: bool
) -> tuple[pl.DataFrame, tuple[Ledger, VoteSums]]:
    if own_records:
        block = block.with_columns(pl.col(f"own_{name[7:]}").alias(name) for name in CONFOUNDERS["author"])
    kept, ledger = select_responses(block, recipe, ties)
    kept = kept.select(KEPT).with_columns(pl.col("post_created_utc").cast(pl.Float64))
    return kept, (ledger, VoteSums.of(kept["score"]))


def _fit_votes(responses: Blocks, sums: list[VoteSums], recipe: Recipe) -> dict[str, Votes]:
    """What votes tell in each subreddit that has responses."""
    votes = {}
    for subreddit in dict.fromkeys(responses.subreddits):
        total = VoteSums(0, 0, 0)
        for name, of_block in zip(responses.subreddits, sums, strict=True):
            total = total.plus(of_block) if name == subreddit else total
        if total.n:
            sample = pl.DataFrame() if recipe.exposure == "equal" else _sample(responses.of(subreddit), total.n)
            votes[subreddit] = fit_votes(total, sample, recipe)
    return votes


def _sample(responses: Blocks, n: int) -> pl.DataFrame:
    """What exposure is learned from: all posts, or those that come first by a hash."""
    kept = []
    for block in responses:
        posts = block.select(pl.col("post_id").unique())
        first = posts.filter(pl.Series(hash_ids(posts["post_id"], "voters")) / SPAN < MAX_VOTERS / n)
        seen = block.select("post_id", "score", "log_delay", "post_score")
        kept.append(seen.join(first, on="post_id", how="semi", maintain_order="left"))
    return pl.concat(kept)


def _around(pool: Blocks, recipe: Recipe, match: Match, place: Path) -> Blocks | None:
    """Pairs of the same responses that no caliper holds, for a small pool to learn from; None where it is large."""
    if pool.n_rows >= PropensityConfig().max_learned_pairs:
        return None
    wide = adjusted()
    same = {name: getattr(wide, name) for name in (*CALIPERS, *CAPS_OF_PAIRS, "neighbour_order", "n_neighbours")}
    rules = dataclasses.replace(recipe, **same, deconfound="adjust", length_symmetric=False, balance_signs=False)
    return match(rules, place)[0]


def _balanced(
    pool: Blocks, ledger: Ledger, recipe: Recipe, match: Match, folder: Path, means: Means
) -> tuple[Blocks, Ledger, list[dict[str, Any]]]:
    around = _around(pool, recipe, match, folder / "around")
    pairs, ledger, rounds = balance_pairs(pool, ledger, recipe, folder, means, around=around)
    if recipe.test_posts_only:
        pairs, n_dropped = map_blocks(_only, pairs, folder / "test", means, splits=("test",))
        ledger = ledger.drop("not a test post", sum(n_dropped))
    if recipe.balance_signs:
        mirror = signs_mirror(recipe)
        pairs, counts = balance_pairs_by(mirror, pairs, recipe, {}, folder / "signs", means)
        ledger = ledger.drop(mirror.reason, sum(one[mirror.reason] for one in counts))
    return pairs, ledger, rounds


def _only(block: pl.DataFrame, splits: tuple[str, ...]) -> tuple[pl.DataFrame, int]:
    """The pairs of these splits, and how many are of others."""
    kept = block.filter(pl.col("split").is_in(splits))
    return kept, block.height - kept.height


def _adjusted(
    pool: Blocks, ledger: Ledger, recipe: Recipe, match: Match, folder: Path, means: Means
) -> tuple[Blocks, dict[str, Ledger], list[dict[str, Any]]]:
    """Training pairs with their log-odds; held out, the pairs of `balanced`."""
    train, n_held_out = map_blocks(_only, pool, folder / "train", means, splits=("train",))
    ledger = ledger.drop("held out: balanced pairs stand there", sum(n_held_out))
    same = {name: getattr(recipe, name) for name in ("validation_fraction", "test_fraction", "exposure", "vote_fuzz")}
    rules = dataclasses.replace(balanced(), **same)
    held_pool, held_ledger = match(rules, folder / "held-pool")
    held, held_ledger, rounds = _balanced(held_pool, held_ledger, rules, match, folder / "held", means)
    held_out, n_train = map_blocks(_only, held, folder / "held-out", means, splits=("validation", "test"))
    held_ledger = held_ledger.drop("train: adjusted pairs stand there", sum(n_train))
    trained = adjust_pairs(train, folder / "adjusted", means)
    (folder / "together").mkdir()
    files = []
    for file, block, others in zip(trained.files, trained, held_out, strict=True):
        both = pl.concat([block, others.with_columns(confounder_log_odds=pl.lit(0.0))], how="diagonal")
        files.append(write_block(both.sort(ORDER), folder / "together" / file.name))
    return Blocks(tuple(files), trained.subreddits), {"pairs": ledger, "held-out pairs": held_ledger}, rounds
