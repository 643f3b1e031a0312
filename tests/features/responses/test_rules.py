from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from features.build_context import open_context
from features.recipes.recipe import Recipe
from features.responses.exclusions import find_exclusions
from features.responses.measure import measure_comments
from features.responses.rules import select_responses
from features.sets.join_texts import join_texts
from lurker.authors import hash_authors
from lurker.schema import COMMENTS
from lurker.workspace import Workspace

START_UTC = 1_600_000_000


def measured_of(workspace: Workspace, subreddits: list[str]) -> pl.DataFrame:
    """The measured comments in one frame."""
    with open_context(workspace) as context:
        return pl.concat(measure_comments(subreddits, context).blocks)


def test_a_response_is_measured_on_its_cleaned_text(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    body = "Two  words.\n\nEDIT: thanks for the gold!"
    workspace = write_workspace([make_post()], [make_comment("a", body=body, created_utc=START_UTC + 99)])
    row = measured_of(workspace, ["alpha"]).row(0, named=True)
    assert (row["n_chars"], row["n_words"], row["delay_s"]) == (len("Two words."), 2, 99)
    assert row["log_delay"] == pytest.approx(4.60517, abs=1e-5)  # log 100


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({"is_top_level": False}, {}, "reply to a comment"),
        ({"post_id": "unknown"}, {}, "post not ingested"),
        ({"is_deleted": True}, {}, "text deleted or removed"),
        ({"body": "[removed]"}, {}, "empty text"),
        ({"score": None}, {}, "score missing"),
        ({"is_score_hidden": True}, {}, "score hidden"),
        ({"created_utc": START_UTC - 1}, {}, "written before its post"),
        ({"is_stickied": True}, {}, "stickied"),
        ({"is_distinguished": True}, {}, "distinguished"),
        ({"is_by_op": True}, {"exclude_op": True}, "by the post's author"),
        ({"is_edited": True}, {"exclude_edited": True}, "edited"),
        ({"author_hash": None}, {"exclude_deleted_authors": True}, "author deleted"),
        ({"score": 1}, {"min_score": 2}, "score below min_score"),
        ({"body": "I am a bot, and this action was performed."}, {"exclude_bots": True}, "written by a bot"),
        ({"body": "[a guide](https://x.y/z) www.w.org"}, {"exclude_link_only": True}, "only links"),
        ({"body": "x" * 9}, {"min_chars": 10}, "below min_chars"),
        ({"body": "x" * 11}, {"max_chars": 10, "min_chars": 1}, "above max_chars"),
        ({"body": "one two three"}, {"max_words": 2}, "above max_words"),
        ({"body": "one"}, {"min_words": 2}, "below min_words"),
        ({"retrieved_utc": START_UTC + 700}, {"min_maturity_s": 101}, "seen before min_maturity_s"),
        ({"retrieved_utc": None}, {"min_maturity_s": 1}, "seen before min_maturity_s"),
        ({}, {"min_post_score": 51}, "post score below min_post_score"),
        ({}, {"created_before_utc": START_UTC}, "post too new"),
    ],
)
def test_each_rule_drops_its_row_under_its_own_reason(
    write_workspace: Callable[..., Workspace],
    make_post: Callable[..., Any],
    make_comment: Callable[..., Any],
    changes: dict[str, Any],
    rules: dict[str, Any],
    reason: str,
) -> None:
    workspace = write_workspace([make_post()], [make_comment("a", **changes)])
    kept, ledger = select_responses(measured_of(workspace, ["alpha"]), Recipe(name="test", **rules))
    assert (kept.height, ledger.dropped) == (0, ((reason, 1),))


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({"is_deleted": True}, {}, "post deleted or removed"),
        ({"is_self": False}, {"require_self_post": True}, "post is a link"),
        ({"is_nsfw": True}, {"exclude_nsfw": True}, "post marked over 18"),
        ({"is_edited": True}, {"exclude_edited_posts": True}, "post edited"),
        ({"author_hash": None}, {"exclude_deleted_authors": True}, "post's author deleted"),
        ({"subreddit": "beta"}, {}, "post of another subreddit"),
        ({"score": None}, {"min_post_score": 1}, "post score below min_post_score"),
    ],
)
def test_a_dropped_post_drops_its_responses(
    write_workspace: Callable[..., Workspace],
    make_post: Callable[..., Any],
    make_comment: Callable[..., Any],
    changes: dict[str, Any],
    rules: dict[str, Any],
    reason: str,
) -> None:
    workspace = write_workspace([make_post(**changes)], [make_comment("a"), make_comment("b")])
    _, ledger = select_responses(measured_of(workspace, ["alpha"]), Recipe(name="test", **rules))
    assert ledger.dropped == ((reason, 2),)


def test_a_row_that_breaks_two_rules_counts_once_under_the_first(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    rows = [make_comment("a", is_top_level=False, body=""), make_comment("b", body="", score=None), make_comment("c")]
    workspace = write_workspace([make_post()], rows)
    kept, ledger = select_responses(measured_of(workspace, ["alpha"]), Recipe(name="test"))
    assert ledger.to_dict() == {
        "input": 3,
        "dropped": [{"reason": "reply to a comment", "n": 1}, {"reason": "empty text", "n": 1}],
        "kept": 1,
    }
    assert kept["comment_id"].to_list() == ["c"]


def test_a_known_bot_is_recognised_by_the_hash_of_its_name(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    workspace = write_workspace([make_post()], [])
    bot, human = hash_authors(pl.Series(["sneakpeekbot", "robotics_fan"]), workspace.salt())
    frame = pl.DataFrame(
        [make_comment("a", author_hash=bot), make_comment("b", author_hash=human)], schema=COMMENTS.schema
    )
    workspace.replace_partition(COMMENTS, "alpha", [frame])
    recipe = Recipe(name="test", exclude_bots=True)
    with open_context(workspace) as context:
        exclusions = find_exclusions(recipe, context)
    kept, ledger = select_responses(measured_of(workspace, ["alpha"]), recipe, exclusions)
    assert (kept["comment_id"].to_list(), ledger.dropped) == (["b"], (("written by a bot", 1),))


@pytest.mark.parametrize("body", ["I am a bot builder.", "It was performed automatically last year.", "Robots."])
def test_people_may_write_about_bots(
    write_workspace: Callable[..., Workspace],
    make_post: Callable[..., Any],
    make_comment: Callable[..., Any],
    body: str,
) -> None:
    workspace = write_workspace([make_post()], [make_comment("a", body=body)])
    kept, _ = select_responses(measured_of(workspace, ["alpha"]), Recipe(name="test", exclude_bots=True))
    assert kept.height == 1


def test_an_id_in_two_subreddits_counts_once_as_last_retrieved(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    later = {"subreddit": "beta", "retrieved_utc": START_UTC + 2_000_000}
    posts = [make_post("p1"), make_post("p1", title="Another", **later)]
    comments = [make_comment("a"), make_comment("a", body="Another text.", **later), make_comment("b", **later)]
    workspace = write_workspace(posts, comments)
    measured = measured_of(workspace, ["alpha", "beta"])
    kept, ledger = select_responses(measured, Recipe(name="test"))
    assert ledger.dropped == (("id seen twice", 1),)
    assert kept.select("comment_id", "n_chars", "subreddit").rows() == [("a", 13, "beta"), ("b", 18, "beta")]
    pair = pl.DataFrame({"post_id": ["p1"], "subreddit": ["beta"], "chosen_id": ["a"], "rejected_id": ["b"]})
    texts = join_texts(workspace, pair).select("prompt", "chosen", "rejected").row(0)
    assert texts == ("Another\n\nThe question.", "Another text.", "An answer named b.")
