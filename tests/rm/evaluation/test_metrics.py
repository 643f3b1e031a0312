from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from lurker.errors import LurkerError
from lurker.pair_sets import require_disjoint
from rm.evaluation.baselines import fit_baseline, length_margins, time_margins
from rm.evaluation.metrics import evaluation_table, is_correct, prediction_table


def test_ties_count_as_half_correct() -> None:
    assert is_correct(np.array([2.0, 0.0, -0.1])).tolist() == [1.0, 0.5, 0.0]


def test_accuracy_and_log_loss_by_hand(planted: Callable[..., pl.DataFrame]) -> None:
    frame = pl.concat([planted(1, ("alpha",)).head(2), planted(1, ("beta",)).head(2)])
    margins = np.array([1.0, -1.0, 0.0, 3.0])
    table = evaluation_table(frame, {"model": margins, "length": margins}, "run", "planted", "test")
    rows = {(row["predictor"], row["subreddit"]): row for row in table.to_dicts()}
    assert rows["model", "alpha"]["accuracy"] == 0.5
    assert rows["model", "beta"]["accuracy"] == 0.75
    assert rows["model", "all"]["accuracy"] == 0.625
    assert rows["model", "all"]["n_test_posts"] == 2
    by_hand = np.mean([np.log1p(np.exp(-margin)) for margin in margins])
    assert rows["model", "all"]["log_loss"] == pytest.approx(by_hand)
    assert rows["length", "all"]["log_loss"] is None
    assert prediction_table(frame, margins)["is_correct"].to_list() == [1.0, 0.0, 0.5, 1.0]


def test_a_test_post_that_was_trained_on_is_refused(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(20)
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "test")}
    require_disjoint(splits["train"], splits["test"], "planted")
    leaking = pl.concat([splits["train"], splits["test"].head(1)])
    with pytest.raises(LurkerError, match=f"1 posts of planted were trained on, {splits['test']['post_id'][0]}"):
        require_disjoint(leaking, splits["test"], "planted")


def test_trivial_baselines_prefer_the_longer_and_the_earlier(planted: Callable[..., pl.DataFrame]) -> None:
    frame = (
        planted(1)
        .head(3)
        .with_columns(
            chosen_chars=pl.Series([50, 10, 10]),
            rejected_chars=pl.Series([10, 50, 10]),
            chosen_delay_s=pl.Series([60, 500, 60]),
            rejected_delay_s=pl.Series([500, 60, 60]),
        )
    )
    assert np.sign(length_margins(frame)).tolist() == [1.0, -1.0, 0.0]
    assert np.sign(time_margins(frame)).tolist() == [1.0, -1.0, 0.0]


def test_fitted_baselines_find_the_shortcut_and_the_words(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(100)
    early = frame.with_columns(chosen_delay_s=pl.lit(100), rejected_delay_s=pl.lit(4000))
    train, validation, test = (early.filter(pl.col("split") == split) for split in ("train", "validation", "test"))
    both, tfidf = (fit_baseline(name, train, validation) for name in ("both", "tfidf"))
    assert is_correct(both(test)).mean() == 1.0
    assert is_correct(tfidf(test)).mean() > 0.9
    turned = test.with_columns(chosen="rejected", rejected="chosen")
    assert tfidf(turned) == pytest.approx(-tfidf(test))


def test_adjusted_baselines_do_not_learn_what_confounders_explain(planted: Callable[..., pl.DataFrame]) -> None:
    """Early responses say "first" and win, whatever else they contain; the confounders know that they are early."""
    frame = planted(200)
    shortcut = frame.with_columns(chosen=pl.lit("first ") + pl.col("chosen"), confounder_log_odds=pl.lit(3.0))
    late = pl.int_range(pl.len()) % 8 == 0  # now and then the other one was early, and lost
    shortcut = shortcut.with_columns(
        chosen=pl.when(late).then(frame["chosen"]).otherwise("chosen"),
        rejected=pl.when(late).then(pl.lit("first ") + pl.col("rejected")).otherwise("rejected"),
        confounder_log_odds=pl.when(late).then(-3.0).otherwise("confounder_log_odds"),
    )
    train, validation = (shortcut.filter(pl.col("split") == split) for split in ("train", "validation"))
    words = ("first", "amber", "birch", "cedar", "dune", "grit", "husk", "knot")
    alone = frame.head(1).with_columns(chosen=pl.lit("first"), rejected=pl.lit("road"))

    def counts(pairs: pl.DataFrame) -> np.ndarray:
        chosen, rejected = (
            np.array([[text.split().count(word) for word in words] for text in pairs[side]], dtype=np.float64)
            for side in ("chosen", "rejected")
        )
        return chosen - rejected

    for name in ("tfidf", "embeddings"):
        naive, adjusted = (
            fit_baseline(name, train, validation, counts, is_adjusted=is_adjusted)(alone)[0]
            for is_adjusted in (False, True)
        )
        assert naive > 0.5 and abs(adjusted) < 0.5 * naive, name


def test_tfidf_is_absent_when_no_text_has_a_word(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(10).with_columns(chosen=pl.lit("   "), rejected=pl.lit("✨"))
    train, validation = (frame.filter(pl.col("split") == split) for split in ("train", "validation"))
    assert fit_baseline("tfidf", train, validation) is None
    assert fit_baseline("both", train, validation) is not None


def test_baselines_of_a_single_pair_are_fitted_or_absent(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(10)
    training, validation = (frame.filter(pl.col("split") == split) for split in ("train", "validation"))
    for few in ((training.head(2), validation.head(1)), (training, validation.head(1)), (training.head(1), validation)):
        margins = fit_baseline("both", *few)(validation)
        assert np.isfinite(margins).all() and margins.shape == (validation.height,)
