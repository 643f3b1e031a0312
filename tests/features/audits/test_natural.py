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
    """A tenth of the threads in contest mode: their order is drawn by lot, and they hardly sway what time is worth."""
    workspace = open_workspace(tmp_path_factory.mktemp("contest"), create=True)
    ingest.simulate(workspace, seed=3, n_posts=1_500, n_subreddits=1, contest_share=0.1)
    for recipe in ("naive", "matched", "balanced"):
        features.build(workspace, recipe)
    return workspace


def test_time_foretells_the_winner_of_ordinary_threads_only(workspace: Workspace) -> None:
    report = natural_experiments(workspace, "naive", "naive")
    rows = {row["threads"]: row for row in report["threads"]}
    assert rows["ordinary"]["low"] > 0.6
    assert rows["contest"]["low"] < 0.5 < rows["contest"]["high"] < 0.55
    assert "they differ" in report["contrasts"][0]["sentence"]


@pytest.mark.parametrize("recipe", ["matched", "balanced"])
def test_deconfounded_pairs_of_ordinary_threads_are_like_plain_pairs_of_contest_threads(
    workspace: Workspace, recipe: str
) -> None:
    report = natural_experiments(workspace, recipe, "naive", NaturalConfig(max_half_width=0.05))
    contrast = report["contrasts"][0]
    assert contrast["low"] < 0 < contrast["high"] < 0.1
    assert f"{recipe}, ordinary threads less naive pairs of contest threads: no diff" in contrast["sentence"]
    plain = natural_experiments(workspace, "naive", "naive")["contrasts"][0]
    assert plain["low"] > 0.2
    strict = natural_experiments(workspace, recipe, "naive", NaturalConfig(max_half_width=0.001))
    assert "underpowered" in strict["contrasts"][0]["sentence"]
    wide = natural_experiments(workspace, "naive", "naive", NaturalConfig(max_half_width=0.001))
    assert "they differ" in wide["contrasts"][0]["sentence"]  # a wide interval that excludes 0 says enough


def test_what_is_missing_is_said(workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["--workspace", str(workspace.root), "pairs", "audit", "matched", "--natural"]
    assert run([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["naive"] == "naive"
    assert report["contrasts"][1] == {
        "threads": "random",
        "pairs": "naive",
        "difference": None,
        "sentence": "There are no naive pairs of random threads to compare.",
    }
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "Natural experiments" in shown
    words = " ".join(shown.split())
    assert "Too few pairs of naive are of random or new threads to compare with." in words
    assert "Too few pairs of matched are of hidden threads to compare with." in words
    alone = open_workspace(tmp_path, create=True)
    ingest.simulate(alone, n_posts=300)
    features.build(alone, "matched")
    assert run(["--workspace", str(tmp_path), "pairs", "audit", "matched", "--natural"]) == 2
    assert "pairs build naive" in capsys.readouterr().err
    assert run(["--workspace", str(tmp_path), "pairs", "audit", "matched", "--natural", "--looks"]) == 2


def test_threads_with_hidden_scores_are_read_from_first_looks_and_ranked_as_usual(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path, create=True)
    shares = {"hidden_share": 0.4, "first_look_share": 0.3}
    ingest.simulate(workspace, seed=2, n_posts=600, n_subreddits=1, **shares)
    features.build(workspace, "naive")
    report = natural_experiments(workspace, "naive", "naive", NaturalConfig(max_half_width=0.1))
    rows = {row["threads"]: row for row in report["threads"]}
    n_hidden, n_ordinary = (rows[kind]["n_posts"] for kind in ("hidden", "ordinary"))
    assert n_hidden / (n_hidden + n_ordinary) == pytest.approx(0.4, abs=0.06)
    assert rows["hidden"]["low"] > 0.6
    contrast = report["contrasts"][-1]
    assert contrast["low"] < 0 < contrast["high"]
    assert "ordinary threads less naive pairs of hidden threads: no difference found" in contrast["sentence"]


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
