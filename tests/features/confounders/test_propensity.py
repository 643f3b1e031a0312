"""The probability of an outcome: learned from other posts, from training posts only, by three models."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.blocks import Blocks, write_block
from features.confounders.context import read_context
from features.confounders.design import Design, is_earlier_chosen, sample_pairs
from features.confounders.measures import add_confounders
from features.confounders.propensity import Propensity, PropensityConfig, fit_propensity
from lurker.pair_sets import read_pairs
from lurker.workspace import open_workspace

QUICK = PropensityConfig(n_boosting_rounds=10)


@pytest.fixture(scope="module")
def pairs(naive_workspace: Path) -> pl.DataFrame:
    workspace = open_workspace(naive_workspace)
    built = read_pairs(workspace, "naive")
    return add_confounders(built.sort("pair_id"), read_context(workspace, ["alpha", "beta"], built))


def swapped(pairs: pl.DataFrame, rows: pl.Expr) -> pl.DataFrame:
    """The pairs with winner and loser swapped in these rows."""
    columns = [c.removeprefix("chosen_") for c in pairs.columns if c.startswith("chosen_")]
    return pairs.with_columns(
        *(pl.when(rows).then(f"rejected_{c}").otherwise(f"chosen_{c}").alias(f"chosen_{c}") for c in columns),
        *(pl.when(rows).then(f"chosen_{c}").otherwise(f"rejected_{c}").alias(f"rejected_{c}") for c in columns),
    )


def halves(pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every other pair of every post."""
    is_first = pl.int_range(pl.len()).over("post_id") % 2 == 0
    return pairs.filter(is_first), pairs.filter(~is_first)


def log_loss(propensity: Propensity, pairs: pl.DataFrame) -> float:
    p = propensity.predict(pairs)
    return float(-np.log(np.where(is_earlier_chosen(pairs), p, 1 - p)).mean())


def test_a_probability_does_not_depend_on_labels_of_its_own_post_or_of_held_out_posts(pairs: pl.DataFrame) -> None:
    own, extra = halves(pairs)
    post = own.filter(split="train")["post_id"][0]
    in_post = (own["post_id"] == post).to_numpy()
    assert in_post.sum() > 5

    def probability(own: pl.DataFrame, extra: pl.DataFrame) -> np.ndarray:
        return fit_propensity(Design.from_pairs(own, extra), QUICK).predict(own)

    before = probability(own, extra)
    held_out, is_post = pl.col("split") != "train", pl.col("post_id") == post
    # Held-out labels change no probability; the labels of a post change only those of other posts.
    for after in (probability(swapped(own, held_out), extra), probability(own, swapped(extra, held_out))):
        np.testing.assert_array_equal(before, after)
    for after in (probability(swapped(own, is_post), extra), probability(own, swapped(extra, is_post))):
        np.testing.assert_array_equal(before[in_post], after[in_post])
        assert np.abs(before - after)[~in_post].max() > 0


def test_a_model_of_a_sample_of_posts_applies_to_the_others(pairs: pl.DataFrame, tmp_path: Path) -> None:
    staged = Blocks((write_block(pairs, tmp_path / "pairs.parquet"),), ("alpha",))
    assert sample_pairs(staged, pairs.height).equals(pairs)
    sample = sample_pairs(staged, pairs.height // 2)
    assert 0.4 < sample.height / pairs.height < 0.6
    others = pairs.join(sample, on="post_id", how="anti")
    assert sample["post_id"].n_unique() + others["post_id"].n_unique() == pairs["post_id"].n_unique()
    propensity = fit_propensity(Design.from_pairs(sample), PropensityConfig())
    right = [((propensity.predict(one) > 0.5) == is_earlier_chosen(one)).mean() for one in (sample, others)]
    assert right[1] > 0.65 and abs(right[0] - right[1]) < 0.05


def test_few_pairs_gain_from_extra_pairs(pairs: pl.DataFrame) -> None:
    posts = pairs["post_id"].unique(maintain_order=True)[::10]
    few, extra = (pairs.join(posts.to_frame(), on="post_id", how=how) for how in ("semi", "anti"))
    assert few.filter(split="train").height > 300
    alone, together = (
        fit_propensity(Design.from_pairs(few), QUICK),
        fit_propensity(Design.from_pairs(few, extra), QUICK),
    )
    assert log_loss(together, few) < log_loss(alone, few) - 0.005
