"""A cell that fails does not stop the others, and says what it needs to run."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file, save_file

import rm.experiments.cells
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.experiments.cells import TFIDF, Cell
from rm.experiments.config import Experiment
from rm.experiments.recipe_tables import Benchmark, Scores, difference_table
from rm.experiments.scaling import ScalingConfig, plan_scaling, run_scaling
from rm.training.run_folder import RunConfig, run_lock
from rm.training.trainable import train_config

CALL = "experiment scaling planted --models scratch-10k --sizes 60,120 --seeds 1 --workers 1 --set epochs=1"
CALL += " --set min_steps=4 --set max_tokens=64 --set vocabulary_size=400"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[RunConfig], bool]], None]:
    """Makes the training of some cells fail."""
    train_run = rm.experiments.cells.train_run

    def fail_where(is_failing: Callable[[RunConfig], bool]) -> None:
        def train(workspace: Workspace, run_id: str, config: RunConfig, **options: bool) -> object:
            if is_failing(config):
                raise RuntimeError("the disk caught fire")
            return train_run(workspace, run_id, config, **options)

        monkeypatch.setattr(rm.experiments.cells, "train_run", train)

    return fail_where


def test_other_cells_finish_and_the_failed_one_is_listed_and_tried_again(
    workspace: Workspace,
    failing: Callable[[Callable[[RunConfig], bool]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(lambda config: config.max_pairs == 120)
    assert run(["--workspace", str(workspace.root), *CALL.split()]) == 1
    shown = capsys.readouterr()
    assert "60 pairs" in shown.out and "120 pairs" not in shown.out
    assert "Cells that failed" in shown.err and "RuntimeError: the disk caught fire" in shown.err
    folder = workspace.root / "experiments/planted-scaling"
    assert pl.read_parquet(folder / "scaling.parquet")["n_train_pairs"].unique().to_list() == [60]
    assert len(read_json(folder / "manifest.json")["cells"]) == 1
    failing(lambda config: False)
    assert run(["--workspace", str(workspace.root), *CALL.split()]) == 0
    assert "120 pairs" in capsys.readouterr().out
    assert len(read_json(folder / "manifest.json")["cells"]) == 2


def test_when_all_cells_fail_the_first_error_is_reported(
    workspace: Workspace, failing: Callable[[Callable[[RunConfig], bool]], None]
) -> None:
    failing(lambda config: True)
    config = ScalingConfig(pairs="planted", models=("scratch-10k",), sizes=(60,), n_seeds=2)
    with pytest.raises(LurkerError, match=r"All 2 cells failed; the first, .*: RuntimeError: the disk caught fire"):
        run_scaling(Experiment(workspace, "e", n_workers=1), config)
    assert not (workspace.root / "experiments/e/manifest.json").exists()


def test_differences_leave_out_what_the_reference_lacks() -> None:
    benchmark = Benchmark(pl.DataFrame(), [], None)
    scores = {("naive", TFIDF, None): Scores(), ("naive", TFIDF, 100): Scores(), ("fair", TFIDF, 100): Scores()}
    assert difference_table(benchmark, scores, "fair").is_empty()


@pytest.mark.parametrize(("model", "gpus"), [("scratch-200k", 0), ("scratch-4m", 1), ("some/pretrained", 1)])
def test_a_large_model_reserves_a_gpu_where_there_is_one(model: str, gpus: int) -> None:
    cell = Cell("a", RunConfig(pairs="planted", model=model, train=train_config(model, 0, ())), 100)
    assert cell.resources(has_gpu=True).gpus == gpus
    assert cell.resources(has_gpu=False).gpus == 0
    assert (cell.resources(has_gpu=False).memory_bytes or 0) >= 2**30


def test_a_file_in_place_of_a_cell_fails_that_cell_alone(workspace: Workspace) -> None:
    settings = ("epochs=1", "min_steps=4", "max_tokens=64", "vocabulary_size=400")
    config = ScalingConfig(pairs="planted", models=("scratch-10k",), sizes=(60, 120), n_seeds=1, settings=settings)
    experiment = Experiment(workspace, "e", n_workers=1)
    cells, _ = plan_scaling(experiment, config)
    (workspace.root / "runs").mkdir()
    (workspace.root / "runs" / cells[1].run_id).write_text("notes")  # the costlier one, which goes first
    result = run_scaling(experiment, config)
    assert result.frame["n_train_pairs"].unique().to_list() == [60]
    (failure,) = result.failures
    assert failure.cell == cells[1].run_id and "is a file, not the folder of a run" in failure.error


@pytest.mark.parametrize("name", ["a/b", "x" * 101])
def test_a_name_that_no_folder_can_have_is_refused_before_any_work(workspace: Workspace, name: str) -> None:
    call = f"experiment transfer planted --model scratch-10k --name {name}"
    assert run(["--workspace", str(workspace.root), *call.split()]) == 2
    assert not (workspace.root / "runs").exists()


@pytest.mark.slow
def test_the_same_experiment_twice_at_once_trains_each_cell_once(workspace: Workspace) -> None:
    call = [sys.executable, "-m", "lurker", "--workspace", str(workspace.root), *CALL.split()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    for folder in (workspace.root / "runs").iterdir():
        steps = pl.read_ndjson(folder / "metrics.jsonl", infer_schema_length=None)["step"]
        assert steps.to_list() == list(range(1, read_json(folder / "result.json")["steps"] + 1))
    assert len(list((workspace.root / "runs").iterdir())) == 2


def test_a_model_that_diverges_is_named_and_the_rest_finishes(
    workspace: Workspace, pretrained: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(pretrained, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"].fill_(float("inf"))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    settings = ("epochs=1", "min_steps=4", "max_tokens=64", "vocabulary_size=400")
    models = ("scratch-10k", str(broken))
    config = ScalingConfig(pairs="planted", models=models, sizes=(60,), n_seeds=1, settings=settings)
    result = run_scaling(Experiment(workspace, "wild", n_workers=1), config)
    (failure,) = result.failures
    assert "broken" in failure.cell and "Step 1: the loss is nan" in failure.error
    assert "Lower the learning rate" in failure.error
    assert result.frame.filter(~pl.col("is_baseline"))["predictor"].to_list() == ["scratch-10k"]


def test_a_second_start_says_who_runs(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("epochs=1", "min_steps=4", "max_tokens=64", "vocabulary_size=400")
    config = ScalingConfig(pairs="planted", models=("scratch-10k",), sizes=(60,), n_seeds=1, settings=settings)
    experiment = Experiment(workspace, "twice", n_workers=1)
    (cell,) = plan_scaling(experiment, config)[0]
    lock = run_lock(workspace, cell.run_id, waits=False)
    lock.__enter__()
    threading.Timer(0.5, lock.__exit__, (None, None, None)).start()
    assert run_scaling(experiment, config).frame.height > 0  # it waited for the other writer
    assert f"process {os.getpid()} on " in capsys.readouterr().err
