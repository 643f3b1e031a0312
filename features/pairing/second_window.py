"""What a set's pairs say of two looks: do the votes after the first observation prefer the response that led then?"""

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from lurker.stats import accuracy_interval

FIRST_GAPS = ((1, 2), (3, 5), (6, 9), (10, 10**9))
"""Score gaps at the first observation, votes, both ends included."""
GAP_NAMES = ("1-2", "3-5", "6-9", "10 and more")
FIRST_AGES_H = (-(10.0**9), 6.0, 24.0, 168.0, 10.0**9)
"""Edges of the age at the first observation, hours."""
AGE_NAMES = ("under 6 h", "6-24 h", "1-7 days", "7 days and more")


def second_window(pairs: pl.DataFrame) -> pl.DataFrame:
    """Whether the votes after the first observation prefer the response that led at the first.

    Args:
        pairs: post_id, weight, {chosen,rejected}_first_score, _first_age_s and _later_votes; null if a response was
            observed once.

    Returns:
        post_id, agrees (1, 0, or 0.5 for a draw), weight, first_gap (votes) and first_age_h (of the older response,
        hours): of pairs whose responses were both observed at least twice, with different first scores.
    """
    lead = pl.col("chosen_first_score") - pl.col("rejected_first_score")
    gain = (pl.col("chosen_later_votes") - pl.col("rejected_later_votes")).sign() * lead.sign()
    seen = pairs.filter(lead != 0, gain.is_not_null())
    age_s = pl.max_horizontal("chosen_first_age_s", "rejected_first_age_s")
    agrees = (gain.cast(pl.Float64) + 1) / 2
    return seen.select("post_id", "weight", agrees=agrees, first_gap=lead.abs(), first_age_h=age_s / 3_600)


def check_second_window(seen: pl.DataFrame) -> dict[str, Any] | None:
    """How often the later votes agree with the first observation.

    Args:
        seen: as returned by `second_window`.

    Returns:
        None if `seen` is empty. Otherwise counts; agreement with its interval, where a draw counts half; and
        accuracy_if_alike = (1 + √(2·agreement − 1)) / 2, the accuracy of either window's labels if both are equally
        noisy with independent noise; an upper bound on the mean if pairs differ in noise (Jensen);
        by_gap_and_age: agreement by gap and age at the first observation.
    """
    if seen.is_empty():
        return None
    agreement = accuracy_interval(seen["agrees"], seen["post_id"], seen["weight"])
    accuracy = (1 + np.sqrt(2 * agreement.value - 1)) / 2 if agreement.value >= 0.5 else None
    return {
        "n_pairs": agreement.n,
        "n_posts": agreement.n_clusters,
        "agreement": agreement.value,
        "agreement_low": agreement.low,
        "agreement_high": agreement.high,
        "draws": float((seen["agrees"].to_numpy() == 0.5).mean()),
        "accuracy_if_alike": accuracy,
        "by_gap_and_age": _by_gap_and_age(seen),
    }


def _by_gap_and_age(seen: pl.DataFrame) -> list[dict[str, Any]]:
    """Agreement in bins of gap and age that hold pairs."""
    rows = []
    for gap, (least, most) in zip(GAP_NAMES, FIRST_GAPS, strict=True):
        for age, (low, high) in zip(AGE_NAMES, pairwise(FIRST_AGES_H), strict=True):
            is_in = pl.col("first_gap").is_between(least, most), pl.col("first_age_h").is_between(low, high, "left")
            part = seen.filter(*is_in)
            if not part.is_empty():
                one = accuracy_interval(part["agrees"], part["post_id"], part["weight"])
                interval = {"agreement": one.value, "low": one.low, "high": one.high}
                rows.append({"gap": gap, "age": age, "n_pairs": one.n} | interval)
    return rows
