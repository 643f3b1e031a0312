"""The compiled reader gives the values that DuckDB gives, and lists the lines that it does not understand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ingest.native.build import is_expected
from ingest.native.json_lines import count_lines, read_lines
from ingest.tables import parse

FIELDS = {"name": "TEXT", "n": "WHOLE", "x": "REAL", "is_it": "FLAG", "edited": "LOOSE"}
FIELDS |= {"_meta": "OBJECT", "_meta.seen": "REAL", "_meta.is_gone": "FLAG"}
pytestmark = pytest.mark.skipif(not is_expected(), reason="there is no C compiler")


def read_all(data, fields):
    """All rows that were read, and the positions of the other lines."""
    lines = read_lines(data, fields)
    return lines.frame(np.arange(lines.n_rows)), lines.odd


def read(*lines: bytes) -> tuple[list[dict], list[int]]:
    """Rows without their nulls, and the numbers of the lines that were not read."""
    data = b"".join(line + b"\n" for line in lines)
    frame, odd = read_all(data, FIELDS)
    assert all(data[start:end] == lines[number] for start, end, number in odd)
    rows = [{name: value for name, value in row.items() if value is not None} for row in frame.to_dicts()]
    return rows, [number for _, _, number in odd]


NO_META = {"_meta": {"seen": None, "is_gone": None}}
TAKEN = {
    b"{}": {},
    b' { "name" : "short" , "other" : [1, {"name": "inner"}, []] } \r': {"name": "short"},
    b'{"name":"twelve bytes","n":-17}': {"name": "twelve bytes", "n": -17},
    b'{"name":"thirteen byte","n":0}': {"name": "thirteen byte", "n": 0},
    b'{"name":""}': {"name": ""},
    b'{"name":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u00e9\\u20ac\\ud83d\\ude00"}': {"name": '"\\/\b\f\n\r\t\0é€😀'},
    '{"name":"é€😀 as they are"}'.encode(): {"name": "é€😀 as they are"},
    b'{"x":1.5e3,"n":null}': {"x": 1500.0},
    b'{"x":"1328054400"}': {"x": 1328054400.0},
    b'{"is_it":true,"edited":false}': {"is_it": True, "edited": "false"},
    b'{"is_it":false,"edited":1388534400.0}': {"is_it": False, "edited": "1388534400.0"},
    b'{"_meta":{"seen":3,"is_gone":true,"name":"not this"}}': {"_meta": {"seen": 3.0, "is_gone": True}},
    b'{"names":"longer","nam":"shorter","":1}': {},
    b'{"n":999999999999999999}': {"n": 999999999999999999},
}


@pytest.mark.parametrize("line", TAKEN)
def test_a_usual_line_becomes_a_row(line):
    assert read(line) == ([NO_META | TAKEN[line]], [])


NOT_READ = [
    *(b"[]", b"1", b'"x"', b"{", b'{"name"}', b'{"name":}', b'{"name":"x",}', b'{"name":"x"}}', b'{"name":"x"} x'),
    *(b'{"name":"cut', b'{"name":"cut\\', b'{"name":"\\u12', b'{"name":"\\x"}', b'{"name":"\\ud83d"}'),
    *(b'{"name":"\\ude00"}', b'{"name":"a\tb"}', b'{"other":"a\tb"}', b'{"name":"\xff"}', b'{"other":"\xc0\x80"}'),
    *(b'{"other":"\xed\xa0\x80"}', b'{"other":01}', b'{"other":1.}', b'{"other":.5}', b'{"other":-}', b'{"other":1e}'),
    *(b'{"other":NaN}', b'{"x":Infinity}', b'{"name":5}', b'{"n":"5"}', b'{"n":5.0}', b'{"n":9999999999999999999}'),
    *(b'{"is_it":1}', b'{"x":"five"}', b'{"x":true}', b'{"edited":-0}', b'{"edited":0.00}', b'{"edited":1e5}'),
    *(b'{"name":{}}', b'{"_meta":[]}', b'{"_meta":null}', b'{"_meta":{"seen":"x"}}', b'{"na\\u006de":"x"}'),
    *(b'{"other":tru}', b'{"other":' + b"[" * 99 + b"]" * 99 + b"}", b"\xef\xbb\xbf{}", b"\x00", b'{"name":"a\x00b"}'),
    *(b'{"n":1,"n":2}', b'{"name":null,"name":"x"}', b'{"_meta":{},"_meta":{}}', b'{"_meta":{"seen":1,"seen":1}}'),
]


@pytest.mark.parametrize("line", NOT_READ)
def test_an_unusual_line_is_listed(line):
    good = b'{"name":"a text that is long enough","n":1,"is_it":true,"x":2}'
    rows, odd = read(good, line, b"", good)
    assert odd == [1]
    assert rows == [NO_META | {"name": "a text that is long enough", "n": 1, "is_it": True, "x": 2.0}] * 2


def test_a_line_that_fails_at_its_end_leaves_no_values():
    rows, odd = read(
        b'{"name":"a text that is long enough","n":1,"is_it":true,"edited":"long as well, it is",!', b'{"n":2}'
    )
    assert (rows, odd) == ([NO_META | {"n": 2}], [0])


def test_no_lines():
    frame, odd = read_all(b"", FIELDS)
    assert (frame.height, odd, frame.columns) == (0, [], ["name", "n", "x", "is_it", "edited", "_meta"])


def test_newlines_are_counted():
    assert [count_lines(memoryview(data)) for data in (b"", b"\n", b"a\n\nb", b"x" * 70_000 + b"\n" * 300)] == [
        0,
        1,
        2,
        300,
    ]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_ROW = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.none() | _TEXT for name, dtype in parse.RAW_TYPES.items() if dtype == "VARCHAR"},
        **{
            name: st.none() | st.integers(-(10**16), 10**16)
            for name, dtype in parse.RAW_TYPES.items()
            if dtype == "BIGINT"
        },
        **{name: st.none() | st.floats(-1e12, 1e12) for name, dtype in parse.RAW_TYPES.items() if dtype == "DOUBLE"},
        **{name: st.none() | st.booleans() for name, dtype in parse.RAW_TYPES.items() if dtype == "BOOLEAN"},
        "edited": st.booleans() | st.integers(0, 2**31),
        "_meta": st.fixed_dictionaries(
            {"retrieved_2nd_on": st.integers(0, 2**31)}, optional={"was_deleted_later": st.booleans()}
        ),
        "all_awardings": st.lists(st.dictionaries(_TEXT, st.floats() | _TEXT, max_size=2), max_size=2),
    },
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(_ROW, st.booleans()), min_size=1, max_size=6))
def test_rows_equal_those_of_duckdb(rows):
    valid = [
        (row, is_ascii) for row, is_ascii in rows if "NaN" not in json.dumps(row) and "Infinity" not in json.dumps(row)
    ]
    data = b"".join(json.dumps({"id": "x", **row}, ensure_ascii=is_ascii).encode() + b"\n" for row, is_ascii in valid)
    frame, odd = read_all(data, parse.FIELDS)
    assert not odd
    if valid:
        assert_frame_equal(frame, parse._read_json(data))


@settings(max_examples=80, deadline=None)
@given(_ROW, st.data())
def test_a_damaged_line_is_read_only_if_it_is_json(row, data):
    """Bytes are changed, inserted and removed: no line is read that the standard library refuses."""
    line = bytearray(json.dumps(row, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(line) - 1))
        byte = data.draw(st.sampled_from(b'{}[]",:\\ue0-.x\xc3\xed\xf0\x80\x00'))
        line[start : start + data.draw(st.integers(0, 2))] = bytes([byte])
    frame, odd = read_all(bytes(line) + b"\n", parse.FIELDS)
    assert frame.height + len(odd) == (1 if line.strip() else 0)
    if frame.height:
        assert isinstance(json.loads(line), dict)
        assert json.loads(line).get("body") in (frame["body"][0], None)


def test_too_many_fields():
    with pytest.raises(ValueError, match="65"):
        read_lines(b"{}\n", {f"field {number}": "TEXT" for number in range(65)})
