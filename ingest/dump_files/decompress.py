"""The bytes of a dump file, whatever compressed it, put where they shall stand.

The format is told by the first bytes and never by the name. Monthly dumps are zstd with a window of 2 GiB, which
default decoders refuse. A stream that ends inside a compressed frame is a cut file: what came before still comes out.

Source: RFC 8878 (zstd), RFC 1952 (gzip); dumps of Pushshift and Arctic Shift.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol, cast

import zstandard

MAX_WINDOW_BYTES = 2**31
READ_BYTES = 1 << 17
PIECE_BYTES = 1 << 14
"""So few where all that they give stands in memory at once: a made up file may be of a thousandth of its content."""
MAGIC_BYTES = 6
Fill = Callable[[memoryview], int]
"""Puts the next bytes into the room it is given and tells how many; 0 at the end."""


class CutShortError(Exception):
    """The stream ended, or broke, inside a frame or a line; what came before is whole."""


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
_MARK_TEXT = b"here the file came to its end"
_MARK = zstandard.ZstdCompressor().compress(_MARK_TEXT)
_BEHIND_FILE = (b"", _MARK[1:], _MARK[:1])
"""What is read there, the last first. In two parts, because zstd takes a whole frame that follows half a frame's header
for the one that the header begins."""


def decompressed(file: BinaryIO, advance: Callable[[float], None] = lambda _: None) -> Fill:
    """The content of an opened file, across concatenated frames.

    advance: told the bytes of the file (as stored) that were read.
    Errors, of what is returned: CutShortError when the last frame has no end or the data are damaged; OSError when the
    file cannot be read.
    """
    head = file.read(MAGIC_BYTES)
    file.seek(0)
    make = next((make for magic, make in _DECODERS.items() if head.startswith(magic)), None)
    if make is None:
        return _Plain(file, advance).fill
    return _Frames(file, advance).fill if make is _zstd else _Pieces(_pieces(file, make, advance)).fill


class _Plain:
    """Bytes as they are."""

    def __init__(self, file: BinaryIO, advance: Callable[[float], None]) -> None:
        self.file, self.advance = file, advance

    def fill(self, room: memoryview) -> int:
        n_bytes: int = self.file.readinto(room)  # type: ignore[attr-defined]
        self.advance(n_bytes)
        return n_bytes


class _Marked:
    """A file of zstd frames, and behind it a frame of our own; it knows no reader, so that windows go with theirs."""

    def __init__(self, file: BinaryIO, advance: Callable[[float], None]) -> None:
        self.file, self.advance, self.behind = file, advance, [*_BEHIND_FILE]

    def read(self, n_bytes: int) -> bytes:
        if data := self.file.read(n_bytes):
            self.advance(len(data))
            return data
        return self.behind.pop() if self.behind else b""


class _Frames:
    """Frames of zstd, decompressed in place, without a copy of what comes out.

    The library's reader does not tell whether the last frame came to its end. So a frame of our own follows the file:
    if it comes out, and nothing else, the file was whole. If not, the file is cut or damaged, or something stands
    behind its frames: it is read again, and `_pieces` says what follows the bytes that were given.
    """

    def __init__(self, file: BinaryIO, advance: Callable[[float], None]) -> None:
        self.stored = _Marked(file, advance)
        self.reader: Any = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(
            cast("BinaryIO", self.stored), read_size=READ_BYTES, read_across_frames=True, closefd=False
        )
        self.n_given, self.may_wait = 0, False
        self.again: Fill | None = None

    def fill(self, room: memoryview) -> int:
        if self.again is not None:
            return self.again(room)
        n_bytes, behind = 0, self.stored.behind
        try:
            while not n_bytes and behind:  # it reads on when it has decompressed all that it had
                n_bytes = self.reader.readinto1(room)
        except zstandard.ZstdError:
            return self._read_again(room)
        if len(behind) == len(_BEHIND_FILE):
            self.n_given += n_bytes
            self.may_wait = n_bytes == len(room)  # for room; then it would come out before the mark
            return n_bytes
        if self.may_wait or room[:n_bytes] != _MARK_TEXT[: len(room)]:
            return self._read_again(room)
        return 0

    def _read_again(self, room: memoryview) -> int:
        self.reader = None  # with its window: there shall not be two
        self.stored.file.seek(0)
        self.again = _Pieces(_pieces(self.stored.file, _zstd, lambda _: None), n_skipped=self.n_given).fill
        return self.again(room)


class _Pieces:
    """Pieces of any length, copied to where they shall stand; the first `n_skipped` bytes are left out."""

    def __init__(self, pieces: Iterator[bytes], n_skipped: int = 0) -> None:
        self.pieces, self.n_skipped, self.rest = pieces, n_skipped, memoryview(b"")

    def fill(self, room: memoryview) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)[self.n_skipped :]
            self.n_skipped -= min(self.n_skipped, len(piece))
        n_bytes = min(len(room), len(self.rest))
        room[:n_bytes] = self.rest[:n_bytes]
        self.rest = self.rest[n_bytes:]
        return n_bytes


def _pieces(file: BinaryIO, make: Callable[[], _Decoder], advance: Callable[[float], None]) -> Iterator[bytes]:
    """Yield the content in pieces, across concatenated frames.

    Errors: as those of `decompressed`.
    """
    decoder = make()
    while data := file.read(PIECE_BYTES):
        advance(len(data))
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
    if not decoder.eof:
        raise CutShortError("the file ends inside a compressed frame")
