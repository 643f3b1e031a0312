"""Load of an arena: raters who vote at once; `python benchmarks/bench_arena.py --help`.

    python benchmarks/bench_arena.py --raters 50 --seconds 600               # through the serving functions
    python benchmarks/bench_arena.py --raters 50 --seconds 60 --browsers 3   # and some in real browsers meanwhile

Each rater is a thread of one process, as in the server, and thinks for a random time between votes. A vote is timed
from the click to the next pair being known: the vote is on the disk, and the next item is drawn. A browser is timed
from the key to the next pair on the screen. Printed are votes, errors, lost votes and the quantiles.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import orjson

from dashboard.arena.ballots import cast, position
from dashboard.arena.design import Pool, pool_of
from dashboard.arena.make import Source, make_arena
from lurker.votes.arenas import Arena, ArenaConfig, invite, rater_of
from lurker.votes.store import mark_rater, read_votes
from lurker.workspace import open_workspace

N_PROMPTS = 400
SECRETS = ("a", "b", "level", "skip")


def make(root: Path) -> Arena:
    """An arena of two sources on generated prompts, without limits that a benchmark would reach."""
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"Prompt {number}: " + "question " * 40, "source": source}
        | {"response": f"Response {number} {source}: " + "answer " * int(rng.integers(20, 400))}
        for number in range(N_PROMPTS)
        for source in ("human", "writer")
    ]
    file = root / "responses.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    config = ArenaConfig(n_items=N_PROMPTS, max_votes_per_rater=N_PROMPTS, max_votes_per_address=10**6)
    return make_arena(open_workspace(root / "workspace", create=True), "load", Source(responses=file), config)


def vote_for(
    arena: Arena,
    pool: Pool,
    texts: dict[str, dict[str, object]],
    until: float,
    think_s: float,
    seed: int,
    out: list[float],
) -> None:
    """One rater, from the first pair until the time is over; appends the seconds of each vote."""
    token, rng = invite(arena), np.random.default_rng(seed)
    mark_rater(arena.workspace, rater_of(token), "instructed")
    now = position(arena, pool, texts, token)
    while time.monotonic() < until and now.ballot is not None:
        time.sleep(float(rng.exponential(think_s)))
        start = time.perf_counter()
        choice = SECRETS[int(rng.integers(len(SECRETS)))]
        cast(arena, rater_of(token), now.ballot, choice, 900)  # type: ignore[arg-type]
        now = position(arena, pool, texts, token)
        out.append(time.perf_counter() - start)


def vote_in_browsers(arena: Arena, n: int, until: float) -> list[float]:
    """Some raters in real browsers, one vote after the other; seconds from the key to the next pair on the screen."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lurker", "--workspace", str(arena.workspace.root), "arena", "serve", arena.name]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, env=dict(os.environ))
    seconds: list[float] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            pages = []
            for _ in range(n):
                token = invite(arena)
                mark_rater(arena.workspace, rater_of(token), "instructed")
                page = browser.new_context().new_page()
                for _ in range(60):  # the server is starting
                    try:
                        page.goto(f"http://127.0.0.1:{port}/?rater={token}")
                        break
                    except Exception:  # noqa: BLE001
                        time.sleep(0.5)
                page.locator(".arena-cards").wait_for(timeout=60_000)
                pages.append(page)
            while time.monotonic() < until:
                for page in pages:
                    time.sleep(0.5)
                    shown = page.locator(".arena-cards").inner_text()
                    start = time.perf_counter()
                    page.keyboard.press("a")
                    page.wait_for_function(
                        "shown => document.querySelector('.arena-cards')?.innerText !== shown && "
                        "document.querySelector('.arena-cards')",
                        arg=shown,
                        polling=10,
                    )
                    seconds.append(time.perf_counter() - start)
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
    return seconds


def main() -> None:
    """Run the load and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=4, help="mean seconds between votes of a rater")
    parser.add_argument("--browsers", type=int, default=0, help="raters in real browsers, besides")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arena = make(Path(folder))
        items = arena.items()
        pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
        until, seconds = time.monotonic() + given.seconds, []  # type: ignore[var-annotated]
        errors: list[str] = []
        threading.excepthook = lambda caught: errors.append(repr(caught.exc_value))
        before = time.process_time()
        threads = [
            threading.Thread(target=vote_for, args=(arena, pool, texts, until, given.think, number, seconds))
            for number in range(given.raters)
        ]
        for thread in threads:
            thread.start()
        in_browsers = vote_in_browsers(arena, given.browsers, until) if given.browsers else []
        for thread in threads:
            thread.join()
        used = time.process_time() - before
        n_stored = read_votes(arena.workspace, arena.name).height
        n_lost = len(seconds) + len(in_browsers) - n_stored
        print(f"{len(seconds):,} votes by {given.raters} raters, {len(errors)} errors, {n_lost} lost", *errors[:3])  # noqa: T201
        for name, times in (("serving functions", seconds), ("browsers", in_browsers)):
            if times:
                p50, p95, worst = (1000 * np.quantile(times, share) for share in (0.5, 0.95, 1))
                print(f"{name}: {len(times)} votes, p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {worst:.0f} ms")  # noqa: T201
        print(f"processor: {1000 * used / max(1, len(seconds)):.1f} ms a vote in this process")  # noqa: T201


if __name__ == "__main__":
    main()
