"""The compiled order is that of a general sort, and its counts are those of Counter."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.native import json_lines
from ingest.native.sorting import sorted_rows, text_counts

pytestmark = pytest.mark.skipif(not json_lines.is_built(), reason="no C compiler when Lurker was installed")
KEYS = ("subreddit", "post_id", "created_utc", "comment_id")
SCHEMA = {"subreddit": pl.String, "post_id": pl.String, "created_utc": pl.Int64, "comment_id": pl.String, "n": pl.Int64}
_TEXT = st.sampled_from(["", "a", "ab", "abcdef", "abcdefg", "abcdefh", "abcdef\x00", "longer than twelve", "é", "b"])
_SUBREDDIT = st.sampled_from(["b", "B", "a", "A", "ab", "longer_than_twelve", "Longer_Than_twelve", "_"])
_ROW = st.tuples(_SUBREDDIT, _TEXT, st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1), _TEXT)


def general(rows):
    return rows.sort(pl.col("subreddit").str.to_lowercase(), *KEYS[1:], maintain_order=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(_ROW, max_size=40), st.integers(1, 5))
def test_it_is_that_of_a_general_sort(rows, n_chunks):
    frame = pl.DataFrame([(*row, number) for number, row in enumerate(rows)], SCHEMA, orient="row")
    size = 1 + len(rows) // n_chunks
    chunks = pl.concat([frame[start : start + size] for start in range(0, len(rows) + 1, size)])
    found = sorted_rows(chunks, KEYS)
    assert found is not None
    assert found.equals(general(frame))


@pytest.mark.parametrize("seed", range(3))
def test_many_rows_of_sorted_runs(seed):
    rows = pl.DataFrame({"n": range(30_000)}).select(
        (pl.col("n").hash(seed) % 300).cast(pl.String).alias("subreddit"),
        (pl.col("n").hash(seed + 9) % 500).cast(pl.String).alias("post_id"),
        (pl.col("n").hash(seed + 7) % 5).cast(pl.Int64).alias("created_utc"),
        pl.col("n").cast(pl.String).alias("comment_id"),
        "n",
    )
    runs = pl.concat([general(rows[start : start + 4_321]) for start in range(0, 30_000, 4_321)])
    assert sorted_rows(runs, KEYS).equals(general(rows))
    assert sorted_rows(general(rows), KEYS).equals(general(rows))


@pytest.mark.parametrize("odd", ["0", "zzzzzzzz", "zzzzzzzz0", "Z", "a_b", "\x00"])
@pytest.mark.parametrize("latest", [1_700_000_000, 2**32 - 1, 2**32, -1])
def test_many_rows_in_no_order(odd, latest):
    numbers = pl.int_range(20_000, eager=True)
    rows = pl.DataFrame({"n": numbers}).select(
        pl.when(pl.col("n").hash(1) % 3 == 0).then(pl.lit("Aa")).otherwise(pl.lit("aA")).alias("subreddit"),
        post_id=pl.Series([f"{number:x}" for number in (numbers.hash(2) % 3_000)]),
        created_utc=(pl.col("n").hash(3) % 4).cast(pl.Int64) * 400_000_000,
        comment_id=(pl.col("n").hash(4) % 50).cast(pl.String),
        n="n",
    )
    rows[19_000, "post_id"], rows[100, "post_id"], rows[7_000, "created_utc"] = odd, odd, latest
    assert sorted_rows(rows, KEYS).equals(general(rows))
    assert sorted_rows(rows, KEYS[:2]).equals(rows.sort("post_id", maintain_order=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(_SUBREDDIT | _TEXT, max_size=40), st.integers(0, 3))
def test_texts_are_counted(texts, start):
    assert text_counts(pl.Series(texts, dtype=pl.String)[start:]) == Counter(texts[start:])


@pytest.mark.parametrize("n_texts", [4_096, 4_097, 9_000])
def test_more_texts_than_there_is_room_for_are_counted_too(n_texts):
    texts = [f"text number {number % n_texts}" for number in range(10_000)]
    assert text_counts(pl.Series(texts)) == Counter(texts)


@pytest.mark.parametrize("row", [("é", "p", 1, "c"), (None, "p", 1, "c"), ("a", None, 1, "c"), ("a", "p", None, "c")])
def test_keys_of_another_kind_are_left(row):
    assert sorted_rows(pl.DataFrame([(*row, 0)] * 2, SCHEMA, orient="row"), KEYS) is None


def test_more_subreddits_than_can_be_numbered_are_left():
    rows = pl.DataFrame({"subreddit": map(str, range(70_000))}).with_columns(post_id=pl.lit("p"))
    assert sorted_rows(rows, ("subreddit", "post_id")) is None
