"""The command list of docs/guides/loop.md runs from the writer to the second agent, with simulated raters."""

from pathlib import Path

import polars as pl
import pytest

from lurker.cli import run
from lurker.pair_sets import read_pairs
from lurker.workspace import open_workspace
from rm.training.identity import n_posts_read
from tests.docs.conftest import ROOT, lurker_calls

START = [
    "ingest simulate --posts 1500 --set n_subreddits=1",
    "pairs build balanced --recipe balanced --set n_balance_rounds=0",
    "rm train balanced --model scratch-10k --run demo-balanced --max-pairs 300 --baselines none --set epochs=1",
    "policy train-writer balanced --model scratch-10k --id demo-writer --set epochs=1 --set max_responses=600 "
    "--set n_memorisation_prompts=0 --set max_held_out_responses=50",
]
SMALLER = {
    ("policy", "train-agent"): "--set steps=4 --set evaluation_prompts=8 --set evaluate_every=2",
    ("policy", "sample"): "--prompts 200",
    ("arena", "serve"): "--dry-run",
    ("rm", "train"): "--set epochs=1 --set min_steps=2",
}
"""Options added so that the test is short; the last value of an option wins."""


@pytest.mark.slow
def test_the_loop_runs_and_learns_no_test_post(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = [call.split() for call in START]
    for call in lurker_calls(ROOT / "docs" / "guides" / "loop.md"):
        calls.append([*call, *SMALLER.get((call[0], call[1]), "").split()])
        if call[:2] == ["arena", "serve"]:
            calls.append(["arena", "simulate", "round-1", "--raters", "10", "--votes", "60"])
    for call in calls:
        code = run(["--workspace", str(tmp_path / "workspace"), *call])
        assert code == 0, f"lurker {' '.join(call)}: {capsys.readouterr().err}"
    workspace = open_workspace(tmp_path / "workspace")
    voted, balanced = (read_pairs(workspace, name) for name in ("round-1-votes", "balanced"))
    splits = dict(balanced.select("post_id", "split").iter_rows())
    assert all(splits[post] == split for post, split in voted.select("post_id", "split").iter_rows())
    assert set(voted["split"]) == {"train", "validation", "test"}
    test_posts = balanced.filter(pl.col("split") == "test")["post_id"].unique().to_list()
    for folder in ("runs/demo-voted", "policies/agent-round2"):
        assert n_posts_read(str(workspace.root / folder / "model"), test_posts) == 0
