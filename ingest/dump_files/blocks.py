"""A dump file as a stream of newline-aligned blocks, whatever compressed it.

A file that is cut inside a compressed frame or a line still gives its whole lines.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path

import zstandard

from ingest.dump_files.decompress import CutShortError, Fill, decompressed
from ingest.native.json_lines import count_lines
from lurker.errors import LurkerError

HEAD_BYTES = 1 << 17
BLOCK_BYTES = 24 << 20
"""Each block costs a millisecond or two whatever is in it; a few of them must fit into the memory of a file."""
ROOM_BYTES = 1 << 20
"""Beyond a block, so that whatever a few compressed bytes give finds room."""
MAX_LINE_BYTES = 256 << 20
FRAME_HEADER_BYTES = 18
MOST_RATIO = 40
"""Dumps are a tenth to a twentieth of their JSON; only made up ones are smaller."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a dump.

    index: 0, 1, ... in the file; the cuts depend on the file only, so a resumed run finds the same blocks.
    first_line: number of its first line in the file, from 1. n_lines: how many it has.
    data: the lines, each ending in a newline.
    """

    index: int
    first_line: int
    n_lines: int
    data: memoryview
    memory: mmap
    free: list[mmap]

    def release(self) -> None:
        """Let later blocks have its memory, for fresh memory costs as much as copying; there are no data any more."""
        with suppress(BufferError):  # something still looks at the data: then they are left to it
            self.data.release()
            self.free.append(self.memory)


def check_dump(path: Path) -> None:
    """Look at the first bytes of a file before any work is done.

    Errors: LurkerError when it is missing, a folder, empty, unreadable, or holds no lines of JSON objects.
    """
    if not path.exists():
        raise LurkerError(f"There is no file {path}.", "Check the path of the dump.")
    if path.is_dir():
        raise LurkerError(f"{path} is a folder.", f"Name the files in it: `lurker ingest dump {path}/*`.")
    room, n_bytes, damage = bytearray(HEAD_BYTES), 0, ""
    try:
        with path.open("rb") as file:
            fill = decompressed(file)
            while n_bytes < HEAD_BYTES and (n_more := fill(memoryview(room)[n_bytes:])):
                n_bytes += n_more
    except CutShortError as error:
        damage = str(error)  # a cut file is read as far as it goes
    except OSError as error:
        raise LurkerError(f"Cannot read {path}: {error.strerror or error}.", "Check the path of the dump.") from error
    head = bytes(room[:n_bytes])
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
    with path.open("rb") as file:
        yield from _blocks(path, decompressed(file, advance), block_bytes)


def _blocks(path: Path, fill: Fill, block_bytes: int) -> Iterator[Block]:
    """As `blocks`, of what `fill` gives. path: for errors."""
    free: list[mmap] = []
    memory = _memory(block_bytes + ROOM_BYTES, free)
    n_bytes, n_searched, index, line = 0, 0, 0, 1
    cut: CutShortError | None = None
    while True:
        if len(memory) - n_bytes < ROOM_BYTES:
            larger = _memory(len(memory) + max(ROOM_BYTES, len(memory) // 8), free)
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
            raise LurkerError(f"{path} is no dump: line {line:,} is over {MAX_LINE_BYTES >> 20} MB long.")
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
    """Memory of that size, of a block that was released where there is one: of no cost until it is written to."""
    while free:
        if len(memory := free.pop()) >= n_bytes:
            return memory
    return mmap(-1, n_bytes, flags=MAP_PRIVATE | MAP_ANONYMOUS)


def _with_bytes(data: memoryview, memory: mmap) -> mmap:
    """The memory, which begins with these bytes now."""
    memory[: len(data)] = data
    return memory


def _block_end(memory: mmap, n_searched: int, block_bytes: int, n_bytes: int) -> int:
    """Where a block ends: after the last newline within `block_bytes`, else after the next; 0: there is none.

    So a block without its last line is never longer than it may be. n_searched: so many bytes hold no newline.
    """
    within = memory.rfind(b"\n", n_searched, block_bytes) + 1
    return within or memory.find(b"\n", max(n_searched, block_bytes), n_bytes) + 1


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
