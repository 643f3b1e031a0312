"""Which results represent a pair set on the overview."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from dashboard import documents, experiments
from dashboard.parquet import version
from dashboard.reach import hard_test_results, reach
from lurker.workspace import Workspace


@pytest.fixture
def workspace(full_root: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(full_root, tmp_path / "copy")
    return Workspace(tmp_path / "copy")


def model_of(workspace: Workspace, pairs: str) -> float:
    results, damaged = hard_test_results(workspace)
    assert not damaged
    row = results.filter((pl.col("pairs") == pairs) & ~pl.col("is_baseline"))
    return float(row["accuracy"].item())


def set_result(workspace: Workspace, **changes: object) -> None:
    path = workspace.root / "runs/scratch-1m-4000-0/result.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_an_experiment_comes_before_a_single_run_of_the_same_size(workspace: Workspace) -> None:
    curve = experiments.scaling_curve(version(workspace.root / "experiments/ladder/scaling.parquet"))
    largest = curve.filter((pl.col("predictor") == "scratch-1m") & (pl.col("n_train_pairs") == 4000))
    assert model_of(workspace, "matched") == pytest.approx(largest["accuracy"].item())


def test_a_run_with_more_pairs_comes_before_an_experiment(workspace: Workspace) -> None:
    set_result(workspace, n_train_pairs=5000)
    assert model_of(workspace, "matched") == pytest.approx(0.71)


def test_a_run_on_some_of_the_communities_does_not_count_for_the_set(workspace: Workspace) -> None:
    set_result(workspace, n_train_pairs=5000, subreddits=["advice"])
    assert model_of(workspace, "matched") != pytest.approx(0.71)


def test_runs_alone_are_enough(workspace: Workspace) -> None:
    shutil.rmtree(workspace.root / "experiments")
    assert model_of(workspace, "matched") == pytest.approx(0.71)


def test_the_frame_has_shortcuts_models_and_truth(workspace: Workspace) -> None:
    audits, _ = documents.read_each(["naive", "hard-test"], lambda name: documents.audit(workspace, name))
    rows, _ = reach(workspace, audits)
    naive = {row["what"]: row["accuracy"] for row in rows.filter(pl.col("pairs") == "naive").iter_rows(named=True)}
    assert naive["all confounders"] == pytest.approx(0.79)
    assert naive["the truth"] == pytest.approx(0.84)
    assert set(naive) == {"time alone", "length alone", "all confounders", "TF-IDF", "reward model", "the truth"}
    assert rows["pairs"].to_list()[-1] == "hard-test"


def test_without_a_hard_test_there_is_no_truth_to_show(workspace: Workspace) -> None:
    audits, _ = documents.read_each(["naive"], lambda name: documents.audit(workspace, name))
    assert "the truth" not in reach(workspace, audits)[0]["what"]


def test_an_empty_workspace_has_no_rows(empty_root: Path) -> None:
    rows, damaged = reach(Workspace(empty_root), {})
    assert rows.is_empty()
    assert not damaged
