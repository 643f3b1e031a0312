"""Agents: what they are rewarded for goes up, a held-out judge stops them, and a killed training resumes exactly."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from lurker.errors import CallError, LurkerError
from lurker.schema import CURVE, check
from rm.policy import agent, agent_step
from rm.policy.agent import AgentRun, run_agent
from rm.policy.agent_config import AgentConfig
from rm.policy.judges import Judge, open_judge
from rm.policy.policy_folder import policy_folder
from rm.training import loop
from rm.training.checkpoint import append_metric
from tests.rm.policy.planted_policies import PolicyWorld

BASE = AgentConfig(
    learning_rate=3e-3,
    steps=16,
    prompts_per_step=4,
    group_size=6,
    evaluate_every=8,
    evaluation_prompts=12,
    evaluation_samples=3,
    max_new_tokens=20,
    max_prompt_tokens=16,
    kl_weight=0.0,
    checkpoint_interval_s=1000.0,
)


def one_agent(world: PolicyWorld, name: str, judge: str, held_out: str | None = None, **fields: Any) -> dict[str, Any]:
    config = AgentRun(
        writer=str(world.writer), judge=judge, pairs="planted", held_out=held_out, train=replace(BASE, **fields)
    )
    shutil.rmtree(policy_folder(world.workspace, name), ignore_errors=True)
    return run_agent(world.workspace, name, config, resume=False)


def curve_of(world: PolicyWorld, name: str) -> pl.DataFrame:
    return check(pl.read_parquet(policy_folder(world.workspace, name) / "curve.parquet"), CURVE)


DPO = {"learning_rate": 1e-3, "prompts_per_step": 12}


@pytest.mark.parametrize("method", ["grpo-pairwise", "rloo", "online-dpo", "dpo"])
def test_rewarding_the_truth_raises_it(policy_world: PolicyWorld, method: Any) -> None:
    fields: dict[str, Any] = DPO if method.endswith("dpo") else {}
    result = one_agent(policy_world, "truth", "truth", method=method, **fields)
    curve = curve_of(policy_world, "truth")
    assert curve.filter(step=0, measure="truth")["value"][0] == pytest.approx(0, abs=1e-9)
    assert curve.filter(step=0)["kl"].abs().max() < 1e-4  # the policy is the writer
    assert result["reached"]["truth"]["low"] > 0 and result["kl"] > 0
    assert "as planned" in result["sentence"] and "The truth is highest" in result["sentence"]
    assert (policy_folder(policy_world.workspace, "truth") / "model" / "config.json").exists()
    samples = pl.read_parquet(policy_folder(policy_world.workspace, "truth") / "samples" / "agent.parquet")
    assert samples.height == 36 and samples["reward:truth"].is_finite().all()


def test_rewarding_length_raises_length_and_not_the_truth(policy_world: PolicyWorld) -> None:
    one_agent(policy_world, "length", "length", steps=8)
    curve = curve_of(policy_world, "length")
    first, last = (curve.filter(step=step, measure="length")["value"][0] for step in (0, 8))
    assert last > 1.2 * first
    assert curve.filter(step=8, measure="truth")["high"][0] < curve.filter(step=8, measure="proxy")["low"][0]
    one_agent(policy_world, "held", "length", length_weight=1.0, steps=8)
    assert curve_of(policy_world, "held").filter(step=8, measure="length")["value"][0] < last  # the length term


def test_a_held_out_judge_ends_what_the_judge_rewards_wrongly(policy_world: PolicyWorld) -> None:
    result = one_agent(policy_world, "stopped", "length", "truth", steps=40, evaluate_every=4, patience=2)
    assert result["steps"] < 40 and "held-out judge saw no gain in 2 evaluations" in result["sentence"]
    curve = curve_of(policy_world, "stopped")
    best = curve.filter(measure="held-out").sort("value")["step"][-1]
    assert result["best_step"] in (0, best) or best in (2,)  # early steps are in the curve and select nothing


def test_the_divergence_has_a_budget_a_limit_and_a_target(policy_world: PolicyWorld) -> None:
    spent = one_agent(policy_world, "budget", "length", kl_budget=2.0, steps=40)
    assert spent["steps"] < 40 and "KL budget of 2 nats" in spent["stop_reason"]
    assert curve_of(policy_world, "budget")["step"].max() == spent["steps"]  # the end is on the curve
    apart = one_agent(policy_world, "apart", "length", kl_limit=5.0, steps=40)
    assert "fallen apart" in apart["stop_reason"] and "Training stopped after step" in apart["sentence"]
    one_agent(policy_world, "free", "length", steps=8)
    one_agent(policy_world, "target", "length", kl_weight=0.05, kl_target=1.0, steps=8)
    free, held = (curve_of(policy_world, name).filter(step=8)["kl"][0] for name in ("free", "target"))
    rows = metrics_of(policy_world, "target")
    assert held < free and rows[-1]["kl_weight"] > rows[0]["kl_weight"]  # above its target, the weight grows


def metrics_of(world: PolicyWorld, name: str) -> list[dict[str, float]]:
    lines = (policy_folder(world.workspace, name) / "metrics.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def test_a_stopped_training_resumes_with_the_same_figures(
    policy_world: PolicyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"kl_weight": 0.02, "kl_target": 1.0, "mixing_weight": 0.5, "steps": 8, "evaluate_every": 4}
    one_agent(policy_world, "whole", "truth", **fields)

    def stop_at_6(folder: Any, metric: Any) -> None:
        if metric["step"] == 6:
            raise KeyboardInterrupt
        append_metric(folder, metric)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "append_metric", stop_at_6)
        one_agent(policy_world, "parts", "truth", **fields)
    config = AgentRun(writer=str(policy_world.writer), judge="truth", pairs="planted", train=replace(BASE, **fields))
    with pytest.raises(CallError, match="exists already"):
        run_agent(policy_world.workspace, "parts", config, resume=False)
    run_agent(policy_world.workspace, "parts", config, resume=True)
    assert metrics_of(policy_world, "parts") == metrics_of(policy_world, "whole")
    assert curve_of(policy_world, "parts").equals(curve_of(policy_world, "whole"))
    again = run_agent(policy_world.workspace, "parts", config, resume=True)
    assert again["steps"] == 8  # finished: nothing is trained


def test_parts_of_a_step_change_nothing(policy_world: PolicyWorld) -> None:
    for name, accumulation in (("one", 1), ("four", 4)):
        one_agent(policy_world, name, "truth", steps=2, evaluate_every=2, accumulation=accumulation, kl_weight=0.05)
    one, four = (metrics_of(policy_world, name)[-1] for name in ("one", "four"))
    for figure in ("train_loss", "kl", "reward", "validation_loss"):
        assert one[figure] == pytest.approx(four[figure], abs=1e-3)


def test_failures_have_a_sentence(policy_world: PolicyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(workspace: Any, spec: str, prompts: Any) -> Judge:
        def zero(_: Any, responses: Any) -> Any:
            return np.zeros(len(responses))

        judge = open_judge(workspace, "length", prompts)
        return replace(judge, name=spec, rewards=zero)

    with monkeypatch.context() as patched:
        patched.setattr(agent, "open_judge", constant)
        with pytest.raises(LurkerError, match="gives no signal to learn from"):
            one_agent(policy_world, "constant", "length")
    assert not policy_folder(policy_world.workspace, "constant").exists()  # its id is free
    with monkeypatch.context() as patched:
        patched.setattr(agent_step, "response_text", lambda *_: "")
        empty = one_agent(policy_world, "empty", "truth", kl_weight=0.0)
        assert "empty" in empty["stop_reason"] or "alike" in empty["stop_reason"]
    with pytest.raises(CallError, match="The held-out judge is the judge itself"):
        one_agent(policy_world, "same", "truth", "truth")
    monkeypatch.setattr(agent_step, "policy_gradient_loss", lambda terms, *_: terms.log_prob.sum() * float("nan"))
    with pytest.raises(LurkerError, match=r"Step 1: the loss is nan.* on responses to posts"):
        one_agent(policy_world, "nan", "truth")
