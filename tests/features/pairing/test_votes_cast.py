import numpy as np
import polars as pl
import pytest

from features.pairing.votes_cast import (
    FLAGGED,
    UNKNOWN,
    Look,
    VotesCast,
    confidence_from_votes,
    count_looks,
    fit_votes_cast,
    is_controversial,
    look,
    posterior,
    votes_and_shares,
)
from ingest.simulator.config import SimulationConfig
from ingest.simulator.world import simulate
from lurker.schema import PAIRS


@pytest.fixture(scope="module")
def responses() -> pl.DataFrame:
    """Simulated responses, 6 % of them controversial."""
    config = SimulationConfig(seed=3, n_posts=900, down_rate=0.06, readers=120, n_subreddits=1)
    blocks = pl.concat([comments for _, comments in simulate(config)], how="diagonal")
    return blocks.filter(pl.col("parent_index") < 0, ~pl.col("is_sticky"))


@pytest.fixture(scope="module")
def model(responses: pl.DataFrame) -> VotesCast:
    return fit_votes_cast(count_looks(look(responses["score"], responses["is_controversial"])))


def confidence(model: VotesCast, chosen: tuple[int, bool | None], rejected: tuple[int, bool | None]) -> float:
    (first, first_flag), (second, second_flag) = chosen, rejected
    return float(confidence_from_votes(look([first], [first_flag]), look([second], [second_flag]), model)[0])


def test_the_flag_is_reddits() -> None:
    ups = [4, 3, 7, 4, 6, 5, 61]
    downs = [3, 3, 3, 6, 4, 2, 39]
    # votes:   7  6  10 10 10 7  100; shares: .57 .5 .7 .4 .6 .71 .61
    assert is_controversial(ups, downs).tolist() == [True, False, False, True, True, False, False]


def test_a_flag_says_at_least_five_votes_per_point_of_score(model: VotesCast) -> None:
    votes, _ = votes_and_shares()
    flagged, plain = (float(posterior(6, flag, model) @ votes) for flag in (FLAGGED, 0))
    assert flagged > 20 > plain


def test_confidence_is_antisymmetric_and_an_unknown_flag_lies_between(model: VotesCast) -> None:
    assert confidence(model, (4, False), (2, True)) == pytest.approx(1 - confidence(model, (2, True), (4, False)))
    flagged, unknown, plain = (confidence(model, (5, flag), (2, False)) for flag in (True, None, False))
    assert flagged < unknown < plain


def test_confidence_is_calibrated_against_the_true_rates_and_the_flag_helps(
    responses: pl.DataFrame, model: VotesCast
) -> None:
    rng = np.random.default_rng(0)
    scores, rates = responses["score"].to_numpy(), responses["net_vote_rate"].to_numpy()
    flags = responses["is_controversial"].to_numpy().astype(np.int64)
    a, b = rng.integers(0, len(scores), (2, 20_000))
    a, b = a[scores[a] > scores[b]], b[scores[a] > scores[b]]
    is_right = rates[a] > rates[b]
    with_flags = confidence_from_votes(Look(scores[a], flags[a]), Look(scores[b], flags[b]), model)
    unknown = np.full(len(a), UNKNOWN)
    without = confidence_from_votes(Look(scores[a], unknown), Look(scores[b], unknown), model)
    for low, high in ((0.5, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 0.97), (0.97, 1.0)):
        rows = (with_flags >= low) & (with_flags < high)
        assert is_right[rows].mean() == pytest.approx(with_flags[rows].mean(), abs=0.04)

    def log_loss(p: np.ndarray) -> float:
        return float(-np.log(np.clip(np.where(is_right, p, 1 - p), 1e-3, None)).mean())

    assert log_loss(with_flags) < log_loss(without) - 0.002


def test_luck_makes_gaps_less_certain_and_drift_doubts_flagged_leaders(model: VotesCast) -> None:
    counts = np.zeros((161, 3, 61), dtype=np.int64)
    counts[41:60, 0, 30], counts[43:50, 1, 30] = 50, 5
    sure, lucky, drifting = (
        fit_votes_cast(counts, exposure_luck=luck, controversial_drift=drift)
        for luck, drift in ((0.0, 0.0), (1.0, 0.0), (0.0, 0.5))
    )
    assert confidence(lucky, (9, False), (2, False)) < confidence(sure, (9, False), (2, False))
    assert confidence(drifting, (6, True), (2, False)) < confidence(sure, (6, True), (2, False))
    assert confidence(drifting, (9, False), (2, False)) == confidence(sure, (9, False), (2, False))


def test_fuzz_makes_a_gap_of_one_vote_less_certain(responses: pl.DataFrame, model: VotesCast) -> None:
    counts = count_looks(look(responses["score"], responses["is_controversial"]))
    fuzzed = fit_votes_cast(counts, vote_fuzz=2.0)
    assert confidence(fuzzed, (3, False), (2, False)) < confidence(model, (3, False), (2, False))


def test_scores_beyond_the_grid_are_still_ordered(model: VotesCast) -> None:
    confidences = [confidence(model, (n, False), (300, False)) for n in (310, 400, 2_000)]
    assert confidences == sorted(confidences)
    assert 0.5 < confidences[0] < 0.8
    assert confidences[2] > 0.999
    assert confidence(model, (-60, False), (-500, True)) > 0.99


def test_votes_from_fewer_readers_count_for_more(model: VotesCast) -> None:
    few, many = look([5], [False], [0.3]), look([5], [False], [3.0])
    assert confidence_from_votes(few, many, model)[0] > 0.9


def test_counts_of_parts_add_up_and_none_are_refused(responses: pl.DataFrame) -> None:
    def counts(rows: pl.DataFrame) -> np.ndarray:
        return count_looks(look(rows["score"], rows["is_controversial"]))

    assert (counts(responses[:100]) + counts(responses[100:]) == counts(responses)).all()
    with pytest.raises(ValueError, match="no scores"):
        fit_votes_cast(counts(responses[:0]))


def test_the_table_says_that_a_flag_can_make_a_label_less_likely_than_not() -> None:
    assert "0–1" in PAIRS.columns["label_confidence"].meaning


def test_a_score_beyond_the_grid_of_rates_still_wins_or_loses(model: VotesCast) -> None:
    for size in (100_000, 668_000, 2**40):
        assert confidence(model, (size, False), (3, False)) == pytest.approx(1)
        assert confidence(model, (-size, None), (3, False)) == pytest.approx(0)
        assert confidence(model, (size, False), (size, False)) == pytest.approx(0.5)
