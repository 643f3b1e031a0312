"""Each rater: accuracy on gold, preference for a side, agreement with oneself, pace; and who looks suspicious."""

from typing import Any

import numpy as np
import polars as pl

from lurker.stats import Estimate, accuracy_interval

GOLD_BELOW = 0.75
"""Suspicious: the whole interval of the accuracy on gold is below."""
SELF_BELOW = 0.6
"""Suspicious: the whole interval of the agreement with oneself is below."""
SIDE_BEYOND = 0.15
"""Suspicious: a side is chosen this much more than half of the time, and the interval excludes one half."""
FAST_MS = 1_000
"""Suspicious: half of the votes came sooner, milliseconds."""


def rater_figures(votes: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per rater, the one with most votes first.

    Args:
        votes: of `Evidence`.

    Returns:
        rater, votes, then value, low and high (null without such votes) of gold accuracy, side_a and self_agreement,
        median dwell_ms, level (share of level or both bad), and suspicious: reasons, empty if none.
    """
    rows = [_figures(str(name), own) for (name,), own in votes.group_by("rater", maintain_order=True)]
    return sorted(rows, key=lambda row: (-row["votes"], row["rater"]))


def suspicious(figures: list[dict[str, Any]]) -> list[str]:
    """The raters with a reason to doubt them."""
    return [row["rater"] for row in figures if row["suspicious"]]


def _figures(rater: str, votes: pl.DataFrame) -> dict[str, Any]:
    gold = votes.filter((pl.col("phase") == "gold") & (pl.col("occasion") == 0))
    sided = votes.filter(pl.col("choice").is_in(["a", "b"]))
    first = votes.filter(pl.col("occasion") == 0).select("item_id", first="outcome")
    again = votes.filter(pl.col("occasion") == 1).join(first, on="item_id")
    figures = {
        "gold": _share(gold["outcome"], gold["post_id"]),
        "side_a": _share((sided["choice"] == "a").cast(pl.Float64), sided["post_id"]),
        "self_agreement": _share((again["outcome"] == again["first"]).cast(pl.Float64), again["post_id"]),
    }
    dwell = float(np.median(votes["dwell_ms"].to_numpy()))
    reasons = []
    if (one := figures["gold"]) is not None and one.high < GOLD_BELOW:
        reasons.append("wrong on gold")
    if (one := figures["self_agreement"]) is not None and one.high < SELF_BELOW:
        reasons.append("disagrees with themselves")
    if (one := figures["side_a"]) is not None and abs(one.value - 0.5) > SIDE_BEYOND and not one.low <= 0.5 <= one.high:
        reasons.append("prefers a side")
    if dwell < FAST_MS:
        reasons.append("too fast")
    row: dict[str, Any] = {"rater": rater, "votes": votes.height}
    for name, one in figures.items():
        row |= {name: one and one.value, f"{name}_low": one and one.low, f"{name}_high": one and one.high}
        row[f"{name}_n"] = one.n if one else 0
    return row | {
        "level": float(np.mean(votes["outcome"].to_numpy() == 0.5)),
        "dwell_ms": dwell,
        "is_held_out": bool(votes["is_held_out"][0]),
        "suspicious": reasons,
    }


def _share(values: pl.Series, posts: pl.Series) -> Estimate | None:
    return accuracy_interval(values, posts) if len(values) else None
