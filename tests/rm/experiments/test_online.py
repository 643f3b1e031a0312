"""Protocol online: one pass evaluated on its way, which ends as the same run trained plainly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import rm.evaluation.curve_points
from lurker.errors import CallError, LurkerError
from lurker.workspace import Workspace
from rm.evaluation.curve_points import read_point, steps_of_points
from rm.experiments.config import Experiment, make_config
from rm.experiments.scaling import Scaling, run_scaling
from rm.experiments.scaling_plan import ScalingConfig, plan_scaling
from rm.runs.train_run import train_run

SETTINGS = ("max_tokens=64", "vocabulary_size=400", "pairs_per_step=8", "checkpoint_interval_s=0")


def config(**changes: object) -> ScalingConfig:
    values: dict[str, object] = {
        "pairs": "planted",
        "models": ("scratch-10k",),
        "sizes": (60, 120, 240),
        "n_seeds": 1,
        "protocol": "online",
        "settings": SETTINGS,
    }
    return ScalingConfig(**{**values, **changes})  # type: ignore[arg-type]


def online(workspace: Workspace) -> Scaling:
    return run_scaling(Experiment(workspace, "pass", n_workers=1), config())


def losses(folder: Path) -> bytes:
    return (folder / "metrics.jsonl").read_bytes()


def test_the_end_of_a_pass_is_the_same_run_trained_plainly(workspace: Workspace) -> None:
    result = online(workspace)
    models = result.frame.filter(~pl.col("is_baseline"))
    assert models["n_train_pairs"].to_list() == [60, 120, 240] and models["run_id"].n_unique() == 1
    (cell,) = plan_scaling(result.experiment, config())[0]
    train_run(workspace, "plain", replace(cell.config, curve_points=()), resume=True, baselines="none")
    folders = [workspace.folder("runs", name) for name in (cell.run_id, "plain")]
    assert losses(folders[0]) == losses(folders[1])
    of_test = [pl.read_parquet(folder / "predictions/hard-test-test.parquet") for folder in folders]
    assert of_test[0].equals(of_test[1])
    assert models["accuracy"][-1] == of_test[1]["is_correct"].mean()
    tokens = models["n_tokens"].to_list()
    assert tokens[0] < tokens[1] < tokens[2] and abs(tokens[1] / tokens[2] - 0.5) < 0.05


def test_a_point_is_the_model_after_so_many_pairs_and_learning_shows(workspace: Workspace) -> None:
    frame = online(workspace).frame.filter(~pl.col("is_baseline"))
    folder = workspace.folder("runs", frame["run_id"][0])
    steps = pl.read_ndjson(folder / "metrics.jsonl", infer_schema_length=None).height
    point = read_point(folder, 120)
    assert point["step"] == round(steps / 2)
    predictions = pl.read_parquet(folder / "curve/120/predictions/hard-test-test.parquet")
    assert predictions["is_correct"].mean() == frame.filter(n_train_pairs=120)["accuracy"][0]
    log_loss = frame.sort("n_train_pairs")["log_loss"]
    assert log_loss[2] < log_loss[0] - 0.01


def test_a_killed_pass_resumes_to_the_same_curve(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, n_calls = rm.evaluation.curve_points.margins_of_sets, []

    def killed(*given: object) -> object:
        n_calls.append(1)
        if len(n_calls) == 2:
            raise RuntimeError("killed at the second point")
        return compute(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rm.evaluation.curve_points, "margins_of_sets", killed)
    with pytest.raises(LurkerError, match="killed at the second point"):
        online(workspace)
    (folder,) = (workspace.root / "runs").iterdir()
    first = (folder / "curve/60/point.json").stat().st_mtime_ns
    frame = online(workspace).frame
    assert (folder / "curve/60/point.json").stat().st_mtime_ns == first  # not evaluated again
    once = online(workspace_like(workspace)).frame
    columns = ["predictor", "n_train_pairs", "accuracy", "log_loss", "n_tokens"]
    assert frame.select(columns).equals(once.select(columns))


def workspace_like(workspace: Workspace) -> Workspace:
    from tests.rm.conftest import planted_workspace

    return planted_workspace(workspace.root.with_name("again"))


def test_one_size_is_halved_as_far_as_steps_resolve() -> None:
    assert config(sizes=(4000,)).data_sizes == (500, 1000, 2000, 4000)
    assert config(sizes=(300,)).data_sizes == (300,)
    assert len(config(sizes=(10**6,)).data_sizes) == 8


def test_points_have_steps_of_their_own() -> None:
    steps = [np.arange(8)] * 10
    assert steps_of_points((16, 41), steps) == {2: 16, 5: 41}
    for points in ((9, 10), (78,)):
        with pytest.raises(LurkerError, match="do not fall on different steps"):
            steps_of_points(points, steps)


def test_one_pass_sets_its_own_epochs() -> None:
    values = {"pairs": "planted", "models": "scratch-10k", "sizes": 100, "protocol": "online"}
    with pytest.raises(CallError, match="sets epochs itself"):
        make_config(ScalingConfig, **values, settings=("epochs=2",))
