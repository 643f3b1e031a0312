import numpy as np
import polars as pl
import pytest

from rm.evaluation.simulator_truth import reward_correlations, true_pairs


def known(n_posts: int, n_responses: int, seed: int = 0) -> pl.DataFrame:
    """Responses whose quality rises with length, with a level per post."""
    rng = np.random.default_rng(seed)
    n = n_posts * n_responses
    length = rng.normal(size=n)
    post = np.repeat(np.arange(n_posts), n_responses)
    return pl.DataFrame(
        {
            "response_id": [f"r{number}" for number in range(n)],
            "post_id": [f"p{number}" for number in post],
            "quality": 0.5 * length + rng.normal(size=n) + rng.normal(size=n_posts)[post],
            "n_chars": np.exp(5 + length).astype(np.int64),
            "delay_s": np.exp(7 + rng.normal(size=n)).astype(np.int64),
        }
    )


def test_true_pairs_by_hand() -> None:
    responses = pl.DataFrame(
        {
            "response_id": ["a", "b", "c", "d", "e"],
            "post_id": ["p", "p", "p", "q", "q"],
            "quality": [0.3, 1.0, -1.0, 2.0, 2.0],
            "n_chars": [10, 20, 30, 40, 50],
            "delay_s": [5, 4, 3, 2, 1],
        }
    )
    pairs = true_pairs(responses)
    named = {(int(better), int(worse)) for better, worse in zip(pairs.better, pairs.worse, strict=True)}
    assert named == {(1, 0), (0, 2), (1, 2)}  # d and e are equally good
    of = {pair: number for number, pair in enumerate(zip(pairs.better.tolist(), pairs.worse.tolist(), strict=True))}
    assert [bool(pairs.parts["better is shorter"][of[pair]]) for pair in ((1, 0), (0, 2), (1, 2))] == [
        False,
        True,
        True,
    ]
    assert [bool(pairs.parts["better is later"][of[pair]]) for pair in ((1, 0), (0, 2), (1, 2))] == [False, True, True]


def test_a_reward_of_pure_quality_has_no_partial_correlations_though_quality_correlates_with_length() -> None:
    responses = known(400, 8)
    rng = np.random.default_rng(1)
    noise = 3 * rng.normal(size=400)[np.repeat(np.arange(400), 8)]  # a level per post does not matter within it
    correlations = reward_correlations(responses, 2 * responses["quality"].to_numpy() + rng.normal(size=3200) + noise)
    assert correlations is not None
    low, high = np.quantile(correlations.draws, (0.025, 0.975), axis=0)
    assert correlations.values[0] > 0.85
    assert (low[1:] < 0).all() and (high[1:] > 0).all() and (high[1:] - low[1:] < 0.1).all()


@pytest.mark.parametrize(("index", "column"), [(1, "n_chars"), (2, "delay_s")])
def test_a_shortcut_of_known_size_is_recovered(index: int, column: str) -> None:
    responses = known(400, 8)
    shortcut = responses[column].log1p().to_numpy()
    reward = responses["quality"].to_numpy() - 0.75 * shortcut + np.random.default_rng(2).normal(size=3200)
    correlations = reward_correlations(responses, reward)
    assert correlations is not None
    # At fixed quality the shortcut varies by 1 (delay) or by 1 - 0.25 / 1.25 (length, which correlates with quality).
    spread = 0.75 * np.sqrt(1.0 if column == "delay_s" else 0.8)
    assert correlations.values[index] == pytest.approx(-spread / np.sqrt(spread**2 + 1), abs=0.04)
    assert abs(correlations.values[3 - index]) < 0.05


def test_constant_rewards_have_no_correlations() -> None:
    assert reward_correlations(known(20, 4), np.ones(80)) is None
