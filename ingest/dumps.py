"""Dump files -> the workspace: read in blocks, staged as sorted runs, merged by subreddit; a stopped run goes on.

Each block of a file is parsed, filtered and staged by itself under `staging/<fingerprint>/`, its summary written last.
A run that was stopped finds the summaries and parses only what has none. When every file is staged, one merge replaces
the partitions, and a record under `ingested/` makes the next run of the same file and filters a matter of reading it.
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
from pathlib import Path
from typing import Any

from ingest.normalize import RowFilters
from ingest.staging import STAGING_VERSION, drop_staged, merge_staged, stage_lines, staged_summary
from ingest.streams import Block, CutShortError, blocks, check_dump
from lurker.config import fingerprint
from lurker.engine import Engine, run_tasks
from lurker.errors import LurkerError
from lurker.progress import progress, say
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace, atomic_path, read_json, write_json

HEAD_TAIL_BYTES = 1 << 20
MAX_FILES = 4
"""Read side by side on one machine: a monthly dump needs a window of 2 GiB to decompress."""
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
        folders = [(folder, record, report) for (_, folder, record), report in zip(new, staged, strict=True)]
        reports += staged
        _require_rows(reports, filters, [folder for folder, _, _ in folders])
        if folders:
            merge_staged(workspace, [folder for folder, _, _ in folders])
        for folder, record, report in folders:
            report.malformed_file = _keep_malformed(workspace, folder, report)
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


def _stage_here(tasks: Sequence[dict[str, Any]]) -> list[FileReport]:
    """Stage files a few at a time on this machine."""
    if not tasks:
        return []
    what = tasks[0]["path"].name if len(tasks) == 1 else f"{len(tasks)} files"
    n_bytes = sum(task["path"].stat().st_size for task in tasks)
    with (
        progress(f"Reading {what}", n_bytes, unit="bytes") as advance,
        ThreadPoolExecutor(min(len(tasks), os.cpu_count() or 1, MAX_FILES)) as readers,
    ):
        is_over = threading.Event()
        futures = [readers.submit(_stage, **task, advance=advance, is_over=is_over) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            is_over.set()  # after an error or Ctrl-C the other files stop too; what is staged stays
            for future in futures:
                future.cancel()


def _stage_on_cluster(tasks: Sequence[dict[str, Any]], engine: Engine) -> list[FileReport]:
    """Stage each file as a task of the engine."""
    reports: dict[int, FileReport] = {}
    absolute = [{**task, "path": task["path"].resolve(), "folder": task["folder"].resolve()} for task in tasks]
    with progress("Reading", len(tasks), unit="files") as advance:
        for index, report in run_tasks(_stage, absolute, engine=engine):
            report.file = str(tasks[index]["path"])
            reports[index] = report
            advance(1)
    return [reports[index] for index in range(len(tasks))]


def _stage(
    path: Path,
    folder: Path,
    filters: RowFilters,
    source: str,
    salt: bytes,
    advance: Callable[[float], None] = lambda _: None,
    is_over: threading.Event | None = None,
) -> FileReport:
    """Stage every block of a file that is not staged yet; blocks are worked on side by side, a few at a time."""
    check_dump(path)
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in [*folder.glob("*.lines"), *folder.glob(".*.tmp")]:
        left_over.unlink()
    n_workers = min(os.cpu_count() or 1, MAX_PARSERS)
    report = FileReport(file=str(path))
    running: deque[Future[dict[str, Any]]] = deque()
    stage = partial(_stage_block, folder=folder, filters=filters, source=source, salt=salt)
    with ThreadPoolExecutor(n_workers) as pool:
        try:
            for block in _until_cut(path, advance, report):
                running.append(pool.submit(stage, block))
                if len(running) > n_workers:
                    _add(report, running.popleft().result())
                if is_over is not None and is_over.is_set():
                    break
            while running:
                _add(report, running.popleft().result())
        finally:
            for future in running:
                future.cancel()
    return report


def _until_cut(path: Path, advance: Callable[[float], None], report: FileReport) -> Iterator[Block]:
    try:
        yield from blocks(path, advance)
    except CutShortError:
        report.is_cut_short = True


def _stage_block(block: Block, folder: Path, filters: RowFilters, source: str, salt: bytes) -> dict[str, Any]:
    """Parse, filter and stage one block; its summary, read back where the block was staged by an earlier run."""
    name = f"{block.index:06d}"
    if (summary := staged_summary(folder, name)) is not None:
        return summary
    return stage_lines(block.data, folder, name, filters, source, salt, first_line=block.first_line)


def _add(report: FileReport, summary: dict[str, Any]) -> None:
    report.n_rows += summary["n_rows"]
    report.n_posts += summary["n_posts"]
    report.n_comments += summary["n_comments"]
    report.n_malformed += summary["n_malformed"]
    report.dropped = dict(Counter(report.dropped) + Counter(summary["dropped"]))
    report.subreddits = dict(Counter(report.subreddits) + Counter(summary["subreddits"]))


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


def _keep_malformed(workspace: Workspace, folder: Path, report: FileReport) -> str | None:
    """Put the unreadable lines of a file into one side file, with their place; its path."""
    parts = sorted(folder.glob("*.malformed"))
    if not parts:
        return None
    kept = workspace.root / "malformed" / f"{Path(report.file).name}-{folder.name}.ndjson"
    with atomic_path(kept) as temporary, temporary.open("w", encoding="utf-8") as file:
        for part in parts:
            for line in part.read_text(encoding="utf-8").splitlines():
                file.write(json.dumps({"file": report.file, **json.loads(line)}) + "\n")
    return str(kept)
