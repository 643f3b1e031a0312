"""Dump files as blocks of complete lines."""

import bz2
import gzip
import lzma
from contextlib import suppress
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.dump_files import blocks
from ingest.dump_files.decompress import CutShortError
from lurker.errors import LurkerError

LINES = [b'{"n":%d}\n' % n for n in range(5_000)]
FORMATS = {
    "plain": bytes,
    "zst": zstandard.ZstdCompressor().compress,
    "zst of two frames": lambda data: b"".join(
        zstandard.ZstdCompressor().compress(half) for half in (data[:20_000], data[20_000:])
    ),
    "gz": gzip.compress,
    "gz of two members": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def read(path, **options):
    """All blocks with copies of their lines, because released memory is reused."""
    return [replace(block, data=bytes(block.data)) for block in blocks.blocks(path, **options)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_by_content(tmp_path, name):
    path = tmp_path / "dump.with.no.suffix"
    path.write_bytes(FORMATS[name](b"".join(LINES)))
    blocks.check_dump(path)
    assert b"".join(block.data for block in read(path, block_bytes=4_096)).splitlines(keepends=True) == LINES


def test_monthly_dumps_have_a_window_of_2_gib(tmp_path, make):
    path = tmp_path / "RC_2020-01.zst"
    path.write_bytes(make.long_window_zstd(b"".join(LINES)))
    assert zstandard.get_frame_parameters(path.read_bytes()).window_size == 2**31
    assert b"".join(block.data for block in read(path)) == b"".join(LINES)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "plain"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_file_yields_its_complete_lines_then_raises(tmp_path, name, share):
    path = tmp_path / "cut"
    stored = FORMATS[name](b"".join(LINES))
    path.write_bytes(stored[: int(len(stored) * share)])
    seen = []
    with pytest.raises(CutShortError):
        for block in blocks.blocks(path, block_bytes=4_096):
            seen += bytes(block.data).splitlines(keepends=True)
    assert seen == LINES[: len(seen)]


def test_a_plain_file_truncated_inside_a_line(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes(b"".join(LINES)[:-4])
    with pytest.raises(CutShortError, match="inside a line"):
        read(path)
    path.write_bytes(b"".join(LINES)[:-1])  # only the last newline is missing
    assert b"".join(block.data for block in read(path)) == b"".join(LINES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=40), st.integers(1, 64))
def test_blocks_hold_complete_numbered_lines_for_any_block_size(tmp_path_factory, lines, block_bytes):
    path = tmp_path_factory.mktemp("blocks") / "dump"
    path.write_bytes(b"{}\n" * 40 + b"".join(line + b"\n" for line in lines))  # so that it looks like lines of JSON
    result = read(path, block_bytes=block_bytes) if lines else []
    assert b"".join(block.data for block in result) == (path.read_bytes() if lines else b"")
    next_line = 1
    for index, block in enumerate(result):
        assert (block.index, block.first_line) == (index, next_line)
        assert block.data.endswith(b"\n")
        assert block.data.rfind(b"\n", 0, -1) < block_bytes  # the last line may exceed the limit
        next_line += block.data.count(b"\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "not a dump"),
        (b'["id", 1]\n', "not a dump"),
        (b"PAR1" + bytes(50), "a Parquet file"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (b"<!doctype html>\n<p>{}", "a web page"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 40, "cannot be decompressed"),
        (b"id,score\n1,2\n", "lacks the columns created_utc, subreddit, title or body"),
    ],
)
def test_files_that_are_not_dumps_are_rejected(tmp_path, content, message):
    path = tmp_path / "RC.zst"
    path.write_bytes(content)
    with pytest.raises(LurkerError, match=message):
        blocks.check_dump(path)


def test_a_missing_file_and_a_folder_are_rejected(tmp_path):
    with pytest.raises(LurkerError, match="no file"):
        blocks.check_dump(tmp_path / "absent.zst")
    with pytest.raises(LurkerError, match="is a folder"):
        blocks.check_dump(tmp_path)


def test_window_bytes_reads_only_the_header(tmp_path):
    """A monthly dump declares 2 GiB; a small file cannot fill it, and other formats need almost none."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    rows = frame.compress(b'{"id":"x"}\n' * 50) + frame.flush()
    small, large, plain = tmp_path / "small", tmp_path / "large", tmp_path / "plain"
    small.write_bytes(rows)
    plain.write_bytes(b'{"id":"x"}\n')
    with large.open("wb") as file:
        file.write(rows)
        file.truncate(1 << 30)  # sparse: only its size counts
    assert blocks.window_bytes(small) == blocks.MAX_RATIO * len(rows)
    assert blocks.window_bytes(large) == 2 << 30
    assert blocks.window_bytes(plain) == 0


@pytest.mark.parametrize("name", FORMATS)
def test_the_progress_bar_counts_every_stored_byte_once(tmp_path, monkeypatch, name):
    counted = []
    monkeypatch.setattr(blocks, "advance", counted.append)
    for trailing in (b"", b"\x28\xb5"):  # trailing bytes make zstd files be read a second time
        path = tmp_path / "dump"
        path.write_bytes(FORMATS[name](b"".join(LINES)) + trailing)
        with suppress(CutShortError):
            read(path, block_bytes=4_096)
        assert sum(counted) == path.stat().st_size
        counted.clear()
