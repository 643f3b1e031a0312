"""Thousands of small files, read together: a block costs the same time whether it holds five rows or fifty thousand."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import Any

from ingest.dump_files.blocks import STDIN, Block, blocks, shown
from ingest.dump_files.decompress import CutShortError
from ingest.dump_files.find import LISTED
from ingest.dump_files.report import FileReport

SMALL_BYTES = 256 << 10
"""Largest file, as stored, that is read together with others."""
BUNDLE_BYTES = 4 << 20
BUNDLE_FILES = 1_000


@dataclass(slots=True)
class Parts:
    """Which lines of a bundle come from which file."""

    starts: list[int] = field(default_factory=list)
    """Number of each file's first line, from 1."""
    files: list[str] = field(default_factory=list)
    n_lines: list[int] = field(default_factory=list)

    def located(self, record: Mapping[str, Any], default: str) -> dict[str, Any]:
        """A record of a line, with its file and the line's number in it."""
        if not self.starts:
            return {"file": default, **record}
        part = bisect_right(self.starts, record["line"]) - 1
        return {"file": self.files[part], **record, "line": record["line"] - self.starts[part] + 1}


def bundled(files: Mapping[str, Path]) -> list[dict[str, Path]]:
    """Files by mark in groups that are read as one: small ones together if there are many, all others alone."""
    if len(files) <= LISTED:
        return [{mark: path} for mark, path in files.items()]
    groups: list[dict[str, Path]] = []
    open_group, n_bytes = dict[str, Path](), 0
    for mark, path in sorted(files.items(), key=lambda item: str(item[1])):
        size = SMALL_BYTES if path == STDIN else path.stat().st_size
        if size >= SMALL_BYTES:
            groups.append({mark: path})
            continue
        if n_bytes + size > BUNDLE_BYTES or len(open_group) >= BUNDLE_FILES:
            groups.append(open_group)
            open_group, n_bytes = {}, 0
        open_group[mark] = path
        n_bytes += size
    return groups + [open_group] * bool(open_group)


def bundle_name(paths: Sequence[Path]) -> str:
    """What a bundle is called in reports."""
    if len(paths) == 1:
        return shown(paths[0])
    return f"{len(paths):,} small files, {shown(paths[0])} to {paths[-1].name}"


def bundle_block(paths: Sequence[Path], report: FileReport, parts: Parts) -> Iterator[Block]:
    """The lines of all files as one block; notes in the report which files are cut short, and in `parts` whose lines
    they are."""
    texts, line = [], 1
    for path in paths:
        n_lines = 0
        try:
            for block in blocks(path):
                texts.append(bytes(block.data))
                n_lines += block.n_lines
                block.release()
        except CutShortError as error:
            report.damage[shown(path)] = str(error)
        parts.starts.append(line)
        parts.files.append(shown(path))
        parts.n_lines.append(n_lines)
        line += n_lines
    if data := b"".join(texts):
        memory = mmap(-1, len(data))
        memory[:] = data
        yield Block(0, 1, line - 1, memoryview(memory), memory, [])
