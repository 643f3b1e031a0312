"""A newcomer's first commands, each as a whole process: `python benchmarks/bench_newcomer.py [--dumps RS.zst RC.zst]`.

Prints wall and processor seconds and peak memory of every step, and how the processor time divides into science (model
fits and predictions) and overhead (all else). Without --dumps the threads are simulated. A step's profile:
`python -m cProfile -o step.prof -m lurker --workspace DIR ...`, then `python -m pstats step.prof`; the fits run in
threads, which cProfile does not follow: see the column `fits s`.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from lurker.machine import processor
from lurker.progress import say
from lurker.report import print_json, print_table

PORT = 8597
STOPWATCHES = Path(__file__).with_name("stopwatches")
Row = dict[str, Any]


def main() -> None:
    """Run the steps and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dumps", nargs="+", type=Path, default=[], help="Dumps to read instead of simulating.")
    parser.add_argument("--posts", type=int, default=8_000, help="Posts to simulate.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(command, Path(folder)) for command in commands(arguments.dumps, arguments.posts)]
        rows.append(first_page(Path(folder)))
    if arguments.json:
        print_json({"processor": processor(), "steps": rows})
        return
    print_table(processor(), [_shown(row) for row in rows])


def commands(dumps: list[Path], n_posts: int) -> list[str]:
    """The command lines, in a newcomer's order."""
    source = f"ingest dump {' '.join(map(str, dumps))}" if dumps else f"ingest simulate --seed 0 --posts {n_posts}"
    return [
        "--help",
        source,
        "status",
        "pairs build naive --recipe naive",
        "pairs build balanced --recipe balanced",
        "pairs audit naive",
        "pairs audit balanced",
        "pairs audit hard-test",
        "rm train balanced --model scratch-50k --max-pairs 3200 --run first",
        "experiment scaling balanced --models scratch-10k,scratch-50k --sizes 400,800 --seeds 1",
    ]


def measure(command: str, folder: Path) -> Row:
    """Run one command and say what it cost, its child processes included."""
    say(f"lurker {command}")
    fits = folder / "fit-seconds"
    fits.unlink(missing_ok=True)
    line = [sys.executable, "-m", "lurker", "--workspace", str(folder / "workspace"), *command.split()]
    with (folder / "output").open("wb") as output:
        started = time.perf_counter()
        timing = {"FIT_SECONDS": str(fits), "PYTHONPATH": str(STOPWATCHES)}
        process = subprocess.Popen(line, stdout=output, stderr=output, env=os.environ | timing)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
    if status:
        sys.exit(f"lurker {command} failed:\n{(folder / 'output').read_text()}")
    seconds = fits.read_text().split() if fits.exists() else []
    return _row(command, wall_s, usage, sum(map(float, seconds)))


def first_page(folder: Path) -> Row:
    """Seconds from the dashboard's start until its server answers."""
    line = [sys.executable, "-m", "lurker", "--workspace", str(folder / "workspace"), "dashboard", "--port", str(PORT)]
    started = time.perf_counter()
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_stcore/health", timeout=1).read()
            break
        except OSError:
            time.sleep(0.05)
    wall_s = time.perf_counter() - started
    server.terminate()
    return _row("dashboard, until its server answers", wall_s, os.wait4(server.pid, 0)[2], 0.0)


def _row(step: str, wall_s: float, usage: resource.struct_rusage, fits_s: float) -> Row:
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"step": step, "wall_s": wall_s, "cpu_s": cpu_s, "fits_s": fits_s, "peak_mb": usage.ru_maxrss / 1024}


def _shown(row: Row) -> Row:
    """The row for reading: without folders, and with the overhead."""
    numbers = {name: round(value, 1) for name, value in row.items() if name != "step"}
    overhead_s = round(row["cpu_s"] - row["fits_s"], 1)
    return {"step": re.sub(r"\S*/", "", row["step"])[:60], **numbers, "overhead_s": overhead_s}


if __name__ == "__main__":
    main()
