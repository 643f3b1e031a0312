"""The pairs of a recipe without their texts: matched, deconfounded if the recipe says so, then its last rules."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import polars as pl

from features.blocks import Blocks, map_blocks, write_block
from features.build_context import BuildContext
from features.confounders.context import POST_CONTEXT
from features.confounders.design import sample_pairs
from features.confounders.measures import CONFOUNDERS, CONTEXT_CONFOUNDERS, standardised_mean_differences
from features.confounders.propensity import PropensityConfig
from features.hashing import SPAN, hash_ids
from features.ledger import Ledger, add_up
from features.pairing.caps import ORDER
from features.pairing.deconfound import adjust_pairs, balance_pairs
from features.pairing.label_noise import VoteModel, VoteSums, fit_vote_model
from features.pairing.matching import RESPONSE_COLUMNS, balance_by_mirror, match_pairs, signs_mirror
from features.pairing.votes_cast import Ints, count_looks, look
from features.recipes.presets import adjusted, balanced
from features.recipes.recipe import Recipe
from features.responses.exclusions import Exclusions
from features.responses.rules import response_rules, select_responses
from lurker.formatting import FORMATTING_COUNTS
from lurker.threads import single_threaded

COLUMNS = (
    *(*RESPONSE_COLUMNS, *FORMATTING_COUNTS, *CONTEXT_CONFOUNDERS, *POST_CONTEXT),
    *("log_delay", "post_score", "is_controversial", "first_score", "first_age_s", "later_votes"),
)
"""Columns of a response that pairing uses."""
CALIPERS = ("max_delay_difference_s", "max_log_delay_difference", "max_log_length_difference")
"""Recipe fields: how far apart the two responses of a pair may be."""
PAIR_CAPS = (
    *("max_pool_pairs_per_response", "max_pool_pairs_per_post"),
    *("max_pairs_per_response", "max_pairs_per_post"),
)
"""Recipe fields: in how many pairs a response, or a post, may be."""
Match = Callable[[Recipe, BuildContext], tuple[Blocks, Ledger]]
"""Candidate pairs of the build's responses by the rules of a recipe."""
LEAST_WEIGHT = 0.01
"""Weight of a pair whose label says nothing, with weight_by_confidence."""
NOT_A_TEST_POST = "not a test post"
SPLITTING = "Keeping splits"
"""Label of the progress bar."""
MAX_EXPOSURE_RESPONSES = 500_000
"""About how many responses of a subreddit fitted exposure is learned from at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedPairs:
    """The pairs of a recipe and how they came about."""

    pairs: Blocks
    """Sorted by subreddit, post and pair; with weight if the recipe weights, confounder_log_odds if it adjusts."""
    ledgers: dict[str, Ledger]
    """Of the responses, and of every pool of candidate pairs; what the pools keep adds up to the pairs."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """The probe's result in each round of balancing: round, n_pairs, accuracy, low."""
    differences_before: list[dict[str, Any]] = field(default_factory=list)
    """Standardised mean differences of the candidate pairs before they were thinned or adjusted: confounder, smd; of a
    sample if there are many."""


def select_pairs(
    measured: Blocks, recipe: Recipe, exclusions: Exclusions, context: BuildContext, *, own_records: bool = False
) -> SelectedPairs:
    """The pairs that the recipe makes of the measured comments.

    Deconfounding learns from the posts outside the test, so a recipe of test posts only drops the others at the end.

    Args:
        measured: as returned by `measure_comments`.
        recipe: with both cut times if it splits by time.
        own_records: use only what authors wrote in the same subreddit.
    """
    responses, summaries = map_blocks(
        _select_responses,
        measured,
        context.subfolder("responses"),
        "Selecting responses",
        recipe=recipe,
        exclusions=exclusions,
        own_records=own_records,
    )
    response_ledger = add_up((summary.ledger for summary in summaries), response_rules(recipe, exclusions))
    vote_models = _fit_vote_models(responses, summaries, recipe)

    def match(rules: Recipe, match_context: BuildContext) -> tuple[Blocks, Ledger]:
        return match_pairs(responses, rules, vote_models, match_context)

    selected = _deconfounded(recipe, match, response_ledger, context)
    if not recipe.weight_by_confidence:
        return selected
    weighed, _ = map_blocks(_weigh_by_confidence, selected.pairs, context.subfolder("weighed"), "Weighting pairs")
    return dataclasses.replace(selected, pairs=weighed)


def _deconfounded(recipe: Recipe, match: Match, response_ledger: Ledger, context: BuildContext) -> SelectedPairs:
    """The matched pairs, deconfounded if the recipe says so."""
    pool, ledger = match(recipe, context.subfolder("pool"))
    if recipe.deconfound == "none" or pool.n_rows == 0:
        return SelectedPairs(pairs=pool, ledgers={"responses": response_ledger, "pairs": ledger})
    if recipe.test_posts_only and not any((block["split"] == "test").any() for block in pool):
        pairs, n_dropped = map_blocks(_keep_splits, pool, context.subfolder("test"), SPLITTING, splits=("test",))
        ledgers = {"responses": response_ledger, "pairs": ledger.drop(NOT_A_TEST_POST, sum(n_dropped))}
        return SelectedPairs(pairs=pairs, ledgers=ledgers)
    with single_threaded():
        before = _differences(pool)
        if recipe.deconfound == "balance":
            pairs, ledger, rounds = _balanced(pool, ledger, recipe, match, context)
            ledgers = {"pairs": ledger}
        else:
            pairs, ledgers, rounds = _adjusted(pool, ledger, recipe, match, context)
    ledgers = {"responses": response_ledger} | ledgers
    return SelectedPairs(pairs=pairs, ledgers=ledgers, rounds=rounds, differences_before=before)


class _Selected(NamedTuple):
    """What a block of selected responses adds to the whole."""

    ledger: Ledger
    sums: VoteSums
    counts: Ints | None
    """Of their looks, if the label model reads votes cast."""


def _differences(pool: Blocks) -> list[dict[str, Any]]:
    sample = sample_pairs(pool, PropensityConfig().max_learned_pairs)
    return standardised_mean_differences(sample.with_columns(weight=pl.lit(1.0)))


def _select_responses(
    block: pl.DataFrame, recipe: Recipe, exclusions: Exclusions, own_records: bool
) -> tuple[pl.DataFrame, _Selected]:
    if own_records:
        block = block.with_columns(pl.col(f"own_{name[7:]}").alias(name) for name in CONFOUNDERS["author"])
    kept, ledger = select_responses(block, recipe, exclusions)
    look_age_s = pl.col("retrieved_utc") - pl.col("created_utc")
    kept = kept.with_columns(look_age_s=look_age_s).select(*COLUMNS, "look_age_s")
    kept = kept.with_columns(pl.col("post_created_utc").cast(pl.Float64))
    reads_votes = recipe.label_model == "votes"
    counts = count_looks(look(kept["score"], kept["is_controversial"])) if reads_votes else None
    return kept, _Selected(ledger, VoteSums.from_scores(kept["score"]), counts)


def _fit_vote_models(responses: Blocks, summaries: list[_Selected], recipe: Recipe) -> dict[str, VoteModel]:
    """The vote model of each subreddit that has responses."""
    models = {}
    for subreddit in dict.fromkeys(responses.subreddits):
        own = [summary for name, summary in zip(responses.subreddits, summaries, strict=True) if name == subreddit]
        total = reduce(VoteSums.plus, (summary.sums for summary in own))
        counts = [summary.counts for summary in own if summary.counts is not None]
        if total.n:
            is_equal = recipe.exposure == "equal"
            sample = pl.DataFrame() if is_equal else _exposure_sample(responses.for_subreddit(subreddit), total.n)
            models[subreddit] = fit_vote_model(total, sum(counts) if counts else None, sample, recipe)  # type: ignore[arg-type]
    return models


def _exposure_sample(responses: Blocks, n: int) -> pl.DataFrame:
    """The responses that exposure is learned from: of all posts, or of the first posts by a hash."""
    parts = []
    for block in responses:
        posts = block.select(pl.col("post_id").unique())
        first = posts.filter(pl.Series(hash_ids(posts["post_id"], "voters")) / SPAN < MAX_EXPOSURE_RESPONSES / n)
        columns = block.select("post_id", "score", "is_controversial", "log_delay", "post_score", "look_age_s")
        parts.append(columns.join(first, on="post_id", how="semi", maintain_order="left"))
    return pl.concat(parts)


def _wider_pool(pool: Blocks, recipe: Recipe, match: Match, context: BuildContext) -> Blocks | None:
    """Pairs of the same responses without calipers, for a small pool to learn from; None for a large pool."""
    if pool.n_rows >= PropensityConfig().max_learned_pairs:
        return None
    wide = adjusted()
    shared = {name: getattr(wide, name) for name in (*CALIPERS, *PAIR_CAPS, "neighbour_order", "n_neighbours")}
    rules = dataclasses.replace(recipe, **shared, deconfound="adjust", length_symmetric=False, balance_signs=False)
    return match(rules, context)[0]


def _balanced(
    pool: Blocks, ledger: Ledger, recipe: Recipe, match: Match, context: BuildContext
) -> tuple[Blocks, Ledger, list[dict[str, Any]]]:
    wider_pool = _wider_pool(pool, recipe, match, context.subfolder("wider-pool"))
    pairs, ledger, rounds = balance_pairs(pool, ledger, recipe, context, wider_pool=wider_pool)
    if recipe.test_posts_only:
        pairs, n_dropped = map_blocks(_keep_splits, pairs, context.subfolder("test"), SPLITTING, splits=("test",))
        ledger = ledger.drop(NOT_A_TEST_POST, sum(n_dropped))
    if recipe.balance_signs:
        mirror = signs_mirror(recipe)
        pairs, counts = balance_by_mirror(mirror, pairs, recipe, {}, context.subfolder("signs"))
        ledger = ledger.drop(mirror.reason, sum(one[mirror.reason] for one in counts))
    return pairs, ledger, rounds


def _weigh_by_confidence(block: pl.DataFrame) -> tuple[pl.DataFrame, None]:
    """The pairs with weights that are 0 for a label that is a coin, but for a least weight, and 1 for a certain one."""
    weight = pl.col("weight") if "weight" in block.columns else pl.lit(1.0)
    confidence = (2 * pl.col("label_confidence") - 1).clip(LEAST_WEIGHT)
    return block.with_columns(weight=weight * confidence), None


def _keep_splits(block: pl.DataFrame, splits: tuple[str, ...]) -> tuple[pl.DataFrame, int]:
    """The pairs of these splits, and the number of others."""
    kept = block.filter(pl.col("split").is_in(splits))
    return kept, block.height - kept.height


def _adjusted(
    pool: Blocks, ledger: Ledger, recipe: Recipe, match: Match, context: BuildContext
) -> tuple[Blocks, dict[str, Ledger], list[dict[str, Any]]]:
    """Training pairs with their log-odds; the held-out pairs are those of `balanced`."""
    train, n_held_out = map_blocks(_keep_splits, pool, context.subfolder("train"), SPLITTING, splits=("train",))
    ledger = ledger.drop("held out: replaced by balanced pairs", sum(n_held_out))
    shared = {name: getattr(recipe, name) for name in ("validation_fraction", "test_fraction", "exposure", "vote_fuzz")}
    rules = dataclasses.replace(balanced(), **shared)
    held_pool, held_ledger = match(rules, context.subfolder("held-pool"))
    held, held_ledger, rounds = _balanced(held_pool, held_ledger, rules, match, context.subfolder("held"))
    held_out_splits = ("validation", "test")
    held_out, n_train = map_blocks(_keep_splits, held, context.subfolder("held-out"), SPLITTING, splits=held_out_splits)
    held_ledger = held_ledger.drop("train: replaced by adjusted pairs", sum(n_train))
    trained = adjust_pairs(train, context.subfolder("adjusted"))
    folder = context.subfolder("together").folder
    folder.mkdir()
    files = []
    for file, block, others in zip(trained.files, trained, held_out, strict=True):
        both = pl.concat([block, others.with_columns(confounder_log_odds=pl.lit(0.0))], how="diagonal")
        files.append(write_block(both.sort(ORDER), folder / file.name))
    return Blocks(tuple(files), trained.subreddits), {"pairs": ledger, "held-out pairs": held_ledger}, rounds
