from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs, split_of
from lurker.workspace import Workspace
from rm.pairs.steps import post_steps, shuffled_steps
from rm.pairs.subsets import content_digest, subset
from rm.pairs.tokenised import TokenisedPairs, tokenise, with_delays
from rm.pairs.tokens import Sequences, train_tokenizer


def pairs_of(post: list[int], is_equal: list[bool] | None = None) -> TokenisedPairs:
    """One pair of two distinct responses for each of these posts."""
    n_pairs = len(post)
    tokens = [np.array([1, 2, 3], dtype=np.int32)] * 2 * n_pairs
    sides = np.arange(2 * n_pairs).reshape(2, -1)
    ones = np.ones(n_pairs, dtype=np.float32)
    return TokenisedPairs(
        sequences=Sequences(tokens, np.tile(np.array(post), 2), np.ones(2 * n_pairs, dtype=np.int64)),
        chosen=sides[0],
        rejected=sides[1],
        post=np.array(post),
        post_ids=[str(code) for code in range(max(post) + 1)],
        weight=ones,
        confidence=ones,
        score_gap=ones,
        confounder_log_odds=0 * ones,
        is_equal=np.array(is_equal or [False] * n_pairs),
        nuisance=np.zeros((n_pairs, 3), dtype=np.float32),
    )


@given(
    posts=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    pairs_per_step=st.integers(1, 12),
    min_posts=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_an_epoch_contains_every_usable_pair_once(
    posts: list[int], pairs_per_step: int, min_posts: int, seed: int
) -> None:
    pairs = pairs_of(posts, [number % 3 == 1 for number in range(len(posts))])
    steps = post_steps(pairs, pairs_per_step, seed, 0, min_posts)
    assert sorted(np.concatenate(steps)) == list(np.flatnonzero(~pairs.is_equal))
    assert all(step.size <= pairs_per_step for step in steps)
    share = max(1, pairs_per_step // min_posts)
    for step in steps[:-1]:  # a full step mixes posts, unless it holds several chunks of one post
        assert step.size > pairs_per_step - share


def test_shuffled_steps_contain_every_usable_pair_once_in_another_order_each_epoch() -> None:
    pairs = pairs_of([0] * 30 + [1] * 10, [False] * 39 + [True])
    first, again, other = (shuffled_steps(pairs, 8, seed=0, epoch=epoch) for epoch in (0, 0, 1))
    assert [step.size for step in first] == [8, 8, 8, 8, 7]
    assert sorted(np.concatenate(first)) == list(range(39))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert (np.concatenate(first) != np.concatenate(other)).any()


def test_a_post_that_fits_is_not_spread_over_steps() -> None:
    pairs = pairs_of(sorted([*range(10)] * 5))
    steps = post_steps(pairs, pairs_per_step=12, seed=0, epoch=3, min_posts=2)
    holders = [number for step in steps for number in set(pairs.post[step])]
    assert sorted(holders) == list(range(10))


def test_a_huge_post_is_spread_over_steps_with_few_responses_each(
    planted: Callable[..., pl.DataFrame],
) -> None:
    names = [f"tea {number}" for number in range(40)]
    sides = [(left, right) for left in range(40) for right in range(left)]
    frame = pl.concat([planted(1).head(1)] * len(sides)).with_columns(
        chosen=pl.Series([names[left] for left, _ in sides]), rejected=pl.Series([names[right] for _, right in sides])
    )
    pairs = tokenise(frame, train_tokenizer(names, 400), max_tokens=64)
    steps = post_steps(pairs, pairs_per_step=32, seed=0, epoch=0, min_posts=2)
    n_responses = [np.unique([pairs.chosen[step], pairs.rejected[step]]).size for step in steps]
    assert all(step.size <= 32 for step in steps)
    assert np.mean(n_responses) < 30  # 32 random pairs would contain about 33 of the 40


def test_subsets_are_nested_and_only_their_last_post_is_incomplete(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(40)
    small, large = (subset(frame, n_pairs, seed=7) for n_pairs in (33, 90))
    assert set(small["pair_id"]) < set(large["pair_id"])
    assert (small.height, large.height) == (33, 90)
    n_of_post = small["post_id"].value_counts().get_column("count")
    assert (n_of_post == 6).sum() == 5
    assert set(subset(frame, 33, seed=8)["post_id"]) != set(small["post_id"])


def test_a_subset_of_pairs_takes_from_all_posts(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(40).filter(pl.col("split") == "train")
    small, large = (subset(frame, n_pairs, seed=7, of="pairs") for n_pairs in (24, 60))
    assert set(small["pair_id"]) < set(large["pair_id"]) and small.height == 24
    assert small["post_id"].n_unique() > subset(frame, 24, seed=7)["post_id"].n_unique() == 4


def test_a_subset_of_communities_has_as_many_pairs_of_each_as_far_as_they_go(
    planted: Callable[..., pl.DataFrame],
) -> None:
    large, small = planted(40, ("large",)), planted(5, ("small",))  # 240 pairs and 30
    frame = pl.concat([large, planted(20, ("middle",)), small]).filter(pl.col("split") == "train")
    few, many = (subset(frame, n_pairs, seed=7, of="communities") for n_pairs in (30, 150))
    assert dict(few["subreddit"].value_counts().iter_rows()) == {"large": 10, "middle": 10, "small": 10}
    assert dict(many["subreddit"].value_counts().iter_rows()) == {"large": 66, "middle": 66, "small": 18}
    assert set(few["pair_id"]) < set(many["pair_id"])
    alone = subset(frame.filter(subreddit="middle"), 10, seed=7)
    assert set(alone["pair_id"]) == set(few.filter(subreddit="middle")["pair_id"])  # whole posts, as of one alone


def test_a_subset_does_not_depend_on_the_order_of_rows(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(20)
    assert subset(frame, 30, 1).equals(subset(frame.reverse(), 30, 1))
    assert content_digest(frame) == content_digest(frame.reverse())


def test_the_error_for_too_many_pairs_states_the_number_available(planted: Callable[..., pl.DataFrame]) -> None:
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
    assert post_steps(pairs, 8, 0, 0)[0].tolist() == [1]


def test_errors_for_unknown_names_list_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(CallError, match="hard-test, planted"):
        read_pairs(workspace, "nothing")
    with pytest.raises(CallError, match="alpha, beta"):
        read_pairs(workspace, "planted", ["gamma"])
    assert read_pairs(workspace, "planted", ["r/ALPHA"])["subreddit"].unique().to_list() == ["alpha"]
    with pytest.raises(LurkerError, match="no train pairs"):
        split_of(read_pairs(workspace, "hard-test"), "hard-test", "train")


def test_a_delay_is_written_before_the_text(planted: Callable[..., pl.DataFrame]) -> None:
    frame = with_delays(
        planted(1).head(1).with_columns(chosen_delay_s=pl.lit(7300), rejected_delay_s=pl.lit(0), chosen=pl.lit("tea"))
    )
    assert frame["chosen"][0] == "[2 hours] tea"
    assert frame["rejected"][0].startswith("[0 seconds] ")
