import numpy as np
import polars as pl
import pytest

from lurker.pairwise import fit_tfidf


def shortcut_pairs(n: int, seed: int) -> pl.DataFrame:
    """Pairs decided by taste (good | bad) and, more often, by a shortcut that the word `soon` reveals."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        taste, log_odds = rng.choice([-1.0, 1.0]), rng.choice([-2.0, 2.0])
        first_wins = rng.random() < 1 / (1 + np.exp(-(taste + log_odds)))
        sides = [
            f"{'good' if taste > 0 else 'bad'} {'soon' if log_odds > 0 else 'late'} n{number}",
            f"{'bad' if taste > 0 else 'good'} {'late' if log_odds > 0 else 'soon'} m{number}",
        ]
        rows.append(
            {
                "chosen": sides[0 if first_wins else 1],
                "rejected": sides[1 if first_wins else 0],
                "weight": 1.0,
                "confounder_log_odds": log_odds if first_wins else -log_odds,
            }
        )
    return pl.DataFrame(rows)


def test_adjusted_words_do_not_stand_in_for_confounders() -> None:
    training, validation = shortcut_pairs(4000, 0), shortcut_pairs(400, 1)
    plain, adjusted = fit_tfidf(training, validation), fit_tfidf(training, validation, is_adjusted=True)
    assert plain is not None and adjusted is not None
    texts = ["good late", "good soon", "bad soon"]
    leaning, taste = plain(texts), adjusted(texts)
    assert leaning[2] > leaning[0]  # the shortcut beats the taste
    assert taste[0] - taste[2] > 5 * abs(taste[1] - taste[0])


def test_without_a_common_word_there_is_no_model() -> None:
    pairs = pl.DataFrame({"chosen": ["one two"], "rejected": ["three four"], "weight": [1.0]})
    assert fit_tfidf(pairs, pairs) is None


def test_the_reward_is_in_log_odds_for_any_penalty() -> None:
    training, validation, test = shortcut_pairs(3000, 0), shortcut_pairs(1000, 1), shortcut_pairs(3000, 2)
    reward = fit_tfidf(training, validation)
    assert reward is not None
    margin = np.abs(reward(test["chosen"].to_list()) - reward(test["rejected"].to_list()))
    right = reward(test["chosen"].to_list()) > reward(test["rejected"].to_list())
    assert np.mean(1 / (1 + np.exp(-margin))) == pytest.approx(right.mean(), abs=0.03)
    # Taste (1) and shortcut (2) add up to log-odds of 3 or 1.
    assert np.quantile(margin, (0.2, 0.8)) == pytest.approx([1, 3], abs=0.4)
