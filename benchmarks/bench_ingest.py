"""How fast a dump becomes tables, compared with the loops of other projects: same file, same run.

    python benchmarks/bench_ingest.py [FILE] [--era-fields] [--repeat 3] [--comments 200000] [--json]

Each contender runs in its own process, so that its peak memory is measured alone. MB are of uncompressed JSON. Without
FILE, simulated rows are stored like a monthly dump: one frame with a window of 2 GiB. Reduced files have only
a few fields per row: `--era-fields` adds the others of a dump of 2020, about 50 in all, so that sizes and texts are
like those of a monthly dump. Compare ratios, since absolute figures depend on the machine and its load.

Source of the peers: Watchful1/PushshiftDumps, scripts/single_file.py and scripts/to_csv.py.
"""

import argparse
import csv
import json
import multiprocessing
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import zstandard
from own_process import run_alone

from ingest.dump_files.blocks import blocks
from ingest.dump_files.read import ingest_dumps
from ingest.simulator.config import SimulationConfig
from ingest.simulator.dump import COMMENT_TEMPLATE, POST_TEMPLATE, write_simulation
from ingest.tables.normalize import RowFilters
from lurker.report import print_json, print_table
from lurker.workspace import open_workspace

CSV_FIELDS = (
    *("id", "author", "subreddit", "created_utc", "score", "link_id", "parent_id", "body", "permalink"),
    *("edited", "gilded", "stickied", "distinguished", "is_submitter"),
)
COMMENTS_A_POST = 14
ZSTD_LEVEL = 10
ERA_VALUES = {"author": "[deleted]", "edited": False, "is_submitter": False, "stickied": False, "over_18": False}
OURS = "ours, into tables"


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall-clock and processor seconds, and the peak of resident memory in bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Run every contender on one file and print MB/s and the speed of ours relative to each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", nargs="?", type=Path, help="a .zst dump; simulated when absent")
    parser.add_argument("--era-fields", action="store_true", help="add the fields that FILE was reduced by")
    parser.add_argument("--comments", type=int, default=200_000, help="size of the simulated dump")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the median time counts")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = arguments.file or run_alone(simulated, arguments.comments, Path(scratch)).value
        if arguments.era_fields:
            file = run_alone(with_era_fields, file, Path(scratch)).value
        result = measure(file, Path(scratch), arguments.repeat)
    if arguments.json:
        print_json(result)
        return
    print_table(f"{result['file']}: {result['megabytes']:,.0f} MB of JSON", result["contenders"])


def measure(file: Path, scratch: Path, n_rounds: int) -> dict[str, Any]:
    """Time each contender on the file, in turn, `n_rounds` times.

    Returns:
        file, megabytes, rounds, and one row per contender: MB_s, ours_over_this (a ratio of speeds), the same for
        processor time, which depends less on other work on the machine, and peak_MB.
    """
    n_bytes = run_alone(uncompressed_bytes, file).value  # a process counts its parent's peak of memory as its own
    contenders: dict[str, Callable[[Path, Path], None]] = {
        "json.loads a line": parse_only,
        "CSV of 14 fields": to_csv,
        **({"zstd -dc": zstd_only} if shutil.which("zstd") else {}),
        OURS: ours,
    }
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(n_rounds):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                costs[name].append(_in_own_process(contender, file, Path(folder)))
    wall_s = {name: median(cost.wall_s for cost in costs[name]) for name in contenders}
    cpu_s = {name: median(cost.cpu_s for cost in costs[name]) for name in contenders}
    rows = [
        {
            "contender": name,
            "MB_s": n_bytes / 1e6 / wall_s[name],
            "ours_over_this": wall_s[name] / wall_s[OURS],
            "cpu_ms_MB": cpu_s[name] * 1e9 / n_bytes,
            "ours_over_this_cpu": cpu_s[name] / cpu_s[OURS],
            "peak_MB": max(cost.peak_bytes for cost in costs[name]) / 1e6,
        }
        for name in contenders
    ]
    return {"file": file.name, "megabytes": n_bytes / 1e6, "rounds": n_rounds, "contenders": rows}


def uncompressed_bytes(file: Path) -> int:
    """Uncompressed size of a dump's lines."""
    return sum(len(block.data) for block in blocks(file))


def with_era_fields(file: Path, scratch: Path) -> Path:
    """A copy of a dump whose rows have all fields of a dump of 2020; existing fields keep their values."""
    copy = scratch / f"era-{file.name}"
    with _stored_as_dumps(copy) as out:
        for line, _position in _lines(file):
            if line:
                row = json.loads(line)
                template = POST_TEMPLATE if "title" in row else COMMENT_TEMPLATE
                values = {"post_id": str(row.get("link_id", "")).removeprefix("t3_"), **ERA_VALUES, **row}
                values["author_fullname"] = f"t2_{values['author'][:8]}"
                others = {name: _filled(value, values) for name, value in template.items()}
                out.write(json.dumps({**others, **row}, separators=(",", ":")).encode() + b"\n")
    return copy


def simulated(n_comments: int, scratch: Path) -> Path:
    """A dump of simulated comments."""
    config = SimulationConfig(n_posts=max(1, n_comments // COMMENTS_A_POST))
    file = write_simulation(open_workspace(scratch / "simulation", create=True), config)[1]
    copy = scratch / file.name
    with _stored_as_dumps(copy) as out:
        for block in blocks(file):
            out.write(block.data)
    return copy


@contextmanager
def _stored_as_dumps(file: Path) -> Iterator[Any]:
    """A writer of a file that is compressed like a monthly dump."""
    parameters = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, window_log=31)
    with (
        file.open("wb") as stored,
        zstandard.ZstdCompressor(compression_params=parameters).stream_writer(stored) as out,
    ):
        yield out


def _filled(value: Any, values: dict[str, Any]) -> Any:
    """A template's field with its <slots> filled from the row; "=<slot>" is the value itself, not its text."""
    if not isinstance(value, str) or "<" not in value:
        return value
    if value.startswith("=<"):
        return values.get(value[2:-1])
    return re.sub(r"<(\w+)>", lambda slot: str(values.get(slot[1], "")), value)


def ours(file: Path, scratch: Path) -> None:
    """Read, filter, normalise, hash, merge and sort into the tables of a new workspace."""
    ingest_dumps(open_workspace(scratch / "ws", create=True), [file], RowFilters())


def parse_only(file: Path, _: Path) -> None:
    """Like single_file.py: parse each line with the standard library, read its time and one field, write nothing."""
    n_matches = 0
    for line, _position in _lines(file):
        row = json.loads(line)
        _created = datetime.fromtimestamp(int(row["created_utc"]), UTC)
        n_matches += row["subreddit"] == "wallstreetbets"


def to_csv(file: Path, scratch: Path) -> None:
    """Like to_csv.py: parse each line with the standard library, write 14 fields as CSV."""
    with (scratch / "out.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(CSV_FIELDS)
        for line, _position in _lines(file):
            row = json.loads(line)
            cells = []
            for name in CSV_FIELDS:
                if name == "created_utc":
                    value = datetime.fromtimestamp(int(row["created_utc"]), UTC).strftime("%Y-%m-%d %H:%M")
                elif name == "author":
                    value = f"u/{row.get('author')}"
                else:
                    value = str(row.get(name, ""))
                cells.append(value.encode("utf-8", errors="replace").decode())
            writer.writerow(cells)


def zstd_only(file: Path, _: Path) -> None:
    """Decompress with the reference program and discard the output."""
    subprocess.run(["zstd", "-dc", "--long=31", str(file)], stdout=subprocess.DEVNULL, check=True)


def _lines(file: Path) -> Iterator[tuple[str, int]]:
    """Lines and the position in the file, as both scripts read them: chunks of 128 MiB, decoded, then split."""
    with (
        file.open("rb") as stored,
        zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(stored) as reader,
    ):
        rest = ""
        while chunk := reader.read(2**27):
            while True:
                try:
                    text = chunk.decode()
                    break
                except UnicodeDecodeError:  # the chunk ends inside a character
                    chunk += reader.read(1)
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield line, stored.tell()


def _in_own_process(contender: Callable[[Path, Path], None], file: Path, scratch: Path) -> "Cost":
    """The cost of the contender in a new process, including its child processes."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_timed, args=(contender, file, scratch, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{contender.__name__} failed with exit code {process.exitcode}")
    cost: Cost = results.get()
    return cost


def _timed(contender: Callable[[Path, Path], None], file: Path, scratch: Path, results: Any) -> None:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    cpu_before_s = sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))
    started = time.perf_counter()
    contender(file, scratch)
    wall_s = time.perf_counter() - started
    used = [resource.getrusage(one) for one in who]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in used) - cpu_before_s
    results.put(Cost(wall_s, cpu_s, max(usage.ru_maxrss for usage in used) * 1024))


if __name__ == "__main__":
    main()
