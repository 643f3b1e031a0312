"""Train an agent: the writer's responses set the scale, the judge rewards, and a held-out judge says when to stop."""

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lurker.config import fingerprint, to_dict
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import read_pairs, split_of
from lurker.progress import quiet, say
from lurker.workspace import Workspace
from rm.models.ladder import save
from rm.models.scorer import describe_device, move_to_device, training_dtype
from rm.pairs.subsets import stable_hash
from rm.policy.agent_alarms import AgentAlarms
from rm.policy.agent_config import AgentConfig
from rm.policy.agent_curve import CURVE_FILE, DRIFT_FILE, CurveRecorder, alarm_sentence, sentence
from rm.policy.agent_evaluation import HELD_OUT, PROXY, TRUTH_MEASURE, Evaluator
from rm.policy.agent_points import write_fits
from rm.policy.agent_step import AgentStep, Prompts
from rm.policy.causal import CausalModel, load_policy, prompt_tokens, response_tokens
from rm.policy.judges import TRUTH, Judge, describe_judge, open_judge, require_no_leak
from rm.policy.policy_folder import (
    CONFIG,
    MODEL_FOLDER,
    POLICY_PREFIX,
    RESULT,
    WORDS,
    model_of_policy,
    policy_folder,
    policy_lock,
)
from rm.policy.response_logits import ResponseLogits
from rm.policy.sampling import require_same_tokens
from rm.policy.writer_step import TokenLoss
from rm.runs.run_facts import environment
from rm.training.checkpoint import TrainingState, delete_checkpoint
from rm.training.distributed import current_processes, join_processes
from rm.training.identity import model_digest, n_posts_read, write_seen
from rm.training.loop import Trained, train
from rm.training.objective import MetricNames
from rm.training.run_folder import RUN_PREFIX, model_of_run, require_same_config
from rm.training.trainable import make_trainable, merge_adapters

SAMPLES_FOLDER = "samples"
"""In an agent's folder: SAMPLES of the writer and of the agent on the evaluation prompts, with rewards."""
NAMES = MetricNames(train="train_loss", validation="validation_loss", share="validation_win_rate")
DEFAULT_PROMPT_TOKENS, DEFAULT_NEW_TOKENS = 256, 128
"""Limits for a writer that no `train-writer` made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRun:
    """Everything that determines an agent."""

    writer: str
    """SPEC of the policy that the divergence is measured from"""
    judge: str
    """what rewards: run:ID, truth or length"""
    pairs: str
    """pair set whose posts are the prompts: train for learning, test for evaluation"""
    train: AgentConfig
    """how it is trained"""
    held_out: str | None = None
    """judge that selects the weights and stops training; without it the judge itself selects"""
    start: str | None = None
    """SPEC of the policy that training starts from, such as that of an earlier round; the writer when absent"""
    subreddits: tuple[str, ...] = ()
    """communities; all of the pair set when empty"""


@dataclass(frozen=True, slots=True)
class PromptSplits:
    """Posts as prompts: post_id, prompt and subreddit."""

    training: pl.DataFrame
    evaluation: pl.DataFrame
    human: pl.DataFrame
    """prompt and response of the better responses to training posts"""
    held_out_human: pl.DataFrame
    """prompt_id, prompt and response of all responses to test posts"""


def run_agent(workspace: Workspace, policy_id: str, config: AgentRun, *, resume: bool) -> dict[str, Any]:
    """Train one agent; a finished one is not trained again.

    Args:
        workspace: where policies, runs and pair sets are.
        policy_id: name of the folder.
        config: what to train, by which judge, and how.
        resume: continue what was interrupted.

    Returns:
        The content of `result.json`; an empty dict in all processes but the first.

    Raises:
        CallError: the policy exists and resume is False, or a SPEC names nothing.
        LurkerError: a judge knows the evaluation prompts or gives no signal, or training diverges.
    """
    is_first = join_processes().is_first
    with quiet(not is_first), policy_lock(workspace, policy_id) if is_first else nullcontext():
        folder = policy_folder(workspace, policy_id)
        policy = load_policy(workspace, config.start or config.writer)
        config = with_limits(workspace, config, policy)
        prompts = read_prompts(workspace, config)
        described = _described(workspace, config, prompts)
        require_same_config(folder, described, WORDS, resume=resume)
        if (folder / RESULT).exists():
            say(f"Policy {policy_id} is already finished.")
            return dict(read_json(folder / RESULT))
        writer = load_policy(workspace, config.writer)
        require_same_tokens(policy, writer)
        n_read = n_posts_read(model_of_policy(workspace, config.writer), prompts.evaluation["post_id"].to_list())
        if n_read:
            say(f"{n_read:,} of the {prompts.evaluation.height:,} prompts of the evaluation trained the writer.")
        judges = _open_judges(workspace, config, prompts, writer)
        current_processes().wait()  # until every process has checked the folder
        result = _train(workspace, policy_id, config, described, prompts, judges, writer, policy)
        if is_first:
            write_json(result, folder / RESULT)
            delete_checkpoint(folder)
        return result if is_first else {}


def _train(
    workspace: Workspace,
    policy_id: str,
    config: AgentRun,
    described: Mapping[str, Any],
    prompts: PromptSplits,
    judges: Mapping[str, Judge],
    writer: CausalModel,
    policy: CausalModel,
) -> dict[str, Any]:
    """Train, save the best weights, and report; the content of result.json. What cannot be trained leaves no folder."""
    folder, processes = policy_folder(workspace, policy_id), current_processes()
    device = move_to_device(policy.model, policy.n_parameters)
    writer.model.to(device).eval().requires_grad_(False)
    dtype = training_dtype(config.train.precision, device, policy.n_parameters)
    training, evaluation = (
        as_prompts(frame, policy, config.train.max_prompt_tokens) for frame in (prompts.training, prompts.evaluation)
    )
    n_separator = len(prompt_tokens(policy, "", 0))
    is_packed = all(TokenLoss(one.model, one.tokenizer.pad_token_id, n_separator).is_packed for one in (policy, writer))
    writer_logits = ResponseLogits(writer.model, is_packed=is_packed, dtype=dtype)
    evaluator = Evaluator(writer, writer_logits, evaluation, judges, config.train)
    n_parameters = policy.n_parameters  # before adapters join the model
    trained_model = make_trainable(policy.model, config.start or config.writer, config.train, "CAUSAL_LM")
    network = ResponseLogits(trained_model, is_packed=is_packed, dtype=dtype)
    alarms = AgentAlarms(evaluator, prompts.held_out_human, prompts.human["response"].to_list())
    if processes.is_first:  # the judges have a signal, so that training starts
        write_json(described, folder / CONFIG)
        write_json(environment(describe_device(device, dtype)) | {"n_processes": processes.count}, folder / "env.json")
    recorder = CurveRecorder(evaluator, network, folder, config.train, alarms)
    human = _human_tokens(prompts.human, policy, config.train)
    step = AgentStep(
        network,
        writer_logits,
        replace(policy, model=trained_model),
        judges[PROXY],
        training,
        human,
        evaluator.scale,
        config.train,
        recorder.validate,
    )
    say(
        f"{config.train.method} of {n_parameters:,} parameters on {len(training.texts):,} prompts, judged by "
        f"{config.judge}, on {describe_device(device, dtype)}."
    )

    def after_step(state: TrainingState) -> str:
        recorder.after_step(state.step)
        reason = step.finish_step(recorder.kl) if state.step else ""
        if reason and recorder.written != state.step:
            recorder.after_step(state.step, is_last=True)
        return reason

    trained = train(
        step, recorder.loop, folder, after_step, names=NAMES, step_figures=step.step_figures, is_start_evaluated=True
    )
    model = merge_adapters(trained_model)
    if processes.is_first:
        write_fits(folder, [PROXY, HELD_OUT, TRUTH_MEASURE])
        save(model, policy.tokenizer, folder / MODEL_FOLDER)
        own = {"policy": policy_id, "pairs": config.pairs}
        start = model_of_policy(workspace, config.start or config.writer)
        write_seen(folder / MODEL_FOLDER, own, start, [prompts.training])
        subreddits = prompts.evaluation["subreddit"].to_list()
        final = evaluator.evaluate(model, trained.best_step)
        write_parquet(evaluator.samples(None, "writer", subreddits), folder / SAMPLES_FOLDER / "writer.parquet")
        write_parquet(evaluator.samples(final, policy_id, subreddits), folder / SAMPLES_FOLDER / "agent.parquet")
    result = agent_result(policy_id, config, trained, pl.read_parquet(folder / CURVE_FILE), n_parameters)
    if (folder / DRIFT_FILE).exists():
        result["alarms"] = alarm_sentence(pl.read_parquet(folder / DRIFT_FILE))
        result["sentence"] += " " + result["alarms"]
    return result


def agent_result(
    policy_id: str, config: AgentRun, trained: Trained, curve: pl.DataFrame, n_parameters: int
) -> dict[str, Any]:
    """What training reached, and the sentence on it."""
    kept = curve.filter(step=trained.best_step)
    reached = {
        row["measure"]: {name: row[name] for name in ("value", "low", "high")} for row in kept.iter_rows(named=True)
    }
    return {
        "policy_id": policy_id,
        "kind": "agent",
        "method": config.train.method,
        "writer": config.writer,
        "judge": config.judge,
        "held_out": config.held_out,
        "pairs": config.pairs,
        "n_parameters": n_parameters,
        "seed": config.train.seed,
        "steps": trained.n_steps,
        "best_step": trained.best_step,
        "best_validation_loss": trained.best_validation_loss,
        "stop_reason": trained.stop_reason,
        "kl": float(kept["kl"][0]),
        "reached": reached,
        "train_time_s": trained.train_time_s,
        "n_tokens": trained.n_tokens,
        "sentence": sentence(config.train, trained, curve),
    }


def read_prompts(workspace: Workspace, config: AgentRun) -> PromptSplits:
    """The prompts of a pair set: its training posts, and the first test posts in order of their hash.

    Raises:
        CallError: there is no such pair set.
        LurkerError: a split is empty.
    """
    frame = read_pairs(workspace, config.pairs, config.subreddits)
    columns = ("post_id", "prompt", "subreddit")
    training = split_of(frame, config.pairs, "train")
    tested = split_of(frame, config.pairs, "test")
    test = tested.select(columns).unique("post_id").sort("post_id")
    order = np.argsort([stable_hash(0, post) for post in test["post_id"]], kind="stable")
    return PromptSplits(
        training.select(columns).unique("post_id").sort("post_id"),
        test[order[: config.train.evaluation_prompts].tolist()],
        training.select("prompt", response="chosen").unique(maintain_order=True),
        pl.concat([tested.select("prompt", prompt_id="post_id", response=one) for one in ("chosen", "rejected")])
        .unique()
        .sort("prompt_id", "response"),
    )


def as_prompts(frame: pl.DataFrame, policy: CausalModel, max_prompt_tokens: int | None) -> Prompts:
    """Posts as the policy reads them."""
    texts = frame["prompt"].to_list()
    return Prompts(
        frame["post_id"].to_list(), texts, [prompt_tokens(policy, text, max_prompt_tokens) for text in texts]
    )


def _described(workspace: Workspace, config: AgentRun, prompts: PromptSplits) -> dict[str, Any]:
    """What config.json holds: the config, and digests of all that it names."""
    start = config.start or config.writer
    digests = {
        "writer_digest": model_digest(model_of_policy(workspace, config.writer)),
        "start_digest": model_digest(model_of_policy(workspace, start)),
        "prompts_digest": fingerprint(prompts.training["post_id"].to_list(), prompts.evaluation["prompt"].to_list()),
    }
    for name in ("judge", "held_out"):
        spec = getattr(config, name)
        if spec is not None and spec.startswith(RUN_PREFIX):
            digests[f"{name}_digest"] = model_digest(model_of_run(workspace, spec))
    parents = [{"policy": one.removeprefix(POLICY_PREFIX)} for one in dict.fromkeys((start, config.writer))]
    return {"kind": "agent", "model": start, **to_dict(config), **digests, "parents": parents}


def _open_judges(
    workspace: Workspace, config: AgentRun, prompts: PromptSplits, writer: CausalModel
) -> dict[str, Judge]:
    """The judges by measure; the truth takes part wherever it is known, and never rewards unless it is asked to."""
    texts = pl.concat([prompts.training, prompts.evaluation])
    judges = {PROXY: open_judge(workspace, config.judge, texts)}
    if config.held_out is not None:
        if config.held_out == config.judge:
            raise CallError(
                f"The held-out judge is the judge itself, {config.judge}: it cannot tell when that one is deceived.",
                "Name a judge that was trained on other posts, or leave out `--held-out`.",
            )
        judges[HELD_OUT] = open_judge(workspace, config.held_out, texts)
    with suppress(LurkerError):  # no simulation, no truth
        judges[TRUTH_MEASURE] = open_judge(workspace, TRUTH, texts)
    for measure in (PROXY, HELD_OUT):
        if measure in judges:
            require_no_leak(workspace, judges[measure], prompts.training, prompts.evaluation)
            for line in describe_judge(judges[measure], writer.tokenizer, prompts.training):
                say(line)
    return judges


def with_limits(workspace: Workspace, config: AgentRun, policy: CausalModel) -> AgentRun:
    """The config with the writer's own limits where none are set, if the model's context has room for them.

    Raises:
        CallError: it has not.
    """
    folder = Path(model_of_policy(workspace, config.writer)).parent
    known = read_json(folder / RESULT) if (folder / RESULT).exists() else {}
    limits = {}
    for name, default in (("max_prompt_tokens", DEFAULT_PROMPT_TOKENS), ("max_new_tokens", DEFAULT_NEW_TOKENS)):
        value = getattr(config.train, name)
        limits[name] = known.get(name, default) if value is None else value
    most, wanted = policy.max_positions, sum(limits.values()) + len(prompt_tokens(policy, "", 0))
    if most is not None and wanted > most:
        raise CallError(
            f"{config.writer} reads at most {most:,} tokens, and prompt and response may have {wanted:,}.",
            f"Add `--set max_prompt_tokens={max(0, most - wanted + limits['max_prompt_tokens'])}`.",
        )
    return replace(config, train=replace(config.train, **limits))


def _human_tokens(frame: pl.DataFrame, policy: CausalModel, config: AgentConfig) -> list[tuple[list[int], list[int]]]:
    """People's responses as the policy reads them; none where they are not mixed in."""
    if not config.mixing_weight:
        return []
    return [
        (prompt_tokens(policy, prompt, config.max_prompt_tokens), response_tokens(policy, response, config.new_tokens))
        for prompt, response in frame.iter_rows()
    ]
