"""Any file that people have of Reddit -> lines of JSON; the format is recognised by the first bytes.

Lines of JSON pass through as they are, for compiled code. JSON arrays, listings, threads and CSV are rewritten row by
row (`rows.py`), tar archives member by member.
"""

import json
import tarfile
from collections.abc import Iterator
from typing import IO, Any, cast

from ingest.dump_files.decompress import CutShortError, Fill, Pieces, decompressed_stream
from ingest.dump_files.rows import CSV_NEEDS, csv_columns, csv_lines, is_flat, json_lines
from ingest.tables.parse import RAW_TYPES
from lurker.errors import LurkerError
from lurker.progress import say

HEAD_BYTES = 1 << 17
_LINES_TRIED = 200
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SPACE = b" \t\r\n\x0b\x0c\x00"
UNPACK = "Unpack it and ingest what is inside."
_NOT_READ = {
    b"PAR1": ("a Parquet file", """Convert it: `duckdb -c "COPY (FROM 'FILE') TO 'FILE.ndjson' (FORMAT json)"`."""),
    b"PK\x03\x04": ("a zip archive", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK),
    b"Rar!": ("a rar archive", UNPACK),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "Decompress it: `lz4 -d FILE`."),
    b"\x1f\x9d": ("compressed with compress", "Decompress it: `gzip -d FILE`."),
    b"SQLite format 3": ("a SQLite database", "Export its tables as CSV with a header and ingest them."),
    b"ARROW1": ("an Arrow file", "Convert it to NDJSON: Polars' `read_ipc` and `write_ndjson`."),
    b"<": ("a web page or XML", "Download the dump itself."),
}
DUMPS_ARE = (
    "Dumps are JSON (a row per line, arrays or listings) or CSV with a header, plain, in tar, or compressed with zstd, "
    "gzip, bzip2 or xz."
)


class NotADumpError(LurkerError):
    """The file has no format that is read; the message goes on after the file's name."""


class Peeked:
    """A stream whose first bytes are known before it is read."""

    def __init__(self, fill: Fill) -> None:
        buffer, n_bytes = bytearray(HEAD_BYTES), 0
        self.rest, self.damage, self.is_whole = fill, None, False
        try:
            while n_bytes < HEAD_BYTES:
                n_more = fill(memoryview(buffer)[n_bytes:])
                n_bytes += n_more
                if not n_more:
                    self.is_whole = True
                    break
        except CutShortError as error:
            self.damage = error
        self.head = bytes(buffer[:n_bytes])
        self.left = memoryview(self.head)

    damage: CutShortError | None

    def fill(self, buffer: memoryview) -> int:
        """As the stream."""
        if self.left:
            n_bytes = min(len(buffer), len(self.left))
            buffer[:n_bytes] = self.left[:n_bytes]
            self.left = self.left[n_bytes:]
            return n_bytes
        if self.damage is not None:
            raise self.damage
        return 0 if self.is_whole else self.rest(buffer)


def as_lines(peeked: Peeked) -> Fill:
    """Lines of JSON, from a decompressed stream in any format.

    Raises:
        NotADumpError: the format is none of those that are read.
        CutShortError: (by the result) the stream ends inside a row, or is damaged.
    """
    if peeked.damage is not None and not peeked.head:
        return peeked.fill
    kind, encoding = kind_of(peeked)
    if kind == "json":
        return Pieces(json_lines(peeked.fill, encoding)).fill
    if kind == "csv":
        return Pieces(csv_lines(peeked.fill, encoding)).fill
    return Pieces(_members(peeked)).fill if kind == "tar" else peeked.fill


def kind_of(peeked: Peeked) -> tuple[str, str]:
    """The format by the first bytes: lines | json | csv | tar, and the encoding.

    Raises:
        NotADumpError: it is none of these.
    """
    head = peeked.head
    if not head and peeked.damage:
        raise NotADumpError(f"cannot be decompressed: {peeked.damage}.", "Download it again.")
    if not head.strip(_SPACE):
        raise NotADumpError("is empty.", "Download it again, or leave it out.")
    if head[257:262] == b"ustar":
        return "tar", ""
    for magic, (what, step) in _NOT_READ.items():
        if head.lstrip(_SPACE).startswith(magic):
            raise NotADumpError(f"is not a dump but {what}, which is not read.", step)
    encoding = next((name for bom, name in _BOMS.items() if head.startswith(bom)), "utf-8")
    if encoding == "utf-16":
        text = head[: len(head) // 2 * 2].decode("utf-16", "replace").encode("utf-8", "replace")
    else:
        text = head.removeprefix(b"\xef\xbb\xbf")
    text = text.lstrip(_SPACE)
    if _has_objects(text):
        is_plain = encoding != "utf-16" and _are_lines(text, peeked.is_whole)
        return ("lines" if is_plain else "json"), encoding
    return _table_kind(text, head), encoding


def _has_objects(text: bytes) -> bool:
    """Whether a line, or a row of an array, begins as a JSON object does."""
    return (text.startswith((b"{", b"[")) and b"{" in text) or any(
        line.lstrip(_SPACE).startswith(b"{") for line in text.splitlines()
    )


def _are_lines(text: bytes, is_whole: bool) -> bool:
    """Whether most lines are rows as dumps have them: then compiled code reads them, and counts the others."""
    lines = text.split(b"\n")
    lines = [line for line in (lines if is_whole else lines[:-1]) if line.strip(_SPACE)][:_LINES_TRIED]
    n_rows = 0
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list) or not is_flat(value):
            return False
        n_rows += isinstance(value, dict)
    starts_as_lines = text.startswith(b"{") and len(lines) <= 1 and b"\r" not in text.strip(_SPACE)
    if not n_rows and starts_as_lines and is_whole:
        return text.count(b"{") == 1  # one line, cut or broken; several objects in one line are read as JSON
    return 2 * n_rows >= len(lines) > 0


def _table_kind(text: bytes, head: bytes) -> str:
    """Raises: NotADumpError when the first line is no header of a table of rows."""
    _, names = csv_columns(text.partition(b"\n")[0].decode("utf-8", "replace").strip())
    missing = [name for name in CSV_NEEDS if name not in names]
    if not {"body", "title"} & {*names}:
        missing.append("title or body")
    if not missing:
        return "csv"
    if len({*names} & {*RAW_TYPES}) >= 2:
        raise NotADumpError(
            f"is not a dump: as CSV it lacks the columns {', '.join(missing)}.",
            "Rename its columns as Reddit names the fields, or convert it to JSON, one object per line.",
        )
    raise NotADumpError(
        f"is not a dump: none of its lines is a JSON object (it starts with {_start(head)}).", DUMPS_ARE
    )


def _start(head: bytes) -> str:
    return repr(head[:16])


class _Reader:
    """A stream as a file that tarfile can read."""

    def __init__(self, fill: Fill) -> None:
        self.stream = fill

    def read(self, n_bytes: int) -> bytes:
        buffer, n_read = bytearray(n_bytes), 0
        while n_read < n_bytes and (n_more := self.stream(memoryview(buffer)[n_read:])):
            n_read += n_more
        return bytes(buffer[:n_read])


def _members(peeked: Peeked) -> Iterator[bytes]:
    """The lines of every member of a tar archive, each member in any format that is read."""
    skipped, n_read = [], 0
    damaged: list[str] = []
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Reader(peeked.fill)), mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                try:
                    yield from _member_lines(file)
                    n_read += 1
                except NotADumpError:
                    skipped.append(member.name)
                except CutShortError as error:
                    damaged.append(f"{member.name}: {error}")
                    n_read += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CutShortError(f"the tar archive is cut or damaged ({error})") from error
    if skipped:
        say(f"Members of a tar archive that are no dumps were skipped: {', '.join(skipped[:10])}.")
    if damaged:
        raise CutShortError("; ".join(damaged))
    if not n_read:
        raise CutShortError("no member of this tar archive is a dump")


def _member_lines(file: Any) -> Iterator[bytes]:
    fill, buffer, last = as_lines(Peeked(decompressed_stream(file))), memoryview(bytearray(1 << 20)), b"\n"
    rest = b""
    while n_bytes := fill(buffer):
        data = rest + bytes(buffer[:n_bytes])
        end = data.rfind(b"\n") + 1
        if end:
            yield data[:end]
        rest = data[end:]
    if rest.strip():
        yield rest + last
