"""Raw rows of every era become rows of the tables."""

import json
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.tables import normalize
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.parse import RAW_TYPES, parse_lines
from lurker.authors import hash_authors, is_placeholder
from lurker.schema import COMMENTS, POSTS, check

CONTEXT = RowContext(RowFilters(), "dump", b"a salt")


@pytest.fixture
def read():
    """Read raw dicts as a dump's rows: the frame of `with_common_fields`."""

    def read(*rows):
        import orjson

        data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        frame, malformed = parse_lines(data)
        assert not malformed
        return normalize.with_common_fields(frame)

    return read


def comment(**fields):
    """A comment with the fields that every era has."""
    row = {"id": "c1", "link_id": "t3_p1", "parent_id": "t3_p1", "subreddit": "college", "body": "yes"}
    return {**row, "author": "ann", "created_utc": 1_500_000_000, "score": 3, **fields}


def post(**fields):
    """A submission with the fields that every era has."""
    row = {"id": "p1", "subreddit": "college", "title": "Why?", "selftext": "Tell me.", "author": "bob"}
    return {**row, "created_utc": 1_500_000_000, "score": 3, **fields}


def comments_of(raw):
    return normalize.comments(raw, CONTEXT)


def posts_of(raw):
    return normalize.posts(raw, CONTEXT)


def test_a_hidden_score_of_a_post_is_no_score(read):
    rows = read(post(hide_score=True, score=1), post(id="p2", hide_score=False), post(id="p3", hide_score=True, ups=1))
    assert posts_of(rows)["score"].to_list() == [None, 3, None]


def test_posts_and_comments_are_recognised_by_content(read):
    raw = read(comment(), post(), {"id": "t5_x", "display_name": "college"})
    assert comments_of(raw)["comment_id"].to_list() == ["c1"]
    assert posts_of(raw)["post_id"].to_list() == ["p1"]
    assert raw.select(normalize.drop_reason(RowFilters())).to_series().to_list() == [
        None,
        None,
        "neither post nor comment",
    ]
    assert comments_of(raw).schema == COMMENTS.schema
    assert posts_of(raw).schema == POSTS.schema


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"created_utc": "1500000000"}, {"created_utc": 1_500_000_000}),
        ({"created_utc": 1500000000.0}, {"created_utc": 1_500_000_000}),
        ({"score": None}, {"score": None}),
        ({"score": None, "ups": 5, "downs": 2}, {"score": 3}),
        ({"score": "many"}, {"score": None}),
        ({"edited": False}, {"is_edited": False}),
        ({"edited": None}, {"is_edited": False}),
        ({"edited": True}, {"is_edited": True}),
        ({"edited": 1500000300.0}, {"is_edited": True}),
        ({"author": None}, {"author_hash": None}),
        ({"author": "[deleted]"}, {"author_hash": None, "is_deleted": False}),
        ({"body": "[deleted]"}, {"is_deleted": True}),
        ({"body": "[removed]"}, {"is_deleted": True}),
        ({"body": ""}, {"is_deleted": True}),
        ({"body": "a\x00b"}, {"body": "ab"}),
        ({"body": "a &amp;lt; &gt; b"}, {"body": "a &lt; > b"}),
        ({"parent_id": "t1_c0"}, {"parent_id": "c0", "is_top_level": False}),
        ({"parent_id": None}, {"parent_id": "p1", "is_top_level": True}),
        ({"link_id": None}, {"post_id": "p1", "is_top_level": True}),
        ({"id": "t1_c1"}, {"comment_id": "c1"}),
        ({"distinguished": "moderator"}, {"is_distinguished": True}),
        ({"is_submitter": True}, {"is_by_op": True}),
        ({}, {"is_by_op": None, "is_stickied": False, "is_score_hidden": False, "retrieved_utc": None}),
        ({"retrieved_on": 7, "_meta": {"retrieved_2nd_on": 9}}, {"retrieved_utc": 9}),
        ({"retrieved_on": "8"}, {"retrieved_utc": 8}),
        ({"retrieved_on": 7, "updated_on": 9}, {"retrieved_utc": 9}),
        ({"retrieved_on": 7, "updated_utc": "11", "updated_on": False}, {"retrieved_utc": 11}),
        ({"id": 41497072417}, {"comment_id": "j2aaa01"}),
        ({"id": "41497072417"}, {"comment_id": "41497072417"}),
        ({"id": 41497072417.0}, {"comment_id": "j2aaa01"}),
        ({"link_id": 36, "parent_id": 36}, {"post_id": "10", "parent_id": "10", "is_top_level": True}),
        ({"link_id": "t3_10", "parent_id": 41497072417}, {"parent_id": "j2aaa01", "is_top_level": False}),
        ({"link_id": ""}, {"post_id": "p1"}),
    ],
)
def test_oddities_of_every_era(read, fields, expected):
    (row,) = comments_of(read(comment(**fields))).to_dicts()
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"selftext": None, "url": "https://example.org", "domain": "example.org"}, {"body": "", "is_self": False}),
        ({"domain": "self.college", "url": "https://reddit.com/x"}, {"is_self": True}),
        (
            {},
            {
                "is_self": True,
                "is_nsfw": False,
                "n_comments": None,
                "flair": None,
                "upvote_ratio": None,
                "crosspost_of": None,
            },
        ),
        ({"crosspost_parent": "t3_abc"}, {"crosspost_of": "abc"}),
        ({"is_self": False}, {"is_self": False}),
        ({"selftext": "[removed]"}, {"is_deleted": True}),
        ({"removed_by_category": "moderator"}, {"is_deleted": True}),
        ({"removed_by_category": ""}, {"is_deleted": False}),
        ({"removed_by_category": "None"}, {"is_deleted": False}),
        ({"selftext": None, "body": "Its text."}, {"body": "Its text.", "is_deleted": False}),
        ({"selftext": "", "body": "[ Removed by reddit for spam ]"}, {"is_deleted": True}),
        ({"crosspost_parent": "", "url": "", "domain": ""}, {"crosspost_of": None, "is_self": True}),
        ({"crosspost_parent": 36}, {"crosspost_of": "10"}),
        ({"title": "Q &amp; A with /u/ann"}, {"title": "Q & A with /u/[name]"}),
        ({"upvote_ratio": 0.75, "num_comments": 4}, {"upvote_ratio": 0.75, "n_comments": 4}),
        ({"contest_mode": True, "suggested_sort": "random"}, {"is_contest": True, "suggested_sort": "random"}),
        ({"contest_mode": False, "suggested_sort": ""}, {"is_contest": False, "suggested_sort": None}),
        ({}, {"is_contest": None, "suggested_sort": None, "is_score_hidden": None, "ups": None, "downs": None}),
        ({"hide_score": True}, {"is_score_hidden": True, "score": None}),
        ({"hide_score": False}, {"is_score_hidden": False, "score": 3}),
        ({"ups": 12, "downs": 9}, {"ups": 12, "downs": 9}),
        ({"ups": 3, "downs": 0}, {"ups": None, "downs": None}),
        ({"retrieved_on": 7, "_meta": {"retrieved_2nd_on": 9}}, {"first_retrieved_utc": 7, "retrieved_utc": 9}),
        ({"retrieved_on": 7}, {"first_retrieved_utc": None, "retrieved_utc": 7}),
    ],
)
def test_posts_of_every_era(read, fields, expected):
    (row,) = posts_of(read(post(**fields))).to_dicts()
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("filters", "row", "reason"),
    [
        (RowFilters(subreddits=("Emory",)), comment(), "other subreddit"),
        (RowFilters(subreddits=("COLLEGE",)), comment(), None),
        (RowFilters(since_utc=1_500_000_001), comment(), "before --since"),
        (RowFilters(since_utc=1_500_000_000), comment(), None),
        (RowFilters(until_utc=1_500_000_000), comment(), "not before --until"),
        (RowFilters(min_score=4), comment(), "below --min-score"),
        (RowFilters(min_score=3), comment(), None),
        (RowFilters(min_score=-99), comment(score=None), "below --min-score"),
        (RowFilters(), post(over_18=True), "nsfw"),
        (RowFilters(keep_nsfw=True), post(over_18=True), None),
        (RowFilters(), comment(id=None), "no id, time or subreddit"),
        (RowFilters(), comment(created_utc=None), "no id, time or subreddit"),
        (RowFilters(), comment(created_utc=1_500_000_060_000), "created_utc is in milliseconds, not seconds"),
        (RowFilters(), comment(created_utc="2017-07-14T02:40:00Z"), "created_utc is not a number"),
        (RowFilters(), comment(created_utc=-1), "created_utc is not between 1970 and 2100"),
        (RowFilters(), post(retrieved_on=1_500_000_060_000), "retrieved_on is in milliseconds, not seconds"),
        (RowFilters(), post(updated_utc=1_500_000_060_000_000), "updated_utc is in microseconds, not seconds"),
        (RowFilters(), comment(updated_on="yesterday"), "updated_on is not a number"),
        (
            RowFilters(),
            comment(_meta={"retrieved_2nd_on": "2017-07-14"}),
            "_meta.retrieved_2nd_on is not a number",
        ),
        (RowFilters(), comment(subreddit="../../etc"), "no id, time or subreddit"),
        (RowFilters(), post(subreddit="reddit.com"), None),
        (RowFilters(), post(subreddit="u_somebody-1"), "a user's profile"),
        (RowFilters(subreddits=("u_Somebody-1",)), post(subreddit="u_somebody-1"), None),
        (RowFilters(), comment(author="automoderator"), "written by a bot"),
        (RowFilters(bots=()), comment(author="AutoModerator"), None),
        (RowFilters(), comment(over_18=True), "nsfw"),
    ],
)
def test_a_dropped_row_has_a_reason(read, filters, row, reason):
    assert read(row).select(normalize.drop_reason(filters)).item() == reason


def test_an_empty_span_of_time_is_rejected():
    with pytest.raises(ValueError, match="200 to 100"):
        RowFilters(since_utc=200, until_utc=100)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("thanks u/Some-One_1!", "thanks u/[name]!"),
        ("/u/someone said", "/u/[name] said"),
        ("https://reddit.com/user/someone", "https://reddit.com/u/[name]"),
        ("the menu/list and r/college", "the menu/list and r/college"),
        ("U/SHOUT", "u/[name]"),
    ],
)
def test_user_names_in_texts_are_replaced(text, clean):
    frame = pl.DataFrame({"text": [text]})
    assert frame.select(normalize.clean_text(pl.col("text"))).item() == clean
    assert frame.select(normalize.clean_text(pl.col("text"), keep_mentions=True)).item() == text


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("u/Ur ser[]name_-é\x00&amp;lt;")))
def test_cleaning_leaves_no_name_and_no_nul(text):
    cleaned = pl.DataFrame({"text": [text]}).select(normalize.clean_text(pl.col("text"))).item()
    assert "\x00" not in cleaned
    assert not re.search(r"(?<![0-9A-Za-z_])[uU](ser)?/[A-Za-z0-9_-]{2,}", cleaned, re.ASCII)


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        ["[deleted]", "[removed]", "t3_p1", "t1_c2", "college", "u_x", "self.college", "1.5e9", "-3", "\ud83d"]
    ),
    st.text(max_size=6),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["retrieved_2nd_on", "was_deleted_later", "x"]), st.floats(), max_size=2),
)


@given(st.lists(st.tuples(st.booleans(), st.dictionaries(st.sampled_from(sorted(RAW_TYPES)), JSON)), max_size=6))
@settings(deadline=None, max_examples=30)
def test_any_row_is_kept_completely_or_dropped_with_a_reason(rows):
    """Every field may be of any type, or absent; a kept row keeps to the schema, and no row is lost."""
    raw = [{**(comment() if is_comment else post()), **fields} for is_comment, fields in rows]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in raw)
    frame, malformed = parse_lines(data)
    assert (frame.height, malformed) == (len(raw), [])
    found = normalize.with_common_fields(frame).with_columns(normalize.drop_reason(RowFilters()))
    kept = found.filter(pl.col("drop_reason").is_null())
    posts = check(normalize.posts(kept, CONTEXT), POSTS)
    comments = check(normalize.comments(kept, CONTEXT).with_columns(pl.col("is_by_op").fill_null(False)), COMMENTS)
    assert posts.height + comments.height == kept.height
    for text in (*posts["title"], *posts["body"], *comments["body"]):
        assert "\x00" not in text
        text.encode()
    assert (comments["is_top_level"] == (comments["parent_id"] == comments["post_id"])).all()
    assert not posts["post_id"].str.starts_with("t3_").any()
    for table in (posts, comments):
        assert table["created_utc"].is_between(0, 2**40).all()
        assert (table["author_hash"].is_null() | table["author_hash"].str.contains("^[0-9a-f]{16}$")).all()


@given(st.lists(st.one_of(st.none(), st.sampled_from(["[deleted]", "", "ann", "Ann", "bob"]), st.text(min_size=1))))
def test_hashes_distinguish_authors_and_hide_their_names(names):
    hashes = hash_authors(pl.Series("author", names, dtype=pl.String), CONTEXT.salt).to_list()
    for name, digest in zip(names, hashes, strict=True):
        assert (digest is None) == (name is None or is_placeholder(name))
        assert digest is None or re.fullmatch("[0-9a-f]{16}", digest)
    known = [pair for pair in zip(names, hashes, strict=True) if pair[1]]
    assert len({name for name, _ in known}) == len({digest for _, digest in known}) == len(set(known))


def test_another_salt_gives_another_hash():
    names = pl.Series(["ann"])
    assert hash_authors(names, b"one")[0] != hash_authors(names, b"two")[0]
