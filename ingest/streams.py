"""A dump file as a stream of newline-aligned blocks, whatever compressed it.

The format is told by the first bytes and never by the name. Monthly dumps are zstd with a window of 2 GiB, which
default decoders refuse. A stream that ends inside a compressed frame is a cut file: its whole lines still come out.

Source: RFC 8878 (zstd), RFC 1952 (gzip); dumps of Pushshift and Arctic Shift.
"""

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zstandard

from ingest.json_lines import count_lines
from lurker.errors import LurkerError

MAX_WINDOW_BYTES = 2**31
HEAD_BYTES = 1 << 17
READ_BYTES = 1 << 14
"""So little that what it decompresses to is still in the cache when it is copied."""
BLOCK_BYTES = 24 << 20
"""Each block costs a millisecond or two whatever is in it; a few of them must fit into the memory of a file."""
MAX_LINE_BYTES = 256 << 20
FRAME_HEADER_BYTES = 18
MOST_RATIO = 40
"""Dumps are a tenth to a twentieth of their JSON; only made up ones are smaller."""


class _Decoder(Protocol):
    """What zstandard, zlib, bz2 and lzma decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()


_DECODERS: dict[bytes, Callable[[], _Decoder]] = {
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": lzma.LZMADecompressor,
}
_DAMAGE = (zstandard.ZstdError, zlib.error, lzma.LZMAError, OSError, EOFError)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a dump.

    index: 0, 1, ... in the file; the cuts depend on the file only, so a resumed run finds the same blocks.
    first_line: number of its first line in the file, from 1. n_lines: how many it has.
    data: the lines, each ending in a newline; its memory is used again when the block is gone.
    """

    index: int
    first_line: int
    n_lines: int
    data: memoryview


class CutShortError(Exception):
    """The stream ended, or broke, inside a frame or a line; what came before is whole."""


def check_dump(path: Path) -> None:
    """Look at the first bytes of a file before any work is done.

    Errors: LurkerError when it is missing, a folder, empty, unreadable, or holds no lines of JSON objects.
    """
    if not path.exists():
        raise LurkerError(f"There is no file {path}.", "Check the path of the dump.")
    if path.is_dir():
        raise LurkerError(f"{path} is a folder.", f"Name the files in it: `lurker ingest dump {path}/*`.")
    head, damage = b"", ""
    try:
        for chunk in _decompressed(path):
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    except CutShortError as error:
        damage = str(error)  # a cut file is read as far as it goes
    except OSError as error:
        raise LurkerError(f"Cannot read {path}: {error.strerror or error}.", "Check the path of the dump.") from error
    if not head and damage:
        raise LurkerError(f"{path} cannot be decompressed: {damage}.", "Download it again.")
    if not head.strip():
        raise LurkerError(f"{path} is empty.", "Download it again, or leave it out.")
    if not any(line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") for line in head.split(b"\n")):
        raise LurkerError(
            f"{path} is no dump: no line of it is a JSON object (it starts with {head[:16]!r}).",
            "Dumps are one JSON object a line, plain or compressed by zstd, gzip, bzip2 or xz.",
        )


def window_bytes(path: Path) -> int:
    """Memory that decompressing a file takes: its window, unless the file is too small to fill it.

    Source: RFC 8878, 3.1.1.1.2 (window descriptor).
    """
    with path.open("rb") as file:
        head = file.read(FRAME_HEADER_BYTES)
    try:
        window = int(zstandard.get_frame_parameters(head).window_size)
    except zstandard.ZstdError:
        return 0
    return min(window, MOST_RATIO * path.stat().st_size)


def blocks(path: Path, advance: Callable[[float], None], block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the lines of a dump in newline-aligned blocks of about `block_bytes`.

    advance: told the bytes of the file (as stored) that were read.
    Errors: CutShortError after the last whole line of a file that is cut or damaged; its partial line is left out.
    LurkerError when a line is longer than any row of Reddit can be.
    """
    buffers: list[bytearray] = []
    buffer = bytearray(block_bytes)
    n_bytes, n_searched, index, line = 0, 0, 0, 1
    cut: CutShortError | None = None
    chunks = _decompressed(path, advance)
    while True:
        try:
            chunk = next(chunks, None)
        except CutShortError as error:
            chunk, cut = None, error
        if chunk is None:
            break
        if (lacking := n_bytes + len(chunk) - len(buffer)) > 0:
            buffer.extend(bytes(max(lacking, len(buffer) // 8)))
        memoryview(buffer)[n_bytes : n_bytes + len(chunk)] = chunk  # without the copy that a bytearray makes first
        n_bytes += len(chunk)
        while n_bytes >= block_bytes and (end := _block_end(buffer, n_searched, block_bytes, n_bytes)):
            following = _free(buffers, n_bytes - end) or bytearray(len(buffer))
            memoryview(following)[: n_bytes - end] = memoryview(buffer)[end:n_bytes]
            buffers.append(buffer)
            n_lines = count_lines(memoryview(buffer)[:end])
            yield Block(index, line, n_lines, memoryview(buffer)[:end])
            index, line, buffer = index + 1, line + n_lines, following
            n_bytes, n_searched = n_bytes - end, 0
        if n_bytes >= block_bytes:
            n_searched = n_bytes
        if n_bytes > MAX_LINE_BYTES:
            raise LurkerError(f"{path} is no dump: line {line:,} is over {MAX_LINE_BYTES >> 20} MB long.")
    end = buffer.rfind(b"\n", 0, n_bytes) + 1
    if cut is None and end < n_bytes:
        if _is_json(bytes(buffer[end:n_bytes])):
            buffer[n_bytes : n_bytes + 1] = b"\n"
            end = n_bytes + 1
        else:
            cut = CutShortError("the file ends inside a line")
    if end:
        yield Block(index, line, count_lines(memoryview(buffer)[:end]), memoryview(buffer)[:end])
    if cut is not None:
        raise cut


def _free(buffers: list[bytearray], n_bytes: int) -> bytearray | None:
    """Take a buffer of that size whose block nobody looks at any more: fresh memory costs as much as copying."""
    for place, buffer in enumerate(buffers):
        try:
            buffer.append(0)  # refused while a view of it is alive
        except BufferError:
            continue
        if len(buffer) >= n_bytes:
            return buffers.pop(place)
    return None


def _block_end(buffer: bytearray, n_searched: int, block_bytes: int, n_bytes: int) -> int:
    """Where a block ends: after the last newline within `block_bytes`, else after the next; 0: there is none.

    So a block without its last line is never longer than it may be. n_searched: so many bytes hold no newline.
    """
    within = buffer.rfind(b"\n", n_searched, block_bytes) + 1
    return within or buffer.find(b"\n", max(n_searched, block_bytes), n_bytes) + 1


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _decompressed(path: Path, advance: Callable[[float], None] = lambda _: None) -> Iterator[bytes]:
    """Yield the content in pieces, across concatenated frames.

    Errors: CutShortError when the last frame has no end or the data are damaged; OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(READ_BYTES)
        make = next((make for magic, make in _DECODERS.items() if data.startswith(magic)), None)
        decoder = make() if make else None
        while data:
            advance(len(data))
            if decoder is None or make is None:
                yield data
            else:
                rest = data
                while rest:
                    if decoder.eof:
                        if not rest.strip(b"\x00"):
                            break  # padding after the last frame
                        decoder = make()
                    try:
                        piece = decoder.decompress(rest)
                    except _DAMAGE as error:
                        raise CutShortError(str(error)) from error
                    if piece:
                        yield piece
                    rest = decoder.unused_data if decoder.eof else b""
            data = file.read(READ_BYTES)
        if decoder is not None and not decoder.eof:
            raise CutShortError("the file ends inside a compressed frame")
