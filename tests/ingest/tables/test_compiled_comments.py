"""Compiled code turns comments with usual values into the rows that `normalize` gives, and leaves it the others."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ingest.native import json_lines
from ingest.native.build import is_expected
from ingest.tables import compiled_comments
from ingest.tables.compiled_comments import current_layout, normalize_comments
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.parse import FIELDS
from ingest.tables.staging import read_batch
from lurker.authors import KNOWN_BOTS
from lurker.errors import LurkerError
from lurker.schema import COMMENTS

pytestmark = pytest.mark.skipif(not is_expected(), reason="there is no C compiler")
SALT = b"a salt"


def lines_of(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def both_ways(monkeypatch, data, filters, salt=SALT):
    """The batch with compiled code, and with the libraries alone."""
    fast = read_batch(data, RowContext(filters, "dump", salt), first_line=7)
    with monkeypatch.context() as without:
        without.setattr(json_lines, "is_built", lambda: False)
        return fast, read_batch(data, RowContext(filters, "dump", salt), first_line=7)


def assert_same(fast, slow):
    assert fast.summary == slow.summary
    assert fast.malformed == slow.malformed
    assert fast.rows.keys() == slow.rows.keys()
    for name, rows in slow.rows.items():
        assert_frame_equal(fast.rows[name].sort(pl.all()), rows.sort(pl.all()))


def rows_left(rows, filters=None):
    lines = json_lines.read_lines(lines_of(rows), FIELDS)
    assert not lines.odd
    return normalize_comments(lines, RowContext(filters or RowFilters(), "dump", SALT))[2].tolist()


_SPACES = [
    "",
    " ",
    "\n",
    "\t \r\n",
    "\x0b\x0c",
    "\x1c",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2003",
    "\u200b",
    "\u2028",
    "\u202f",
]
_SPACES += ["\u205f", "\u3000 ", "\u2063", "\u180e"]
_REMOVED = [
    "[deleted]",
    "[removed]",
    "[deleted by user]",
    "[ Removed by Reddit ]",
    "[removed by reddit]",
    "[Deleted]",
    "[",
]
_PARTS = [
    "u/",
    "/u/",
    "U/",
    "user/",
    "User/",
    "uSer/",
    "ser/",
    "a",
    "_",
    "-",
    "ab",
    "x" * 31,
    "é",
    "😀",
    " ",
    "\x00",
    "&",
]
_PARTS += ["&amp;", "&lt;", "&gt;", "amp;", "&am", "p;", "\n", "http://", "r/college ", "[name]", "thirteen long"]
_BODY = st.one_of(
    st.lists(st.sampled_from(_PARTS), max_size=12).map("".join),
    st.tuples(st.sampled_from(_SPACES), st.sampled_from(_REMOVED), st.sampled_from(_SPACES)).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
_ID = st.sampled_from(["c1", "c2", "gx4k2p9", "t1_c3", "t3_c4", "", "longer than twelve bytes", "é"])
_PREFIXED = st.tuples(st.sampled_from(["t1_", "t3_", "t1_", "t3_", ""]), _ID).map("".join)
_TIME = st.one_of(st.integers(-5, 2**41), st.floats(-1, 2e12), st.sampled_from(["1500000000", "1.5e9", 1e300, -1]))
_AUTHOR = st.one_of(
    st.sampled_from(["ann", "Bob_the-2nd", "[deleted]", "[removed]", "", "a" * 128, "a" * 129, "é", "totesmessenger"]),
    st.sampled_from(["AutoModerator", "automoderator", "remindmebot", "Remind\u212aeBot", *KNOWN_BOTS]),
    st.text(st.characters(max_codepoint=0x7E), max_size=130),
)
_WHOLE = st.integers(-(10**17), 10**17) | st.integers(-1, 3)
_FLAG = (
    st.booleans() | st.integers(-1, 2) | st.sampled_from([0.0, 1.0, 0.5, "", "0", "1", "1.0", "true", "False", "yes"])
)
_FIELDS = {
    "id": _ID,
    "link_id": _PREFIXED,
    "parent_id": _PREFIXED,
    "body": _BODY,
    "author": _AUTHOR,
    "subreddit": st.sampled_from(
        ["college", "College", "u_ann", "U_ann", "reddit.com", "../x", "é", "", "a" * 64, "a" * 65]
    ),
    "created_utc": _TIME,
    **dict.fromkeys(["score", "ups", "downs"], _WHOLE),
    **dict.fromkeys(["retrieved_on", "retrieved_utc", "updated_on", "updated_utc"], _TIME),
    "_meta": st.fixed_dictionaries(
        {}, optional={"retrieved_2nd_on": _TIME, "was_deleted_later": st.booleans() | st.none()}
    ),
    "controversiality": _FLAG,
    "edited": st.booleans() | st.sampled_from([0, 0.0, 1_500_000_300.0, "", "no"]),
    **dict.fromkeys(["over_18", "stickied", "score_hidden", "is_submitter"], st.booleans()),
    "distinguished": st.sampled_from(["moderator", "admin", "special", "gold", ""]),
    "title": st.sampled_from(["a title"]),
}
_USUAL = {"id": "c1", "link_id": "t3_p1", "parent_id": "t3_p1", "subreddit": "college", "body": "yes"}
_USUAL |= {"author": "ann", "created_utc": 1_500_000_000, "score": 3}
_ROWS = st.lists(
    st.tuples(st.fixed_dictionaries({}, optional=_FIELDS), st.sets(st.sampled_from(sorted(_USUAL)), max_size=1)).map(
        lambda drawn: {name: value for name, value in (_USUAL | drawn[0]).items() if name not in drawn[1]}
    ),
    min_size=1,
    max_size=8,
)
_FILTERS = st.builds(
    RowFilters,
    subreddits=st.sampled_from([(), (), ("COLLEGE",), ("u_Ann", "reddit.com", "É")]),
    since_utc=st.none() | st.integers(1_400_000_000, 1_500_000_001),
    until_utc=st.none() | st.integers(1_500_000_002, 2**70),
    min_score=st.none() | st.integers(-(2**70), 5),
    keep_nsfw=st.booleans(),
    keep_profiles=st.booleans(),
    bots=st.sampled_from([KNOWN_BOTS, (), ("ANN", "Ann", "é")]),
    keep_mentions=st.booleans(),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, filters=_FILTERS, salt=st.sampled_from([SALT, b"x", b"k" * 64]))
def test_rows_equal_those_of_normalize(monkeypatch, rows, filters, salt):
    assert_same(*both_ways(monkeypatch, lines_of(rows), filters, salt))


_TWO_LOOKS = {"retrieved_on": 7, "updated_on": 9}
_SEEN_ONCE = {"retrieved_on": 7, "updated_on": 7}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"controversiality": 1}, {"is_controversial": True}),
        ({"controversiality": 0}, {"is_controversial": False}),
        ({"controversiality": True}, {"is_controversial": True}),
        ({"controversiality": "False"}, {"is_controversial": False}),
        ({"controversiality": 2}, {"is_controversial": None}),
        ({"controversiality": None}, {"is_controversial": None}),
        ({"ups": 5, "downs": 2}, {"ups": 5, "downs": 2}),
        ({"ups": 0, "downs": 2}, {"ups": 0, "downs": 2}),
        ({"ups": 5, "downs": 0}, {"ups": None, "downs": None}),
        ({"ups": 5}, {"ups": None, "downs": None}),
        ({"downs": 2}, {"ups": None, "downs": None}),
        ({"ups": -1, "downs": 2}, {"ups": None, "downs": None}),
        (_TWO_LOOKS, {"first_retrieved_utc": 7, "retrieved_utc": 9}),
        (_SEEN_ONCE, {"first_retrieved_utc": None, "retrieved_utc": 7}),
        ({"retrieved_on": 9, "updated_utc": 7}, {"first_retrieved_utc": None, "retrieved_utc": 9}),
        ({"updated_utc": 7}, {"first_retrieved_utc": None, "retrieved_utc": 7}),
        ({"retrieved_utc": 8} | _TWO_LOOKS, {"first_retrieved_utc": 7, "retrieved_utc": 9}),
        ({"retrieved_on": 7.9, "updated_on": 7.95}, {"first_retrieved_utc": None, "retrieved_utc": 7}),
        ({"retrieved_on": 7, "_meta": {"retrieved_2nd_on": 9}}, {"first_retrieved_utc": 7, "retrieved_utc": 9}),
    ],
)
def test_what_a_row_tells_of_votes_and_looks(monkeypatch, fields, expected):
    data = lines_of([_USUAL | fields])
    assert rows_left([_USUAL | fields]) == []  # compiled code takes it
    for batch in both_ways(monkeypatch, data, RowFilters()):
        (row,) = batch.rows["comments"].select(*expected).to_dicts()
        assert row == expected


def test_many_authors_and_texts(monkeypatch):
    """Texts of every length around the number of bytes that are compared at once."""
    random = np.random.default_rng(5)
    rows = []
    for number in range(12_000):
        body = "".join(random.choice([*"abc /&u", "u/name", "&amp;"], size=number % 70))
        rows.append(_USUAL | {"id": f"c{number}", "author": f"author{number * 7919 % 9_000}", "body": body})
    fast, slow = both_ways(monkeypatch, lines_of(rows), RowFilters())
    assert_same(fast, slow)
    assert fast.rows["comments"]["author_hash"].n_unique() == 9_000


def test_unusual_rows_are_left():
    usual = [
        _USUAL,
        _USUAL | {"author": None, "score": None, "parent_id": "t1_c0", "edited": 1_500_000_100.0},
        _USUAL | {"body": "\u201c[x]\u201d said u/ann &amp; user/bob", "retrieved_on": 1_600_000_000, "stickied": True},
        _USUAL | {"author": "AutoModerator"},
    ]
    unusual = [
        {"id": "p1", "title": "a post", "subreddit": "college", "created_utc": 1_500_000_000},
        _USUAL | {"author": "José"},
        {name: value for name, value in _USUAL.items() if name != "parent_id"},
        _USUAL | {"created_utc": -1},
    ]
    assert rows_left(usual + unusual) == [4, 5, 6, 7]


def test_a_long_list_of_subreddits(monkeypatch):
    names = tuple(f"Sub{number}" for number in range(5_000))
    rows = [_USUAL | {"id": f"c{number}", "subreddit": f"sub{number}"} for number in range(0, 10_000, 3)]
    fast, slow = both_ways(monkeypatch, lines_of(rows), replace(RowFilters(), subreddits=names))
    assert_same(fast, slow)
    assert fast.summary["n_comments"] == sum(number < 5_000 for number in range(0, 10_000, 3))


def test_rows_survive_when_the_memory_is_used_again():
    first = read_batch(
        lines_of([_USUAL | {"body": "a text that is long enough", "title": None}] * 50),
        RowContext(RowFilters(), "dump", SALT),
    )
    post = {"id": "p1", "title": "a title that is long enough", "subreddit": "college", "created_utc": 1_500_000_000}
    posts = read_batch(lines_of([post] * 50), RowContext(RowFilters(), "dump", SALT))
    read_batch(
        lines_of([_USUAL | {"body": "another text, as long as that"}] * 50), RowContext(RowFilters(), "dump", SALT)
    )
    assert first.rows["comments"]["body"].unique().to_list() == ["a text that is long enough"]
    assert posts.rows["posts"]["title"].unique().to_list() == ["a title that is long enough"]


def test_the_lists_of_comments_c_fit_the_table():
    assert current_layout() is not None


@pytest.mark.parametrize("columns", [{"new": pl.Int64}, {"score": pl.Float64}])
def test_after_a_change_of_the_table_compiled_code_is_not_used(monkeypatch, capsys, columns):
    """A column that comments.c does not write, or writes with another type, must never reach a buffer."""
    schema = pl.Schema({**COMMENTS.schema, **columns})
    current_layout.cache_clear()
    monkeypatch.setattr(compiled_comments, "COMMENTS", SimpleNamespace(schema=schema, empty=COMMENTS.empty))
    monkeypatch.delenv("CI", raising=False)
    assert rows_left([_USUAL]) == [0]
    assert "comments.c does not fit" in capsys.readouterr().err
    current_layout.cache_clear()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(LurkerError, match=next(iter(columns))):
        current_layout()
    current_layout.cache_clear()


def test_a_field_of_another_kind_is_not_read_by_compiled_code(monkeypatch):
    current_layout.cache_clear()
    monkeypatch.setitem(compiled_comments.FIELDS, "score", "REAL")
    monkeypatch.delenv("CI", raising=False)
    assert current_layout() is None
    current_layout.cache_clear()
