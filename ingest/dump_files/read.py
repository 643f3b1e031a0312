"""Dump files -> the workspace: read in blocks, staged as sorted runs, merged by subreddit; a stopped run goes on.

The blocks of a file are parsed and filtered side by side. Their rows are held in memory until there are many, then
staged under `staging/<fingerprint>/` as one sorted run, with a summary, written last, that names the blocks: a run that
was stopped finds the summaries and parses only blocks that none names, so what it does again takes seconds. When every
file is read, one merge of what is staged and what is still held replaces the partitions, and a record under `ingested/`
makes the next run of the same file and filters a matter of reading it.
"""

import hashlib
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from ingest.dump_files.blocks import Block, blocks, check_dump, window_bytes
from ingest.dump_files.decompress import CutShortError
from ingest.tables.normalize import RowFilters
from ingest.tables.sorted_runs import size_bytes
from ingest.tables.staging import (
    STAGING_VERSION,
    Batch,
    add_up,
    drop_staged,
    joined,
    merge_staged,
    read_batch,
    side_lines,
    write_batch,
)
from lurker.config import fingerprint
from lurker.engine import Engine, run_tasks
from lurker.errors import LurkerError
from lurker.progress import progress, say
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace, atomic_path, read_json, write_json

HEAD_TAIL_BYTES = 1 << 20
MAX_FILES = 4
"""Read side by side on one machine, at most; fewer where memory is short: a monthly dump has a window of 2 GiB."""
FILE_BYTES = 800 << 20
"""Memory for a file beyond its window."""
HELD_BYTES = 128 << 20
"""Rows of all files read at once that are held before any is staged (by Polars' estimate; they take thrice as much)."""
HELD_LATER_BYTES = 32 << 20
"""The same for files so large that some were staged: by then the window of the decompressor needs the memory."""
MAX_PARSERS = 4
"""Threads that parse the blocks of a file: as many as one decompressor keeps busy."""


@dataclass(kw_only=True, slots=True)
class FileReport:
    """What became of the rows of one file."""

    file: str
    n_rows: int = 0
    n_posts: int = 0
    n_comments: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    n_malformed: int = 0
    malformed_file: str | None = None
    subreddits: dict[str, int] = field(default_factory=dict)
    is_cut_short: bool = False
    was_ingested_before: bool = False

    @property
    def n_kept(self) -> int:
        """Rows that went to the tables."""
        return self.n_posts + self.n_comments


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that was read: its report, and its last rows, which are held in memory and not staged."""

    report: FileReport
    held: list[Batch]


def ingest_dumps(
    workspace: Workspace, files: Sequence[Path], filters: RowFilters, source: str = "dump", engine: Engine = "local"
) -> list[FileReport]:
    """Read dump files into posts, comments and observations; a report for each file, those ingested before first.

    engine: "local" reads a few files at once; "ray" makes each file a task of a cluster whose machines all see the
    files and the workspace under the same paths. The merge is done here.

    Errors: LurkerError when a file is missing, a folder, empty or no dump (before anything is written), when no row of
    any file passes the filters, or when another process writes to the workspace. A file that is cut short is no error
    here: its report says so.
    """
    for path in files:
        check_dump(path)
    with workspace.lock("ingest dump"):
        reports, new = [], []
        marked = {_fingerprint(path, filters, source): path for path in files}  # one of several copies is enough
        for mark, path in marked.items():
            folder, record = workspace.root / "staging" / mark, workspace.root / "ingested" / f"{mark}.json"
            if (before := _recorded(workspace, record)) is not None:
                reports.append(before)
                drop_staged(folder)  # where a run was killed just before its end
                say(f"{path.name} was ingested before with these filters: nothing to do.")
            else:
                new.append((path, folder, record))
        tasks = [
            {"path": path, "folder": folder, "filters": filters, "source": source, "salt": workspace.salt()}
            for path, folder, _ in new
        ]
        staged = _stage_here(tasks) if engine == "local" else _stage_on_cluster(tasks, engine)
        reports += [one.report for one in staged]
        folders = [folder for _, folder, _ in new]
        _require_rows(reports, filters, folders)
        if folders:
            merge_staged(workspace, folders, [batch for one in staged for batch in one.held])
        for (_, folder, record), one in zip(new, staged, strict=True):
            report = one.report
            report.malformed_file = _keep_malformed(workspace, folder, one)
            write_json({"report": asdict(report), "filters": asdict(filters), "source": source}, record)
            drop_staged(folder)
    return reports


def _fingerprint(path: Path, filters: RowFilters, source: str) -> str:
    """Names a file's content (size, time, both ends) with what is done to it."""
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(HEAD_TAIL_BYTES)
        file.seek(max(0, status.st_size - HEAD_TAIL_BYTES))
        ends = hashlib.sha256(head + file.read()).hexdigest()
    return fingerprint(STAGING_VERSION, path.name, status.st_size, status.st_mtime_ns, ends, filters, source)


def _recorded(workspace: Workspace, record: Path) -> FileReport | None:
    """The report of an earlier run, unless what it wrote is no longer there."""
    if not record.exists():
        return None
    report = FileReport(**{**read_json(record)["report"], "was_ingested_before": True})
    is_there = all(any(workspace.manifest(table, name) for table in (POSTS, COMMENTS)) for name in report.subreddits)
    return report if is_there else None


def _stage_here(tasks: Sequence[dict[str, Any]]) -> list[Staged]:
    """Stage files a few at a time on this machine."""
    if not tasks:
        return []
    what = tasks[0]["path"].name if len(tasks) == 1 else f"{len(tasks)} files"
    n_bytes = sum(task["path"].stat().st_size for task in tasks)
    is_over = threading.Event()
    stage = partial(_stage, held_bytes=HELD_BYTES // len(tasks), is_over=is_over)
    with (
        progress(f"Reading {what}", n_bytes, unit="bytes") as advance,
        ThreadPoolExecutor(_n_readers([task["path"] for task in tasks], _available_bytes())) as readers,
    ):
        futures = [readers.submit(stage, **task, advance=advance) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            is_over.set()  # after an error or Ctrl-C the other files stop too; what is staged stays
            for future in futures:
                future.cancel()


def _n_readers(files: Sequence[Path], available_bytes: int | None) -> int:
    """How many files are read at once: no more than the cores, nor than the memory holds of the largest."""
    most = min(len(files), os.cpu_count() or 1, MAX_FILES)
    if available_bytes is None:
        return most
    needed = accumulate(sorted((FILE_BYTES + window_bytes(path) for path in files), reverse=True)[:most])
    return max(1, sum(n_bytes <= available_bytes for n_bytes in needed))


def _available_bytes() -> int | None:
    """Memory that may be taken without swapping, where Linux tells it."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _stage_on_cluster(tasks: Sequence[dict[str, Any]], engine: Engine) -> list[Staged]:
    """Stage each file, all of it, as a task of the engine."""
    staged: dict[int, Staged] = {}
    absolute = [{**task, "path": task["path"].resolve(), "folder": task["folder"].resolve()} for task in tasks]
    with progress("Reading", len(tasks), unit="files") as advance:
        for index, outcome in run_tasks(_stage, absolute, engine=engine):
            one = outcome.result()
            one.report.file = str(tasks[index]["path"])
            staged[index] = one
            advance(1)
    return [staged[index] for index in range(len(tasks))]


def _stage(
    path: Path,
    folder: Path,
    filters: RowFilters,
    source: str,
    salt: bytes,
    held_bytes: int = 0,
    advance: Callable[[float], None] = lambda _: None,
    is_over: threading.Event | None = None,
) -> Staged:
    """Read every block of a file that is not staged yet; blocks are worked on side by side, a few at a time.

    held_bytes: as many bytes of rows stay in memory; more are staged.
    """
    check_dump(path)
    folder.mkdir(parents=True, exist_ok=True)
    whole = {summary.stem: read_json(summary) for summary in sorted(folder.glob("*.json"))}
    for path_of_batch in folder.iterdir():  # what a killed run began to stage
        if path_of_batch.is_file() and path_of_batch.name.split(".")[0] not in whole:
            path_of_batch.unlink()
    summaries = [*whole.values()]
    done = {block for summary in summaries for block in summary["blocks"]}
    n_workers = min(os.cpu_count() or 1, MAX_PARSERS)
    report = FileReport(file=str(path))
    held = _Held(folder, held_bytes)
    running: deque[tuple[int, Future[Batch]]] = deque()
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            for block in _until_cut(path, advance, report):
                if block.index not in done:
                    running.append((block.index, pool.submit(_read_block, block, filters, source, salt)))
                if len(running) > n_workers:
                    summaries.append(held.add(running.popleft()))
                if is_over is not None and is_over.is_set():
                    break
            while running:
                summaries.append(held.add(running.popleft()))
        finally:
            for _, future in running:
                future.cancel()
    for name, total in add_up(summaries).items():
        setattr(report, name, total)
    return Staged(report, [batch for _, batch in held.batches])


@dataclass(slots=True)
class _Held:
    """Batches of a file in memory; more than `most_bytes` of them go to the folder as one, and then fewer are held."""

    folder: Path
    most_bytes: int
    batches: list[tuple[int, Batch]] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, read: tuple[int, Future[Batch]]) -> dict[str, Any]:
        """Wait for a block's batch and hold it; its summary."""
        index, batch = read[0], read[1].result()
        self.batches.append((index, batch))
        self.n_bytes += sum(map(size_bytes, batch.runs.values()))
        if self.n_bytes > self.most_bytes:
            notes = {"blocks": [index for index, _ in self.batches]}
            write_batch(joined([batch for _, batch in self.batches]), self.folder, f"{notes['blocks'][0]:06d}", notes)
            self.batches, self.n_bytes = [], 0
            self.most_bytes = min(self.most_bytes, HELD_LATER_BYTES)
        return batch.summary


def _until_cut(path: Path, advance: Callable[[float], None], report: FileReport) -> Iterator[Block]:
    try:
        yield from blocks(path, advance)
    except CutShortError:
        report.is_cut_short = True


def _read_block(block: Block, filters: RowFilters, source: str, salt: bytes) -> Batch:
    batch = read_batch(block.data, filters, source, salt, first_line=block.first_line, n_lines=block.n_lines)
    block.release()
    return batch


def _require_rows(reports: Sequence[FileReport], filters: RowFilters, folders: Sequence[Path]) -> None:
    """Errors: LurkerError when nothing was kept, after the staged rows are thrown away."""
    found = {name for report in reports for name in report.subreddits}
    if found:
        for name in filters.subreddits:
            if name.lower() not in found:
                say(f"No row of r/{name} was kept.")
        return
    for folder in folders:
        drop_staged(folder)
    n_rows = sum(report.n_rows for report in reports)
    dropped = sum((Counter(report.dropped) for report in reports), Counter[str]())
    n_malformed = sum(report.n_malformed for report in reports)
    why = [f"{n:,} {reason}" for reason, n in dropped.most_common()] + [f"{n_malformed:,} malformed"] * (
        n_malformed > 0
    )
    raise LurkerError(
        f"No row of {', '.join(Path(report.file).name for report in reports)} was kept: "
        f"{n_rows:,} read, of which {', '.join(why) or 'none'}.",
        "Loosen the filters: see `lurker ingest dump --help`.",
    )


def _keep_malformed(workspace: Workspace, folder: Path, staged: Staged) -> str | None:
    """Put the unreadable lines of a file into one side file, with their place; its path."""
    parts = [part.read_text(encoding="utf-8").splitlines() for part in sorted(folder.glob("*.malformed"))]
    lines = [json.loads(line) for part in parts for line in part]
    lines += [line for batch in staged.held for line in side_lines(batch)]
    if not lines:
        return None
    file = staged.report.file
    kept = workspace.root / "malformed" / f"{Path(file).name}-{folder.name}.ndjson"
    with atomic_path(kept) as temporary:
        temporary.write_text("".join(f"{json.dumps({'file': file, **line})}\n" for line in lines), encoding="utf-8")
    return str(kept)
