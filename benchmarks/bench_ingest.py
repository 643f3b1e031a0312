"""How fast a dump becomes tables, beside the loops that others read dumps with: same file, same run.

    python benchmarks/bench_ingest.py [FILE] [--comments 200000] [--json]

Each contender runs in a process of its own, so that its peak memory is its own. MB are of uncompressed JSON. Without a
FILE the simulator writes one. Compare ratios: the figures are those of the machine and of what else it does.

Source of the peers: Watchful1/PushshiftDumps, scripts/single_file.py and scripts/to_csv.py.
"""

import argparse
import csv
import json
import multiprocessing
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import zstandard

from ingest.dumps import ingest_dumps
from ingest.normalize import RowFilters
from ingest.simulated_dump import write_simulation
from ingest.simulation_config import SimulationConfig
from ingest.streams import blocks
from lurker.report import print_json, print_table
from lurker.workspace import open_workspace

CSV_FIELDS = (
    *("id", "author", "subreddit", "created_utc", "score", "link_id", "parent_id", "body", "permalink"),
    *("edited", "gilded", "stickied", "distinguished", "is_submitter"),
)
COMMENTS_A_POST = 14
OURS = "ours, into tables"


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall-clock and processor seconds, and the peak of resident memory in bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Run every contender on one file and print MB/s and how many times as fast ours is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", nargs="?", type=Path, help="a .zst dump; simulated when absent")
    parser.add_argument("--comments", type=int, default=200_000, help="size of the simulated dump")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the median time counts")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = arguments.file or _simulated(Path(scratch), arguments.comments)
        result = measure(file, Path(scratch), arguments.repeat)
    if arguments.json:
        print_json(result)
        return
    print_table(f"{result['file']}: {result['megabytes']:,.0f} MB of JSON", result["contenders"])


def measure(file: Path, scratch: Path, n_rounds: int) -> dict[str, Any]:
    """Time each contender on the file, in turn, `n_rounds` times.

    Returns file, megabytes, rounds and a row a contender: MB_s, ours_over_this (a ratio of speeds), the same of
    processor time, which other work on the machine disturbs less, and peak_MB.
    """
    n_bytes = sum(len(block.data) for block in blocks(file, lambda _: None))
    contenders: dict[str, Callable[[Path, Path], None]] = {
        "json.loads a line": parse_only,
        "CSV of 14 fields": to_csv,
        **({"zstd -dc": zstd_only} if shutil.which("zstd") else {}),
        OURS: ours,
    }
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(n_rounds):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory(dir=scratch) as place:
                costs[name].append(_in_own_process(contender, file, Path(place)))
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


def ours(file: Path, scratch: Path) -> None:
    """Read, filter, normalise, hash, merge and sort into the tables of a new workspace."""
    ingest_dumps(open_workspace(scratch / "ws", create=True), [file], RowFilters())


def parse_only(file: Path, _: Path) -> None:
    """As single_file.py: parse each line with the standard library, look at its time and one field, write nothing."""
    n_found = 0
    for line, _place in _lines(file):
        row = json.loads(line)
        _created = datetime.fromtimestamp(int(row["created_utc"]), UTC)
        n_found += row["subreddit"] == "wallstreetbets"


def to_csv(file: Path, scratch: Path) -> None:
    """As to_csv.py: parse each line with the standard library, write 14 fields as CSV."""
    with (scratch / "out.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(CSV_FIELDS)
        for line, _place in _lines(file):
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
    """Decompress with the reference program, keep nothing."""
    subprocess.run(["zstd", "-dc", "--long=31", str(file)], stdout=subprocess.DEVNULL, check=True)


def _lines(file: Path) -> Iterator[tuple[str, int]]:
    """Lines and the place in the file, as both scripts read them: chunks of 128 MiB, decoded whole, then split."""
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
    """What the contender cost in a fresh process, what it started included."""
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


def _simulated(scratch: Path, n_comments: int) -> Path:
    config = SimulationConfig(n_posts=max(1, n_comments // COMMENTS_A_POST))
    return write_simulation(open_workspace(scratch / "simulation", create=True), config)[1]


if __name__ == "__main__":
    main()
