"""Accuracy and AUC of the probes, with intervals clustered by post."""

from typing import Any

import numpy as np
import polars as pl

from features.confounders.measures import is_chosen_first
from lurker.pair_sets import SPLITS
from lurker.stats import Estimate, accuracy_interval, auc_interval, average_estimate, worst_by_chance


def summarise_probes(pairs: pl.DataFrame, predictions: pl.DataFrame, min_posts: int) -> list[dict[str, Any]]:
    """Score every probe over all pairs and in each split, and the joint and text probes in every subreddit.

    Args:
        pairs: as given to `forward_probabilities`.
        predictions: as returned by `forward_probabilities`.
        min_posts: a part with fewer posts gets no row.

    Returns:
        One row per probe and part: split, subreddit, confounders, probe, n_pairs, n_posts, accuracy and auc with their
        intervals. Rows over all subreddits come first.
    """
    labels = _labels(pairs)
    parts = [(split, "all") for split in ("all", *SPLITS)]
    parts += [(split, name) for name in sorted(pairs["subreddit"].unique()) for split in ("all", *SPLITS)]
    by_probe = [(names, _add_correct(group, labels)) for names, group in _by_probe(predictions)]
    rows = []
    for split, subreddit in parts:
        is_in_part = pl.lit(True) if split == "all" else pl.col("split") == split
        is_in_part &= pl.lit(True) if subreddit == "all" else pl.col("subreddit") == subreddit
        for (confounders, probe), scored in by_probe:
            part = scored.filter(is_in_part)
            is_reported = subreddit == "all" or confounders in ("joint", "text")
            if is_reported and ((split, subreddit) == ("all", "all") or part["post_id"].n_unique() >= min_posts):
                names = {"split": split, "subreddit": subreddit, "confounders": confounders, "probe": probe}
                rows.append(names | _score(part))
    return rows


def _labels(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.select("post_id", "subreddit", "split", "weight").with_columns(
        label=pl.Series(is_chosen_first(pairs["pair_id"])), row=pl.int_range(pl.len())
    )


def _by_probe(predictions: pl.DataFrame) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    groups = predictions.group_by("confounders", "probe", maintain_order=True)
    return [((str(confounders), str(probe)), group) for (confounders, probe), group in groups]


def _add_correct(group: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The predictions of one probe with labels, and is_correct: 1, 0, or 0.5 for a probability of one half."""
    scored = group.join(labels, on="row", how="left", maintain_order="left")
    correct = pl.when(pl.col("p_first") == 0.5).then(0.5).otherwise((pl.col("p_first") > 0.5) == pl.col("label"))
    return scored.with_columns(is_correct=correct.cast(pl.Float64))


def _score(part: pl.DataFrame) -> dict[str, Any]:
    """Accuracy and AUC with their intervals, averaged over the re-splits; AUC is null if only one label occurs.

    Args:
        part: as returned by `_add_correct`.
    """
    resplits = [rows for _, rows in part.group_by("resplit", maintain_order=True)]
    accuracy = average_estimate(
        [accuracy_interval(rows["is_correct"], rows["post_id"], rows["weight"]) for rows in resplits]
    )
    auc: dict[str, float | None] = {"auc": None, "auc_low": None, "auc_high": None}
    if resplits := [rows for rows in resplits if rows["label"].n_unique() == 2]:
        areas = [auc_interval(rows["label"], rows["p_first"], rows["post_id"], rows["weight"]) for rows in resplits]
        area = average_estimate(areas)
        auc = {"auc": area.value, "auc_low": area.low, "auc_high": area.high}
    n_pairs, n_posts = part["row"].n_unique(), part["post_id"].n_unique()
    return {"n_pairs": n_pairs, "n_posts": n_posts, **accuracy_fields(accuracy), **auc}


def joint_by_chance(pairs: pl.DataFrame, predictions: pl.DataFrame, seed: int) -> dict[str, float]:
    """What the most accurate joint probe would read if no probe knew anything: mean and 95th percentile."""
    joint = _add_correct(predictions.filter(pl.col("confounders") == "joint"), _labels(pairs))
    rng = np.random.default_rng(seed)
    by_resplit = []
    for _, resplit in joint.group_by("resplit", maintain_order=True):
        probes = [rows for _, rows in resplit.group_by("probe", maintain_order=True)]  # of the same pairs
        is_correct, first = np.stack([rows["is_correct"] for rows in probes]), probes[0]
        by_resplit.append(worst_by_chance(is_correct, first["post_id"], first["weight"].to_numpy(), rng))
    mean, high = np.mean(by_resplit, axis=0).tolist()
    return {"mean": mean, "high": high}


def text_margin(pairs: pl.DataFrame, predictions: pl.DataFrame) -> dict[str, Any]:
    """The accuracy of the text baseline, plain and with confounders balanced by overlap weights.

    The weights are min(p, 1-p) over the p that the boosted joint probe, of earlier posts, gave the outcome that
    occurred.

    Returns:
        plain, balanced: accuracy with its interval. explained: the share of the margin over one half that disappears;
        null if the plain baseline is not above one half.

    Source: overlap weights, Li, Morgan & Zaslavsky 2018, JASA 113(521).
    """
    probes = dict(_by_probe(predictions))
    joint = probes["joint", "boosting"].select("resplit", "row", p_joint="p_first")
    text = _add_correct(probes["text", "tfidf"], _labels(pairs))
    text = text.join(joint, on=("resplit", "row"), maintain_order="left")
    p = text["p_joint"].to_numpy()
    overlap = np.minimum(p, 1 - p) / np.clip(np.where(text["label"].to_numpy(), p, 1 - p), 1e-9, None)
    plain = accuracy_interval(text["is_correct"], text["post_id"], text["weight"])
    weight = text["weight"].to_numpy() * np.clip(overlap, 1e-9, 1)
    balanced = accuracy_interval(text["is_correct"], text["post_id"], weight)
    explained = 1 - (balanced.value - 0.5) / (plain.value - 0.5) if plain.low > 0.5 else None
    return {"plain": accuracy_fields(plain), "balanced": accuracy_fields(balanced), "explained": explained}


def win_rate(pairs: pl.DataFrame, advantage: pl.Expr) -> Estimate:
    """How often the advantage of the chosen response is positive, a tie counting half."""
    wins = (pairs.select(advantage.sign()).to_series().to_numpy() + 1) / 2
    return accuracy_interval(wins, pairs["post_id"], pairs["weight"])


def accuracy_fields(estimate: Estimate) -> dict[str, float]:
    """accuracy, accuracy_low, accuracy_high."""
    return {"accuracy": estimate.value, "accuracy_low": estimate.low, "accuracy_high": estimate.high}
