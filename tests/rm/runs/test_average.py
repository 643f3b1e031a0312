"""Averaging seeds: the weights, the rewards of a linear head, and which runs are rejected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from lurker.cli import app
from lurker.errors import CallError, LurkerError
from lurker.next_commands import one_call
from lurker.workspace import Workspace
from rm.models.ladder import load
from rm.pairs.tokens import load_tokenizer
from rm.runs.average import average_runs
from rm.runs.export import export_run
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig, predictions_file
from tests.rm.conftest import planted_pairs, planted_workspace, save_pairs

TRAIN = TrainConfig(learning_rate=1e-2, trained="head", min_steps=20, epochs=1, max_tokens=64)


@pytest.fixture(scope="module")
def config(pretrained: Path) -> RunConfig:
    return RunConfig(pairs="planted", model=str(pretrained), train=TRAIN, test_pairs=("planted",))


@pytest.fixture(scope="module")
def trained(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of three seeds; read-only."""
    workspace = planted_workspace(tmp_path_factory.mktemp("trained") / "workspace")
    for seed in range(3):
        train_run(workspace, f"seed-{seed}", replace(config, train=replace(TRAIN, seed=seed)), resume=False)
    return workspace.root


@pytest.fixture
def runs(trained: Path, workspace: Workspace) -> list[str]:
    """The runs, copied into the workspace of this test."""
    shutil.copytree(trained / "runs", workspace.root / "runs")
    return [f"seed-{seed}" for seed in range(3)]


def margins(workspace: Workspace, run_id: str) -> np.ndarray:
    path = predictions_file(workspace.folder("runs", run_id), "planted", "test")
    return pl.read_parquet(path).sort("pair_id")["margin"].to_numpy()


def test_averaged_heads_give_the_mean_of_their_rewards(workspace: Workspace, runs: list[str], tmp_path: Path) -> None:
    result = average_runs(workspace, runs, "mean")
    each = np.stack([margins(workspace, run_id) for run_id in runs])
    assert np.abs(each - each.mean(axis=0)).max() > 1e-3  # seeds differ
    assert margins(workspace, "mean") == pytest.approx(each.mean(axis=0), abs=1e-5)
    assert result["mean_of"] == runs and {row["predictor"] for row in result["evaluations"]} >= {"model", "length"}
    losses = [
        json.loads((workspace.folder("runs", run_id) / "result.json").read_text())["best_validation_log_loss"]
        for run_id in runs
    ]
    assert min(losses) - 0.1 < result["best_validation_log_loss"] <= np.mean(losses) + 1e-6  # Jensen's inequality
    export_run(workspace, "mean", tmp_path / "out")  # compares scores through transformers
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and "mean of the weights of 3 runs" in (tmp_path / "out" / "README.md").read_text()


def test_an_average_is_made_once_and_replaces_no_other_run(workspace: Workspace, runs: list[str]) -> None:
    result = average_runs(workspace, runs)
    weights = workspace.folder("runs", result["run_id"]) / "model" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    assert average_runs(workspace, runs[::-1]) == result and weights.stat().st_mtime_ns == made
    with pytest.raises(CallError, match="exists already"):
        average_runs(workspace, runs[:2], runs[2])
    (workspace.folder("runs", result["run_id"]) / "result.json").unlink()  # as after a kill
    assert average_runs(workspace, runs) == result


def test_runs_that_differ_in_more_than_their_seed_are_rejected(
    workspace: Workspace, runs: list[str], config: RunConfig
) -> None:
    for few in (runs[:1], [runs[0], runs[0]]):
        with pytest.raises(CallError, match="two or more different runs"):
            average_runs(workspace, few)
    other = replace(config, train=replace(TRAIN, learning_rate=1e-3))
    train_run(workspace, "other", other, resume=False)
    with pytest.raises(CallError, match=r"differ in train\.learning_rate"):
        average_runs(workspace, [runs[0], "other"])
    with pytest.raises(CallError, match="no finished run 'none'"):
        average_runs(workspace, [runs[0], "none"])


def test_models_from_different_random_weights_are_rejected(workspace: Workspace) -> None:
    train = TrainConfig(learning_rate=1e-3, min_steps=2, epochs=1, max_tokens=64)
    for seed in range(2):
        config = RunConfig(pairs="planted", model="scratch-10k", train=replace(train, seed=seed))
        train_run(workspace, f"scratch-{seed}", config, resume=False)
    with pytest.raises(CallError, match="different random weights"):
        average_runs(workspace, ["scratch-0", "scratch-1"])


def test_runs_on_rebuilt_pairs_are_rejected(workspace: Workspace, runs: list[str]) -> None:
    save_pairs(workspace, "planted", planted_pairs(40, seed=5))
    with pytest.raises(LurkerError, match="rebuilt"):
        average_runs(workspace, runs)


def test_the_command_prints_the_new_run(workspace: Workspace, runs: list[str]) -> None:
    call = ["--workspace", str(workspace.root), "rm", "average", ",".join(runs), "--run", "mean", "--json"]
    with one_call():
        result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["run_id"] == "mean"
    assert load(workspace.folder("runs", "mean") / "model").n_parameters > 0


@pytest.mark.parametrize("architecture", ["Roberta", "DistilBert", "Electra"])
def test_head_layers_that_start_at_random_are_not_averaged(
    workspace: Workspace, config: RunConfig, pretrained: Path, tmp_path: Path, architecture: str
) -> None:
    names = {"DistilBert": ("dim", "hidden_dim", "n_layers", "n_heads")}.get(
        architecture, ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    )
    settings = getattr(transformers, f"{architecture}Config")(vocab_size=400, **dict(zip(names, (24, 48, 1, 2))))  # noqa: B905
    folder = tmp_path / "encoder"
    getattr(transformers, f"{architecture}Model")(settings).save_pretrained(folder)
    load_tokenizer(pretrained).save_pretrained(folder)
    runs = []
    for seed in range(2):
        train = replace(TRAIN, trained="all", min_steps=2, learning_rate=1e-3, seed=seed)
        runs.append(f"encoder-{seed}")
        train_run(workspace, runs[-1], replace(config, model=str(folder), train=train, test_pairs=()), resume=False)
    with pytest.raises(CallError, match="start at random with every seed"):
        average_runs(workspace, runs)
    start = str(workspace.folder("runs", runs[0]) / "model")  # has all layers, so that seeds share them
    for model, head_seed in ((start, None), (str(folder), 7)):
        alike = []
        for seed in range(2):
            train = replace(TRAIN, trained="all", min_steps=2, learning_rate=1e-5, seed=seed, head_seed=head_seed)
            alike.append(f"{head_seed}-{seed}")
            train_run(workspace, alike[-1], replace(config, model=model, train=train, test_pairs=()), resume=False)
        assert average_runs(workspace, alike)["mean_of"] == alike
        heads = [load(workspace.folder("runs", run) / "model").model.classifier.state_dict() for run in alike]
        assert all(torch.allclose(heads[0][name], heads[1][name], atol=1e-3) for name in heads[0])
