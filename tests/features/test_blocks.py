import os
import random
import subprocess
from pathlib import Path

import polars as pl
import pytest

from features import blocks
from features.blocks import split_into_blocks
from features.build_context import BuildOptions, temporary_folder
from lurker.digest import FrameDigest, frame_sha256
from lurker.engine import Engine, map_in_order


def rows(sizes: list[tuple[str, str, int]]) -> pl.DataFrame:
    """Rows of (subreddit, post, number of rows), in order."""
    every = [(subreddit, post) for subreddit, post, n in sizes for _ in range(n)]
    return pl.DataFrame(every, schema=["subreddit", "post_id"], orient="row").with_row_index("n")


@pytest.mark.parametrize("n_batch", [1, 3, 7, 1_000])
def test_blocks_end_with_a_post_or_a_subreddit_in_any_batches(n_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 5)
    ordered = rows([("a", "p1", 2), ("a", "p2", 4), ("a", "p3", 9), ("a", "p4", 1), ("b", "p4", 2), ("c", "p5", 5)])
    cut = list(split_into_blocks(ordered.iter_slices(n_batch), "post_id", "subreddit"))
    assert [one.height for one in cut] == [6, 9, 1, 2, 5]
    assert pl.concat(cut).equals(ordered)


def test_no_rows_give_no_block() -> None:
    assert list(split_into_blocks([], "post_id", "subreddit")) == []


def test_a_digest_does_not_depend_on_how_rows_are_cut() -> None:
    frame = pl.DataFrame({"n": range(120_000), "text": "a,\nb"})
    digest, start = FrameDigest(), 0
    while start < frame.height:
        size = random.Random(start).randrange(1, 70_000)
        digest.update(frame.slice(start, size))
        start += size
    assert digest.n_rows == 120_000
    assert digest.hexdigest() == frame_sha256(frame) != frame_sha256(frame.reverse())


def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_results_come_in_order_and_few_tasks_are_taken_ahead(engine: Engine) -> None:
    taken = []

    def tasks():  # type: ignore[no-untyped-def]
        for x in range(40):
            taken.append(x)
            yield {"x": x}

    ahead = []
    for number, result in enumerate(map_in_order(add, tasks(), engine=engine, shared={"y": 100})):
        assert result == number + 100
        ahead.append(len(taken) - number)
    assert len(ahead) == 40 and max(ahead) < 30


def test_folders_of_killed_builds_are_removed_and_others_are_kept(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    gone = [tmp_path / f"lurker-{kind}-{ended.pid}-x1" for kind in ("blocks", "spill")]
    kept = [tmp_path / f"lurker-blocks-{os.getpid()}-x2", tmp_path / "lurker-notes", tmp_path / "other"]
    for folder in (*gone, *kept):
        folder.mkdir()
        (folder / "texts.parquet").touch()
    with temporary_folder(BuildOptions(temp_folder=tmp_path)) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([*kept, folder])
