"""A workspace larger than the memory it is built in: the whole command, its peak measured, a real spill seen."""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lurker.schema import COMMENTS, POSTS, check
from lurker.workspace import Workspace, open_workspace

N_POSTS, N_COMMENTS = 30_000, 20
"""600,000 comments of 500 characters. Built in whole frames, `naive` of twice as many took 5.4 GB."""
LIMIT_MB = 150
OVERHEAD_MB = 1_300
"""What the command may take above DuckDB's limit, whatever the size of the workspace, as its help says."""


def write_texts(rng: np.random.Generator, n: int, mean_words: int) -> pl.Series:
    """Random words; what they say does not matter here."""
    n_words = rng.poisson(mean_words, n) + 3
    flat = pl.Series(rng.integers(0, 3_000, n_words.sum())).cast(pl.String)
    words = pl.DataFrame({"text": pl.Series(np.repeat(np.arange(n), n_words)), "word": "word" + flat})
    return words.group_by("text", maintain_order=True).agg(pl.col("word").str.join(" "))["word"]


def write_large(root: Path, n_posts: int = N_POSTS) -> Workspace:
    """A workspace in files as ingest sorts them, written a part at a time."""
    workspace, rng = open_workspace(root, create=True), np.random.default_rng(0)
    same = {"subreddit": "alpha", "source": "dump", "retrieved_utc": 2_000_000_000}
    flags = dict.fromkeys(("is_edited", "is_deleted"), False)

    def posts(first: int, n: int) -> pl.DataFrame:
        number = pl.int_range(first, first + n)
        kinds = {"is_self": True, "is_nsfw": False, "flair": None, "crosspost_of": None}
        kinds |= {"upvote_ratio": 0.9, "n_comments": N_COMMENTS}
        rows = pl.select(
            post_id=pl.format("p{}", number.cast(pl.String).str.zfill(8)), created_utc=1_600_000_000 + 60 * number
        ).with_columns(
            title=write_texts(rng, n, 10), body=write_texts(rng, n, 100), score=pl.Series(rng.integers(0, 500, n))
        )
        authors = pl.format("a{}", pl.Series(rng.integers(0, n_posts, n)))
        constants = (pl.lit(value).alias(name) for name, value in (same | flags | kinds).items())
        return check(rows.with_columns(authors.alias("author_hash"), *constants).cast(dict(POSTS.schema)), POSTS)

    def comments(first: int, n: int) -> pl.DataFrame:
        post = pl.Series(np.repeat(np.arange(first, first + n), N_COMMENTS))
        n_rows = n * N_COMMENTS
        delay_s = np.exp(rng.uniform(4, 11, n_rows)).astype(np.int64)
        scores = rng.poisson(np.exp(2.5 + rng.normal(0, 1, n_rows) - 0.5 * (np.log(delay_s) - 7)))
        kinds = dict.fromkeys(("is_score_hidden", "is_stickied", "is_distinguished", "is_by_op"), False)
        post_id = pl.format("p{}", post.cast(pl.String).str.zfill(8))
        rows = pl.select(
            comment_id=pl.format("c{}", pl.int_range(first * N_COMMENTS, (first + n) * N_COMMENTS)),
            post_id=post_id,
            parent_id=post_id,
            is_top_level=pl.Series(rng.random(n_rows) < 0.75),
            body=write_texts(rng, n_rows, 60),
            author_hash=pl.format("a{}", pl.Series(rng.integers(0, 4 * n_posts, n_rows))),
            created_utc=1_600_000_000 + 60 * post + delay_s,
            score=pl.Series(scores),
        )
        constants = (pl.lit(value).alias(name) for name, value in (same | flags | kinds).items())
        whole = rows.with_columns(*constants).cast(dict(COMMENTS.schema))
        return check(whole.sort("post_id", "created_utc", "comment_id"), COMMENTS)

    workspace.replace_partition(POSTS, "alpha", (posts(n, 10_000) for n in range(0, n_posts, 10_000)))
    workspace.replace_partition(COMMENTS, "alpha", (comments(n, 2_000) for n in range(0, n_posts, 2_000)))
    return workspace


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_large(tmp_path_factory.mktemp("large") / "workspace")


def peak_mb(pid: int) -> float:
    """The most memory that a process has had so far, megabytes; 0 once it is gone."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    return 0.0


def descendants(pid: int) -> list[int]:
    """Processes that were started by that one, and by these."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


def build(workspace: Workspace, name: str, folder: Path, *options: str) -> tuple[float, float, int]:
    """Build pairs in a process of its own: its peak, the highest of the processes it started, megabytes, and the most
    bytes that DuckDB had spilled."""
    folder.mkdir()
    command = [sys.executable, "-m", "lurker", "--workspace", str(workspace.root), "pairs", "build", name, *options]
    # Ray's sockets need a short path.
    folders = {"TMPDIR": str(folder), "RAY_TMPDIR": tempfile.gettempdir()}
    process = subprocess.Popen(command, env=os.environ | folders, stdout=subprocess.DEVNULL)
    own = others = 0.0
    spilled = 0
    while True:
        try:
            process.wait(0.05)
            break
        except subprocess.TimeoutExpired:
            own = max(own, peak_mb(process.pid))
            others = max([others, *(peak_mb(child) for child in descendants(process.pid))])
            with suppress(OSError):
                spilled = max(spilled, sum(file.stat().st_size for file in folder.glob("lurker-spill-*/*")))
    assert process.returncode == 0
    assert not list(folder.glob("lurker-*"))  # and nothing is left behind
    return own, others, spilled


@pytest.mark.slow
def test_the_memory_limit_holds_for_the_command_locally_and_on_a_cluster(large: Workspace, tmp_path: Path) -> None:
    options = ("--recipe", "naive", "--memory-limit", f"{LIMIT_MB}MB")
    own, _, spilled = build(large, "here", tmp_path / "here", *options)
    assert spilled > 10_000_000
    assert own < LIMIT_MB + OVERHEAD_MB
    own, others, spilled = build(large, "there", tmp_path / "there", *options, "--engine", "ray")
    assert spilled > 10_000_000
    assert own < LIMIT_MB + OVERHEAD_MB and 0 < others < OVERHEAD_MB
    here, there = ((large.root / "pairs" / name / "pairs.parquet").read_bytes() for name in ("here", "there"))
    assert here == there


@pytest.mark.slow
def test_it_holds_when_confounders_are_learned(large: Workspace, tmp_path: Path) -> None:
    options = ("--recipe", "balanced", "--memory-limit", f"{LIMIT_MB}MB")
    own, _, spilled = build(large, "balanced", tmp_path / "balanced", *options)
    assert spilled > 10_000_000
    assert own < LIMIT_MB + OVERHEAD_MB
