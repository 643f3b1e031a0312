import json
from pathlib import Path
from typing import Any

import pytest

import features
import ingest
from features.audits.two_looks import two_looks
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.workspace import Workspace, open_workspace


def seen_twice(root: Path, **settings: Any) -> Workspace:
    workspace = open_workspace(root, create=True)
    world = {"seed": 5, "n_posts": 900, "n_subreddits": 1, "first_look_share": 0.3, "down_rate": 0.05} | settings
    ingest.simulate(workspace, **world)
    features.build(workspace, "naive", name="naive")
    return workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return seen_twice(tmp_path_factory.mktemp("looks"))


@pytest.fixture(scope="module")
def report(workspace: Workspace) -> dict[str, Any]:
    return two_looks(workspace, "naive")


def test_agreement_grows_with_the_gap_and_counts_add_up(report: dict[str, Any]) -> None:
    by_gap = {row["gap"]: row for row in report["by_flags"] if row["flags"] == "neither flagged"}
    agreements = [by_gap[gap]["agreement"] for gap in ("1-2", "3-5", "6-9", "10 and more")]
    assert agreements == sorted(agreements)
    of_flags = [row["n_pairs"] for row in report["by_flags"] if row["gap"] == "all"]
    assert sum(of_flags) == report["agreement"]["n_pairs"] == sum(row["n_pairs"] for row in report["by_gap_and_age"])


def test_predicted_agreement_is_the_agreement_seen_where_readers_are_the_same_in_both_windows(
    report: dict[str, Any],
) -> None:
    assert report["exposure_luck"] <= 0.25  # the simulator's comments keep their readers
    for row in report["reliability"]:
        if row["label_model"] == "votes":
            assert row["low"] - 0.03 <= row["predicted"] <= row["high"] + 0.03


def test_herding_raises_the_agreement(report: dict[str, Any], tmp_path: Path) -> None:
    herding = two_looks(seen_twice(tmp_path, herding_effect=0.8), "naive")
    assert herding["agreement"]["low"] > report["agreement"]["high"]


def test_the_command_prints_what_it_writes(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--workspace", str(workspace.root), "pairs", "audit", "naive", "--looks"]
    assert run([*command, "--json"]) == 0
    written = json.loads((workspace.folder("pairs", "naive") / "two-looks.json").read_text())
    assert json.loads(capsys.readouterr().out) == written
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "Reliability" in shown
    assert f"exposure_luck={written['exposure_luck']:g}" in shown
    chart = features.two_looks(features.load(workspace, "naive")).plot().to_dict()
    assert len(chart["layer"]) == 3


def test_one_look_is_not_enough(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=120, first_look_share=0.0)
    with pytest.raises(LurkerError, match="seen twice"):
        two_looks(workspace, "naive")


def test_labels_of_the_first_look_and_pairs_whose_looks_agree(workspace: Workspace) -> None:
    first = features.build(workspace, "naive", name="first", label_look="first")
    assert first.manifest["second_window"]["n_pairs"] == first.manifest["n_pairs"]  # every label has later votes
    agreeing = features.build(workspace, "naive", name="agreeing", require_agreeing_looks=True)
    dropped = {row["reason"]: row["n"] for row in agreeing.manifest["ledger"]["pairs"]["dropped"]}
    assert dropped["looks disagree"] > 0
