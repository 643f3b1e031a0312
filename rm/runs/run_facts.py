"""What is said and recorded of a training: its data, batches, software, hardware and results."""

import os
import platform
from typing import Any

import polars as pl
import torch

from lurker import __version__
from lurker.machine import processor
from rm.models.ladder import RewardModel
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.training.loop import Trained
from rm.training.run_folder import RunConfig, RunPairs


def describe_data(training: TokenisedPairs, frame: pl.DataFrame, config: RunConfig) -> str:
    n_equal = int(training.is_equal.sum())
    max_prompt = config.train.max_prompt_tokens
    prompts = "" if max_prompt is None else f"prompts of at most {max_prompt:,} tokens, "
    return (
        f"{frame.height - n_equal:,} training pairs of {frame['post_id'].n_unique():,} posts, "
        f"{len(training.sequences.tokens):,} responses, {prompts}{training.sequences.n_cut:,} cut to "
        f"{config.train.max_tokens} tokens. Left out: {n_equal:,} pairs with two equal sides."
    )


def describe_batching(scorer: Scorer) -> str:
    if scorer.needs_equal_lengths:
        return "Batches of responses of one length, which is slower: padding would change this model's rewards."
    if not scorer.is_packed:
        return f"Padded batches of unique responses; prompts are not shared because {scorer.reason_not_packed}."
    if scorer.is_causal:
        return "Packed batches: each prompt is computed once for all its responses."
    return "Packed batches of unique responses; an encoder's prompt attends to the response, so it is not shared."


def environment(device: str) -> dict[str, Any]:
    """Software and hardware of a run, for its env.json; device: in words."""
    import transformers

    return {
        "lurker": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "platform": platform.platform(),
        "processor": processor(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "device": device,
    }


def training_facts(
    run_id: str,
    config: RunConfig,
    reward_model: RewardModel,
    trained: Trained,
    training: TokenisedPairs,
    pairs: RunPairs,
    device: torch.device,
) -> dict[str, Any]:
    """The fields of `result.json` that training determines."""
    return {
        "run_id": run_id,
        "pairs": config.pairs,
        "model": config.model,
        "n_parameters": reward_model.n_parameters,
        "n_parameters_total": reward_model.n_parameters_total,
        "n_train_pairs": pairs.training.height,
        "n_train_posts": pairs.training["post_id"].n_unique(),
        "n_train_responses": len(training.sequences),
        "n_pairs_left_out_as_equal": int(training.is_equal.sum()),
        "n_responses_cut": training.sequences.n_cut,
        "n_validation_pairs": pairs.validation.height,
        "subreddits": sorted(pairs.training["subreddit"].unique()),
        "seed": config.train.seed,
        "steps": trained.n_steps,
        "best_step": trained.best_step,
        "best_validation_log_loss": trained.best_validation_loss,
        "train_time_s": trained.train_time_s,
        "n_tokens": trained.n_tokens,
        "tokens_per_s": round(trained.tokens_per_s, 1),
        "device": device.type,
    }
