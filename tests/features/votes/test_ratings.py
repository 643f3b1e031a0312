"""Ratings of sources recover a truth, agree with evalica, and say what few votes would flip."""

import evalica
import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from features.votes.ratings import fit_davidson, rate_sources

SOURCES = ("agent", "best-of-4", "human", "writer")


def simulate(strengths: np.ndarray, n: int, log_tie: float, seed: int, length_effect: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    sides = np.array([rng.choice(len(strengths), 2, replace=False) for _ in range(n)])
    length = rng.normal(0, 0.5, n) + 0.4 * (sides[:, 0] == 3) - 0.4 * (sides[:, 1] == 3)
    d = strengths[sides[:, 0]] - strengths[sides[:, 1]] + length_effect * length
    odds = np.exp(np.column_stack([d / 2, -d / 2, np.full(n, log_tie)]))
    kind = [rng.choice(3, p=row / row.sum()) for row in odds]
    return pl.DataFrame(
        {
            "chosen_source": [SOURCES[side] for side in sides[:, 0]],
            "rejected_source": [SOURCES[side] for side in sides[:, 1]],
            "outcome": [(1.0, 0.0, 0.5)[one] for one in kind],
            "weight": np.ones(n),
            "item_id": [f"i{index // 3}" for index in range(n)],
            "rater": [f"r{index % 9}" for index in range(n)],
            "log_length": length,
        }
    )


def test_strengths_and_length_effect_are_recovered() -> None:
    truth = np.array([-0.6, 0.5, 0.4, -0.3])
    rows = {row["source"]: row for row in rate_sources(simulate(truth, 6_000, -0.5, 1, length_effect=1.0))}
    for name, value in zip(SOURCES, truth, strict=True):
        row = rows[name]
        assert row["at_equal_length_low"] - 0.05 < value < row["at_equal_length_high"] + 0.05, name
    assert rows["writer"]["strength"] > rows["writer"]["at_equal_length"] + 0.1  # it writes long
    assert rows["best-of-4"]["tier"] == 1
    assert rows["agent"]["tier"] > 1


def test_the_fit_is_the_maximum_of_davidsons_likelihood() -> None:
    votes = simulate(np.array([0.5, 0.0, -0.5, 0.2]), 300, -0.7, 2)
    place = {name: index for index, name in enumerate(SOURCES)}
    first, second = (np.array([place[one] for one in votes[side]]) for side in ("chosen_source", "rejected_source"))
    outcome = votes["outcome"].to_numpy()

    def loss(parameters: np.ndarray) -> float:
        pi, nu = np.exp(parameters[:4]), np.exp(parameters[4])
        tie = nu * np.sqrt(pi[first] * pi[second])
        top = np.select([outcome == 1, outcome == 0], [pi[first], pi[second]], tie)
        return float(-np.log(top / (pi[first] + pi[second] + tie)).sum() + (parameters[:4].sum()) ** 2)

    found = minimize(loss, np.zeros(5)).x
    fit = fit_davidson(first, second, outcome, np.ones(300), SOURCES)
    assert np.allclose(fit.strengths, found[:4] - found[:4].mean(), atol=1e-3)
    assert fit.log_tie == pytest.approx(found[4], abs=1e-3)


def test_without_ties_the_ratings_are_those_of_evalica() -> None:
    votes = simulate(np.array([0.9, 0.0, -0.5, 0.2]), 400, -30.0, 3)
    winners = [evalica.Winner.X if outcome == 1 else evalica.Winner.Y for outcome in votes["outcome"]]
    theirs = evalica.bradley_terry(
        votes["chosen_source"].to_list(), votes["rejected_source"].to_list(), winners, tolerance=1e-12, limit=10_000
    ).scores
    ours = {row["source"]: row["strength"] for row in rate_sources(votes)}
    logs = {name: float(np.log(theirs[name])) for name in SOURCES}
    mean = sum(logs.values()) / 4
    assert all(abs(ours[name] - logs[name] + mean) < 1e-3 for name in SOURCES), (ours, logs)


def test_votes_to_flip_is_the_fewest_that_flip() -> None:
    votes = simulate(np.array([0.4, 0.0, -0.5, 0.2]), 200, -1.0, 4)
    rows = rate_sources(votes)
    upper, lower, n = rows[0]["source"], rows[1]["source"], rows[0]["votes_to_flip"]
    more = votes.head(1).with_columns(chosen_source=pl.lit(lower), rejected_source=pl.lit(upper), outcome=pl.lit(1.0))
    for weight, leader in ((float(n), lower), (n - 1.0, upper)):
        changed = pl.concat([votes, more.with_columns(weight=pl.lit(max(weight, 1e-9)))])
        assert rate_sources(changed)[0]["source"] == leader


def test_one_source_has_no_rating() -> None:
    votes = simulate(np.zeros(4), 10, -1.0, 5).with_columns(
        chosen_source=pl.lit("human"), rejected_source=pl.lit("human")
    )
    assert rate_sources(votes) == []
