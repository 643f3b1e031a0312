from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lurker.errors import CallError, LurkerError
from lurker.workspace import Workspace
from rm.data import content_digest, epoch_steps, read_pairs, split_of, subset, tokenise
from rm.tokens import train_tokenizer


@given(
    posts=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    pairs_per_step=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_an_epoch_holds_every_usable_pair_once(posts: list[int], pairs_per_step: int, seed: int) -> None:
    post = np.array(posts)
    usable = np.arange(post.size) % 3 != 1
    steps = epoch_steps(post, usable, pairs_per_step, seed, epoch=0)
    assert sorted(np.concatenate(steps)) == list(np.flatnonzero(usable))
    assert all(step.size <= pairs_per_step for step in steps)


def test_a_post_that_fits_is_not_spread_over_steps() -> None:
    post = np.repeat(np.arange(10), 5)
    steps = epoch_steps(post, np.ones(50, dtype=bool), pairs_per_step=12, seed=0, epoch=3)
    holders = [number for step in steps for number in set(post[step])]
    assert sorted(holders) == list(range(10))


def test_subsets_are_nested_and_whole_posts_but_the_last(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(40)
    small, large = (subset(frame, n_pairs, seed=7) for n_pairs in (33, 90))
    assert set(small["pair_id"]) < set(large["pair_id"])
    assert (small.height, large.height) == (33, 90)
    n_of_post = small["post_id"].value_counts().get_column("count")
    assert (n_of_post == 6).sum() == 5
    assert set(subset(frame, 33, seed=8)["post_id"]) != set(small["post_id"])


def test_a_subset_does_not_depend_on_the_order_of_rows(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(20)
    assert subset(frame, 30, 1).equals(subset(frame.reverse(), 30, 1))
    assert content_digest(frame) == content_digest(frame.reverse())


def test_more_pairs_than_there_are_says_how_many(planted: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(CallError, match="there are 60"):
        subset(planted(10), 61, 0)


def test_a_response_in_several_pairs_is_tokenised_once(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(10)
    pairs = tokenise(frame, train_tokenizer(frame["chosen"].to_list(), 400), max_tokens=64)
    assert (frame.height, len(pairs.sequences)) == (60, 40)
    assert not pairs.is_equal.any()


def test_pairs_that_are_equal_after_cutting_are_marked(planted: Callable[..., pl.DataFrame]) -> None:
    frame = (
        planted(1)
        .head(2)
        .with_columns(
            chosen=pl.Series(["tea " * 30 + "amber", "tea"]), rejected=pl.Series(["tea " * 30 + "grit", "rain"])
        )
    )
    pairs = tokenise(frame, train_tokenizer(["tea rain amber grit"], 400), max_tokens=12)
    assert pairs.is_equal.tolist() == [True, False]
    assert epoch_steps(pairs.post, ~pairs.is_equal, 8, 0, 0)[0].tolist() == [1]


def test_unknown_names_list_what_there_is(workspace: Workspace) -> None:
    with pytest.raises(CallError, match="hard-test, planted"):
        read_pairs(workspace, "nothing")
    with pytest.raises(CallError, match="alpha, beta"):
        read_pairs(workspace, "planted", ["gamma"])
    assert read_pairs(workspace, "planted", ["r/ALPHA"])["subreddit"].unique().to_list() == ["alpha"]
    with pytest.raises(LurkerError, match="no train pairs"):
        split_of(read_pairs(workspace, "hard-test"), "hard-test", "train")
