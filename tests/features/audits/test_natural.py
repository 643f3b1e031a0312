import json
from pathlib import Path

import polars as pl
import pytest

import features
import ingest
from features.audits.natural import NaturalConfig, natural_experiments
from lurker.cli import run
from lurker.schema import POSTS
from lurker.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A third of the threads in contest mode, whose order is drawn by lot."""
    workspace = open_workspace(tmp_path_factory.mktemp("contest"), create=True)
    ingest.simulate(workspace, seed=2, n_posts=1_500, n_subreddits=1, contest_share=0.33)
    for recipe in ("naive", "matched"):
        features.build(workspace, recipe)
    return workspace


def test_time_foretells_the_winner_of_ordinary_threads_only(workspace: Workspace) -> None:
    report = natural_experiments(workspace, "naive", "naive")
    rows = {row["threads"]: row for row in report["threads"]}
    assert rows["ordinary"]["low"] > 0.6
    assert rows["contest"]["low"] < 0.5 < rows["contest"]["high"] < 0.55
    assert "they differ" in report["contrasts"][0]["sentence"]


def test_matched_pairs_of_ordinary_threads_are_like_plain_pairs_of_contest_threads(workspace: Workspace) -> None:
    report = natural_experiments(workspace, "matched", "naive", NaturalConfig(max_half_width=0.1))
    contrast = report["contrasts"][0]
    assert contrast["low"] < 0.02
    assert contrast["high"] > -0.02
    strict = natural_experiments(workspace, "matched", "naive", NaturalConfig(max_half_width=0.001))
    assert "underpowered" in strict["contrasts"][0]["sentence"]


def test_what_is_missing_is_said(workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["--workspace", str(workspace.root), "pairs", "audit", "matched", "--natural"]
    assert run([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["naive"] == "naive"
    assert report["contrasts"][1] == {
        "threads": "random",
        "difference": None,
        "sentence": "There are no naive pairs of random threads to compare.",
    }
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "Natural experiments" in shown
    assert "Too few pairs of naive are of random or new threads to compare with." in " ".join(shown.split())
    alone = open_workspace(tmp_path, create=True)
    ingest.simulate(alone, n_posts=300)
    features.build(alone, "matched")
    assert run(["--workspace", str(tmp_path), "pairs", "audit", "matched", "--natural"]) == 2
    assert "pairs build naive" in capsys.readouterr().err
    assert run(["--workspace", str(tmp_path), "pairs", "audit", "matched", "--natural", "--looks"]) == 2


def test_one_thread_in_contest_mode_is_shown_and_not_compared(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path, create=True)
    ingest.simulate(workspace, seed=2, n_posts=60, n_subreddits=1)
    features.build(workspace, "naive")
    posts = workspace.scan(POSTS).collect()
    largest = posts.sort("n_comments", "post_id")["post_id"][-1]
    workspace.replace_partition(
        POSTS, posts["subreddit"][0], [posts.with_columns(is_contest=pl.col("post_id") == largest)]
    )
    report = natural_experiments(workspace, "naive", "naive")
    shown = {row["threads"]: row for row in report["threads"]}["contest"]
    assert (shown["n_posts"], shown["low"], shown["high"]) == (1, 0, 1)
    assert report["contrasts"][0]["difference"] is None
    assert "one thread" in report["contrasts"][0]["sentence"]
