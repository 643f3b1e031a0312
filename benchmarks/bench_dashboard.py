"""The dashboard on a generated workspace, in a real browser; `python benchmarks/bench_dashboard.py --help`.

At scale 1 the workspace has 5 million pairs, 200 runs and 10 million predictions, and a second set of 430,000 texts;
texts are random words. Times are from the request, the click or the key until the page shows the answer and rests; the
processor's seconds beside them are the server's, and hold on a busy machine too. Memory is the server's peak.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from playwright.sync_api import Page, sync_playwright
from polars.io.plugins import register_io_source

from lurker.files import atomic_path, write_json, write_parquet
from lurker.machine import processor
from lurker.progress import say
from lurker.report import ResultTable, show
from lurker.schema import PAIRS, PREDICTIONS, check
from lurker.workspace import Workspace, open_workspace

N_PAIRS, N_RUNS, N_PREDICTIONS = 5_000_000, 200, 10_000_000
PAIRS_PER_POST, BLOCK = 10, 100_000
N_PIECES, WORDS_PER_PIECE, PIECES_PER_TEXT = 50_000, 20, 3
"""Texts are made of drawn pieces: drawing every word would take longer than all that is measured."""
SET, SMALL_SET, PORT = "balanced", "texts", 8599
N_SMALL = 143_334
"""Pairs of the second set: 430,000 texts."""
RARE = "quxotic"
"""A word that one pair in ten thousand has."""
PATIENCE_MS = 600_000
STEPS = 5
"""Steps to the next pair, of which the median counts."""
FIRST_CHART = ".stVegaLiteChart canvas, .stVegaLiteChart svg"
PAIR = ".stHtml div[dir]"
PAIR_ID = pl.format("a{}-b{}", "place", "place").alias("pair_id")
IDLE = "[data-testid='stApp'][data-test-script-state='notRunning']"


def write_workspace(root: Path, scale: float) -> Workspace:
    """Write two pair sets, and the runs of the first."""
    workspace = open_workspace(root, create=True)
    rng = np.random.default_rng(0)
    n_runs, n_pairs = max(2, int(N_RUNS * scale)), int(N_PAIRS * scale)
    _set(workspace, rng, SET, n_pairs)
    _set(workspace, rng, SMALL_SET, int(N_SMALL * min(1.0, scale * 10)))
    tested = _tested(n_pairs).head(int(N_PREDICTIONS * scale / n_runs))
    for number in range(n_runs):
        _run(workspace, rng, number, tested)
    return workspace


def _set(workspace: Workspace, rng: np.random.Generator, name: str, n_pairs: int) -> None:
    """Write a pair set in one pass, a block of pairs at a time."""
    folder, pieces = workspace.folder("pairs", name), _pieces(rng)

    def blocks(*_: object) -> Iterator[pl.DataFrame]:
        for start in range(0, n_pairs, BLOCK):
            yield check(_pairs(rng, pieces, start, min(BLOCK, n_pairs - start)), PAIRS)
            say(f"{name}: {min(n_pairs, start + BLOCK):,} of {n_pairs:,} pairs written")

    made = register_io_source(blocks, schema=PAIRS.schema)
    with atomic_path(folder / "pairs.parquet") as temporary:
        made.sink_parquet(temporary, compression="zstd", compression_level=3, row_group_size=128_000)
    numbers = {"n_pairs": n_pairs, "n_posts": -(-n_pairs // PAIRS_PER_POST), "pairs_sha256": "not computed"}
    ledger = {"pairs": {"input": 2 * n_pairs, "dropped": [{"reason": "scores equal", "n": n_pairs}], "kept": n_pairs}}
    manifest = {"name": name, "recipe": {"name": name}, "subreddits": ["alpha", "beta"], "ledger": ledger}
    write_json(manifest | numbers, folder / "manifest.json")


def _tested(n_pairs: int) -> pl.Series:
    """The ids of the test pairs, as `_pairs` makes them."""
    place = pl.select(place=pl.int_range(n_pairs)).filter(pl.col("place") // PAIRS_PER_POST % 2 == 1)
    return place.select(PAIR_ID)["pair_id"]


def _pieces(rng: np.random.Generator) -> pl.Series:
    """Parts of texts, of words whose frequency falls as that of real ones."""
    words = np.array([f"word{number}" for number in range(5_000)])
    drawn = words[rng.zipf(1.3, (N_PIECES, WORDS_PER_PIECE)) % words.size]
    return pl.Series([" ".join(row) for row in drawn])


def _pairs(rng: np.random.Generator, pieces: pl.Series, start: int, n: int) -> pl.DataFrame:
    is_test = pl.col("place") // PAIRS_PER_POST % 2 == 1
    drawn = {
        f"{text}_{part}": pieces.gather(rng.integers(0, N_PIECES, n))
        for text in ("prompt", "chosen", "rejected")
        for part in range(PIECES_PER_TEXT)
    }

    def text(name: str) -> pl.Expr:
        return pl.concat_str([f"{name}_{part}" for part in range(PIECES_PER_TEXT)], separator=" ")

    rare = pl.when(pl.col("place") % 10_000 == 0).then(pl.lit(f" {RARE}")).otherwise(pl.lit(""))
    return (
        pl.DataFrame({"place": np.arange(start, start + n), **drawn})
        .select(
            PAIR_ID,
            pl.format("p{}", pl.col("place") // PAIRS_PER_POST).alias("post_id"),
            pl.when(is_test).then(pl.lit("alpha")).otherwise(pl.lit("beta")).alias("subreddit"),
            pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split"),
            (text("prompt") + rare).alias("prompt"),
            text("chosen").alias("chosen"),
            text("rejected").alias("rejected"),
            pl.format("a{}", "place").alias("chosen_id"),
            pl.format("b{}", "place").alias("rejected_id"),
            *(
                pl.Series(f"{side}_{name}", rng.integers(1, 900, n))
                for side in ("chosen", "rejected")
                for name in _NUMBERS
            ),
            label_confidence=0.9,
            weight=1.0,
            confounder_log_odds=0.0,
            recipe=pl.lit(SET),
        )
        .select(pl.col(name).cast(column.dtype) for name, column in PAIRS.columns.items())
    )


_NUMBERS = ("score", "delay_s", "chars")


def _run(workspace: Workspace, rng: np.random.Generator, number: int, tested: pl.Series) -> None:
    folder = workspace.folder("runs", f"run-{number:03d}")
    margins = rng.normal(0.4, 1.0, len(tested))
    table = {"pair_id": tested, "margin": margins, "is_correct": (margins > 0).astype(float)}
    write_parquet(check(pl.DataFrame(table), PREDICTIONS), folder / "predictions" / f"{SET}-test.parquet")
    test = {"pairs": SET, "split": "test", "predictor": "model", "accuracy": 0.65}
    test |= {"accuracy_low": 0.64, "accuracy_high": 0.66}
    result = {"run_id": folder.name, "pairs": SET, "model": "scratch-50k", "n_parameters": 50_000, "seed": number}
    result |= {"n_train_pairs": 4_000, "subreddits": ["alpha", "beta"], "evaluations": [test]}
    lines = [f'{{"step":{step},"train_log_loss":0.6}}' for step in range(1, 1_000)]
    lines.append('{"step":1000,"train_log_loss":0.6,"validation_log_loss":0.6,"validation_accuracy":0.65}')
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    write_json({"pairs": SET, "model": "scratch-50k", "train": {"seed": number}}, folder / "config.json")
    write_json(result, folder / "result.json")


@dataclass(slots=True)
class Watch:
    """What was measured so far, of the server with this process id."""

    pid: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, what: str, act: Callable[[], Any]) -> None:
        """Do it, and note the seconds that it took and the server's processor seconds."""
        used, started = self._used_s(), time.perf_counter()
        act()
        wall = time.perf_counter() - started
        self.note(what, f"{wall:.2f}", f"{self._used_s() - used:.2f}")

    def note(self, what: str, measured: str, processor_s: str = "") -> None:
        """Add a row."""
        self.rows.append({"what": what, "measured": measured, "server's processor, s": processor_s})
        if what:
            say(f"{what}: {measured} {processor_s and f'({processor_s} s of the server)'}")

    def _used_s(self) -> float:
        """Processor seconds of the server so far, of all its threads."""
        ticks = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def measure(root: Path) -> list[dict[str, Any]]:
    """Serve the workspace and use it."""
    line = [sys.executable, "-m", "lurker", "--workspace", str(root), "dashboard", "--port", str(PORT)]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{PORT}"
    watch = Watch(server.pid)
    try:
        watch.measure("start of the server, s", lambda: _wait(f"{address}/_stcore/health"))
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(PATIENCE_MS)
            _use(page, address, watch)
            browser.close()
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
        watch.note("server's peak memory, MB", str(int(peak[1]) // 1024 if peak else None))
        return watch.rows
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def _use(page: Page, address: str, watch: Watch) -> None:
    """Open the pages, step through pairs, filter and search."""
    sizes: list[int] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    watch.measure("runs: first chart, first time, s", lambda: _open(page, f"{address}/runs", FIRST_CHART))
    watch.note("first load, MB", f"{sum(sizes) / 1e6:.2f}")
    watch.note("first load, requests", str(len(sizes)))
    watch.measure("runs: first chart, second time, s", lambda: _open(page, f"{address}/runs", FIRST_CHART))
    for name in (SET, SMALL_SET):
        for turn in ("first", "second"):
            act = partial(_open, page, f"{address}/read?pairs={name}&split=any", PAIR)
            watch.measure(f"read {name}: first pair, {turn} time, s", act)
        _first_step(page)
        steps = Watch(watch.pid)
        for _ in range(STEPS):
            steps.measure("", lambda: _step(page))
        median = sorted(steps.rows, key=lambda row: float(row["measured"]))[STEPS // 2]
        watch.note(f"read {name}: next pair, s", median["measured"], median["server's processor, s"])
        page.get_by_role("button", name="Filters").click()
        watch.measure(f"read {name}: filter by community, s", lambda: _filter(page))
        watch.measure(f"read {name}: search, s", lambda: _search(page, RARE))
        watch.measure(f"read {name}: search for a common word, s", lambda: _search(page, "word17 "))


def _open(page: Page, url: str, selector: str) -> None:
    page.goto(url)
    page.locator(selector).first.wait_for()


def _first_step(page: Page) -> None:
    """The first step after a load: a key that comes before the page listens for it is lost, so press it again."""
    before = page.url
    while page.url == before:
        page.keyboard.press("j")
        page.wait_for_timeout(500)
    page.wait_for_selector(IDLE)


def _step(page: Page) -> None:
    before = page.url
    page.keyboard.press("j")
    page.wait_for_function("before => location.href !== before", arg=before)
    page.wait_for_selector(IDLE)


def _filter(page: Page) -> None:
    page.get_by_role("combobox", name="Community").click()
    page.get_by_role("option", name="alpha").click()
    page.get_by_text("r/alpha", exact=True).first.wait_for()
    page.wait_for_selector(IDLE)


def _search(page: Page, text: str) -> None:
    page.get_by_label("Text contains").fill(text)
    page.keyboard.press("Enter")
    page.get_by_text(f"contains “{text}”").wait_for()
    page.wait_for_selector(IDLE)


def _wait(address: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The dashboard did not start.")


def main() -> None:
    """Write the workspace if it is not there, use it, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full workspace")
    parser.add_argument("--workspace", type=Path, help="its folder, written if absent; else a temporary one")
    parser.add_argument("--only-write", action="store_true", help="write the workspace and stop")
    arguments = parser.parse_args()
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.workspace or Path(folder) / "workspace"
        if not (root / "runs").exists():
            started = time.perf_counter()
            write_workspace(root, arguments.scale)
            say(f"The workspace took {time.perf_counter() - started:.0f} s.")
        if not arguments.only_write:
            show(ResultTable(f"Dashboard on {int(N_PAIRS * arguments.scale):,} pairs, {processor()}", measure(root)))


if __name__ == "__main__":
    main()
