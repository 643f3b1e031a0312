"""Tables of experiments -> what the charts draw: means over seeds, one row per point.

All seeds are tested on the same pairs, so the mean of their intervals does not get narrower with more seeds.
"""

import polars as pl

ACCURACY = ("accuracy", "accuracy_low", "accuracy_high")


def scaling_curve(cells: pl.DataFrame) -> pl.DataFrame:
    """One row per predictor and number of training pairs.

    Args:
        cells: SCALING.

    Returns:
        Means over seeds of accuracy and its interval; lowest_seed and highest_seed are the range of the accuracies.
    """
    return (
        cells.group_by("predictor", "is_baseline", "n_train_pairs", "test_pairs")
        .agg(
            pl.col("n_parameters").max(),
            pl.len().cast(pl.Int64).alias("n_seeds"),
            pl.col(ACCURACY).mean(),
            pl.col("accuracy").min().alias("lowest_seed"),
            pl.col("accuracy").max().alias("highest_seed"),
            pl.col("n_test_pairs").max(),
            pl.col("train_time_s").mean(),
        )
        .select(
            "predictor",
            "is_baseline",
            "n_parameters",
            "n_train_pairs",
            "test_pairs",
            "n_seeds",
            *ACCURACY,
            "lowest_seed",
            "highest_seed",
            "n_test_pairs",
            "train_time_s",
        )
        .sort("is_baseline", "n_parameters", "predictor", "n_train_pairs", nulls_last=True)
    )


def transfer_matrix(cells: pl.DataFrame) -> pl.DataFrame:
    """One row per predictor, source and target.

    Args:
        cells: TRANSFER.

    Returns:
        Means over seeds of accuracy and its interval; difference is the accuracy minus that of the same predictor
        trained on the target itself, null where that was not run.
    """
    keys = ("predictor", "is_baseline", "source", "target", "pairs", "test_pairs")
    means = cells.group_by(keys).agg(
        pl.col("n_train_pairs").max(),
        pl.len().cast(pl.Int64).alias("n_seeds"),
        pl.col("n_test_pairs").max(),
        pl.col(ACCURACY).mean(),
    )
    in_domain = means.filter(pl.col("source") == pl.col("target")).select(
        "predictor", "target", "pairs", "test_pairs", in_domain="accuracy"
    )
    return (
        means.join(in_domain, on=["predictor", "target", "pairs", "test_pairs"], how="left")
        .with_columns(difference=pl.col("accuracy") - pl.col("in_domain"))
        .drop("in_domain")
        .sort("is_baseline", "predictor", "source", "target")
    )


def recipe_figures(table: pl.DataFrame) -> pl.DataFrame:
    """One row per figure of RECIPES: means over seeds of value, interval and standard error, in the table's order.

    Args:
        table: RECIPES.
    """
    keys = (
        "pairs",
        "recipe",
        "predictor",
        "is_baseline",
        "max_pairs",
        "n_train_pairs",
        "measure",
        "measured_on",
        "part",
    )
    return table.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_seeds"),
        pl.col("value", "low", "high", "standard_error").mean(),
        pl.col("n", "n_posts").max(),
    )
