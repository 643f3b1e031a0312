"""Pairs in which the confounders say nothing (`balanced`), or say how much they say (`adjusted`).

`balanced`: a pair whose outcome the confounders foretell with probability p is kept with probability min(p, 1-p)/p of
the outcome that occurred. Among what is kept both outcomes are equally likely whatever the confounders. This is
matching on the probability of the outcome by overlap: Li, Morgan & Zaslavsky 2018, JASA 113(521), where w = 1 - e(x)
for the treated and e(x) for the rest, up to a factor of x. Which pairs stay for the caps is settled before outcomes are
looked at, by how many thinning is expected to leave; the last caps hold what chance leaves beyond that, and seldom
bind. (Where they bound for 12 % of the pairs, those they took had gone against the odds 53.5 % of the time.)

Probabilities are learned from a bounded number of pairs and told of all, block by block.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.blocks import Blocks, Means, map_blocks
from features.confounders.design import Examples, is_earlier_chosen, sample_pairs
from features.confounders.propensity import Propensity, PropensityConfig, chosen_log_odds, fit_propensity
from features.hashing import SPAN, quick_hashes, salted
from features.ledger import Ledger
from features.pairing.matching import ORDER, PairRule, cap_per_post, cap_per_response
from features.recipes.recipe import Recipe
from lurker.stats import accuracy_interval

NO_OVERLAP = "no overlap: outcome foretold above max_confounder_probability"
THINNED = "thinned: confounders foretell the outcome"
EXPECTED = (2 * pl.min_horizontal("_p", 1 - pl.col("_p"))).alias("_expected")
"""How likely thinning keeps a pair before its outcome is known, from the probability _p that the earlier one wins."""


def _cap_expected_per_response(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Pairs that are among the first of both their responses in the order of pair_hash, as many as thinning is expected
    to leave max_expected_pairs_per_response of. pairs: with _p, the probability that the earlier one wins."""
    if recipe.max_expected_pairs_per_response is None:
        return pairs
    ordered = pairs.sort("pair_hash", "pair_id").with_row_index("_n")
    sides = [ordered.select("_n", EXPECTED, response=side) for side in ("chosen_id", "rejected_id")]
    sums = pl.concat(sides).sort("_n", "response").with_columns(sum=pl.col("_expected").cum_sum().over("response"))
    over = sums.filter(pl.col("sum") > recipe.max_expected_pairs_per_response).select("_n").unique()
    return ordered.join(over, on="_n", how="anti").drop("_n")


def _cap_expected_per_post(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The same of every post."""
    if recipe.max_expected_pairs_per_post is None:
        return pairs
    ordered = pairs.sort("pair_hash", "pair_id")
    return ordered.filter(EXPECTED.cum_sum().over("post_id") <= recipe.max_expected_pairs_per_post)


CAPS_ON_EXPECTED: dict[str, PairRule] = {
    "over max_expected_pairs_per_response": _cap_expected_per_response,
    "over max_expected_pairs_per_post": _cap_expected_per_post,
}
CAPS: dict[str, PairRule] = {
    "over max_pairs_per_response": cap_per_response,
    "over max_pairs_per_post": cap_per_post,
}


def balance_pairs(
    pool: Blocks,
    ledger: Ledger,
    recipe: Recipe,
    folder: Path,
    means: Means,
    config: PropensityConfig | None = None,
    around: Blocks | None = None,
) -> tuple[Blocks, Ledger, list[dict[str, Any]]]:
    """The balanced pairs with their weight, the ledger gone on with, and what each round found.

    pool: candidate pairs with their confounders, before any cap. folder: to put the pairs in. Thin, cap, then fit anew
    on what is kept: while a probe of the outcome still beats one half there, thin again. Every probability is of models
    of other posts. around: pairs that no caliper holds, which teach the first of these models too: where the pool is
    small, what confounders say at large says more of it than it can itself.

    Weights all 1 are the default. Weights of a second fit were measured on college data, and so were entropy-balanced
    means, fitted on the same pairs or across posts: where little is left they fit noise, which posts that are held out
    then show turned round, and a linear probe falls below chance (.484-.494, without them .497-.504).
    """
    config = config or PropensityConfig()
    propensity = _learn(pool, config, salted("propensity-fold", recipe.seed), around)
    pairs, counts = map_blocks(_thin_and_cap, pool, folder / "thinned", means, propensity=propensity, recipe=recipe)
    ledger = _drop(ledger, counts, (NO_OVERLAP, *CAPS_ON_EXPECTED, THINNED, *CAPS))
    rounds: list[dict[str, Any]] = []
    for number in range(1, recipe.n_balance_rounds + 1):
        if pairs.n_rows == 0:
            break
        # Other folds: those that the pairs were thinned by would find them turned round.
        propensity = _learn(pairs, config, salted(f"propensity-fold-{number}", recipe.seed))
        learned = sample_pairs(pairs, config.max_learned_pairs)
        found = accuracy_interval((propensity.of(learned) > 0.5) == is_earlier_chosen(learned), learned["post_id"])
        del learned
        rounds.append({"round": number, "n_pairs": found.n, "accuracy": found.value, "low": found.low})
        if found.low <= 0.5 or number == recipe.n_balance_rounds:
            break
        salt = salted(f"thin-{number}", recipe.seed)
        pairs, counts = map_blocks(
            _thin_again, pairs, folder / f"thinned-{number}", means, propensity=propensity, salt=salt
        )
        ledger = _drop(ledger, counts, (THINNED,))
    if rounds and recipe.weighting != "none":
        pairs, _ = map_blocks(_weighted, pairs, folder / "weighted", means, propensity=propensity)
    return pairs, ledger, rounds


def _learn(pool: Blocks, config: PropensityConfig, salt: str, around: Blocks | None = None) -> Propensity:
    return fit_propensity(_examples(pool, around, config.max_learned_pairs), config, salt)


def _examples(pool: Blocks, around: Blocks | None, n_most: int) -> Examples:
    """Of the pool, and where that is smaller than n_most of as many pairs around it as are missing."""
    pairs = sample_pairs(pool, n_most)
    n_free = n_most - pairs.height
    if around is None or n_free <= 0:
        return Examples.of(pairs)
    others = sample_pairs(around, n_free).join(pairs, on="pair_id", how="anti", maintain_order="left")
    return Examples.of(pairs, others if not others.is_empty() else None)


def adjust_pairs(pool: Blocks, folder: Path, means: Means, config: PropensityConfig | None = None) -> Blocks:
    """The pairs with confounder_log_odds. pool: with their confounders."""
    config = config or PropensityConfig()
    propensity = _learn(pool, config, "propensity-fold")
    return map_blocks(_adjusted, pool, folder, means, propensity=propensity)[0]


def _thin_and_cap(block: pl.DataFrame, propensity: Propensity, recipe: Recipe) -> tuple[pl.DataFrame, Counter[str]]:
    p = propensity.of(block)
    overlaps = np.maximum(p, 1 - p) <= recipe.max_confounder_probability
    counts = Counter({NO_OVERLAP: int((~overlaps).sum())})
    pairs = _capped(block.with_columns(_p=p).filter(overlaps), CAPS_ON_EXPECTED, recipe, counts)
    pairs = _thin(pairs.drop("_p"), pairs["_p"].to_numpy(), salted("thin", recipe.seed), counts)
    return _capped(pairs, CAPS, recipe, counts).with_columns(weight=pl.lit(1.0)), counts


def _capped(pairs: pl.DataFrame, caps: dict[str, PairRule], recipe: Recipe, counts: Counter[str]) -> pl.DataFrame:
    """The pairs after the caps, in order; what goes is counted."""
    for reason, cap in caps.items():
        kept = cap(pairs, recipe)
        counts[reason] += pairs.height - kept.height
        pairs = kept
    return pairs.sort(ORDER)


def _thin_again(block: pl.DataFrame, propensity: Propensity, salt: str) -> tuple[pl.DataFrame, Counter[str]]:
    counts = Counter[str]()
    return _thin(block, propensity.of(block), salt, counts), counts


def _weighted(block: pl.DataFrame, propensity: Propensity) -> tuple[pl.DataFrame, None]:
    return block.with_columns(weight=pl.Series(_weight(block, propensity.of(block)), dtype=pl.Float64)), None


def _adjusted(block: pl.DataFrame, propensity: Propensity) -> tuple[pl.DataFrame, None]:
    log_odds = pl.Series(chosen_log_odds(block, propensity), dtype=pl.Float64)
    return block.with_columns(confounder_log_odds=log_odds, weight=pl.lit(1.0)), None


def _weight(pairs: pl.DataFrame, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """min(p, 1-p) over the probability of the outcome that occurred. [n], in (0, 1]."""
    return np.minimum(p, 1 - p) / np.where(is_earlier_chosen(pairs), p, 1 - p)


def _thin(pairs: pl.DataFrame, p: NDArray[np.float64], salt: str, counts: Counter[str]) -> pl.DataFrame:
    """Keep each pair with probability `_weight`, by a hash of its id; what goes is counted."""
    stays = quick_hashes(pairs["pair_id"], salt).to_numpy() / SPAN < _weight(pairs, p)
    counts[THINNED] += int((~stays).sum())
    return pairs.filter(stays)


def _drop(ledger: Ledger, counts: list[Counter[str]], reasons: Iterable[str]) -> Ledger:
    total = sum(counts, Counter[str]())
    for reason in reasons:
        ledger = ledger.drop(reason, total[reason])
    return ledger
