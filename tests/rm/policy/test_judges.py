"""Judges: runs, pairwise runs, the truth and length; and those that are refused because they know the answers."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file
from scipy.special import expit

from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs
from lurker.schema import SAMPLES
from rm.policy.judged_samples import judged
from rm.policy.judges import Judge, describe_judge, open_judge, require_no_leak
from rm.policy.sample_file import Samples
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig
from tests.rm.conftest import LIKED, PLAIN
from tests.rm.policy.planted_policies import PolicyWorld

GOOD, BAD = " ".join([*PLAIN[:5], *LIKED[:2]]), " ".join([*PLAIN[:5], "grit", "husk"])


@pytest.fixture(scope="module")
def judged_world(policy_world: PolicyWorld) -> PolicyWorld:
    """The world with two small reward models: `single` reads one response, `pairwise` two."""
    for name, reads in (("single", "one"), ("pairwise", "both")):
        train = TrainConfig(learning_rate=3e-3, epochs=2, min_steps=40, reads=reads, vocabulary_size=300)
        config = RunConfig(
            pairs="planted", model="scratch-10k", train=train, subreddits=("alpha",), test_pairs=("hard-test",)
        )
        train_run(policy_world.workspace, name, config, resume=True, baselines="none")
    return policy_world


def prompts_of(world: PolicyWorld, split: str) -> pl.DataFrame:
    frame = read_pairs(world.workspace, "planted").filter(pl.col("split") == split)
    return frame.select("post_id", "prompt", "subreddit").unique("post_id").sort("post_id")


@pytest.mark.parametrize("spec", ["run:single", "run:pairwise", "truth"])
def test_a_judge_prefers_what_the_community_likes(judged_world: PolicyWorld, spec: str) -> None:
    evaluation = prompts_of(judged_world, "test")
    judge = open_judge(judged_world.workspace, spec, evaluation)
    prompts = [prompt for prompt in evaluation["prompt"].head(6) for _ in range(3)]
    responses = [GOOD, BAD, GOOD] * 6
    wins = judge.group_win_probability(prompts, responses, 3)
    assert (wins[:, 0] > wins[:, 1]).all() and wins.shape == (6, 3)
    np.testing.assert_allclose(wins.mean(), 0.5, atol=1e-6)  # what one wins, another loses
    scores = judge.score(prompts, responses).reshape(6, 3)
    assert (scores[:, 0] > scores[:, 1]).all()
    odds = judge.log_odds(prompts[:2], [GOOD, BAD], [BAD, GOOD])
    assert odds[0] > 0 and odds[0] == pytest.approx(-odds[1], abs=1e-5)
    against = judge.against(prompts[:1], [GOOD], [[BAD, GOOD]])
    assert against[0, 0] == pytest.approx(odds[0], abs=1e-5) and against[0, 1] == pytest.approx(0, abs=1e-5)


def test_one_member_as_the_reference_needs_one_read_each(judged_world: PolicyWorld) -> None:
    judge = open_judge(judged_world.workspace, "run:pairwise", prompts_of(judged_world, "test"))
    n_reads = []

    def counting(prompts: list[str], firsts: list[str], seconds: list[str]) -> np.ndarray:
        n_reads.append(len(firsts))
        return judge.log_odds(prompts, firsts, seconds)

    counted = Judge("counted", counting, None)
    prompts, responses = [PLAIN[0]] * 4 + [PLAIN[1]] * 4, [GOOD, BAD, " ".join(PLAIN), BAD] * 2
    wins = counted.group_win_probability(prompts, responses, 4, "one", seed=1)
    assert n_reads == [6]  # all but the reference itself, which ties with itself
    assert ((wins == 0.5).sum(axis=1) >= 1).all()
    counted.group_win_probability(prompts, responses, 4)
    assert n_reads[1] == 2 * 4 * 3


def test_length_is_a_judge_and_others_are_unknown(judged_world: PolicyWorld) -> None:
    judge = open_judge(judged_world.workspace, "length", prompts_of(judged_world, "test"))
    assert judge.score(["p", "p"], ["one two three", "one"]).tolist() == [3, 1]
    assert judge.group_win_probability(["p", "p"], ["one two three", "one"], 2)[0, 0] == pytest.approx(expit(2))
    with pytest.raises(CallError, match="Unknown judge 'taste'"):
        open_judge(judged_world.workspace, "taste", prompts_of(judged_world, "test"))


def test_a_judge_that_knows_the_evaluation_is_refused(judged_world: PolicyWorld) -> None:
    training, evaluation = prompts_of(judged_world, "train"), prompts_of(judged_world, "test")
    judge = open_judge(judged_world.workspace, "run:single", training)
    require_no_leak(judged_world.workspace, judge, training, evaluation)
    seen = training.filter(subreddit="alpha").head(3)
    with pytest.raises(LurkerError, match=r"trained on 3 of the 27 prompts"):
        require_no_leak(judged_world.workspace, judge, training, pl.concat([evaluation, seen]))
    renamed = seen.with_columns(post_id=pl.format("new{}", "post_id"), prompt=pl.col("prompt").str.to_uppercase())
    with pytest.raises(LurkerError, match=r"trained on 3 of the 27 prompts"):  # known by its words, too
        require_no_leak(judged_world.workspace, judge, training, pl.concat([evaluation, renamed]))
    with pytest.raises(LurkerError, match=r"2 training prompts are posts of hard-test"):
        require_no_leak(judged_world.workspace, judge, pl.concat([training, evaluation.head(2)]), evaluation)


def test_a_judge_that_was_trained_again_scores_again(judged_world: PolicyWorld) -> None:
    workspace, rows = judged_world.workspace, prompts_of(judged_world, "test").rename({"post_id": "prompt_id"})
    fixed = {"source": "writer", "sample": 0, "response": GOOD, "n_tokens": 7, "is_finished": True}
    empty = dict.fromkeys(("log_prob", "reference_log_prob"), pl.lit(None, dtype=pl.Float64))
    drawn = rows.with_columns(**{name: pl.lit(value) for name, value in fixed.items()}, **empty)
    shutil.copytree(workspace.folder("runs", "single"), workspace.folder("runs", "again"))
    first, _ = judged(workspace, Samples(drawn.select(list(SAMPLES.columns)).cast(SAMPLES.schema)), ["again"])
    assert judged(workspace, Samples(first), ["again"])[0] is first
    weights = workspace.folder("runs", "again") / "model" / "model.safetensors"
    save_file({name: 2 * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    second, _ = judged(workspace, Samples(first), ["again"])
    assert second.columns == first.columns
    assert (second["reward:again"] != first["reward:again"]).all()
    assert (second["weights:again"] != first["weights:again"]).all()


def test_what_is_special_about_a_judge_is_said(judged_world: PolicyWorld, pretrained: Path) -> None:
    from rm.pairs.tokens import load_tokenizer

    training = prompts_of(judged_world, "train")
    judge = open_judge(judged_world.workspace, "run:single", training)
    said = " ".join(describe_judge(judge, load_tokenizer(pretrained), training))
    assert "other tokens" in said and "not trained on r/beta" in said and "trained on 36 of the 72" in said
    truth = open_judge(judged_world.workspace, "truth", training)
    assert describe_judge(truth, load_tokenizer(pretrained), training) == []
