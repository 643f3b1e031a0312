"""Whatever a line holds, compiled code in front gives the rows that the libraries alone give, and never bad memory."""

from random import Random

import polars as pl
import pytest

from ingest.native import json_lines
from ingest.native.build import is_expected
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.staging import Batch, read_batch

pytestmark = pytest.mark.skipif(not is_expected(), reason="there is no C compiler")
FILTERS = RowFilters(keep_nsfw=True, keep_profiles=True)
N_LINES = 400

COMMENT = {
    b"id": b'"c1"',
    b"link_id": b'"t3_p1"',
    b"parent_id": b'"t1_c0"',
    b"subreddit": b'"college"',
    b"body": b'"a text of more than twelve bytes"',
    b"author": b'"ann"',
    b"created_utc": b"1500000000",
    b"score": b"3",
}
OPTIONAL = {
    **{b"retrieved_on": b"1600000000", b"retrieved_utc": b"1600000001", b"edited": b"false", b"over_18": b"false"},
    **{b"stickied": b"true", b"distinguished": b'"moderator"', b"score_hidden": b"false", b"is_submitter": b"true"},
    **{b"ups": b"5", b"downs": b"2", b"title": b'"a title"', b"all_awardings": b'[{"count": [1, -2.5e3]}]'},
    b"_meta": b'{"retrieved_2nd_on": 1600000002, "was_deleted_later": false, "other": {}}',
}
NUMBERS = [
    *(
        b"0",
        b"-0",
        b"-0.0",
        b"0.0",
        b"0.00",
        b"0e0",
        b"1e5",
        b"1E+5",
        b"5e-324",
        b"1e-400",
        b"1e308",
        b"1e999",
        b"-1e999",
    ),
    *(
        b"9007199254740993",
        b"999999999999999999",
        b"-999999999999999999",
        b"9223372036854775807",
        b"9223372036854775808",
    ),
    *(
        b"18446744073709551616",
        b"1" * 40,
        b"1" * 400,
        b"0." + b"1" * 60,
        b"1500000000.9",
        b"1e9",
        b"2.5",
        b"12345678.10",
    ),
    *(b"01", b"1.", b".5", b"-", b"+1", b"1e", b"1e+", b"0x10", b"1_000", b"NaN", b"Infinity", b"-Infinity"),
]
TEXTS = [
    *(
        b"",
        b" ",
        b"false",
        b"0",
        b"1.5",
        b"1500000000",
        b"1e9",
        b" 5",
        b"true",
        b"null",
        b"twelve bytes",
        b"thirteen bytes",
    ),
    *(
        b"t1_c3",
        b"t3_p3",
        b"t3_t3_p3",
        b"[deleted]",
        b"[removed]",
        b"AutoModerator",
        b"u_ann",
        b"u/ann",
        b"&amp;lt;",
        b"../x",
    ),
    *(
        b"\\u0000",
        b"a\\u0000b",
        b"\\\\",
        b'\\"',
        b"\\/",
        b"\\b\\f\\n\\r\\t",
        b"\\x41",
        b"\\u12",
        b"\\u12G4",
        b"\\U0041",
        b"\\",
    ),
    *(
        b"\\ud83d\\ude00",
        b"\\ud83d",
        b"\\ude00",
        b"\\ud83d\\ud83d",
        b"\\ude00\\ud83d",
        b"\\ud83dA",
        b"\\ud83d\\n",
        b"\\uFFFF",
    ),
    *(
        "é€😀 \u2028\u3000\x7f".encode(),
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
    ),
    *(
        b"\x00",
        b"\x01",
        b"\t",
        b"\r",
        b"\x1f",
        b"x" * 15 + b"\xc3",
        b"x" * 16 + b"\\",
        b"y" * 63 + b"\\u00e9",
        b"z" * 5_000,
    ),
]
OTHERS = [
    *(
        b"true",
        b"false",
        b"null",
        b"tru",
        b"nul",
        b"True",
        b"None",
        b"{}",
        b"[]",
        b"[1,]",
        b"[,]",
        b'{"a"}',
        b'{"a":1,}',
        b"{'a':1}",
    ),
    *(b'{"retrieved_2nd_on":"5","was_deleted_later":1}', b'{"retrieved_2nd_on":null,"was_deleted_later":true}', b""),
    *(b"[" * n + b"]" * n for n in (10, 62, 63, 64, 65, 300)),
    *(b'{"id":' * n + b"1" + b"}" * n for n in (10, 62, 63, 64, 65, 300)),
    *(b"[" * 3_000, b'{"a":' * 3_000, b"/**/1", b"1 2", b'"a" "b"', b'"a'),
]
KEYS = [
    b"",
    b"ID",
    b"i\\u0064",
    b"b\\u006fdy",
    b"\\ud83d",
    b"id\\u0000",
    b"\xff",
    b"idx",
    b"i",
    b'a\\"b',
    b"_meta.was_deleted_later",
]
SPACES = [b"", b" ", b"\t", b"\r", b"  \t ", b"\x0b", b"\x0c", b"\xc2\xa0", b"\x00"]


def value(random: Random) -> bytes:
    """A value that no dump holds, or that few do."""
    kind = random.random()
    if kind < 0.3:
        return random.choice(NUMBERS)
    if kind < 0.8:
        return b'"' + b"".join(random.choices(TEXTS, k=random.choice([1, 1, 1, 2, 3]))) + b'"'
    return random.choice(OTHERS)


def line(random: Random) -> bytes:
    """A comment with some hostile values, or damaged bytes, or nothing like JSON; no newline in it."""
    if random.random() < 0.03:
        return random.randbytes(random.randint(0, 200)).replace(b"\n", b" ")
    fields = dict(random.sample(list(COMMENT.items()), len(COMMENT) - (random.random() < 0.1)))
    fields |= dict(random.sample(list(OPTIONAL.items()), random.randint(0, 6)))
    for _ in range(random.choice([0, 1, 1, 1, 2])):
        key = random.choice(KEYS) if random.random() < 0.15 else random.choice([*COMMENT, *OPTIONAL])
        fields[key] = value(random)
    space = random.choice(SPACES) if random.random() < 0.1 else b""
    parts = b",".join(b'"' + key + b'"' + space + b":" + space + one + space for key, one in fields.items())
    data = bytearray(b"{" + space + parts + b"}" + space)
    if random.random() < 0.15:
        del data[random.randint(0, len(data)) :]
    if random.random() < 0.15:
        for _ in range(random.randint(1, 3)):
            start = random.randint(0, len(data))
            data[start : start + random.randint(0, 3)] = random.choice(
                [b"", b"{", b"}", b'"', b",", b":", b"\\", b"\x80"]
            )
    return bytes(data).replace(b"\n", b" ")


def read(lines: list[bytes]) -> Batch:
    return read_batch(b"".join(one + b"\n" for one in lines), RowContext(FILTERS, "dump", b"salt"), first_line=7)


def read_by_libraries(monkeypatch: pytest.MonkeyPatch, lines: list[bytes]) -> Batch:
    with monkeypatch.context() as without:
        without.setattr(json_lines, "is_built", lambda: False)
        return read(lines)


def is_same(one: Batch, other: Batch) -> bool:
    return (
        one.summary == other.summary
        and {bad.line: bad.data for bad in one.malformed} == {bad.line: bad.data for bad in other.malformed}
        and one.rows.keys() == other.rows.keys()
        and all(rows.sort(pl.all()).equals(other.rows[name].sort(pl.all())) for name, rows in one.rows.items())
    )


def check(monkeypatch: pytest.MonkeyPatch, lines: list[bytes]) -> None:
    if not is_same(read(lines), read_by_libraries(monkeypatch, lines)):
        different = [one for one in lines if not is_same(read([one]), read_by_libraries(monkeypatch, [one]))]
        pytest.fail(f"read differently: {different or 'only together'}")


@pytest.mark.parametrize("seed", range(4))
def test_hostile_lines(monkeypatch, seed):
    random = Random(seed)
    check(monkeypatch, [line(random) for _ in range(N_LINES)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_hostile_lines(monkeypatch, seed):
    random = Random(seed)
    check(monkeypatch, [line(random) for _ in range(N_LINES)])


@pytest.mark.parametrize("seed", range(3))
def test_every_cut_of_a_line(monkeypatch, seed):
    random = Random(seed)
    whole = b"{" + b",".join(b'"' + key + b'":' + one for key, one in {**COMMENT, **OPTIONAL}.items()) + b"}"
    start = random.randint(0, len(whole))
    check(monkeypatch, [whole[:end] for end in range(len(whole))] + [whole[start:]])


def test_the_first_of_two_values_counts(monkeypatch):
    """DuckDB takes the first, so compiled code leaves such lines to it."""
    start = b"{" + b",".join(b'"' + key + b'":' + one for key, one in {**COMMENT, **OPTIONAL}.items())
    seconds = [b"4", b'"c2"', b'{"was_deleted_later":true}', b"true"]
    names = [b"score", b"body", b"id", b"created_utc", b"edited", b"_meta", b"over_18"]
    check(monkeypatch, [start + b',"' + name + b'":' + second + b"}" for name in names for second in seconds])
    assert read([start + b',"score":4}']).rows["comments"]["score"].to_list() == [3]


def test_most_hostile_lines_are_read():
    """The fuzz tests would be worth little if every line were refused."""
    lines = [line(Random(seed)) for seed in range(N_LINES)]
    batch = read(lines)
    assert batch.summary["n_comments"] > N_LINES / 4
    assert batch.summary["n_malformed"] > N_LINES / 8
