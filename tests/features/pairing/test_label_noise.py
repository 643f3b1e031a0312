from typing import Any

import numpy as np
import polars as pl
import pytest

from features.pairing.label_noise import (
    GammaPrior,
    VoteSums,
    add_label_confidence,
    ceiling,
    fit_prior,
    fit_vote_model,
    label_confidence,
)
from features.pairing.second_window import check_second_window, second_window
from features.pairing.votes_cast import count_looks, look
from features.recipes.recipe import Recipe


def test_equal_scores_give_one_half_and_a_large_gap_gives_certainty() -> None:
    prior = GammaPrior(shape=1.0, rate=0.1)
    assert label_confidence([3, 50], [3, 1], prior) == pytest.approx([0.5, 1.0], abs=1e-6)


def test_a_case_checked_by_hand() -> None:
    # Gamma(1, b): one vote against none are Gamma(2) and Gamma(1), so P = P(Beta(2, 1) > 1/2) = 1 - 1/4.
    assert label_confidence([1], [0], GammaPrior(shape=1.0, rate=7.0)) == pytest.approx([0.75])


def test_negative_scores_count_as_zero() -> None:
    assert label_confidence([0], [-8], GammaPrior(shape=1.0, rate=1.0)) == pytest.approx([0.5])


def test_the_prior_is_recovered_from_scores_drawn_from_it() -> None:
    rng = np.random.default_rng(1)
    scores = rng.poisson(rng.gamma(2.0, 1 / 0.25, 200_000))
    prior = fit_prior(scores)
    assert prior.shape == pytest.approx(2.0, rel=0.05)
    assert prior.rate == pytest.approx(0.25, rel=0.05)


def test_the_confidence_is_calibrated_if_its_assumptions_hold() -> None:
    rng = np.random.default_rng(2)
    rates = rng.gamma(1.5, 4.0, (40_000, 2))
    scores = rng.poisson(rates)
    differ = scores[:, 0] != scores[:, 1]
    scores, rates = scores[differ], rates[differ]
    chosen = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    prior = fit_prior(scores.ravel())
    confidence = label_confidence(scores[rows, chosen], scores[rows, 1 - chosen], prior)
    is_right = rates[rows, chosen] > rates[rows, 1 - chosen]
    assert confidence.mean() == pytest.approx(is_right.mean(), abs=0.01)
    unsure = confidence < 0.7
    assert confidence[unsure].mean() == pytest.approx(is_right[unsure].mean(), abs=0.02)


def test_scores_without_spread_give_little_confidence() -> None:
    prior = fit_prior([4, 4, 4, 5, 4])
    assert label_confidence([5], [4], prior)[0] < 0.52


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        fit_prior([])


def simulated(n_posts: int = 3_000, *, spread: float, fuzz: float = 0.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Responses with their true rate of liking, and pairs of two each; log readers fall with log delay by `spread`."""
    rng = np.random.default_rng(3)
    n = 4 * n_posts
    log_delay = rng.normal(8, 1, n)
    rates = rng.gamma(1.5, 4.0, n)
    scores = rng.poisson(rates * np.exp(-spread * (log_delay - 8)))
    scores = scores + np.rint(rng.normal(0, fuzz, n)).astype(int) if fuzz else scores
    responses = pl.DataFrame(
        {
            "comment_id": [f"c{i:06}" for i in range(n)],
            "post_id": [f"p{i // 4}" for i in range(n)],
            "subreddit": "alpha",
            "score": scores,
            "log_delay": log_delay,
            "post_score": 10,
            "rate": rates,
        }
    )
    first, second = responses.gather_every(2), responses.gather_every(2, 1)
    swap = first["score"] < second["score"]
    sides = {}
    for name in ("comment_id", "score", "rate"):
        a, b = first[name], second[name]
        sides[f"chosen_{name}"], sides[f"rejected_{name}"] = b.zip_with(swap, a), a.zip_with(swap, b)
    pairs = pl.DataFrame({"post_id": first["post_id"], "subreddit": first["subreddit"], **sides, "weight": 1.0})
    named = {"chosen_comment_id": "chosen_id", "rejected_comment_id": "rejected_id"}
    return responses, pairs.rename(named).filter(pl.col("chosen_score") > pl.col("rejected_score"))


def gap(spread: float, fuzz: float = 0.0, **fields: Any) -> float:
    """The ceiling minus the share of pairs whose chosen response is truly liked more."""
    responses, pairs = simulated(spread=spread, fuzz=fuzz)
    rules = Recipe(name="test", **fields)
    vote_models = {"alpha": fit_vote_model(VoteSums.from_scores(responses["score"]), None, responses, rules)}
    judged = add_label_confidence(pairs, responses, vote_models, rules)
    truth = float((judged["chosen_rate"] > judged["rejected_rate"]).mean() or 0.0)
    return float(ceiling({"train": (judged["label_confidence"].sum(), judged.height)})["accuracy"]) - truth


def test_the_ceiling_is_exact_for_equal_exposure_and_too_high_otherwise() -> None:
    assert abs(gap(0.0)) < 0.01
    assert gap(1.0) > 0.05
    assert gap(2.0) > gap(1.0) + 0.05


def test_fitted_exposure_corrects_most_of_that_and_does_no_harm_if_exposure_is_equal() -> None:
    assert abs(gap(0.0, exposure="fitted")) < 0.01
    assert -0.01 < gap(1.0, exposure="fitted") < 0.5 * gap(1.0)


def test_fuzzed_votes_count_for_less() -> None:
    prior = GammaPrior(shape=1.5, rate=0.25)
    sharp, blurred = (label_confidence([8], [4], prior, vote_fuzz=fuzz)[0] for fuzz in (0.0, 4.0))
    assert sharp > blurred > 0.5
    assert abs(gap(0.0, fuzz=3.0, vote_fuzz=3.0)) < 0.015 < gap(0.0, fuzz=3.0)


def test_with_more_readers_the_same_votes_mean_less() -> None:
    prior = GammaPrior(shape=1.0, rate=0.1)
    # Five votes of ten readers against four of one: Gamma(6, 10.1) and Gamma(5, 1.1); the winner is liked less.
    assert label_confidence([5], [4], prior, exposures=([10.0], [1.0])) == pytest.approx([0.5])
    assert label_confidence([5], [4], prior, exposures=([1.0], [10.0]))[0] > 0.98


def judge(pairs: pl.DataFrame, first: dict[str, int], last: dict[str, int]) -> dict[str, Any] | None:
    """The second-window check of pairs whose responses had these scores at two observations."""
    later = {item: score - first[item] for item, score in last.items()}
    ages = dict.fromkeys(later, 7_200)
    seen = {"first_score": {item: first[item] for item in later}, "first_age_s": ages, "later_votes": later}
    columns = {
        f"{side}_{name}": pl.Series([values.get(item) for item in pairs[f"{side}_id"]], dtype=pl.Int64)
        for side in ("chosen", "rejected")
        for name, values in seen.items()
    }
    return check_second_window(second_window(pairs.with_columns(**columns)))


def test_labels_of_the_first_observation_are_checked_by_later_votes() -> None:
    pairs = pl.DataFrame(
        {"post_id": ["p", "p", "q", "q"], "chosen_id": ["a", "b", "d", "g"], "rejected_id": ["b", "c", "e", "h"]}
    ).with_columns(weight=pl.lit(1.0))
    first = {"a": 5, "b": 3, "c": 3, "d": 1, "e": 2, "g": 7, "h": 1}
    last = {"a": 9, "b": 4, "c": 9, "d": 8, "e": 9, "g": 9}
    # a-b: a led and gained more. b-c: even at first. d-e: e led, both gained seven. g-h: h was seen once.
    result = judge(pairs, first, last)
    assert result is not None and result["n_pairs"] == 2
    assert (result["agreement"], result["draws"]) == (0.75, 0.5)
    assert result["accuracy_if_alike"] == pytest.approx((1 + 0.5**0.5) / 2)
    assert [(row["gap"], row["age"], row["n_pairs"]) for row in result["by_gap_and_age"]] == [("1-2", "under 6 h", 2)]
    assert judge(pairs, first, {}) is None


def test_two_windows_recover_the_accuracy_of_either() -> None:
    rng = np.random.default_rng(4)
    n = 20_000
    better, worse = 5.0, 4.0  # alike for all pairs, so that nothing hides in an average
    windows = rng.poisson([[better], [worse]], (2, 2, n))  # window, side, pair
    pairs = pl.DataFrame({"post_id": [f"p{i}" for i in range(n)], "chosen_id": [f"a{i}" for i in range(n)]})
    pairs = pairs.with_columns(rejected_id=pl.col("chosen_id").str.replace("a", "b"), weight=pl.lit(1.0))
    totals = windows.cumsum(axis=0)
    seen = [
        {f"{name}{i}": int(totals[window, side, i]) for side, name in enumerate("ab") for i in range(n)}
        for window in range(2)
    ]
    result = judge(pairs, *seen)
    assert result is not None and result["agreement_low"] < result["agreement"] < result["agreement_high"]
    first = windows[0, 0] - windows[0, 1]
    later = windows[1, 0] - windows[1, 1]
    right_first = (first[first != 0] > 0).mean()
    right_later = (later > 0).mean() + (later == 0).mean() / 2
    expected = right_first * right_later + (1 - right_first) * (1 - right_later)
    assert result["agreement"] == pytest.approx(expected, abs=0.01)
    assert result["accuracy_if_alike"] == pytest.approx((right_first + right_later) / 2, abs=0.01)


def test_damaged_scores_do_not_spoil_the_prior() -> None:
    scores = pl.Series([1, 2, 3] * 100 + [2**40] * 20)
    assert VoteSums.from_scores(scores).squares == 100 * (1 + 4 + 9) + 20 * 10**12
    prior = fit_prior(scores.to_numpy())
    assert 0 < prior.shape < 1 and 0 < prior.rate < 1


def test_a_response_that_was_seen_young_had_fewer_readers() -> None:
    rng = np.random.default_rng(8)
    n = 4_000
    age_h = rng.choice([1.0, 30.0], n)
    scores = rng.poisson(rng.gamma(2.0, 2.0, n) * np.where(age_h == 1.0, 0.3, 1.0))
    block = pl.DataFrame(
        {
            "comment_id": [f"c{i}" for i in range(n)],
            "post_id": [f"p{i // 4}" for i in range(n)],
            "subreddit": "alpha",
            "score": scores,
            "is_controversial": False,
            "log_delay": np.full(n, 7.0),
            "post_score": 10,
            "look_age_s": (age_h * 3_600).astype(np.int64),
        }
    )
    rules = Recipe(name="test", exposure="fitted", label_model="votes")
    looks = count_looks(look(block["score"], block["is_controversial"]))
    model = fit_vote_model(VoteSums.from_scores(block["score"]), looks, block, rules)
    assert model.exposure is not None
    readers = model.exposure.predict(block)
    young, old = readers[age_h == 1.0].mean(), readers[age_h == 30.0].mean()
    assert young / old == pytest.approx(0.3, rel=0.15)
    leader = block.filter(pl.col("look_age_s") > 50_000, pl.col("score") == 5)["comment_id"][0]
    other = block.filter(pl.col("look_age_s") < 50_000, pl.col("score") == 4)["comment_id"][0]
    pair = pl.DataFrame({"subreddit": ["alpha"], "chosen_id": [leader], "rejected_id": [other]}).with_columns(
        chosen_score=pl.lit(5), rejected_score=pl.lit(4)
    )
    confidence = add_label_confidence(pair, block, {"alpha": model}, rules)["label_confidence"][0]
    assert confidence < 0.35  # four votes in an hour say more than five in thirty
