"""Several processes on one machine, as a launcher starts them: losses match one process, also after a kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from lurker.workspace import Workspace
from rm.pairs.subsets import texts
from rm.pairs.tokens import train_tokenizer
from rm.training.distributed import Processes

SETTINGS = ["pairs_per_step=6", "epochs=1", "max_tokens=64", "vocabulary_size=400", "min_steps=8"]
SETTINGS += [
    "evaluations_per_epoch=4",
    "tokens_per_batch=100",
]  # several packs per step, in each process another number


def start(
    workspace: Workspace, run_id: str, n_processes: int, *arguments: str, model: str = "scratch-10k"
) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    call = [sys.executable, "-m", "lurker", "--workspace", str(workspace.root), "rm", "train", "planted"]
    call += ["--model", model, "--run", run_id, *arguments]
    call += [part for setting in SETTINGS for part in ("--set", setting)]
    environments: list[dict[str, str]] = [
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_processes)} if n_processes > 1 else {}
        for rank in range(n_processes)
    ]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(call, env={**os.environ, **address, **own}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for own in environments
    ]


def finish(processes: list[subprocess.Popen[bytes]]) -> list[str]:
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [out.decode() for out, _ in outputs]


def losses(workspace: Workspace, run_id: str) -> list[float]:
    lines = (workspace.root / "runs" / run_id / "metrics.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [value for row in rows for name, value in sorted(row.items()) if name != "learning_rate"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--set", "is_sharded=true"), ("--set", "accumulation=2")])
def test_two_processes_have_the_losses_of_one(workspace: Workspace, arguments: tuple[str, ...]) -> None:
    one, two = start(workspace, "one", 1, *arguments), start(workspace, "two", 2, *arguments)
    finish(one)
    first, second = finish(two)
    assert "Run two" in first and not second.strip()
    assert losses(workspace, "two") == pytest.approx(losses(workspace, "one"), rel=1e-4, abs=2e-5)
    results = [orjson.loads((workspace.root / f"runs/{name}/result.json").read_bytes()) for name in ("one", "two")]
    assert results[0]["best_step"] == results[1]["best_step"]
    for rows in zip(*(result["evaluations"] for result in results), strict=True):
        assert rows[0]["accuracy"] == pytest.approx(rows[1]["accuracy"], abs=0.01)


def save_gpt2(workspace: Workspace, folder: Path) -> str:
    """A small model with dropout of 0.1, which models on the ladder lack."""
    tokenizer = train_tokenizer(texts(pl.read_parquet(workspace.root / "pairs/planted/pairs.parquet")), 400)
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": len(tokenizer)}
    config = GPT2Config(**sizes, num_labels=1, pad_token_id=tokenizer.pad_token_id)
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def kill_after(workspace: Workspace, run_id: str, processes: list[subprocess.Popen[bytes]], n_steps: int) -> None:
    metrics = workspace.root / "runs" / run_id / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= n_steps):
        assert processes[0].poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (workspace.root / "runs" / run_id / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", [(), ("--set", "is_sharded=true")])
@pytest.mark.parametrize("has_dropout", [False, True])
def test_two_killed_processes_resume_exactly(
    workspace: Workspace, tmp_path: Path, sharding: tuple[str, ...], has_dropout: bool
) -> None:
    model = save_gpt2(workspace, tmp_path / "gpt2") if has_dropout else "scratch-10k"
    arguments = (*sharding, "--set", "checkpoint_interval_s=0", "--set", "learning_rate=1e-3")
    dropping = (*arguments, "--set", f"has_dropout={str(has_dropout).lower()}")
    finish(start(workspace, "uninterrupted", 2, *dropping, model=model))
    processes = start(workspace, "killed", 2, *dropping, model=model)
    kill_after(workspace, "killed", processes, n_steps=20)
    finish(start(workspace, "killed", 2, "--resume", *dropping, model=model))
    assert losses(workspace, "killed") == losses(workspace, "uninterrupted")
    if has_dropout:  # it must have had an effect
        finish(start(workspace, "silent", 2, *arguments, model=model))
        assert losses(workspace, "silent")[:2] != losses(workspace, "uninterrupted")[:2]


def test_shares_partition_the_indices() -> None:
    for n_pairs in (0, 1, 2, 7):
        shares = [Processes(rank, 3).share(np.arange(n_pairs)) for rank in range(3)]
        assert np.concatenate(shares).tolist() == list(range(n_pairs))
    alone = Processes()
    assert alone.is_first and alone.sum_value(2.5) == 2.5 and alone.max_value(3) == 3
