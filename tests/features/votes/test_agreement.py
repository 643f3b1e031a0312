"""Two runs on the same votes: which one raters agree with is said only where the paired interval excludes 0."""

import numpy as np
import polars as pl

from features.ledger import Ledger
from features.votes.agreement import difference_of_runs
from features.votes.evidence import Evidence

N_ITEMS = 200


def study(first: float, second: float, seed: int) -> tuple[Evidence, dict[str, pl.DataFrame]]:
    """Three votes an item, and two runs that name the response with more quality so often."""
    rng = np.random.default_rng(seed)
    better = rng.integers(0, 2, N_ITEMS).astype(float)
    items = [f"i{item}" for item in range(N_ITEMS)]
    rows = [
        (f"r{rater}", item, f"p{place // 2}", abs(better[place] - (rng.random() > 0.8)), 1.0, "main", 0)
        for place, item in enumerate(items)
        for rater in range(3)
    ]
    columns = ["rater", "item_id", "post_id", "outcome", "weight", "phase", "occasion"]
    verdicts = (np.where(rng.random(N_ITEMS) < accuracy, better, 1 - better) for accuracy in (first, second))
    judges = {
        f"run:{name}": pl.DataFrame({"item_id": items, "verdict": verdict})
        for name, verdict in zip("ab", verdicts, strict=True)
    }
    return Evidence(pl.DataFrame(), pl.DataFrame(rows, schema=columns, orient="row"), Ledger(0)), judges


def test_the_difference_of_two_runs_covers_the_truth() -> None:
    covered = 0
    for seed in range(60):
        found = difference_of_runs(*study(0.8, 0.7, seed), ("a", "b"))
        assert found is not None
        covered += (
            found["low"] <= 0.1 * 0.6 <= found["high"]
        )  # raters name the better one in .8, so agree .6 more often
    assert covered >= 0.88 * 60


def test_a_run_is_named_only_beyond_chance() -> None:
    told = difference_of_runs(*study(0.95, 0.5, 0), ("a", "b"))
    turned = difference_of_runs(*study(0.5, 0.95, 0), ("a", "b"))
    same = difference_of_runs(*study(0.7, 0.7, 1), ("a", "b"))
    assert told and turned and same
    assert "agree with a more often than with b" in told["sentence"]
    assert "agree with b more often than with a" in turned["sentence"]
    assert "do not tell a and b apart" in same["sentence"]
    assert difference_of_runs(*study(0.7, 0.7, 2), ("a",)) is None
    assert difference_of_runs(*study(0.7, 0.7, 2), ("a", "c")) is None
