from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from features.build_context import open_context
from features.recipes.presets import preset
from features.recipes.recipe import Recipe
from features.responses.exclusions import Exclusions, find_exclusions
from features.responses.splits import assign_splits
from features.sets.build import build_pairs
from lurker.config import override
from lurker.pair_sets import read_pairs
from lurker.workspace import Workspace

START_UTC = 1_600_000_000
LONG = "Which of the two schools is the better one for somebody who wants to teach mathematics later on in life?"
ANSWER = "Take the one that is nearer to your family, you will be glad of every hour you spend with them there."


def exclusions_of(workspace: Workspace, recipe: Recipe) -> Exclusions:
    with open_context(workspace) as context:
        return find_exclusions(recipe, context)


def side_of(post_id: str) -> str:
    frame = pl.DataFrame({"post_id": [post_id], "created_utc": [0]})
    return str(assign_splits(frame, Recipe(name="test"))["split"].item())


def post_on(side: str, n: int = 0) -> str:
    """The n-th id of q0, q1, ... whose hash puts it in that split."""
    return [post_id for post_id in (f"q{i}" for i in range(400)) if side_of(post_id) == side][n]


def test_copies_of_posts_are_found_across_subreddits(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any]
) -> None:
    posts = [
        make_post("a1", title="A question", body=LONG, author_hash="x"),
        make_post("a2", title="a question!", body=LONG + " Thanks", author_hash="y", subreddit="beta"),
        make_post("b1", title="Help", body="", author_hash="x"),
        make_post("b2", title="Help", body="", author_hash="x", subreddit="beta"),
        make_post("b3", title="Help", body="", author_hash="z"),
        make_post("c1", title="A question", body=LONG, author_hash="w", is_deleted=True),
    ]
    copied = exclusions_of(write_workspace(posts, []), Recipe(name="test")).copied_posts
    assert copied.select("post_id", "copy_group").rows() == [("a1", "a1"), ("a2", "a1"), ("b1", "b1"), ("b2", "b1")]


def test_crossposts_are_copies_even_with_other_words_and_a_missing_original(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any]
) -> None:
    posts = [
        make_post("a", title="Look", crosspost_of="elsewhere"),
        make_post("b", title="What do you say to that?", crosspost_of="elsewhere", subreddit="beta"),
        make_post("c", title="First"),
        make_post("d", title="Again", crosspost_of="c", subreddit="beta"),
        make_post("e", title="Alone"),
    ]
    copied = exclusions_of(write_workspace(posts, []), Recipe(name="test")).copied_posts
    groups = dict(copied.select("post_id", "copy_group").rows())
    assert groups == {"a": "a", "b": "a", "c": "c", "d": "c"}


def test_a_post_and_its_crosspost_are_not_in_two_splits(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    train, test = post_on("train"), post_on("test")
    posts = [make_post(train, title="Q", body=LONG), make_post(test, title="Q", body=LONG, subreddit="beta")]
    comments = [
        make_comment(f"{post_id}c{n}", post_id, score=n, subreddit=subreddit)
        for post_id, subreddit in ((train, "alpha"), (test, "beta"))
        for n in range(3)
    ]
    workspace = write_workspace(posts, comments)
    manifest = build_pairs(workspace, "x", preset("naive"))
    pairs = read_pairs(workspace, "x")
    assert pairs["post_id"].unique().to_list() == [test]
    assert {"reason": "a copy of the post is held out", "n": 3} in manifest["ledger"]["responses"]["dropped"]
    build_pairs(workspace, "apart", override(preset("naive"), ["keep_copies_together=false"]))
    assert read_pairs(workspace, "apart")["post_id"].n_unique() == 2


def test_of_near_duplicate_responses_the_one_to_a_test_post_is_kept(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    train, test = post_on("train"), post_on("test")
    comments = [
        make_comment("a", train, body=ANSWER),
        make_comment("b", test, body=ANSWER + " Really.", subreddit="beta", created_utc=START_UTC + 999),
        make_comment("c", test, body=ANSWER, subreddit="beta", created_utc=START_UTC + 1_000),
        make_comment("d", train, body="Another answer that nobody else has given in so many words so far, I think."),
    ]
    workspace = write_workspace([make_post(train), make_post(test, subreddit="beta")], comments)
    exclusions = exclusions_of(workspace, Recipe(name="test", exclude_near_duplicates=True))
    assert exclusions.duplicate_responses["comment_id"].to_list() == ["a", "c"]


@pytest.fixture
def crowd(write_workspace: Callable[..., Workspace], simulate: Callable[..., Any]) -> Workspace:
    """Two communities of 80 posts with 1,201 authors."""
    posts, comments, _ = simulate(n_posts=80, n_comments=20, subreddits=("alpha", "beta"))
    for n, row in enumerate(comments):
        row["author_hash"] = f"u{(n * 7919) % 1201}"
    for n, row in enumerate(posts):
        row["author_hash"] = f"u{n * 13 % 1201}"
    return write_workspace(posts, comments)


def people_by_split(workspace: Workspace, pairs: pl.DataFrame) -> dict[str, set[str]]:
    from lurker.schema import COMMENTS, POSTS

    wrote = dict(workspace.scan(COMMENTS).select("comment_id", "author_hash").collect().iter_rows())
    asked = dict(workspace.scan(POSTS).select("post_id", "author_hash").collect().iter_rows())
    return {
        str(split): {wrote[i] for side in ("chosen_id", "rejected_id") for i in group[side]}
        | {asked[i] for i in group["post_id"]}
        for (split,), group in pairs.group_by("split")
    }


def test_by_author_nobody_is_in_two_splits_or_in_the_hard_test_and_in_training(crowd: Workspace) -> None:
    build_pairs(crowd, "x", override(preset("naive"), ["split_by=author"]))
    pairs = read_pairs(crowd, "x")
    people = people_by_split(crowd, pairs)
    assert min(len(group) for group in people.values()) > 5 and set(people) == {"train", "validation", "test"}
    assert not people["train"] & (people["validation"] | people["test"])
    assert not people["validation"] & people["test"]
    hard = read_pairs(crowd, "hard-test")
    assert not people["train"] & people_by_split(crowd, hard)["test"]
    assert not set(pairs.filter(pl.col("split") != "test")["post_id"]) & set(hard["post_id"])


def test_one_subreddit_by_author_knows_who_is_held_out_in_another(crowd: Workspace) -> None:
    build_pairs(crowd, "x", override(preset("naive"), ["split_by=author"]), ["alpha"])
    build_pairs(crowd, "y", preset("naive"), ["beta"])
    train = read_pairs(crowd, "x").filter(pl.col("split") == "train")
    held = read_pairs(crowd, "y").filter(pl.col("split") == "test")
    assert train.height > 5
    assert not people_by_split(crowd, train)["train"] & people_by_split(crowd, held)["test"]


def test_by_time_no_response_in_training_is_later_than_held_out_posts(
    write_workspace: Callable[..., Workspace], simulate: Callable[..., Any]
) -> None:
    posts, comments, _ = simulate(n_posts=100, n_comments=10)
    times = {row["post_id"]: START_UTC + n * 3_600 for n, row in enumerate(posts)}
    for row in posts:
        row["created_utc"] = times[row["post_id"]]
    for row in comments:
        row["created_utc"] += times[row["post_id"]] - START_UTC
    workspace = write_workspace(posts, comments)
    manifest = build_pairs(workspace, "x", override(preset("naive"), ["split_by=time"]))
    pairs = read_pairs(workspace, "x")
    late = {line["reason"]: line["n"] for line in manifest["ledger"]["responses"]["dropped"]}
    assert manifest["time_cuts"]["validation_from_utc"] < manifest["time_cuts"]["test_from_utc"]
    assert late["written after its split's end"] > 0 and late["post feeds the frozen hard test"] > 0
    written = pairs.with_columns(post_utc=pl.col("post_id").replace_strict(times)).with_columns(
        last_utc=pl.col("post_utc") + pl.max_horizontal("chosen_delay_s", "rejected_delay_s")
    )
    spans = {str(split): group for (split,), group in written.group_by("split")}
    assert spans["train"]["last_utc"].max() < spans["validation"]["post_utc"].min()
    assert spans["validation"]["last_utc"].max() < spans["test"]["post_utc"].min()
    hard = read_pairs(workspace, "hard-test")
    assert not set(hard["post_id"]) & set(pairs.filter(pl.col("split") != "test")["post_id"])
