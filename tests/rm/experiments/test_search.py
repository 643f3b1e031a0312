"""A search reads validation pairs only, keeps the best of each stage, and runs no candidate twice."""

from pathlib import Path

import polars as pl
import pytest

from lurker.cli import run
from lurker.errors import CallError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.experiments.config import Experiment
from rm.experiments.search import SearchConfig, run_search

QUICK = ("epochs=1", "min_steps=30", "max_tokens=64", "vocabulary_size=400")


def local(workspace: Workspace) -> Experiment:
    return Experiment(workspace, "found", n_workers=1)


def search(*stages: str) -> SearchConfig:
    return SearchConfig(pairs="planted", model="scratch-10k", stages=stages, settings=QUICK)


def test_each_stage_continues_from_the_best_of_the_one_before(workspace: Workspace) -> None:
    config = search("learning_rate=1e-6 | learning_rate=5e-3", "epochs=1 | max_pairs=60")
    table = run_search(local(workspace), config).frame
    assert table["stage"].to_list() == [1, 1, 2, 2]
    assert table["is_kept"].to_list()[:2] == [False, True]  # a rate that leaves the model where it began
    assert all("learning_rate=5e-3" in settings for settings in table["settings"][1:])
    assert table["run_id"][2] == table["run_id"][1]  # the best again: not trained twice
    assert table["n_train_pairs"][3] == 60
    kept = table.filter(pl.col("stage") == 2).sort("log_loss")
    assert kept["is_kept"].to_list() == [True, False]
    assert read_json(workspace.root / "experiments/found/manifest.json")["best"] == kept["settings"][0].split()


def test_no_test_is_read_and_nothing_runs_twice(workspace: Workspace) -> None:
    config = search("labels=hard | labels=confidence")
    table = run_search(local(workspace), config).frame
    written = {path: path.stat().st_mtime_ns for path in workspace.root.glob("runs/*/predictions/*")}
    assert {path.name for path in written} == {"planted-validation.parquet"} and len(written) == 2
    posts = pl.read_parquet(workspace.root / "pairs/planted/pairs.parquet").filter(pl.col("split") == "validation")
    assert set(table["n_validation_pairs"]) == {posts.height}
    for run_id in table["run_id"]:
        assert read_json(workspace.root / "runs" / run_id / "result.json")["evaluations"] == []
    assert run_search(local(workspace), config).frame.equals(table)
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_the_command_prints_the_command_that_trains_the_best(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--workspace", str(workspace.root), "experiment", "search", "planted", "--model", "scratch-10k"]
    call += ["--workers", "1", "--try", "pairs=hard-test | max_pairs=60", *(f"--set={setting}" for setting in QUICK)]
    assert run(call) == 1  # the hard test has no training pairs
    assert "hard-test has no train pairs" in capsys.readouterr().err
    call[call.index("pairs=hard-test | max_pairs=60")] = "max_pairs=60"
    assert run(call) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"lurker --workspace {workspace.root} rm train planted" in said
    assert "rm train planted --model scratch-10k --max-pairs 60 --set epochs=1 --set min_steps=30" in said


def test_malformed_candidates_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="A candidate is field=value, got 'adjusted'"):
        run_search(local(workspace), search("adjusted | epochs=1"))
    with pytest.raises(CallError, match="Unknown field 'colour'"):
        run_search(local(workspace), search("colour=red"))
    for value in ("x", "0", "-1"):
        with pytest.raises(CallError, match=f"max_pairs must be a whole number of at least 1, got '{value}'"):
            run_search(local(workspace), search(f"max_pairs={value}"))
    with pytest.raises(ValueError, match="a search needs candidates"):
        search()
