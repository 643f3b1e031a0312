"""Judges on the raters that are trained on and on those that are held out: what people like, or what these raters like.

Source: Ouyang et al. 2022, "Training language models to follow instructions with human feedback" (InstructGPT), section
4.1: held-out labelers, whose preferences were in no training data.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from features.votes.evidence import Evidence
from features.votes.judges import Judges
from lurker.stats import accuracy_interval, clustered_standard_error

ANOTHER_RATER = "another rater"
GROUPS = ("in_group", "held_out")


def by_rater_group(evidence: Evidence, judges: Judges) -> list[dict[str, Any]]:
    """How often each judge prefers what raters voted for, by whether the raters are held out.

    The first row is another rater of the group that is trained on: how well people foretell people.

    Returns:
        judge; of in_group and held_out each the share with _low, _high, _n (votes) and _raters; and difference, held
        out minus in-group, with _low and _high, null where a group has a single rater. No rows without both groups.
    """
    votes = evidence.main.filter(pl.col("outcome") != 0.5)
    columns = votes.select("item_id", "post_id", "rater", "is_held_out", "outcome", "weight")
    others = columns.filter(~pl.col("is_held_out")).select("item_id", other="rater", verdict="outcome")
    compared = {ANOTHER_RATER: columns.join(others, on="item_id").filter(pl.col("rater") != pl.col("other"))}
    compared |= {name: columns.join(verdicts, on="item_id") for name, verdicts in judges.items()}
    rows = (_row(name, both.filter(pl.col("verdict") != 0.5)) for name, both in compared.items())
    return [row for row in rows if row is not None]


def sentence(rows: Sequence[dict[str, Any]]) -> str:
    """What the rows say, by rule: a difference is named only if its interval excludes 0; empty without rows."""
    told = [row for row in rows if row["difference"] is not None]
    if not told:
        return "One group has a single rater: others may differ from them." if rows else ""
    named = [row for row in told if row["difference_low"] > 0 or row["difference_high"] < 0]
    if not named:
        return "No judge agrees more or less with held-out raters than with the others, beyond chance."
    words = (f"{row['judge']} {'more' if row['difference'] > 0 else 'less'}" for row in named)
    return f"With held-out raters these judges agree more or less often than with the others: {', '.join(words)}."


def _row(judge: str, both: pl.DataFrame) -> dict[str, Any] | None:
    row: dict[str, Any] = {"judge": judge}
    parts = [
        both.filter(pl.col("is_held_out") == is_held_out).sort("post_id", "rater") for is_held_out in (False, True)
    ]
    if any(part.is_empty() for part in parts):
        return None
    for name, part in zip(GROUPS, parts, strict=True):
        one = accuracy_interval(_is_same(part), part["post_id"], part["weight"])
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_n": one.n}
        row[f"{name}_raters"] = part["rater"].n_unique()
    return row | _difference(*parts)


def _difference(in_group: pl.DataFrame, held_out: pl.DataFrame) -> dict[str, float | None]:
    """Held out minus in-group. Votes on one post depend on each other, and so do those of one rater: the variance is
    that over posts, plus that over raters, minus that over both (Cameron, Gelbach & Miller 2011, eq. 2.4)."""
    parts = (in_group, held_out)
    n_raters = [part["rater"].n_unique() for part in parts]
    if min(n_raters) < 2:
        return dict.fromkeys(("difference", "difference_low", "difference_high"))
    means, shares, by_rater, by_both = [], [], 0.0, 0.0
    for part, sign in zip(parts, (-1.0, 1.0), strict=True):
        values, weights = _is_same(part).to_numpy(), part["weight"].to_numpy()
        means.append(float(np.average(values, weights=weights)))
        shares.append(sign * weights * (values - means[-1]) / weights.sum())
        by_rater += clustered_standard_error(values, _codes(part, "rater"), weights) ** 2
        by_both += clustered_standard_error(values, _codes(part, "post_id", "rater"), weights) ** 2
    posts = _codes(pl.concat(part.select("post_id") for part in parts), "post_id")
    n_posts = int(posts.max()) + 1
    by_post = n_posts / (n_posts - 1) * float(np.sum(np.bincount(posts, np.concatenate(shares)) ** 2))
    error = np.sqrt(max(by_post + by_rater - by_both, by_post, by_rater))  # of few clusters, the sum may be too small
    half = float(stdtrit(min(*n_raters, n_posts) - 1, 0.975) * error)
    value = means[1] - means[0]
    return {"difference": value, "difference_low": value - half, "difference_high": value + half}


def _is_same(votes: pl.DataFrame) -> pl.Series:
    return (votes["outcome"] == votes["verdict"]).cast(pl.Float64)


def _codes(frame: pl.DataFrame, *columns: str) -> NDArray[np.int64]:
    """The clusters as 0..G-1."""
    return frame.select(pl.struct(columns).rank("dense") - 1).to_series().to_numpy().astype(np.int64)
