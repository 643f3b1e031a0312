"""The training loop: early stopping, checkpoints, exact resume and errors, with rewards and with another objective."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from lurker.errors import LurkerError
from lurker.workspace import Workspace
from rm.evaluation.metrics import model_margins
from rm.models.scorer import TOKENS_PER_BATCH, Scorer
from rm.pairs.subsets import texts
from rm.pairs.tokenised import tokenise
from rm.pairs.tokens import Indices, train_tokenizer
from rm.runs.train_run import train_run
from rm.training import loop
from rm.training.checkpoint import TrainingState, append_metric
from rm.training.config import TrainConfig
from rm.training.loop import step_seed, train
from rm.training.objective import MetricNames
from rm.training.reward_step import train_rewards
from rm.training.run_folder import RunConfig
from tests.rm.conftest import build_and_tokenise

SLOW = TrainConfig(learning_rate=1e-3, pairs_per_step=6, checkpoint_interval_s=0.0, patience=100, epochs=1)


class LogisticRegression:
    """An objective without pairs or text: labels in {0, 1} of points [40, 2]."""

    auxiliary = None
    auxiliary_learning_rate = 0.0

    def __init__(self) -> None:
        self.points = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
        self.labels = (self.points.sum(dim=1) > 0).float()
        self.network = nn.Module()
        self.network.model = nn.Linear(2, 1)
        for weight in self.network.model.parameters():
            nn.init.zeros_(weight)

    def epoch_steps(self, epoch: int) -> list[Indices]:
        return np.array_split(np.random.default_rng(epoch).permutation(30), 6)

    def loss(self, network: nn.Module, examples: Indices, step: Indices) -> tuple[Tensor, int]:
        indices = torch.from_numpy(examples)
        logits = network.model(self.points[indices])[:, 0]  # type: ignore[operator]
        losses = nn.functional.binary_cross_entropy_with_logits(logits, self.labels[indices], reduction="sum")
        return losses / step.size, examples.size

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        logits = self.network.model(self.points[30:])[:, 0]  # type: ignore[operator]
        accuracy = float(((logits > 0) == (self.labels[30:] > 0.5)).float().mean())
        return float(nn.functional.binary_cross_entropy_with_logits(logits, self.labels[30:])), accuracy

    def describe(self, examples: Indices) -> str:
        return f"points {examples.tolist()}"


def test_the_loop_trains_and_resumes_an_objective_without_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(learning_rate=0.3, epochs=5, checkpoint_interval_s=0.0).loop
    config = replace(config, min_steps=0, patience=100)
    for name in ("uninterrupted", "resumed"):
        (tmp_path / name).mkdir()
    trained = train(LogisticRegression(), config, tmp_path / "uninterrupted")
    assert (trained.n_steps, trained.n_tokens) == (30, 150)
    assert trained.best_validation_loss < 0.5

    def stop_at_17(folder: Path, metric: dict[str, float]) -> None:
        if metric["step"] == 17:
            raise KeyboardInterrupt
        append_metric(folder, metric)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "append_metric", stop_at_17)
        train(LogisticRegression(), config, tmp_path / "resumed")
    assert train(LogisticRegression(), config, tmp_path / "resumed").n_tokens == 150
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("uninterrupted", "resumed")]
    assert metrics[0] == metrics[1] and metrics[0].count(b"validation_log_loss") == 10


def test_the_start_may_win_and_a_reason_may_end_training(tmp_path: Path) -> None:
    config = replace(TrainConfig(learning_rate=0.3, epochs=5).loop, min_steps=0, patience=100, learning_rate=1e-3)
    objective = LogisticRegression()
    objective.labels[30:] = 1 - objective.labels[30:]  # validation prefers the opposite, so the start is best

    called = []

    def stop(state: TrainingState) -> str | None:
        called.append(state.step)
        return "that is enough" if state.step == 8 else None

    names = MetricNames(train="train_loss", validation="validation_loss", share="win_rate")
    figures = {"step_figures": lambda: {"kl": 0.5}, "is_start_evaluated": True}
    trained = train(objective, config, tmp_path, stop, names=names, **figures)  # type: ignore[arg-type]
    assert (trained.n_steps, trained.best_step, trained.stop_reason) == (8, 0, "that is enough")
    assert called == [*range(9)]
    assert all(not weight.any() for weight in objective.network.model.parameters())
    rows = [orjson.loads(line) for line in (tmp_path / "metrics.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in rows] == [*range(1, 9)] and rows[0]["kl"] == 0.5
    assert {"train_loss", "validation_loss", "win_rate"} <= rows[2].keys()
    again = train(LogisticRegression(), config, tmp_path, stop, names=names, **figures)  # type: ignore[arg-type]
    assert (again.n_steps, again.stop_reason) == (8, "that is enough")  # the checkpoint remembers


def test_an_objective_without_examples_is_rejected(tmp_path: Path) -> None:
    empty = LogisticRegression()
    empty.epoch_steps = lambda epoch: []  # type: ignore[method-assign]
    with pytest.raises(LurkerError, match="nothing to train on"):
        train(empty, TrainConfig(learning_rate=0.3).loop, tmp_path)


def test_training_stops_early_and_keeps_the_best_weights(
    planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = planted(40)
    swapped = frame.with_columns(  # validation prefers the opposite, so every step makes its loss worse
        chosen=pl.when(pl.col("split") == "validation").then("rejected").otherwise("chosen"),
        rejected=pl.when(pl.col("split") == "validation").then("chosen").otherwise("rejected"),
    )
    model, pairs = build_and_tokenise(swapped, "scratch-10k")
    config = TrainConfig(learning_rate=3e-3, pairs_per_step=12, epochs=20, patience=2)
    done: list[float] = []
    monkeypatch.setattr(loop, "progress", lambda *_, begun: nullcontext(done.append))
    scorer = model.scorer(64)
    trained = train_rewards(scorer, pairs["train"], pairs["validation"], config, tmp_path)
    assert trained.best_step < trained.n_steps < sum(done)  # the bar is completed
    losses = np.logaddexp(0, -model_margins(scorer, pairs["validation"], TOKENS_PER_BATCH))
    assert losses.mean() == pytest.approx(trained.best_validation_loss, abs=1e-6)


def test_the_error_for_an_infinite_loss_names_its_step(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    model, pairs = build_and_tokenise(planted(10), "scratch-10k")
    scorer = model.scorer(64)
    with torch.no_grad():
        model.model.score.weight.fill_(float("nan"))
    with pytest.raises(LurkerError, match=r"Step 1: the loss is nan.* on the pairs of posts alpha"):
        train_rewards(scorer, pairs["train"], pairs["validation"], SLOW, tmp_path)


def test_a_killed_run_resumes_with_the_losses_of_an_uninterrupted_run(workspace: Workspace) -> None:
    config = RunConfig(pairs="planted", model="scratch-10k", train=SLOW, test_pairs=("planted",))
    uninterrupted = train_run(workspace, "uninterrupted", config, resume=False)
    code = (
        "import sys; from pathlib import Path; from lurker.workspace import Workspace\n"
        "from rm.runs.train_run import train_run; from rm.training.run_folder import RunConfig\n"
        "from rm.training.config import TrainConfig\n"
        f"config = {config!r}\n"
        "train_run(Workspace(Path(sys.argv[1])), 'killed', config, resume=False)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)])
    metrics = workspace.root / "runs" / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 20):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workspace.root / "runs" / "killed" / "result.json").exists()
    resumed = train_run(workspace, "killed", config, resume=True)
    assert _losses(workspace, "killed") == _losses(workspace, "uninterrupted")
    assert resumed["best_validation_log_loss"] == uninterrupted["best_validation_log_loss"]
    assert resumed["steps"] == uninterrupted["steps"] > 50


def _losses(workspace: Workspace, run_id: str) -> list[tuple[int, float, float | None]]:
    lines = (workspace.root / "runs" / run_id / "metrics.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    return [(row["step"], row["train_log_loss"], row.get("validation_log_loss")) for row in rows]


def test_dropout_is_the_same_when_a_step_is_repeated(
    planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = train_tokenizer(texts(planted(10)), 400)
    pairs = tokenise(planted(10), tokenizer, 64)
    config = replace(SLOW, has_dropout=True, epochs=1, min_steps=12, checkpoint_interval_s=0.0)

    def scorer() -> Scorer:
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=1, **sizes))
        return Scorer(model, tokenizer.pad_token_id, 64)

    def append_and_stop_at_7(folder: Path, metric: dict[str, float]) -> None:
        append_metric(folder, metric)
        if metric["step"] == 7:
            raise KeyboardInterrupt

    for name in ("uninterrupted", "stopped"):
        (tmp_path / name).mkdir()
    train_rewards(scorer(), pairs, pairs, config, tmp_path / "uninterrupted")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "append_metric", append_and_stop_at_7)
        train_rewards(scorer(), pairs, pairs, config, tmp_path / "stopped")
    torch.manual_seed(99)
    train_rewards(scorer(), pairs, pairs, config, tmp_path / "stopped")
    uninterrupted, stopped = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("uninterrupted", "stopped"))
    assert uninterrupted == stopped and uninterrupted.count(b"\n") >= 12
    assert len({step_seed(0, step, rank) for step in range(9) for rank in range(3)}) == 27


@pytest.mark.parametrize(
    "field", ["learning_rate", "epochs", "pairs_per_step", "patience", "max_grad_norm", "evaluations_per_epoch"]
)
def test_a_config_rejects_fields_of_0_that_must_be_above_0(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be above 0, got 0"):
        TrainConfig(**{"learning_rate": 1e-3, field: 0})


def test_a_full_disk_leaves_the_last_good_checkpoint(workspace: Workspace) -> None:
    """As on a full disk, the sixth checkpoint exceeds a limit on file sizes."""
    short = replace(SLOW, pairs_per_step=36)
    config = RunConfig(pairs="planted", model="scratch-10k", train=short, test_pairs=("planted",))
    code = (
        "import resource, signal, sys; from pathlib import Path; from lurker.workspace import Workspace\n"
        "from lurker.errors import LurkerError; from rm.training import loop; from rm.runs.train_run import train_run\n"
        "from rm.training.run_folder import RunConfig\n"
        "from rm.training.config import TrainConfig\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "write, n = loop.write_checkpoint, 0\n"
        "def write_then_fill(*arguments):\n"
        "    global n\n"
        "    n += 1\n"
        "    if n == 6: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "    write(*arguments)\n"
        "loop.write_checkpoint = write_then_fill\n"
        f"config = {config!r}\n"
        "try: train_run(Workspace(Path(sys.argv[1])), 'full', config, resume=False)\n"
        "except LurkerError as error: sys.exit(str(error))\n"
    )
    call = [sys.executable, "-c", code, str(workspace.root)]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    folder = workspace.root / "runs" / "full"
    assert ended.returncode == 1 and "last good checkpoint is kept" in ended.stderr, ended.stderr
    assert "Free some space" in ended.stderr
    assert not list(folder.glob(".*.tmp")) and not list(folder.glob("*.tmp"))
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["step"] == 5
    train_run(workspace, "full", config, resume=True)
    train_run(workspace, "uninterrupted", config, resume=False)
    assert _losses(workspace, "full") == _losses(workspace, "uninterrupted")


def test_accumulation_gives_the_same_losses(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    losses = []
    for accumulation in (1, 3):
        model, pairs = build_and_tokenise(planted(20), "scratch-10k")
        folder = tmp_path / str(accumulation)
        folder.mkdir()
        config = TrainConfig(learning_rate=1e-3, pairs_per_step=16, epochs=1, min_steps=8, accumulation=accumulation)
        train_rewards(model.scorer(64), pairs["train"], pairs["validation"], config, folder)
        lines = (folder / "metrics.jsonl").read_bytes().splitlines()
        losses.append([orjson.loads(line)["train_log_loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
