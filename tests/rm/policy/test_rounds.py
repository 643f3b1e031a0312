"""The command: one agent, rounds that a real kill interrupts, and calls that are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lurker.cli import run
from rm.policy.policy_folder import policy_folder
from tests.rm.policy.planted_policies import PolicyWorld

SETTINGS = {
    "learning_rate": "2e-3",
    "steps": "6",
    "prompts_per_step": "2",
    "group_size": "4",
    "evaluate_every": "3",
    "evaluation_prompts": "6",
    "evaluation_samples": "2",
    "max_new_tokens": "16",
    "max_prompt_tokens": "16",
    "checkpoint_interval_s": "0",
}


def arguments(world: PolicyWorld, name: str, *more: str) -> list[str]:
    settings = [part for field, value in SETTINGS.items() for part in ("--set", f"{field}={value}")]
    call = ["--workspace", str(world.workspace.root), "policy", "train-agent", str(world.writer), "--judge", "truth"]
    return [*call, "--pairs", "planted", "--id", name, "--json", *settings, *more]


def test_killed_rounds_resume_with_the_figures_of_uninterrupted_ones(
    policy_world: PolicyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(policy_world, "whole", "--rounds", "2")) == 0
    known = json.loads(capsys.readouterr().out)["agents"]
    call = [sys.executable, "-m", "lurker", *arguments(policy_world, "killed", "--rounds", "2")]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(call, env=os.environ | {"PYTHONPATH": root}, stdout=subprocess.DEVNULL)
    metrics = policy_folder(policy_world.workspace, "killed-round2") / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (metrics.parent / "result.json").exists()
    assert run(arguments(policy_world, "killed", "--rounds", "2", "--resume")) == 0
    resumed = json.loads(capsys.readouterr().out)["agents"]
    assert len(known) == len(resumed) == 2
    for one, other in zip(known, resumed, strict=True):
        assert {**one, "policy_id": "", "train_time_s": 0} == {**other, "policy_id": "", "train_time_s": 0}
    parents = json.loads((metrics.parent / "config.json").read_text())["parents"]
    assert [one["policy"] for one in parents] == ["killed-round1", str(policy_world.writer)]
    assert (
        metrics.read_bytes() == (policy_folder(policy_world.workspace, "whole-round2") / "metrics.jsonl").read_bytes()
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--held-out", "truth"), "The held-out judge is the judge itself"),
        (("--held-out", "run:none"), "There is no finished run 'none'"),
        (("--set", "group_size=1"), "group_size must be at least 2"),
        (("--judge", "length", "--rounds", "3"), "2 judges are named for 3 rounds"),
        (("--set", "max_new_tokens=5000"), "reads at most 4,096 tokens"),
        (("--method", "online-dpo", "--set", "kl_target=3"), "has dpo_scale in its place"),
    ],
)
def test_impossible_calls_are_refused_before_any_work(
    policy_world: PolicyWorld, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert run(arguments(policy_world, "refused", *more)) == 2
    assert message in capsys.readouterr().err
    assert not policy_folder(policy_world.workspace, "refused").exists()
