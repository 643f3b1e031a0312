"""Agents ring the alarms that need their judge and plain text, from what both really gave."""

import shutil

import polars as pl
import pytest

from lurker.pair_sets import read_pairs
from lurker.schema import DRIFT, check
from rm.policy.agent import AgentRun, run_agent
from rm.policy.agent_alarms import reward_range
from rm.policy.agent_config import AgentConfig
from rm.policy.judges import open_judge
from rm.policy.policy_folder import policy_folder
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig, read_run_pairs
from tests.rm.policy.planted_policies import PolicyWorld

TRAIN = AgentConfig(
    learning_rate=6e-3,
    steps=12,
    prompts_per_step=4,
    group_size=6,
    evaluate_every=6,
    evaluation_prompts=12,
    evaluation_samples=2,
    max_new_tokens=24,
    max_prompt_tokens=16,
    kl_weight=0.0,
)


@pytest.fixture(scope="module")
def judge_of_alpha(policy_world: PolicyWorld) -> str:
    """A small reward model of one half of the posts."""
    train = TrainConfig(learning_rate=3e-3, epochs=2, min_steps=40, vocabulary_size=300, half="first")
    config = RunConfig(pairs="planted", model="scratch-10k", train=train)
    train_run(policy_world.workspace, "of-half", config, resume=True, baselines="none")
    return "run:of-half"


def drift_of(world: PolicyWorld, name: str, judge: str) -> pl.DataFrame:
    shutil.rmtree(policy_folder(world.workspace, name), ignore_errors=True)
    config = AgentRun(writer=str(world.writer), judge=judge, pairs="planted", train=TRAIN)
    run_agent(world.workspace, name, config, resume=False)
    return check(pl.read_parquet(policy_folder(world.workspace, name) / "drift.parquet"), DRIFT)


def test_a_judge_rewards_its_own_training_within_its_range(policy_world: PolicyWorld, judge_of_alpha: str) -> None:
    frame = read_pairs(policy_world.workspace, "planted")
    judge = open_judge(policy_world.workspace, judge_of_alpha, frame)
    assert judge.run is not None and judge.rewards is not None
    found = reward_range(judge)
    assert found is not None
    pairs = read_run_pairs(policy_world.workspace, judge.run.config).training
    rewards = judge.rewards(pairs["prompt"].to_list(), pairs["chosen"].to_list())
    assert found[0] < rewards.min() and rewards.max() == pytest.approx(found[1])
    assert pairs["post_id"].n_unique() < frame.filter(split="train")["post_id"].n_unique()  # the half
    assert reward_range(open_judge(policy_world.workspace, "length", frame)) is None


def test_plain_text_and_the_range_of_the_judge_ring(policy_world: PolicyWorld, judge_of_alpha: str) -> None:
    rows = drift_of(policy_world, "watched", judge_of_alpha)
    plain = rows.filter(alarm="perplexity of plain text").sort("step")
    assert plain["value"][0] == pytest.approx(plain["reference"][0], abs=1e-5)  # step 0 is the writer
    assert not plain["is_ringing"][0] and plain["is_ringing"][-1] and plain["value"][-1] > plain["reference"][0] + 0.05
    beyond = rows.filter(alarm="reward out of range").sort("step")
    assert beyond["step"].to_list() == plain["step"].to_list()
    assert beyond["reference"].max() < 0.2 and beyond["value"].is_between(0, 1).all()


def test_a_judge_that_is_no_model_has_no_range(policy_world: PolicyWorld) -> None:
    alarms = drift_of(policy_world, "by-length", "length")["alarm"].unique().to_list()
    assert "perplexity of plain text" in alarms and "reward out of range" not in alarms
