import json
from pathlib import Path

import pytest

import features
import ingest
from features.audits.natural import NaturalConfig, natural_experiments
from lurker.cli import run
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
        "sentence": "There are no naive pairs of random threads to compare with.",
    }
    assert run(command) == 0
    assert "Natural experiments" in capsys.readouterr().out
    alone = open_workspace(tmp_path, create=True)
    ingest.simulate(alone, n_posts=300)
    features.build(alone, "matched")
    assert run(["--workspace", str(tmp_path), "pairs", "audit", "matched", "--natural"]) == 2
    assert "pairs build naive" in capsys.readouterr().err
    assert run(["--workspace", str(tmp_path), "pairs", "audit", "matched", "--natural", "--looks"]) == 2
