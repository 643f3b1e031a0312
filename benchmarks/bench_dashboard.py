"""The dashboard on a generated workspace, in a real browser; `python benchmarks/bench_dashboard.py --help`.

At scale 1 the workspace has 5 million pairs, 200 runs and 10 million predictions; texts are random words. Times are
from the request or the key until the page shows the answer; memory is the server's peak.
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
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from playwright.sync_api import Page, sync_playwright

from lurker.files import write_json, write_parquet
from lurker.report import ResultTable, show
from lurker.schema import PAIRS, PREDICTIONS, check
from lurker.workspace import Workspace, open_workspace

N_PAIRS, N_RUNS, N_PREDICTIONS = 5_000_000, 200, 10_000_000
PAIRS_PER_POST, WORDS_PER_TEXT, BLOCK = 10, 60, 100_000
SET, PORT = "balanced", 8599
RARE = "quxotic"
"""A word that one pair in ten thousand has."""
PATIENCE_MS = 300_000
IDLE = "[data-testid='stApp'][data-test-script-state='notRunning']"


def write_workspace(root: Path, scale: float) -> Workspace:
    """Write one pair set and its runs."""
    workspace = open_workspace(root, create=True)
    rng = np.random.default_rng(0)
    n_pairs, n_runs = int(N_PAIRS * scale), max(2, int(N_RUNS * scale))
    folder = workspace.folder("pairs", SET)
    blocks = [_pairs(rng, start, min(BLOCK, n_pairs - start)) for start in range(0, n_pairs, BLOCK)]
    pairs = check(pl.concat(blocks), PAIRS)
    write_parquet(pairs, folder / "pairs.parquet")
    counts = {"n_pairs": n_pairs, "n_posts": pairs["post_id"].n_unique(), "pairs_sha256": "not computed"}
    ledger = {"pairs": {"input": 2 * n_pairs, "dropped": [{"reason": "scores equal", "n": n_pairs}], "kept": n_pairs}}
    manifest = {"name": SET, "recipe": {"name": SET}, "subreddits": ["alpha", "beta"], "ledger": ledger}
    write_json(manifest | counts, folder / "manifest.json")
    tested = pairs.filter(pl.col("split") == "test")["pair_id"].head(int(N_PREDICTIONS * scale / n_runs))
    for number in range(n_runs):
        _run(workspace, rng, number, tested)
    return workspace


def _pairs(rng: np.random.Generator, start: int, n: int) -> pl.DataFrame:
    place = np.arange(start, start + n)
    words = np.array([f"word{number}" for number in range(5_000)])

    def texts() -> list[str]:
        drawn = words[rng.zipf(1.3, (n, WORDS_PER_TEXT)) % words.size]
        return [" ".join(row) for row in drawn]

    prompt = texts()
    for index in range(0, n, 10_000):
        prompt[index] += f" {RARE}"
    return pl.DataFrame(
        {
            "pair_id": [f"a{number}-b{number}" for number in place],
            "post_id": [f"p{number // PAIRS_PER_POST}" for number in place],
            "subreddit": np.where(place // PAIRS_PER_POST % 2, "alpha", "beta"),
            "split": np.where(place // PAIRS_PER_POST % 2, "test", "train"),
            "prompt": prompt,
            "chosen": texts(),
            "rejected": texts(),
            "chosen_id": [f"a{number}" for number in place],
            "rejected_id": [f"b{number}" for number in place],
            **{f"{side}_{name}": rng.integers(1, 900, n) for side in ("chosen", "rejected") for name in _NUMBERS},
            "label_confidence": 0.9,
            "weight": 1.0,
            "confounder_log_odds": 0.0,
            "recipe": SET,
        },
        schema_overrides={name: column.dtype for name, column in PAIRS.columns.items()},
    ).select(list(PAIRS.columns))


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


def measure(root: Path) -> dict[str, Any]:
    """Serve the workspace and use it."""
    line = [sys.executable, "-m", "lurker", "--workspace", str(root), "dashboard", "--port", str(PORT)]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{PORT}"
    try:
        _wait(f"{address}/_stcore/health")
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
            found = _use(browser.new_page(viewport={"width": 1280, "height": 900}), address)
            browser.close()
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
        return found | {"server's peak memory, MB": int(peak[1]) // 1024 if peak else None}
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def _use(page: Page, address: str) -> dict[str, Any]:
    sizes: list[int] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    found: dict[str, Any] = {}
    for turn in ("first", "second"):
        found[f"runs: first chart, {turn} time, s"] = _seconds(
            page, lambda: page.goto(f"{address}/runs"), ".stVegaLiteChart canvas, .stVegaLiteChart svg"
        )
        if turn == "first":
            found |= {"first load, MB": round(sum(sizes) / 1e6, 2), "first load, requests": len(sizes)}
    found["read: first pair, s"] = _seconds(page, lambda: page.goto(f"{address}/read?pairs={SET}"), ".stHtml div[dir]")
    for turn in ("first", "second"):
        before = page.url
        started = time.perf_counter()
        page.keyboard.press("j")
        page.wait_for_function("before => location.href !== before", arg=before, timeout=PATIENCE_MS)
        page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
        found[f"read: next pair, {turn}, s"] = round(time.perf_counter() - started, 2)
    for what, query in (("filter by community", "subreddit=alpha"), ("search", f"split=any&search={RARE}")):
        url = f"{address}/read?pairs={SET}&{query}"
        found[f"read: {what}, with the page's load, s"] = _seconds(
            page, lambda url=url: page.goto(url), ".stHtml div[dir]"
        )
    return found


def _seconds(page: Page, act: Any, selector: str) -> float:
    started = time.perf_counter()
    act()
    page.wait_for_selector(selector, timeout=PATIENCE_MS)
    return round(time.perf_counter() - started, 2)


def _wait(address: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The dashboard did not start.")


def main() -> None:
    """Write the workspace, use it, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full workspace")
    arguments = parser.parse_args()
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        write_workspace(Path(folder) / "workspace", arguments.scale)
        written = time.perf_counter() - started
        figures = {"writing the workspace, s": round(written)} | measure(Path(folder) / "workspace")
    rows = [{"what": name, "measured": str(value)} for name, value in figures.items()]
    show(ResultTable(f"Dashboard on {int(N_PAIRS * arguments.scale):,} pairs", rows))


if __name__ == "__main__":
    main()
