import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
import torch

from lurker.errors import LurkerError
from lurker.workspace import Workspace
from rm.config import TrainConfig
from rm.data import TokenisedPairs, texts, tokenise
from rm.evaluate import is_correct, model_margins
from rm.forward import TOKENS_PER_BATCH
from rm.model import RewardModel, build, learning_rate
from rm.run import RunConfig, train_run
from rm.train import train

SLOW = TrainConfig(learning_rate=1e-3, pairs_per_step=6, checkpoint_interval_s=0.0, patience=100, epochs=1)
Prepared = tuple[RewardModel, dict[str, TokenisedPairs]]


def prepare(frame: pl.DataFrame, spec: str) -> Prepared:
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "validation", "test")}
    model = build(spec, texts(splits["train"]), 400, seed=0)
    return model, {split: tokenise(part, model.tokenizer, max_tokens=64) for split, part in splits.items()}


@pytest.mark.parametrize("spec", ["scratch-10k", "scratch-50k"])
def test_a_planted_taste_is_learned(planted: Callable[..., pl.DataFrame], tmp_path: Path, spec: str) -> None:
    model, pairs = prepare(planted(100), spec)
    config = TrainConfig(learning_rate=learning_rate(spec), pairs_per_step=32)
    scorer = model.scorer(64)
    trained = train(scorer, pairs["train"], pairs["validation"], config, tmp_path, lambda _: None)
    margins = model_margins(scorer, pairs["test"], TOKENS_PER_BATCH)
    assert is_correct(margins).mean() > 0.8
    assert trained.best_validation_log_loss < 0.5
    assert trained.best_step <= trained.n_steps


def test_training_stops_early_and_keeps_the_best_weights(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    frame = planted(40)
    turned = frame.with_columns(  # validation wants the opposite: each step makes it worse
        chosen=pl.when(pl.col("split") == "validation").then("rejected").otherwise("chosen"),
        rejected=pl.when(pl.col("split") == "validation").then("chosen").otherwise("rejected"),
    )
    model, pairs = prepare(turned, "scratch-10k")
    config = TrainConfig(learning_rate=3e-3, pairs_per_step=12, epochs=20, patience=2)
    done: list[float] = []
    scorer = model.scorer(64)
    trained = train(scorer, pairs["train"], pairs["validation"], config, tmp_path, done.append)
    assert trained.best_step < trained.n_steps < sum(done)  # what was saved counts as done on the bar
    losses = np.logaddexp(0, -model_margins(scorer, pairs["validation"], TOKENS_PER_BATCH))
    assert losses.mean() == pytest.approx(trained.best_validation_log_loss, abs=1e-6)


def test_a_loss_that_is_not_finite_names_its_step(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    model, pairs = prepare(planted(10), "scratch-10k")
    scorer = model.scorer(64)
    with torch.no_grad():
        model.model.score.weight.fill_(float("nan"))
    with pytest.raises(LurkerError, match="Step 1: the loss is nan.* its posts are alpha"):
        train(scorer, pairs["train"], pairs["validation"], SLOW, tmp_path, print)


def test_a_killed_run_goes_on_with_the_losses_of_one_never_stopped(workspace: Workspace) -> None:
    config = RunConfig(pairs="planted", model="scratch-10k", train=SLOW, test_pairs=("planted",))
    whole = train_run(workspace, "whole", config, resume=False, is_quiet=True)
    code = (
        "import sys; from pathlib import Path; from lurker.workspace import Workspace\n"
        "from rm.run import RunConfig, train_run; from rm.config import TrainConfig\n"
        f"config = {config!r}\n"
        "train_run(Workspace(Path(sys.argv[1])), 'killed', config, resume=False, is_quiet=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)])
    metrics = workspace.root / "runs" / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 20):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workspace.root / "runs" / "killed" / "result.json").exists()
    resumed = train_run(workspace, "killed", config, resume=True, is_quiet=True)
    assert _losses(workspace, "killed") == _losses(workspace, "whole")
    assert resumed["best_validation_log_loss"] == whole["best_validation_log_loss"]
    assert resumed["steps"] == whole["steps"] > 50


def _losses(workspace: Workspace, run_id: str) -> list[tuple[int, float, float | None]]:
    lines = (workspace.root / "runs" / run_id / "metrics.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    return [(row["step"], row["train_log_loss"], row.get("validation_log_loss")) for row in rows]


@pytest.mark.parametrize(
    "field", ["learning_rate", "epochs", "pairs_per_step", "patience", "max_grad_norm", "evaluations_per_epoch"]
)
def test_a_config_refuses_what_cannot_train(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be over 0, got 0"):
        TrainConfig(**{"learning_rate": 1e-3, field: 0})
