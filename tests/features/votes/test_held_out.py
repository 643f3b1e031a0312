"""Held-out raters beside the others: the difference is found where there is one, and its interval covers it."""

import numpy as np
import polars as pl

from features.ledger import Ledger
from features.votes.evidence import Evidence
from features.votes.held_out import ANOTHER_RATER, by_rater_group, sentence

N_ITEMS, N_IN, N_OUT = 60, 12, 8


SPREAD = 0.08
"""Standard deviation of the raters, and of the items."""


def study(in_group: float, held_out: float, seed: int) -> tuple[Evidence, dict[str, pl.DataFrame]]:
    """Raters who agree with a judge about so often; raters differ, and so do items."""
    rng = np.random.default_rng(seed)
    verdicts = rng.integers(0, 2, N_ITEMS).astype(float)
    ease = rng.normal(0, SPREAD, N_ITEMS)
    rows = []
    for number in range(N_IN + N_OUT):
        is_held_out = number >= N_IN
        own = (held_out if is_held_out else in_group) + rng.normal(0, SPREAD)
        for item in rng.choice(N_ITEMS, 30, replace=False):
            agrees = rng.random() < np.clip(own + ease[item], 0, 1)
            outcome = verdicts[item] if agrees else 1 - verdicts[item]
            rows.append((f"r{number:02d}", f"i{item}", f"p{item // 2}", is_held_out, outcome, 1.0, "main", 0))
    columns = ["rater", "item_id", "post_id", "is_held_out", "outcome", "weight", "phase", "occasion"]
    votes = pl.DataFrame(rows, schema=columns, orient="row")
    judge = pl.DataFrame({"item_id": [f"i{item}" for item in range(N_ITEMS)], "verdict": verdicts})
    return Evidence(pl.DataFrame(), votes, Ledger(0)), {"run:tuned": judge}


def test_the_interval_of_the_difference_covers_the_truth() -> None:
    covered = 0
    for seed in range(60):
        row = by_rater_group(*study(0.75, 0.65, seed))[1]
        covered += row["difference_low"] <= -0.1 <= row["difference_high"]
    assert covered >= 0.88 * 60


def test_a_judge_that_learned_its_raters_is_named() -> None:
    rows = by_rater_group(*study(0.85, 0.6, 0))
    assert [row["judge"] for row in rows] == [ANOTHER_RATER, "run:tuned"]
    tuned = rows[1]
    assert tuned["in_group_raters"] == N_IN
    assert tuned["held_out_raters"] == N_OUT
    assert tuned["in_group_low"] < 0.85 < tuned["in_group_high"]
    assert tuned["difference_high"] < 0
    assert "run:tuned less" in sentence(rows)
    assert "beyond chance" in sentence(by_rater_group(*study(0.7, 0.7, 1)))


def test_one_rater_alone_has_no_interval_of_a_difference() -> None:
    evidence, judges = study(0.7, 0.7, 2)
    few = evidence.votes.filter(~pl.col("is_held_out") | (pl.col("rater") == f"r{N_IN:02d}"))
    rows = by_rater_group(Evidence(evidence.items, few, evidence.ledger), judges)
    assert all(row["difference"] is None for row in rows)
    assert "single rater" in sentence(rows)
    assert by_rater_group(Evidence(evidence.items, few.filter(~pl.col("is_held_out")), evidence.ledger), judges) == []
