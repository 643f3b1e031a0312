"""The mistake model recovers simulated raters within its intervals, and its claim about the majority follows them."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from features.votes.alpha import alpha_interval
from features.votes.mistakes import fit_mistakes, predict_held_out, vote_confidence
from features.votes.raters import rater_figures, suspicious
from lurker.votes.simulated import RATERS, SimulatedRater, choose, simulated_raters


def simulate(
    n_items: int, n_raters: int, per_item: int, seed: int, raters: Sequence[SimulatedRater] | None = None
) -> tuple[pl.DataFrame, np.ndarray]:
    """Votes of simulated raters on items whose difference of quality is N(0, 1), and the differences."""
    rng = np.random.default_rng(seed)
    raters = raters or simulated_raters(n_raters)
    quality = rng.normal(0, 1, n_items)
    rows = []
    for item in range(n_items):
        for number in rng.choice(n_raters, per_item, replace=False):
            side = 1.0 if rng.random() < 0.5 else -1.0
            qualities = (quality[item], 0.0) if side > 0 else (0.0, quality[item])
            choice = choose(raters[number], *qualities, rng)
            outcome = 0.5 if choice == "level" else float((choice == "a") == (side > 0))
            rows.append((f"v{item}-{number}", f"r{number:02d}", f"i{item:04d}", f"p{item // 2}", choice, outcome, side))
    columns = ["vote_id", "rater", "item_id", "post_id", "choice", "outcome", "side"]
    return pl.DataFrame(rows, schema=columns, orient="row"), quality


def test_simulated_raters_are_recovered_within_intervals() -> None:
    covered, n = 0, 0
    votes, quality = simulate(800, 20, 6, seed=0)
    fitted = fit_mistakes(votes)
    for rater, row in zip(simulated_raters(20), fitted.raters.to_dicts(), strict=True):
        covered += row["slope_low"] <= rater.slope <= row["slope_high"]
        covered += row["bias_low"] <= rater.bias <= row["bias_high"]
        n += 2
    assert covered >= 0.85 * n  # 95 % of 40 intervals, less three standard errors
    kinds = dict(zip(fitted.raters["rater"], simulated_raters(20), strict=True))
    by_kind = {one.kind: [] for one in RATERS}  # type: ignore[var-annotated]
    for row in fitted.raters.to_dicts():
        by_kind[kinds[row["rater"]].kind].append(row)
    assert all(row["slope_high"] < 0 for row in by_kind["contrarian"])
    assert all(row["bias_low"] > 0.5 for row in by_kind["side-biased"])
    truth = pl.DataFrame({"item_id": [f"i{index:04d}" for index in range(800)], "d": quality})
    items = fitted.items.join(truth, on="item_id")
    right = ((items["p_chosen"] > 0.5) == (items["d"] > 0)).mean()
    majority = votes.group_by("item_id").agg(pl.col("outcome").mean()).join(truth, on="item_id")
    assert right > ((majority["outcome"] > 0.5) == (majority["d"] > 0)).mean()
    sure = vote_confidence(votes, fitted)
    assert sure["confidence"].is_between(0, 1).all()
    careful, contrarian = (
        sure.filter(pl.col("rater").is_in([name for name, one in kinds.items() if one.kind == kind]))[
            "confidence"
        ].mean()
        for kind in ("careful", "contrarian")
    )
    assert careful > 0.7 > contrarian  # type: ignore[operator]


def test_it_beats_the_majority_where_raters_differ_and_says_so() -> None:
    votes, _ = simulate(400, 16, 6, seed=1)
    found = predict_held_out(votes)
    assert found is not None
    assert found["gain_log_loss"]["low"] > 0
    assert "better than the majority" in found["sentence"]
    rng = np.random.default_rng(0)
    coins = votes.with_columns(outcome=pl.Series(rng.integers(0, 2, votes.height).astype(float)))
    noise = predict_held_out(coins.head(300))
    assert noise is not None
    assert noise["gain_accuracy"]["low"] <= 0
    assert predict_held_out(votes.unique("item_id")) is None


@pytest.mark.parametrize("kind", ["careless", "side-biased", "contrarian"])
def test_it_beats_the_majority_with_each_kind_of_bad_rater(kind: str) -> None:
    bad = next(one for one in RATERS if one.kind == kind)
    votes, _ = simulate(250, 12, 6, seed=3, raters=[RATERS[0]] * 7 + [bad] * 5)
    found = predict_held_out(votes)
    assert found is not None
    assert found["gain_log_loss"]["low"] > 0
    assert "better than the majority" in found["sentence"]


def test_alpha_is_that_of_the_published_example() -> None:
    """Three observers and fifteen units with missing values.

    Source: Krippendorff's alpha in Wikipedia, "A computational example": nominal alpha 0.691.
    """
    table = {"a": "*****34121133*3", "b": "1*213343*******", "c": "**21344*21133*4"}
    rows = [
        (rater, f"i{unit:02d}", f"p{unit}", "a", float(value))
        for rater, values in table.items()
        for unit, value in enumerate(values)
        if value != "*"
    ]
    votes = pl.DataFrame(rows, schema=["rater", "item_id", "post_id", "choice", "outcome"], orient="row")
    found = alpha_interval(votes)
    assert found is not None
    assert abs(found["value"] - 0.691) < 1e-3
    assert found["low"] <= found["value"] <= found["high"]
    assert alpha_interval(votes, without=["b", "c"]) is None


def test_suspicious_raters_are_named_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for name, dwell in (("good", 4_000), ("lefty", 4_000), ("hasty", 300)):
        for item in range(60):
            is_a = rng.random() < 0.5
            right = name == "good" or rng.random() < 0.5
            choice = "a" if name == "lefty" or (right == is_a) else "b"
            outcome = float((choice == "a") == is_a)
            phase = "gold" if item % 2 else "main"
            rows.append((name, f"i{item}", f"p{item}", choice, outcome, phase, 0, dwell, False))
            if item % 3 == 0:
                again = outcome if name == "good" else float(rng.random() < 0.5)
                rows.append((name, f"i{item}", f"p{item}", choice, again, phase, 1, dwell, False))
    columns = ["rater", "item_id", "post_id", "choice", "outcome", "phase", "occasion", "dwell_ms", "is_held_out"]
    figures = rater_figures(pl.DataFrame(rows, schema=columns, orient="row"))
    reasons = {row["rater"]: row["suspicious"] for row in figures}
    assert reasons["good"] == []
    assert "prefers a side" in reasons["lefty"]
    assert {"too fast", "wrong on gold"} <= set(reasons["hasty"])
    assert set(suspicious(figures)) == {"lefty", "hasty"}
