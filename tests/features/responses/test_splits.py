import polars as pl
import pytest

from features.hashing import SPAN, hash_ids, quick_hashes
from features.recipes.recipe import Recipe
from features.responses.splits import FEEDS_HARD_TEST, HELD_OUT_COPY, assign_splits
from lurker.errors import CallError

IDS = pl.Series([f"p{n}" for n in range(5_000)])


def posts_of(ids: pl.Series) -> pl.DataFrame:
    """Posts written an hour apart."""
    return pl.DataFrame({"post_id": ids}).with_columns(created_utc=pl.int_range(pl.len()) * 3_600)


def test_python_and_sql_agree_on_every_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.hashing.MANY_IDS", 0)
    ids = pl.Series(["62bgi8", "p0", "", "ü"])
    in_sql = quick_hashes(ids, "pair").to_list()
    assert in_sql == hash_ids(ids, "pair").tolist()
    assert min(in_sql) >= 0 and max(in_sql) < SPAN


def test_splits_have_their_fractions_and_every_post_has_one_split() -> None:
    splits = assign_splits(posts_of(pl.concat([IDS, IDS])), Recipe(name="test"))
    shares = splits["split"].value_counts(normalize=True)
    assert splits.height == 5_000
    for split, expected in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert shares.filter(pl.col("split") == split)["proportion"].item() == pytest.approx(expected, abs=0.02)


def test_a_post_keeps_its_split_when_data_is_added() -> None:
    few = assign_splits(posts_of(IDS[:100]), Recipe(name="test"))
    many = assign_splits(posts_of(IDS), Recipe(name="test"))
    assert few.join(many, on=["post_id", "split"], how="inner").height == 100


def test_the_splits_of_some_ids_never_change() -> None:
    splits = assign_splits(posts_of(pl.Series(["62bgi8", "65qmqo", "p4", "p7"])), Recipe(name="test"))
    assert dict(splits.select("post_id", "split").iter_rows()) == {
        "62bgi8": "train",
        "65qmqo": "train",
        "p4": "validation",
        "p7": "validation",
    }


def ids_on(side: str) -> list[str]:
    splits = assign_splits(posts_of(IDS), Recipe(name="test"))
    return splits.filter(pl.col("split") == side)["post_id"].to_list()


def copies_of(*groups: list[str]) -> pl.DataFrame:
    rows = [(post_id, min(group), 0) for group in groups for post_id in group]
    return pl.DataFrame(
        rows, schema={"post_id": pl.String, "copy_group": pl.String, "created_utc": pl.Int64}, orient="row"
    )


def test_of_copies_in_two_splits_the_most_held_out_is_kept_and_none_moves() -> None:
    train, validation, test = (ids_on(side) for side in ("train", "validation", "test"))
    copies = copies_of([train[0], validation[0]], [train[1], validation[1], test[1]], [train[2], train[3]])
    plain = assign_splits(posts_of(IDS), Recipe(name="test"))
    splits = assign_splits(posts_of(IDS), Recipe(name="test"), copies)
    assert splits.select("post_id", "split").equals(plain.select("post_id", "split"))
    misplaced = splits.filter(pl.col("misplaced").is_not_null())
    assert misplaced["post_id"].to_list() == sorted([train[0], train[1], validation[1]])
    assert misplaced["misplaced"].unique().to_list() == [HELD_OUT_COPY]


def test_a_copy_in_another_subreddit_counts_too() -> None:
    train, test = ids_on("train"), ids_on("test")
    splits = assign_splits(posts_of(pl.Series(train[:5])), Recipe(name="test"), copies_of([train[0], test[0]]))
    assert splits.filter(pl.col("misplaced").is_not_null())["post_id"].to_list() == [train[0]]


def test_by_time_train_is_before_validation_and_validation_before_test() -> None:
    posts = posts_of(IDS)
    splits = assign_splits(posts, Recipe(name="test", split_by="time")).join(posts, on="post_id")
    spans = {side: group["created_utc"] for (side,), group in splits.group_by("split")}
    assert {side: len(times) for side, times in spans.items()} == {"train": 4_000, "validation": 500, "test": 500}
    assert spans["train"].max() < spans["validation"].min() and spans["validation"].max() < spans["test"].min()


def test_by_time_no_post_of_the_hard_test_and_no_copy_of_it_is_trained_on() -> None:
    train, test = ids_on("train"), ids_on("test")
    recipe = Recipe(name="test", split_by="time", validation_from_utc=10**8, test_from_utc=2 * 10**8)
    splits = assign_splits(posts_of(IDS), recipe, copies_of([train[0], test[0]]))
    assert splits["split"].unique().to_list() == ["train"]
    misplaced = splits.filter(pl.col("misplaced").is_not_null())
    assert misplaced["post_id"].to_list() == sorted([*test, train[0]])
    assert misplaced["misplaced"].unique().to_list() == [FEEDS_HARD_TEST]


def test_cut_times_out_of_order_are_refused() -> None:
    recipe = Recipe(name="test", split_by="time", validation_from_utc=20, test_from_utc=10)
    with pytest.raises(CallError, match=r"validation_from_utc \(20\) must not be after test_from_utc \(10\)"):
        assign_splits(posts_of(IDS), recipe)
