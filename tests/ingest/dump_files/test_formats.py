"""Every arrangement in which people have Reddit's items gives the same rows as lines of JSON, or is refused by name."""

import gzip
import io
import json
import tarfile

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dump_files import formats
from ingest.dump_files.decompress import CutShortError
from ingest.dump_files.read import ingest_dumps
from ingest.dump_files.rows import flat_rows, json_lines
from ingest.tables.normalize import RowFilters
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS
from lurker.workspace import open_workspace
from tests.ingest.conftest import comment_row, post_row

ROWS = [post_row(), *(comment_row(n, body=f'tea 🍵 {n}, "[x]" {{y}}') for n in range(6))]
ROWS[3] |= {"parent_id": "t1_c1"}
PLAIN = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def things(rows):
    kinds = ("t3" if "title" in row else "t1" for row in rows)
    return [{"kind": kind, "data": row} for kind, row in zip(kinds, rows, strict=True)]


def listing(rows):
    return {"kind": "Listing", "data": {"after": None, "children": things(rows)}}


def thread():
    """As Reddit answers `/comments/ID.json`: replies inside comments, "" where there are none."""
    comments = {row["id"]: row | {"replies": ""} for row in ROWS[1:]}
    reply = comments.pop("c2")
    comments["c1"]["replies"] = listing([reply])
    return [listing(ROWS[:1]), listing(comments.values())]


def nested():
    """As the Bulk Downloader for Reddit writes a post: no subreddit, link or time of the look in what lies inside."""
    left_out = ("link_id", "parent_id", "subreddit", "retrieved_on")
    inner = {row["id"]: {k: v for k, v in row.items() if k not in left_out} | {"replies": []} for row in ROWS[1:]}
    reply = inner.pop("c2")
    inner["c1"]["replies"] = [reply]
    post = {name: value for name, value in ROWS[0].items() if name != "subreddit"}
    return post | {"permalink": "/r/college/comments/p1/question/", "comments": [*inner.values()]}


def table():
    columns = sorted({name for row in ROWS for name in row})
    rows = {name: [None if name not in row else str(row[name]) for row in ROWS] for name in columns}
    return pl.DataFrame(rows).write_csv().encode()


def archive(members, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def skippable(data):
    half = len(data) // 2
    frame = b"\x5f\x2a\x4d\x18\x04\x00\x00\x00\x01\x02\x03\x04"
    return b"".join(frame + zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


HALVES = {"RS": PLAIN[: PLAIN.index(b"\n") + 1], "deep/RC.zst": skippable(PLAIN[PLAIN.index(b"\n") + 1 :])}
ARRANGED = {
    "carriage returns": PLAIN.replace(b"\n", b"\r"),
    "both ends": PLAIN.replace(b"\n", b"\r\n"),
    "no ends": PLAIN.replace(b"\n", b""),
    "an array in one line": json.dumps(ROWS).encode(),
    "an array, a row per line": b"[\n" + PLAIN.strip().replace(b"\n", b",\n") + b"\n]\n",
    "an array, commas first": b"[" + PLAIN.strip().replace(b"\n", b"\n,") + b"]",
    "commas without brackets": PLAIN.replace(b"\n", b",\n"),
    "indented": json.dumps(ROWS, indent=4).encode(),
    "indented objects": b"\n".join(json.dumps(row, indent=1).encode() for row in ROWS),
    "UTF-16": PLAIN.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(ROWS).encode(),
    "listing": json.dumps(listing(ROWS)).encode(),
    "a listing per line": b"".join(json.dumps(listing([row])).encode() + b"\n" for row in ROWS),
    "things": b"".join(json.dumps(thing).encode() + b"\n" for thing in things(ROWS)),
    "data": json.dumps({"data": ROWS, "meta": {"total": 7}}).encode(),
    "posts and comments": json.dumps({"posts": ROWS[:1], "comments": ROWS[1:]}).encode(),
    "thread": json.dumps(thread()).encode(),
    "downloader": json.dumps(nested()).encode(),
    "downloader, indented": json.dumps([nested()], indent=2).encode(),
    "CSV": table(),
    "CSV, semicolons": pl.read_csv(table(), infer_schema=False).write_csv(separator=";").encode(),
    "tar": archive(HALVES | {"README": b"the dump"}),
    "tar.gz": archive(HALVES, "w:gz"),
    "tar.zst": zstandard.ZstdCompressor().compress(archive(HALVES)),
    "pzstd": skippable(PLAIN),
    "gz of an array": gzip.compress(json.dumps(ROWS).encode()),
}


def ingested(root, data):
    path = root / "file"
    path.write_bytes(data)
    workspace = open_workspace(root / "ws", create=True)
    report = ingest_dumps(workspace, [path], RowFilters())
    rows = [
        workspace.scan(which).sort("subreddit", which.key[0]).collect() for which in (POSTS, COMMENTS, OBSERVATIONS)
    ]
    return report.files[0], [frame.drop("author_hash", strict=False) for frame in rows]


@pytest.mark.parametrize("name", ARRANGED)
def test_every_arrangement_gives_the_rows_of_lines(tmp_path, name):
    for folder in ("plain", "other"):
        (tmp_path / folder).mkdir()
    _, wanted = ingested(tmp_path / "plain", PLAIN)
    report, found = ingested(tmp_path / "other", ARRANGED[name])
    assert (report.n_rows, report.n_malformed, report.is_cut_short) == (len(ROWS), 0, False)
    assert all(left.equals(right) for left, right in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["an array in one line", "indented", "listing", "CSV", "tar", "pzstd"])
def test_what_is_cut_is_said_and_the_rows_before_are_kept(tmp_path, name):
    others = {
        "listing": b"\n".join([json.dumps(listing(ROWS[:3])).encode()] * 2),
        "tar": archive({"RS": HALVES["RS"], "RC": PLAIN})[:2_000],
    }
    whole = others.get(name, ARRANGED[name])
    report, (posts, _, _) = ingested(tmp_path, whole[: len(whole) * 6 // 7])
    assert report.is_cut_short or (name == "CSV" and report.n_malformed == 1)
    assert posts.height == 1


def test_a_broken_row_of_an_array_costs_only_itself(tmp_path):
    text = json.dumps(ROWS).replace('"id": "c2"', '"id": c2').encode()
    report, (_, comments, _) = ingested(tmp_path, text)
    assert (report.n_rows, report.n_malformed) == (len(ROWS), 1)
    assert comments["comment_id"].to_list() == ["c0", "c1", "c3", "c4", "c5"]


def test_lines_of_dumps_are_left_to_compiled_code():
    peeked = formats.Peeked(io.BytesIO(PLAIN * 300).readinto)
    assert formats.as_lines(peeked) == peeked.fill


def test_rows_inside_others_inherit_what_they_leave_out():
    below, reply = list(flat_rows(nested()))[1:3]
    assert {below["link_id"], reply["link_id"]} == {"t3_p1"}
    rows = {row["id"]: row for row in flat_rows(nested())}
    assert (rows["c1"]["parent_id"], rows["c2"]["parent_id"]) == ("t3_p1", "t1_c1")
    assert {row["subreddit"] for row in rows.values()} == {"college"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "replies", "x"]), inner),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["body", "score", "title"]), st.integers() | st.text())), st.integers(1, 9)
)
def test_arrays_survive_any_size_of_reads(rows, n_bytes):
    file = io.BytesIO(json.dumps([{"id": "x", **row} for row in rows], ensure_ascii=False).encode("utf-8", "replace"))
    found = [json.loads(line) for line in json_lines(lambda buffer: file.readinto(buffer[:n_bytes]))]
    assert [{name: row[name] for name in wanted} for row, wanted in zip(found, rows, strict=True)] == [
        json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")) for row in rows
    ]


@settings(max_examples=80, deadline=None)
@given(JSON, st.integers(0, 400))
def test_no_json_and_no_cut_of_it_is_an_error_other_than_cut_short(value, n_bytes):
    file = io.BytesIO(json.dumps(value).encode()[:n_bytes])
    try:
        lines = list(json_lines(file.readinto))
    except CutShortError:
        return
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
