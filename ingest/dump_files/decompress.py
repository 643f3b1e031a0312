"""Decompress a dump file into the caller's buffer, whatever its compression.

The format is recognised by the first bytes, never by the name. Monthly dumps are zstd with a window of 2 GiB, which
default decoders refuse. A stream that ends inside a compressed frame is a truncated file: its content up to there is
returned.

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
"""Small, because the output of each piece is held in memory at once, and a crafted file may expand a thousandfold."""
MAGIC_BYTES = 6
Fill = Callable[[memoryview], int]
"""Writes the next bytes to the start of a buffer and returns their number; 0 at the end."""


class CutShortError(Exception):
    """The stream ended, or broke, inside a frame or a line; everything before is complete."""


class _Decoder(Protocol):
    """What the decompressors of zstandard, zlib, bz2 and lzma have in common."""

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
_SKIPPABLE = (b"\x2a\x4d\x18", range(0x50, 0x60))
"""A frame of zstd that holds no content, such as those before each frame of pzstd: its magic number after the first
byte, and the values of that byte."""
_DAMAGE = (zstandard.ZstdError, zlib.error, lzma.LZMAError, OSError, EOFError)
_MARK_TEXT = b"here the file came to its end"
_MARK = zstandard.ZstdCompressor().compress(_MARK_TEXT)
_MARK_PARTS = (b"", _MARK[1:], _MARK[:1])
"""Reads after the end of the file, last one first. The mark comes in two parts, because zstd would take a complete
frame that follows half a frame header as the frame of that header."""


def decompressed(file: BinaryIO) -> Fill:
    """The decompressed content of an open file, across concatenated frames.

    Raises:
        CutShortError: (by the result) the last frame is incomplete, or the data are damaged.
        OSError: (by the result) the file cannot be read.
    """
    head = file.read(MAGIC_BYTES)
    file.seek(0)
    make = _decoder(head)
    if make is None:
        return file.readinto  # type: ignore[attr-defined, no-any-return]
    return _ZstdFrames(file).fill if make is _zstd else Pieces(_pieces(file, make)).fill


def decompressed_stream(file: BinaryIO) -> Fill:
    """As `decompressed`, for a file that cannot be read twice: standard input, or a member of an archive."""
    head = file.read(MAGIC_BYTES)
    chained = _Chained(head, file)
    make = _decoder(head)
    return Pieces(chained.pieces() if make is None else _pieces(cast("BinaryIO", chained), make)).fill


class _Chained:
    """A file whose first bytes were read already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self.head, self.file = head, file

    def read(self, n_bytes: int) -> bytes:
        head, self.head = self.head, b""
        return head or self.file.read(n_bytes)

    def pieces(self) -> Iterator[bytes]:
        while piece := self.read(READ_BYTES):
            yield piece


def _decoder(head: bytes) -> Callable[[], _Decoder] | None:
    """What makes the decoder of a file that starts so; None for one that is not compressed."""
    if head[1:4] == _SKIPPABLE[0] and head[0] in _SKIPPABLE[1]:
        return _zstd
    return next((make for magic, make in _DECODERS.items() if head.startswith(magic)), None)


def skippable_bytes(head: bytes) -> int:
    """Length of the zstd frame without content that a file starts with; 0 if it starts with none.

    Source: RFC 8878, 3.1.2 (skippable frames).
    """
    if len(head) < 8 or head[1:4] != _SKIPPABLE[0] or head[0] not in _SKIPPABLE[1]:
        return 0
    return 8 + int.from_bytes(head[4:8], "little")


class _MarkedFile:
    """A file of zstd frames, followed by a frame of our own.

    It holds no reference to its reader, so that a reader's window is freed as soon as the reader is dropped.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.mark_parts = file, [*_MARK_PARTS]

    def read(self, n_bytes: int) -> bytes:
        return self.file.read(n_bytes) or (self.mark_parts.pop() if self.mark_parts else b"")


class _ZstdFrames:
    """Frames of zstd, decompressed directly into the caller's buffer.

    The library's reader does not report whether the last frame was complete. So a frame of our own, the mark, follows
    the file: if exactly the mark comes out after the content, the file was complete. If not, the file is truncated or
    damaged, or other data follow its frames: it is read again, and `_pieces` handles what follows the bytes returned.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.marked = _MarkedFile(file)
        self.reader: Any = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(
            cast("BinaryIO", self.marked), read_size=READ_BYTES, read_across_frames=True, closefd=False
        )
        self.n_returned, self.was_full = 0, False
        self.second_reading: Fill | None = None

    def fill(self, buffer: memoryview) -> int:
        if self.second_reading is not None:
            return self.second_reading(buffer)
        n_bytes, mark_parts = 0, self.marked.mark_parts
        try:
            while not n_bytes and mark_parts:  # it reads more input once all it had is decompressed
                n_bytes = self.reader.readinto1(buffer)
        except zstandard.ZstdError:
            return self._read_again(buffer)
        if len(mark_parts) == len(_MARK_PARTS):
            self.n_returned += n_bytes
            self.was_full = n_bytes == len(buffer)  # more content may be pending, and would come out before the mark
            return n_bytes
        if self.was_full or buffer[:n_bytes] != _MARK_TEXT[: len(buffer)]:
            return self._read_again(buffer)
        return 0

    def _read_again(self, buffer: memoryview) -> int:
        self.reader = None  # frees its window before the next one is allocated
        self.marked.file.seek(0)
        self.second_reading = Pieces(_pieces(self.marked.file, _zstd), n_skipped=self.n_returned).fill
        return self.second_reading(buffer)


class Pieces:
    """Pieces of any length, copied into the caller's buffer; the first `n_skipped` bytes are left out."""

    def __init__(self, pieces: Iterator[bytes], n_skipped: int = 0) -> None:
        self.pieces, self.n_skipped, self.rest = pieces, n_skipped, memoryview(b"")

    def fill(self, buffer: memoryview) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)[self.n_skipped :]
            self.n_skipped -= min(self.n_skipped, len(piece))
        n_bytes = min(len(buffer), len(self.rest))
        buffer[:n_bytes] = self.rest[:n_bytes]
        self.rest = self.rest[n_bytes:]
        return n_bytes


def _pieces(file: BinaryIO, make: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Yield the decompressed content in pieces, across concatenated frames; raises as `decompressed`."""
    decoder = make()
    while data := file.read(PIECE_BYTES):
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
