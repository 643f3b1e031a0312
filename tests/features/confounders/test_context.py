from pathlib import Path

import polars as pl

from features.confounders.context import POST_CONTEXT, context_from_pairs, read_context
from features.confounders.measures import add_confounders
from lurker.pair_sets import read_pairs
from lurker.workspace import open_workspace


def test_pairs_give_rank_and_gaps_of_their_responses_and_the_clock_if_the_post_time_is_known() -> None:
    pairs = pl.DataFrame(
        {
            "post_id": ["p", "p"],
            "chosen_id": ["b", "b"],
            "rejected_id": ["a", "c"],
            "chosen_delay_s": [60, 60],
            "rejected_delay_s": [10, 99],
        }
    )
    context = context_from_pairs(pairs).sort("comment_id")
    assert context["comment_id"].to_list() == ["a", "b", "c"]
    assert context["thread_rank"].to_list() == [0, 1, 2]
    assert context["log_gap_before"].to_list() == pl.Series([10, 50, 39]).log1p().to_list()
    unknown = ("hour", "weekday", "author_n_earlier", "log_post_score", "log_thread_size", "post_created_utc")
    assert all(context[name].null_count() == 3 for name in unknown)
    timed = context_from_pairs(pairs.with_columns(post_created_utc=pl.lit(1_600_000_000))).sort("comment_id")
    assert timed["thread_rank"].equals(context["thread_rank"])
    assert timed["weekday"].to_list() == [6, 6, 6]  # Sunday, 13 September 2020


def test_a_post_is_known_though_the_workspace_lacks_both_responses(naive_workspace: Path) -> None:
    workspace = open_workspace(naive_workspace)
    pairs = read_pairs(workspace, "naive").sort("pair_id")
    gone = pairs.with_columns(pl.col("chosen_id", "rejected_id") + " gone")
    known, unknown = (add_confounders(one, read_context(workspace, ["alpha", "beta"], one)) for one in (pairs, gone))
    assert unknown.select(POST_CONTEXT).equals(known.select(POST_CONTEXT))
    assert (unknown["chosen_log_rank"] == 0).all()
