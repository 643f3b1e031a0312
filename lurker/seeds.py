"""Mean accuracies over seeds, with intervals that hold the test posts and the seeds, and how much each of them is."""

import polars as pl
from scipy.special import stdtrit

HALF_LEVEL = 0.975
"""Quantile of the upper end of a 95 % interval."""


def mean_over_seeds(cells: pl.DataFrame) -> pl.DataFrame:
    """One row per predictor, data size and test of a SCALING table.

    `by_posts` is half the interval of one seed over the test posts, which all seeds share, so more seeds do not narrow
    it. `by_seeds` is half the interval of the mean over seeds on these posts: Student's t times the standard deviation
    of seeds, pooled over the sizes of a predictor, over the root of their number; null with one seed.
    `accuracy_low` and `accuracy_high` hold both.
    """
    keys = ["predictor", "is_baseline", "n_train_pairs", "test_pairs"]
    means = cells.group_by(keys).agg(
        pl.col("n_parameters").max(),
        n_seeds=pl.len().cast(pl.Int64),
        accuracy=pl.col("accuracy").mean(),
        below=(pl.col("accuracy") - pl.col("accuracy_low")).mean(),
        above=(pl.col("accuracy_high") - pl.col("accuracy")).mean(),
        squares=(pl.col("accuracy") - pl.col("accuracy").mean()).pow(2).sum(),
        lowest_seed=pl.col("accuracy").min(),
        highest_seed=pl.col("accuracy").max(),
        n_test_pairs=pl.col("n_test_pairs").max(),
        n_tokens=pl.col("n_tokens").mean(),
        train_time_s=pl.col("train_time_s").mean(),
    )
    pooled = means.group_by("predictor").agg(pl.col("squares").sum(), freedom=(pl.col("n_seeds") - 1).sum())
    per_run = (
        cells.filter(pl.col("run_id").is_not_null())
        .group_by("predictor")
        .agg(is_online=pl.col("run_id").n_unique() < pl.len(), n_runs=pl.col("run_id").n_unique())
    )
    of_seeds = pooled.join(per_run, on="predictor", how="left").with_columns(
        # The points of an online run are one unit: they add no freedom, whatever their number.
        free=pl.when(pl.col("is_online").fill_null(False)).then(pl.col("n_runs") - 1).otherwise(pl.col("freedom")),
    )
    quantiles = [float(stdtrit(free, HALF_LEVEL)) if free > 0 else None for free in of_seeds["free"]]
    of_seeds = of_seeds.select(
        "predictor",
        half=pl.Series(quantiles, dtype=pl.Float64)
        * (pl.col("squares") / pl.when(pl.col("freedom") > 0).then(pl.col("freedom"))).sqrt(),
    )
    curve = means.join(of_seeds, on="predictor", how="left").with_columns(
        by_posts=(pl.col("below") + pl.col("above")) / 2, by_seeds=pl.col("half") / pl.col("n_seeds").sqrt()
    )
    both = [(pl.col(side).pow(2) + pl.col("by_seeds").fill_null(0.0).pow(2)).sqrt() for side in ("below", "above")]
    curve = curve.with_columns(
        accuracy_low=(pl.col("accuracy") - both[0]).clip(0, 1), accuracy_high=(pl.col("accuracy") + both[1]).clip(0, 1)
    ).drop("below", "above", "squares", "half")
    order = ["is_baseline", "n_parameters", "predictor", "n_train_pairs", "test_pairs"]
    first = ["predictor", "is_baseline", "n_parameters", "n_train_pairs", "test_pairs"]
    return curve.sort(order, nulls_last=True).select(*first, pl.exclude(first))


def seeds_in_words(counts: pl.Series) -> str:
    """How many seeds figures are means over: 1 seed, 3 seeds, 1 to 3 seeds."""
    fewest, most = (int(number) for number in (counts.min(), counts.max()))  # type: ignore[arg-type]
    return f"{fewest} to {most} seeds" if fewest < most else "1 seed" if most == 1 else f"{most} seeds"
