"""The probability of an outcome: of other posts, of training posts alone, and of what three models find."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from features.blocks import Blocks, write_block
from features.confounders.context import read_context
from features.confounders.design import Examples, is_earlier_chosen, sample_pairs
from features.confounders.measures import add_confounders
from features.confounders.propensity import ProductRegression, Propensity, PropensityConfig, fit_propensity
from features.recipes.presets import preset
from features.sets.build import build_pairs
from lurker.pair_sets import read_pairs
from lurker.workspace import open_workspace

QUICK = PropensityConfig(n_boosting_rounds=10)


@pytest.fixture(scope="module")
def pairs(simulated_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    root = Path(shutil.copytree(simulated_workspace, tmp_path_factory.mktemp("propensity") / "copy"))
    workspace = open_workspace(root)
    build_pairs(workspace, "naive", preset("naive"))
    built = read_pairs(workspace, "naive")
    return add_confounders(built.sort("pair_id"), read_context(workspace, ["alpha", "beta"]))


def turned(pairs: pl.DataFrame, rows: pl.Expr) -> pl.DataFrame:
    """The other response won, in these rows."""
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
    p = propensity.of(pairs)
    return float(-np.log(np.where(is_earlier_chosen(pairs), p, 1 - p)).mean())


def test_a_pair_s_probability_knows_nothing_of_its_own_post_or_of_held_out_labels(pairs: pl.DataFrame) -> None:
    own, around = halves(pairs)
    post = own.filter(split="train")["post_id"][0]
    of_post = (own["post_id"] == post).to_numpy()
    assert of_post.sum() > 5

    def probability(own: pl.DataFrame, around: pl.DataFrame) -> np.ndarray:
        return fit_propensity(Examples.of(own, around), QUICK).of(own)

    before = probability(own, around)
    held_out, of_one = pl.col("split") != "train", pl.col("post_id") == post
    # Labels that are held out move nothing, neither of others nor of their own; those of another post what others say.
    for after in (probability(turned(own, held_out), around), probability(own, turned(around, held_out))):
        np.testing.assert_array_equal(before, after)
    for after in (probability(turned(own, of_one), around), probability(own, turned(around, of_one))):
        np.testing.assert_array_equal(before[of_post], after[of_post])
        assert np.abs(before - after)[~of_post].max() > 0


def test_what_a_sample_of_the_posts_teaches_holds_for_the_others(pairs: pl.DataFrame, tmp_path: Path) -> None:
    staged = Blocks((write_block(pairs, tmp_path / "pairs.parquet"),), ("alpha",))
    assert sample_pairs(staged, pairs.height).equals(pairs)
    sample = sample_pairs(staged, pairs.height // 2)
    assert 0.4 < sample.height / pairs.height < 0.6
    others = pairs.join(sample, on="post_id", how="anti")
    assert sample["post_id"].n_unique() + others["post_id"].n_unique() == pairs["post_id"].n_unique()
    propensity = fit_propensity(Examples.of(sample), PropensityConfig())
    right = [((propensity.of(one) > 0.5) == is_earlier_chosen(one)).mean() for one in (sample, others)]
    assert right[1] > 0.65 and abs(right[0] - right[1]) < 0.05


def test_few_pairs_learn_from_pairs_around_them(pairs: pl.DataFrame) -> None:
    posts = pairs["post_id"].unique(maintain_order=True)[::10]
    few, around = (pairs.join(posts.to_frame(), on="post_id", how=how) for how in ("semi", "anti"))
    assert few.filter(split="train").height > 300
    alone, together = fit_propensity(Examples.of(few), QUICK), fit_propensity(Examples.of(few, around), QUICK)
    assert log_loss(together, few) < log_loss(alone, few) - 0.005


def test_products_find_what_sums_do_not() -> None:
    """The label is the sign of a product of two of thirty terms; columns of zeros stand among them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6_000, 30)).astype(np.float32)
    X[:, 29] = 0
    labels = X[:, 3] * X[:, 7] + 0.3 * rng.normal(size=len(X)) > 0
    seen, fresh = slice(0, 5_000), slice(5_000, None)
    model = ProductRegression.of(500, 10.0).fit(X[seen], labels[seen])
    right = ((model.predict_proba(X[fresh])[:, 1] > 0.5) == labels[fresh]).mean()
    of_sums = LogisticRegression().fit(X[seen], labels[seen]).score(X[fresh], labels[fresh])
    assert right > 0.8 and abs(of_sums - 0.5) < 0.06, (right, of_sums)
