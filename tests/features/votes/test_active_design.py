"""The active design asks more often about what tells most; the weights make the votes stand for all items again."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dashboard.arena.design import Draw, Pool, next_draw
from features.votes.design_weights import design_weights
from lurker.stats import accuracy_interval
from lurker.votes.arenas import Arena, ArenaConfig
from lurker.votes.store import Vote
from lurker.workspace import Workspace

N_ITEMS, N_RATERS, N_VOTES, N_STUDIES = 120, 16, 50, 16
INFORMATION = np.random.default_rng(5).exponential(size=N_ITEMS) ** 2
AGREES = 0.95 - 0.8 * np.minimum(INFORMATION / np.quantile(INFORMATION, 0.9), 1.0)
"""How often raters agree with a model on each item: it is often wrong where a vote tells much."""
ITEMS = tuple(f"i{index:02d}" for index in range(N_ITEMS))


def vote(rater: str, drawn: Draw, place: int, choice: str) -> Vote:
    facts = (drawn.phase, drawn.occasion, "better", "active", drawn.propensity, drawn.n_eligible, 900, None, 0, 1)
    return Vote(f"{rater}-{place}", "tea", rater, drawn.item_id, "x", "y", choice, *facts)  # type: ignore[arg-type]


def study(seed: int, design: str = "active") -> pl.DataFrame:
    """The votes of raters who agree with the model (a) or not (b), and skip now and then."""
    rng = np.random.default_rng(seed)
    config = ArenaConfig(design=design, n_qualifying=0, seed=seed)  # type: ignore[arg-type]
    arena = Arena(Workspace(Path("unused")), "tea", config, {}, "", "", ())
    pool = Pool(ITEMS, (), (), INFORMATION)
    rows = []
    for number in range(N_RATERS):
        votes: list[Vote] = []
        for place in range(N_VOTES):
            drawn = next_draw(arena, f"r{number}", pool, votes)
            assert drawn is not None
            agrees = rng.random() < AGREES[ITEMS.index(drawn.item_id)]
            choice = "skip" if rng.random() < 0.05 else "a" if agrees else "b"
            votes.append(vote(f"r{number}", drawn, place, choice))
        rows += votes
    return pl.DataFrame(rows)


def covers(votes: pl.DataFrame, weights: pl.Series | None) -> bool:
    one = accuracy_interval((votes["choice"] == "a").cast(pl.Float64), votes["item_id"], weights)
    return bool(one.low <= AGREES.mean() <= one.high)


@pytest.fixture(scope="module")
def studies() -> list[pl.DataFrame]:
    weighted = []
    for seed in range(N_STUDIES):
        votes = study(seed)
        first = votes.filter(phase="main", occasion=0)
        weighted.append(first.join(design_weights(votes), on="vote_id").filter(pl.col("choice") != "skip"))
    return weighted


def test_weighted_estimates_cover_the_truth_and_unweighted_ones_do_not(studies: list[pl.DataFrame]) -> None:
    assert sum(covers(votes, votes["weight"]) for votes in studies) >= 0.85 * N_STUDIES
    assert sum(covers(votes, None) for votes in studies) <= 0.2 * N_STUDIES


def test_weights_know_that_the_items_that_tell_most_are_used_up(studies: list[pl.DataFrame]) -> None:
    def bias(weight: pl.Expr) -> float:
        means = [votes.select(((pl.col("choice") == "a") * weight).sum() / weight.sum()).item() for votes in studies]
        return abs(float(np.mean(means)) - AGREES.mean())

    of_items_left = 1 / (pl.col("n_eligible") * pl.col("propensity"))
    assert bias(pl.col("weight")) < 0.01
    assert bias(of_items_left) > 0.03


def test_without_an_active_design_all_weights_are_one() -> None:
    weights = design_weights(study(0, "random"))["weight"]
    assert len(weights) > N_RATERS
    assert weights.to_list() == pytest.approx([1.0] * len(weights))
