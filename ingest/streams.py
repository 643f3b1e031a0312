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

from lurker.errors import LurkerError

MAX_WINDOW_BYTES = 2**31
READ_BYTES = 1 << 17
BLOCK_BYTES = 16 << 20
MAX_LINE_BYTES = 256 << 20


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
    first_line: number of its first line in the file, from 1.
    data: the lines, each ending in a newline.
    """

    index: int
    first_line: int
    data: bytes


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
            if len(head) >= READ_BYTES:
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


def blocks(path: Path, advance: Callable[[float], None], block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the lines of a dump in newline-aligned blocks of about `block_bytes`.

    advance: told the bytes of the file (as stored) that were read.
    Errors: CutShortError after the last whole line of a file that is cut or damaged; its partial line is left out.
    LurkerError when a line is longer than any row of Reddit can be.
    """
    pieces: list[bytes] = []  # what was read since the last block, joined once
    n_pending, index, line = 0, 0, 1
    cut: CutShortError | None = None
    chunks = _decompressed(path, advance)
    while True:
        try:
            chunk = next(chunks, None)
        except CutShortError as error:
            chunk, cut = None, error
        if chunk is None:
            break
        while n_pending + len(chunk) >= block_bytes and (end := _block_end(chunk, block_bytes - n_pending)):
            block = Block(index, line, b"".join([*pieces, chunk[:end]]))
            yield block
            index, line = index + 1, line + block.data.count(b"\n")
            pieces, n_pending, chunk = [], 0, chunk[end:]
        pieces.append(chunk)
        n_pending += len(chunk)
        if n_pending > MAX_LINE_BYTES:
            raise LurkerError(f"{path} is no dump: line {line:,} is over {MAX_LINE_BYTES >> 20} MB long.")
    data = b"".join(pieces)
    if cut is None and data and not data.endswith(b"\n"):
        if _is_json(data[data.rfind(b"\n") + 1 :]):
            data += b"\n"
        else:
            cut = CutShortError("the file ends inside a line")
    if end := data.rfind(b"\n") + 1:
        yield Block(index, line, data[:end])
    if cut is not None:
        raise cut


def _block_end(chunk: bytes, n_left: int) -> int:
    """Where a block ends that has room for `n_left` more bytes: after the last newline within, else the next; 0: none.

    So a block without its last line is never longer than it may be.
    """
    within = chunk.rfind(b"\n", 0, n_left) + 1 if n_left > 0 else 0
    return within or chunk.find(b"\n", max(n_left, 0)) + 1


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
