"""What the standard library's json can read is never lost; what it cannot read keeps its line number."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.native import json_lines
from ingest.tables.parse import RAW_TYPES, parse_lines

GOOD = [
    b'{"id":"plain","body":"x"}',
    b'{"id":"lone","body":"half \\ud83d pair"}',
    b'{"id":"pair","body":"\\ud83d\\ude00"}',
    b'{"id":"nan","score":NaN,"body":"x"}',
    b'{"id":"inf","created_utc":Infinity,"body":"x"}',
    b'{"id":"nul","body":"a\\u0000b"}',
    b'{"id":"tail","body":"x"}  \r',
    b'\xef\xbb\xbf{"id":"bom","body":"x"}',
    b'{"id":"deep","body":"x","other":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"id":12,"body":"number as id"}',
    b'{"body":"no id"}',
]
BAD = [b'{"id":"cut","body":"x', b"[1,2]", b"null", b'{"id":"two"}{"id":"rows"}', b'{"id":"\xff"}', b"\x00\x00", b"}"]


@pytest.fixture(params=["compiled", "libraries"], autouse=True)
def reader(request, monkeypatch):
    """Every test is of both ways: with the compiled reader in front and without it."""
    if request.param == "libraries":
        monkeypatch.setattr(json_lines, "is_built", lambda: False)


def test_readable_rows_are_kept_and_malformed_lines_numbered():
    lines = [line for pair in zip(GOOD, [*BAD, b"", b"  ", b"", b""], strict=True) for line in pair]
    frame, malformed = parse_lines(b"\n".join(lines) + b"\n", first_line=100)
    rows = {row["id"]: row for row in frame.to_dicts()}
    assert set(rows) == {"plain", "lone", "pair", "nan", "inf", "nul", "tail", "bom", "deep", "c", ""}
    assert rows["lone"]["body"] == "half \ufffd pair"
    assert rows["pair"]["body"] == "\U0001f600"
    assert rows["nan"]["score"] is None
    assert [(line.line, line.data) for line in malformed] == [
        (100 + position, line) for position, line in enumerate(lines) if line in BAD
    ]


def test_a_huge_row():
    body = "word " * 4_000_000
    frame, malformed = parse_lines(json.dumps({"id": "huge", "body": body}).encode() + b"\n")
    assert not malformed
    assert frame["body"].to_list() == [body]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from(sorted(RAW_TYPES)), _VALUES, max_size=6).map(
                lambda row: json.dumps(row).encode()
            ),
            st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")),
        ),
        max_size=12,
    )
)
def test_every_line_is_a_row_or_malformed(lines):
    frame, malformed = parse_lines(b"".join(line + b"\n" for line in lines))
    readable, blank = 0, 0
    for line in lines:
        blank += not line.strip()
        try:
            readable += isinstance(json.loads(line.removeprefix(b"\xef\xbb\xbf")), dict)
        except ValueError:
            continue
    assert frame.height == readable
    assert len(malformed) == len(lines) - readable - blank
