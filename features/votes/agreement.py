"""Who agrees with whom: raters, Reddit, each tested run, TF-IDF and length, with intervals clustered by post."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from features.votes.evidence import Evidence
from lurker.errors import LurkerError
from lurker.pair_sets import read_pairs
from lurker.pairwise import fit_tfidf
from lurker.predictions import of_these_pairs
from lurker.schema import PREDICTIONS, check
from lurker.stats import accuracy_interval
from lurker.votes.arenas import Arena

RATERS = "raters"
MAX_TFIDF_PAIRS = 12_000
MIN_ITEMS = 2


def agreement_matrix(arena: Arena, evidence: Evidence) -> list[dict[str, Any]]:
    """One row per two judges: how often they prefer the same response, where both prefer one.

    The raters' votes count one by one, with the design's weights; raters against raters are two raters on one item.

    Returns:
        first, second, agreement, low, high, n (votes, items, or pairs of votes) and n_posts.
    """
    votes = evidence.main.filter(pl.col("outcome") != 0.5)
    judges = machine_judges(arena, evidence.items)
    rows = [_between_raters(votes)]
    rows += [_with_raters(votes, name, verdicts) for name, verdicts in judges.items()]
    asked = evidence.items.filter(pl.col("role") == "main").select("item_id", "post_id")
    rows += [_between_judges(asked, one, other, judges) for one, other in itertools.combinations(judges, 2)]
    return [row for row in rows if row is not None]


def machine_judges(arena: Arena, items: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Judges that are no raters: name -> item_id and verdict, 1 for chosen, 0 for rejected, 0.5 for neither.

    A run is there if it was tested on the pair set of the arena; TF-IDF is trained on the set's training pairs and
    judges items of other posts only.
    """
    known = items.filter(pl.col("reference") == "reddit").select("item_id", verdict=pl.lit(1.0))
    judges = {"reddit": known} if known.height else {}
    longer = (pl.col("chosen_chars") - pl.col("rejected_chars")).sign() / 2 + 0.5
    judges["length"] = items.select("item_id", verdict=longer)
    pairs = arena.origin.get("pairs")
    if pairs is None:
        return judges
    for run in arena.workspace.names("runs", "result.json"):
        files = sorted((arena.workspace.folder("runs", run) / "predictions").glob(f"{pairs}-*.parquet"))
        if files:
            tested = pl.concat(check(pl.read_parquet(file), PREDICTIONS) for file in files).unique("pair_id")
            verdicts = items.join(of_these_pairs(tested, items), on="pair_id").select("item_id", verdict="is_correct")
            if verdicts.height:
                judges[f"run:{run}"] = verdicts  # a run may be called reddit or length
    if (tfidf := _tfidf(arena, str(pairs), items)) is not None:
        judges["tfidf"] = tfidf
    return judges


def _tfidf(arena: Arena, pairs: str, items: pl.DataFrame) -> pl.DataFrame | None:
    try:
        known = read_pairs(arena.workspace, pairs)
    except LurkerError:  # the set was removed since
        return None
    training, validation = (known.filter(pl.col("split") == split) for split in ("train", "validation"))
    asked = items.join(training.select("post_id").unique(), on="post_id", how="anti")
    asked = asked.join(validation.select("post_id").unique(), on="post_id", how="anti")
    if training.is_empty() or validation.is_empty() or asked.is_empty():
        return None
    if training.height > MAX_TFIDF_PAIRS:
        training = training.sort("pair_id").sample(MAX_TFIDF_PAIRS, seed=0)
    reward = fit_tfidf(training, validation)
    if reward is None:
        return None
    margin = reward(asked["chosen"].to_list()) - reward(asked["rejected"].to_list())
    return asked.select("item_id", verdict=pl.Series(np.sign(margin) / 2 + 0.5))


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
