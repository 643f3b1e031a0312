"""A dump file as a stream of newline-aligned blocks, whatever its compression.

A file that is truncated inside a compressed frame or a line still yields its complete lines.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from ingest.dump_files.decompress import CutShortError, Fill, decompressed, decompressed_stream, skippable_bytes
from ingest.dump_files.formats import NotADumpError, Peeked, as_lines, kind_of
from ingest.native.json_lines import count_lines
from lurker.errors import LurkerError
from lurker.progress import advance

STDIN = Path("-")
BLOCK_BYTES = 24 << 20
"""Each block costs a millisecond or two whatever its size; a few must fit into the memory of one file."""
SPARE_BYTES = 1 << 20
"""Room in the buffer beyond a block, enough for the output of a few compressed bytes."""
MAX_LINE_BYTES = 256 << 20
FRAME_HEADER_BYTES = 18
MAX_RATIO = 40
"""Dumps are a tenth to a twentieth of the size of their JSON; only crafted files compress better than this."""


@dataclass(frozen=True, slots=True)
class Block:
    """Complete lines of a dump."""

    index: int
    """0, 1, ... in the file; blocks depend on the file only, so a resumed run finds the same ones."""
    first_line: int
    """Number of the first line in the file, from 1."""
    n_lines: int
    data: memoryview
    """The lines, each ending in a newline."""
    memory: mmap
    free: list[mmap]

    def release(self) -> None:
        """Return the memory for later blocks, because fresh memory costs as much as copying; `data` becomes invalid."""
        with suppress(BufferError):  # another object still uses the data: it keeps the memory
            self.data.release()
            self.free.append(self.memory)


class _CountedFile(FileIO):
    """A file that moves the innermost progress bar by the bytes read; bytes read a second time do not count."""

    n_counted = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._count()
        return data or b""

    def readinto(self, buffer: Any, /) -> int:
        n_bytes = super().readinto(buffer)
        self._count()
        return n_bytes or 0

    def _count(self) -> None:
        if (n_more := self.tell() - self.n_counted) > 0:
            self.n_counted += n_more
            advance(n_more)


def check_dump(path: Path) -> None:
    """Check the first bytes of a file before any work is done.

    Raises:
        NotADumpError: the file is missing, a folder, empty or unreadable, or has no format that is read.
    """
    if path == STDIN:
        return
    if not path.exists():
        raise NotADumpError(f"There is no file {shown(path)}.", "Check the path of the dump.")
    if path.is_dir():
        raise NotADumpError(f"{shown(path)} is a folder.", "Name its files, or ingest it with `lurker ingest dump`.")
    try:
        with path.open("rb") as file:
            kind_of(Peeked(decompressed(file)))  # a truncated file is read as far as possible
    except OSError as error:
        reason = error.strerror or error
        raise NotADumpError(f"Cannot read {shown(path)}: {reason}.", "Check the path of the dump.") from error
    except NotADumpError as error:
        step = error.next_step.replace("FILE", shlex.quote(shown(path)))
        raise NotADumpError(f"{shown(path)} {error.message}", step) from error


def window_bytes(path: Path) -> int:
    """Memory needed to decompress a file: its window, unless the file is too small to fill it.

    Source: RFC 8878, 3.1.1.1.2 (window descriptor).
    """
    if path == STDIN:
        return 0
    with path.open("rb") as file:
        head = file.read(FRAME_HEADER_BYTES)
        if n_skipped := skippable_bytes(head):
            file.seek(n_skipped)
            head = file.read(FRAME_HEADER_BYTES)
    try:
        window = int(zstandard.get_frame_parameters(head).window_size)
    except zstandard.ZstdError:
        return 0
    return min(window, MAX_RATIO * path.stat().st_size)


def blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Yield the lines of a dump in newline-aligned blocks of about `block_bytes`.

    Moves the innermost progress bar by the bytes of the file, as stored.

    Raises:
        CutShortError: after the last complete line of a file that is truncated or damaged.
        NotADumpError: the file, read as a stream, has no format that is read.
        LurkerError: a line is longer than any row of Reddit can be.
    """
    if path == STDIN:
        try:
            lines = as_lines(Peeked(decompressed_stream(sys.stdin.buffer)))
        except NotADumpError as error:
            raise NotADumpError(f"Standard input {error.message}", error.next_step) from error
        yield from _blocks(path, lines, block_bytes)
        return
    with _CountedFile(path) as file:
        yield from _blocks(path, as_lines(Peeked(decompressed(cast("BinaryIO", file)))), block_bytes)


def shown(path: Path) -> str:
    """A path as text that can be printed and stored, whatever bytes it has."""
    return "standard input" if path == STDIN else os.fsencode(path).decode("utf-8", "backslashreplace")


def _blocks(path: Path, fill: Fill, block_bytes: int) -> Iterator[Block]:
    """As `blocks`, from the bytes that `fill` returns; `path` is for errors."""
    free: list[mmap] = []
    memory = _memory(block_bytes + SPARE_BYTES, free)
    n_bytes, n_searched, index, line = 0, 0, 0, 1
    cut: CutShortError | None = None
    while True:
        if len(memory) - n_bytes < SPARE_BYTES:
            larger = _memory(len(memory) + max(SPARE_BYTES, len(memory) // 8), free)
            memory = _with_bytes(memoryview(memory)[:n_bytes], larger)
        try:
            n_more = fill(memoryview(memory)[n_bytes:])
        except CutShortError as error:
            n_more, cut = 0, error
        if not n_more:
            break
        n_bytes += n_more
        while n_bytes >= block_bytes and (end := _block_end(memory, n_searched, block_bytes, n_bytes)):
            following = _with_bytes(memoryview(memory)[end:n_bytes], _memory(len(memory), free))
            data = memoryview(memory)[:end]
            n_lines = count_lines(data)
            yield Block(index, line, n_lines, data, memory, free)
            index, line, memory = index + 1, line + n_lines, following
            n_bytes, n_searched = n_bytes - end, 0
        if n_bytes >= block_bytes:
            n_searched = n_bytes
        if n_bytes > MAX_LINE_BYTES:
            raise LurkerError(f"{path} is not a dump: line {line:,} is longer than {MAX_LINE_BYTES >> 20} MB.")
    end = memory.rfind(b"\n", 0, n_bytes) + 1
    if cut is None and end < n_bytes:
        if _is_json(memory[end:n_bytes]):
            memory[n_bytes : n_bytes + 1] = b"\n"
            end = n_bytes + 1
        else:
            cut = CutShortError("the file ends inside a line")
    if end:
        data = memoryview(memory)[:end]
        yield Block(index, line, count_lines(data), data, memory, free)
    if cut is not None:
        raise cut


def _memory(n_bytes: int, free: list[mmap]) -> mmap:
    """Memory of at least that size: of a released block if possible, else fresh, which costs nothing until written."""
    while free:
        if len(memory := free.pop()) >= n_bytes:
            return memory
    return mmap(-1, n_bytes, flags=MAP_PRIVATE | MAP_ANONYMOUS)


def _with_bytes(data: memoryview, memory: mmap) -> mmap:
    """The memory, with the data copied to its start."""
    memory[: len(data)] = data
    return memory


def _block_end(memory: mmap, n_searched: int, block_bytes: int, n_bytes: int) -> int:
    """End of a block: after the last newline within `block_bytes`, else after the next one; 0 if there is none.

    So a block without its last line never exceeds `block_bytes`. The first `n_searched` bytes hold no newline.
    """
    within = memory.rfind(b"\n", n_searched, block_bytes) + 1
    return within or memory.find(b"\n", max(n_searched, block_bytes), n_bytes) + 1


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
