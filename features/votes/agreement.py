"""Who agrees with whom: raters, Reddit, each tested run, TF-IDF and length, with intervals clustered by post."""

import itertools
from collections.abc import Mapping
from typing import Any

import polars as pl

from features.votes.evidence import Evidence
from features.votes.judges import Judges, run_judge
from lurker.decimals import difference
from lurker.stats import accuracy_interval, mean_interval

RATERS = "raters"
MIN_ITEMS = 2


def agreement_matrix(evidence: Evidence, judges: Judges) -> list[dict[str, Any]]:
    """One row per two judges: how often they prefer the same response, where both prefer one.

    The raters' votes count one by one, with the design's weights; raters against raters are two raters on one item.

    Returns:
        first, second, agreement, low, high, n (votes, items, or pairs of votes) and n_posts.
    """
    votes = evidence.main.filter(pl.col("outcome") != 0.5)
    rows = [_between_raters(votes)]
    rows += [_with_raters(votes, name, verdicts) for name, verdicts in judges.items()]
    asked = evidence.items.filter(pl.col("role") == "main").select("item_id", "post_id")
    rows += [_between_judges(asked, one, other, judges) for one, other in itertools.combinations(judges, 2)]
    return [row for row in rows if row is not None]


def difference_of_runs(evidence: Evidence, judges: Judges, runs: tuple[str, ...]) -> dict[str, Any] | None:
    """How much more often raters agree with the first of two runs than with the second, on the same votes.

    Returns:
        first, second, value, low, high, n, n_posts and `sentence`; None without two runs that judge the items.
    """
    names = [run_judge(run) for run in runs]
    if len(names) != 2 or not all(name in judges for name in names):
        return None
    votes = evidence.main.filter(pl.col("outcome") != 0.5)
    both = votes.join(judges[names[0]], on="item_id").join(judges[names[1]], on="item_id", suffix="_other")
    if both["post_id"].n_unique() < MIN_ITEMS:
        return None
    gains = [1 - (both["outcome"] - both[column]).abs() for column in ("verdict", "verdict_other")]
    one = mean_interval(gains[0] - gains[1], both["post_id"], both["weight"])
    shown = difference(one.value, one.low, one.high)
    if one.low > 0 or one.high < 0:
        better, worse = runs if one.low > 0 else runs[::-1]
        sentence = f"Raters agree with {better} more often than with {worse}: {runs[0]} minus {runs[1]} is {shown}."
    else:
        sentence = f"Raters do not tell {runs[0]} and {runs[1]} apart: their agreement differs by {shown}."
    ends = {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "n_posts": one.n_clusters}
    return {"first": runs[0], "second": runs[1], **ends, "sentence": sentence}


def _with_raters(votes: pl.DataFrame, name: str, verdicts: pl.DataFrame) -> dict[str, Any] | None:
    both = votes.join(verdicts.filter(pl.col("verdict") != 0.5), on="item_id")
    is_same = (both["outcome"] == both["verdict"]).cast(pl.Float64)
    return _row(RATERS, name, is_same, both["post_id"], both["weight"])


def _between_raters(votes: pl.DataFrame) -> dict[str, Any] | None:
    columns = votes.select("item_id", "post_id", "rater", "outcome", "weight")
    both = columns.join(columns, on="item_id", suffix="_other").filter(pl.col("rater") < pl.col("rater_other"))
    is_same = (both["outcome"] == both["outcome_other"]).cast(pl.Float64)
    return _row(RATERS, "another rater", is_same, both["post_id"], both["weight"])


def _between_judges(
    asked: pl.DataFrame, one: str, other: str, judges: Mapping[str, pl.DataFrame]
) -> dict[str, Any] | None:
    both = asked.join(judges[one], on="item_id").join(judges[other], on="item_id", suffix="_other")
    both = both.filter((pl.col("verdict") != 0.5) & (pl.col("verdict_other") != 0.5))
    is_same = (both["verdict"] == both["verdict_other"]).cast(pl.Float64)
    return _row(one, other, is_same, both["post_id"], None)


def _row(
    first: str, second: str, is_same: pl.Series, posts: pl.Series, weights: pl.Series | None
) -> dict[str, Any] | None:
    if len(is_same) < MIN_ITEMS:
        return None
    one = accuracy_interval(is_same, posts, weights)
    ends = {"agreement": one.value, "low": one.low, "high": one.high}
    return {"first": first, "second": second, **ends, "n": one.n, "n_posts": one.n_clusters}
