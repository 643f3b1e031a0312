"""Load of an arena: raters who vote at once; `python benchmarks/bench_arena.py --help`.

    python benchmarks/bench_arena.py --raters 50 --seconds 600                # clients of `lurker arena serve`
    python benchmarks/bench_arena.py --raters 50 --seconds 60 --browsers 3    # and some in real browsers meanwhile
    python benchmarks/bench_arena.py --raters 50 --seconds 60 --functions     # the serving functions alone, no server

Each rater thinks for a random time between votes. A vote is timed from the click to the end of the next pair: the vote
is on the disk, and the next item is drawn and sent. A browser is timed from the key to the next pair on the screen.
Printed are votes, errors, lost votes, the quantiles, and the server's processor time per vote.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
from arena_clients import rate_all

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
    no_limits = {"max_votes_per_rater": N_PROMPTS, "max_votes_per_address": 10**6}
    no_limits |= {"max_votes_per_minute": 10**6, "max_votes_per_minute_and_address": 10**6}
    config = ArenaConfig(n_items=N_PROMPTS, **no_limits)  # type: ignore[arg-type]
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
    token, rng = new_rater(arena), np.random.default_rng(seed)
    now = position(arena, pool, texts, token)
    while time.monotonic() < until and now.ballot is not None:
        time.sleep(float(rng.exponential(think_s)))
        start = time.perf_counter()
        choice = SECRETS[int(rng.integers(len(SECRETS)))]
        cast(arena, rater_of(token), now.ballot, choice, 900)  # type: ignore[arg-type]
        now = position(arena, pool, texts, token)
        out.append(time.perf_counter() - start)


@contextlib.contextmanager
def server_of(arena: Arena) -> Iterator[tuple[str, int]]:
    """The address of a server of the arena, in a process of its own, and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lurker", "--workspace", str(arena.workspace.root), "arena", "serve", arena.name]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, env=dict(os.environ))
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                break
            time.sleep(0.2)
        yield address, server.pid
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def processor_s(pid: int) -> float:
    """Processor time of a process so far, seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def new_rater(arena: Arena) -> str:
    """The token of a rater who has read the instructions."""
    token = invite(arena)
    mark_rater(arena.workspace, rater_of(token), "instructed")
    return token


def vote_in_browsers(arena: Arena, address: str, n: int, until: float) -> list[float]:
    """Some raters in real browsers, one vote after the other; seconds from the key to the next pair on the screen."""
    from playwright.sync_api import sync_playwright

    seconds: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        pages = []
        for _ in range(n):
            page = browser.new_context().new_page()
            page.goto(f"{address}/?rater={new_rater(arena)}")
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
    return seconds


def in_threads(arena: Arena, n_raters: int, until: float, think_s: float) -> tuple[list[float], list[str]]:
    """All raters as threads of this process; the seconds of each vote, and what went wrong."""
    items, seconds, errors = arena.items(), list[float](), list[str]()
    pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
    threading.excepthook = lambda caught: errors.append(repr(caught.exc_value))
    threads = [
        threading.Thread(target=vote_for, args=(arena, pool, texts, until, think_s, number, seconds))
        for number in range(n_raters)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, errors


def main() -> None:
    """Run the load and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=4, help="mean seconds between votes of a rater")
    parser.add_argument("--browsers", type=int, default=0, help="raters in real browsers, besides")
    parser.add_argument("--functions", action="store_true", help="the serving functions alone, without a server")
    given = parser.parse_args()
    in_browsers: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        arena = make(Path(folder))
        if given.functions:
            before = time.process_time()
            seconds, errors = in_threads(arena, given.raters, time.monotonic() + given.seconds, given.think)
            used = time.process_time() - before
        else:
            tokens = [new_rater(arena) for _ in range(given.raters)]
            with server_of(arena) as (address, pid):
                before, until = processor_s(pid), time.monotonic() + given.seconds
                found: list[tuple[list[float], list[str]]] = []
                clients = threading.Thread(
                    target=lambda: found.append(rate_all(address, tokens, until, given.think)), daemon=True
                )
                clients.start()
                in_browsers = vote_in_browsers(arena, address, given.browsers, until) if given.browsers else []
                clients.join()
                used = processor_s(pid) - before
            seconds, errors = found[0]
        n_lost = len(seconds) + len(in_browsers) - read_votes(arena.workspace, arena.name).height
        print(f"{len(seconds):,} votes by {given.raters} raters, {len(errors)} errors, {n_lost} lost", *errors[:3])  # noqa: T201
        for name, times in (("clients", seconds), ("browsers", in_browsers)):
            if times:
                p50, p95, worst = (1000 * np.quantile(times, share) for share in (0.5, 0.95, 1))
                print(f"{name}: {len(times)} votes, p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {worst:.0f} ms")  # noqa: T201
        n_all = max(1, len(seconds) + len(in_browsers))
        print(f"processor: {1000 * used / n_all:.1f} ms a vote in the server")  # noqa: T201


if __name__ == "__main__":
    main()
