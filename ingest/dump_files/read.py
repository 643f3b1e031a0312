"""Dump files -> the workspace: read in blocks, staged as sorted runs, merged by subreddit; stopped runs resume.

The blocks of a file are parsed and filtered in parallel. Their rows are held in memory up to a limit, then staged under
`staging/<fingerprint>/` as one sorted run with a summary, written last, that lists the blocks. A stopped run finds the
summaries and parses only the blocks that none lists, so it repeats seconds of work. When all files are read, one merge
of the staged and the held rows replaces the partitions. A record under `ingested/` makes a second run on the same file
with the same filters skip it.
"""

import hashlib
import json
import os
import platform
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from ingest.dump_files.blocks import STDIN, Block, blocks, shown, window_bytes
from ingest.dump_files.bundles import Parts, bundle_block, bundle_name, bundled
from ingest.dump_files.decompress import CutShortError
from ingest.dump_files.find import LISTED
from ingest.dump_files.report import DumpReport, FileReport, require_rows
from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.sorted_runs import size_bytes
from ingest.tables.staging import (
    STAGING_VERSION,
    Batch,
    concat_batches,
    drop_staged,
    malformed_records,
    merge_staged,
    read_batch,
    sorted_batch,
    sum_summaries,
    write_batch,
)
from lurker.config import fingerprint
from lurker.engine import Engine, run_tasks
from lurker.errors import LurkerError
from lurker.files import atomic_path, read_json, write_json
from lurker.progress import progress, say
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

HEAD_TAIL_BYTES = 1 << 20
BUNDLE_PREFIX = "bundle-"
"""Of the record of small files that were read together."""
MAX_NAME = 100
"""Bytes of a file's name in the names of our own files: most systems allow 255 in all."""
MAX_FILES = 4
"""Files read at once on one machine; fewer if memory is short: a monthly dump has a window of 2 GiB."""
FILE_BYTES = 800 << 20
"""Memory for a file in addition to its window."""
HELD_BYTES = 192 << 20
"""Rows held in memory before staging, all files together (Polars' estimate; they take three times as much)."""
HELD_LATER_BYTES = 32 << 20
"""The same for a file with staged rows: it is so large that the decompressor's window needs the memory."""
MAX_PARSERS = 4
"""Threads that parse the blocks of one file: as many as one decompressor can feed."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file, or a bundle of files, that was read: its report, and its last rows: in memory, sorted, not staged."""

    report: FileReport
    held: Batch
    parts: Parts


def ingest_dumps(
    workspace: Workspace, files: Sequence[Path], filters: RowFilters, source: str = "dump", engine: Engine = "local"
) -> DumpReport:
    """Read dump files, as `find_dumps` returns them, into posts, comments and observations.

    Args:
        source: written to the rows' column `source`.
        engine: "local" reads a few files at once; "ray" makes each file a task of a cluster whose machines all see the
            files and the workspace under the same paths. The merge runs here either way.

    Returns:
        A report per file, or per bundle of small files if there are many; those ingested before first. It also says
        which files are cut short.

    Raises:
        LurkerError: no row of any file passes the filters; or another process is writing to the workspace.
    """
    with workspace.lock("ingest dump"):
        by_mark = {_mark(path, filters, source): path for path in files}  # copies are read once
        reports, new = _split_known(workspace, by_mark)
        context = RowContext(filters, source, workspace.salt())
        units = [_unit(workspace, group) for group in bundled(new)]
        tasks = [{"paths": [*unit.group.values()], "folder": unit.folder, "context": context} for unit in units]
        staged = _stage_locally(tasks) if engine == "local" else _stage_on_cluster(tasks, engine)
        malformed = [_describe_malformed(unit.folder, file) for unit, file in zip(units, staged, strict=True)]
        reports += [file.report for file in staged]
        folders = [unit.folder for unit in units]
        require_rows(reports, filters, folders)
        if folders:
            merge_staged(workspace, folders, [file.held for file in staged])
        for unit, file, records in zip(units, staged, malformed, strict=True):
            file.report.malformed_file = _keep_malformed(workspace, unit.folder, file.report, records)
            if STDIN not in unit.group.values():  # what came through a pipe cannot be recognised
                content = {"report": asdict(file.report), "filters": asdict(filters), "source": source}
                write_json({**content, "marks": [*unit.group]}, unit.record)
        drop_staged(*folders)
    return DumpReport(workspace.root, reports)


@dataclass(frozen=True, slots=True)
class _Unit:
    """Files that are read together: by mark, with the folder of their staged rows and their record."""

    group: dict[str, Path]
    folder: Path
    record: Path


def _unit(workspace: Workspace, group: dict[str, Path]) -> _Unit:
    name = next(iter(group)) if len(group) == 1 else f"{BUNDLE_PREFIX}{fingerprint(*group)}"
    folder = workspace.root / "staging" / name
    if STDIN in group.values():
        drop_staged(folder)  # of another stream
    return _Unit(group, folder, workspace.root / "ingested" / f"{name}.json")


def _split_known(workspace: Workspace, by_mark: dict[str, Path]) -> tuple[list[FileReport], dict[str, Path]]:
    """The reports of files ingested before, and the other files by mark."""
    records, ingested = dict[str, Path](), workspace.root / "ingested"
    for record in sorted(ingested.glob(f"{BUNDLE_PREFIX}*.json")) if len(by_mark) else ():
        records |= dict.fromkeys(read_json(record)["marks"], record)
    known, new, names = dict[Path, FileReport | None](), dict[str, Path](), []
    for mark, path in by_mark.items():
        record = records.get(mark, ingested / f"{mark}.json")
        if record not in known:
            known[record] = _recorded(workspace, record)
        if known[record] is None:
            new[mark] = path
        else:
            names.append(path.name)
            drop_staged(workspace.root / "staging" / record.stem)  # still there if a run was killed at its very end
    for name in names[:LISTED]:
        say(f"{shown(Path(name))} was ingested before with these filters; it is skipped.")
    if len(names) > LISTED:
        say(f"So were {len(names) - LISTED:,} more files.")
    return [report for report in known.values() if report is not None], new


def _mark(path: Path, filters: RowFilters, source: str) -> str:
    return "stdin" if path == STDIN else _fingerprint(path, filters, source)


def _fingerprint(path: Path, filters: RowFilters, source: str) -> str:
    """Digest of a file's identity (name, size, time, both ends) and of how it is read."""
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(HEAD_TAIL_BYTES)
        file.seek(max(0, status.st_size - HEAD_TAIL_BYTES))
        ends = hashlib.sha256(head + file.read()).hexdigest()
    return fingerprint(STAGING_VERSION, path.name, status.st_size, status.st_mtime_ns, ends, filters, source)


def _recorded(workspace: Workspace, record: Path) -> FileReport | None:
    """The report of an earlier run, unless the rows it wrote are no longer there."""
    if not record.exists():
        return None
    report = FileReport(**{**read_json(record)["report"], "was_ingested_before": True})
    exists = all(any(workspace.manifest(table, name) for table in (POSTS, COMMENTS)) for name in report.subreddits)
    return report if exists else None


def _stage_locally(tasks: Sequence[dict[str, Any]]) -> list[StagedFile]:
    """Stage files on this machine, a few at a time."""
    if not tasks:
        return []
    paths = [path for task in tasks for path in task["paths"]]
    description = shown(Path(paths[0].name)) if len(paths) == 1 else f"{len(paths):,} files"
    n_bytes = sum(path.stat().st_size for path in paths if path != STDIN)
    stop = threading.Event()
    stage = partial(_stage, held_bytes=HELD_BYTES // len(tasks), stop=stop)
    with (
        progress(f"Reading {description}", n_bytes, unit="bytes"),
        ThreadPoolExecutor(_n_readers([task["paths"][0] for task in tasks], _available_bytes())) as readers,
    ):
        # each thread needs a copy of the context to move the bar
        futures = [readers.submit(copy_context().run, partial(stage, **task)) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            stop.set()  # after an error or Ctrl-C the other files stop too; staged rows are kept
            for future in futures:
                future.cancel()


def _n_readers(files: Sequence[Path], available_bytes: int | None) -> int:
    """Files to read at once: limited by the cores, and by the memory that the largest files need."""
    most = min(len(files), os.cpu_count() or 1, MAX_FILES)
    if available_bytes is None:
        return most
    needed = accumulate(sorted((FILE_BYTES + window_bytes(path) for path in files), reverse=True)[:most])
    return max(1, sum(n_bytes <= available_bytes for n_bytes in needed))


def _available_bytes() -> int | None:
    """Memory available without swapping, as reported by Linux; None on other systems."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _stage_on_cluster(tasks: Sequence[dict[str, Any]], engine: Engine) -> list[StagedFile]:
    """Stage each file completely, as a task of the engine."""
    staged: dict[int, StagedFile] = {}
    absolute = [
        {**task, "paths": [path.resolve() for path in task["paths"]], "folder": task["folder"].resolve()}
        for task in tasks
    ]
    with progress("Reading", len(tasks), unit="files") as advance:
        for index, outcome in run_tasks(_stage, absolute, engine=engine):
            file = outcome.result()
            file.report.file = bundle_name(tasks[index]["paths"])
            staged[index] = file
            advance(1)
    return [staged[index] for index in range(len(tasks))]


def _stage(
    paths: list[Path], folder: Path, context: RowContext, held_bytes: int = 0, stop: threading.Event | None = None
) -> StagedFile:
    """Read every block of a file, or the one of a bundle, that is not staged yet, a few in parallel.

    Args:
        held_bytes: rows to hold in memory before staging.
        stop: set by another thread to end early.
    """
    if absent := [path for path in paths if path != STDIN and not path.exists()]:
        raise LurkerError(f"There is no file {shown(absent[0])} on {platform.node()}.", "Check the path of the dump.")
    folder.mkdir(parents=True, exist_ok=True)
    complete = {summary.stem: read_json(summary) for summary in sorted(folder.glob("*.json"))}
    for file in folder.iterdir():  # left by a killed run
        if file.is_file() and file.name.split(".")[0] not in complete:
            file.unlink()
    summaries = [*complete.values()]
    done = {block for summary in summaries for block in summary["blocks"]}
    n_workers = min(os.cpu_count() or 1, MAX_PARSERS)
    report, parts = FileReport(file=bundle_name(paths), n_files=len(paths)), Parts()
    held = _HeldBatches(folder, held_bytes)
    running: deque[tuple[int, Future[Batch]]] = deque()
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            for block in _blocks_until_cut(paths, report, parts):
                if block.index not in done:
                    running.append((block.index, pool.submit(_read_block, block, context)))
                if len(running) > n_workers:
                    summaries.append(held.add(running.popleft()))
                if stop is not None and stop.is_set():
                    break
            while running:
                summaries.append(held.add(running.popleft()))
        finally:
            for _, future in running:
                future.cancel()
    for name, total in sum_summaries(summaries).items():
        setattr(report, name, total)
    return StagedFile(report, sorted_batch(concat_batches([batch for _, batch in held.batches])), parts)


@dataclass(slots=True)
class _HeldBatches:
    """Batches of a file in memory; beyond `max_bytes` all are staged as one run, and fewer are held from then on."""

    folder: Path
    max_bytes: int
    batches: list[tuple[int, Batch]] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, read: tuple[int, Future[Batch]]) -> dict[str, Any]:
        """Wait for a block's batch and hold it; returns its summary."""
        index, batch = read[0], read[1].result()
        self.batches.append((index, batch))
        self.n_bytes += sum(map(size_bytes, batch.rows.values()))
        if self.n_bytes > self.max_bytes:
            indices = [index for index, _ in self.batches]
            run = concat_batches([batch for _, batch in self.batches])
            write_batch(run, self.folder, f"{indices[0]:06d}", {"blocks": indices})
            self.batches, self.n_bytes = [], 0
            self.max_bytes = min(self.max_bytes, HELD_LATER_BYTES)
        return batch.summary


def _blocks_until_cut(paths: Sequence[Path], report: FileReport, parts: Parts) -> Iterator[Block]:
    if len(paths) > 1:
        yield from bundle_block(paths, report, parts)
    else:
        try:
            yield from blocks(paths[0])
        except CutShortError as error:
            report.damage[shown(paths[0])] = str(error)
    report.is_cut_short = bool(report.damage)


def _read_block(block: Block, context: RowContext) -> Batch:
    batch = read_batch(block.data, context, first_line=block.first_line, n_lines=block.n_lines)
    block.release()
    return batch


def _describe_malformed(folder: Path, staged: StagedFile) -> list[dict[str, Any]]:
    """A record of each malformed line with its file and number; notes in the report how many each file has."""
    lines = [part.read_text(encoding="utf-8").splitlines() for part in sorted(folder.glob("*.malformed"))]
    records = [json.loads(line) for part in lines for line in part]
    records += malformed_records(staged.held)
    report, parts = staged.report, staged.parts
    n_rows = dict(zip(parts.files, parts.n_lines, strict=True)) or {report.file: report.n_rows}
    located = [parts.located(record, report.file) for record in records]
    for record in located:
        name = record["file"]
        first = {"n_rows": n_rows[name], "n_malformed": 0, "line": record["line"], "problem": record["problem"]}
        report.malformed.setdefault(name, first)["n_malformed"] += 1
    return located


def _keep_malformed(
    workspace: Workspace, folder: Path, report: FileReport, records: Sequence[dict[str, Any]]
) -> str | None:
    """Write the records of a file's malformed lines to one file; returns its path."""
    if not records:
        return None
    kept = workspace.root / "malformed" / f"{Path(report.file).name[:MAX_NAME]}-{folder.name}.ndjson"
    with atomic_path(kept) as temporary:
        temporary.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return str(kept)
