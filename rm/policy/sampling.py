"""Samples of a policy as a table: drawn prompt by prompt, so that they do not depend on batches or interruptions.

Each prompt has random numbers of its own, seeded by a hash of its id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl
import torch

from lurker.errors import CallError
from lurker.progress import advance
from lurker.schema import SAMPLES
from rm.pairs.subsets import stable_hash
from rm.pairs.tokens import layout, token_ids
from rm.policy.causal import CausalModel, prompt_tokens, response_text, sequence_log_probs
from rm.policy.generate import ROWS_PER_BATCH, Generated, generate

HUMAN = "human"
"""Source of responses that people wrote."""
ENGINES = ("transformers", "vllm")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How a policy is sampled."""

    n: int = 1
    """samples of each prompt"""
    max_new_tokens: int = 48
    """longest sample, tokens, its end token included"""
    max_prompt_tokens: int = 64
    """maximum tokens of the prompt, from its start; what the policy was trained with by default"""
    temperature: float = 1.0
    """logits are divided by it; 0 takes the most probable token"""
    top_p: float = 1.0
    """only the most probable tokens that together have this probability are drawn, above 0 to 1"""
    seed: int = 0
    """of the samples, together with each prompt's id"""

    def __post_init__(self) -> None:
        for name in ("n", "max_new_tokens", "max_prompt_tokens", "temperature", "seed"):
            lowest = int(name in ("n", "max_new_tokens"))
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")


def sample_prompts(
    model: CausalModel,
    prompts: pl.DataFrame,
    config: SamplingConfig,
    source: str,
    reference: CausalModel | None = None,
) -> pl.DataFrame:
    """Draw config.n responses to each prompt; moves the innermost progress bar by prompts.

    Args:
        model: the policy, on its device.
        prompts: prompt_id (unique), prompt, subreddit.
        config: how it is sampled.
        source: what the table calls the policy.
        reference: another policy with the same tokens, whose log-probability of each response is added.

    Returns:
        SAMPLES, sorted by prompt and sample.

    Raises:
        CallError: the model reads fewer tokens than a prompt and a response may have.
    """
    config = fitting(model, config)
    per_batch = max(1, ROWS_PER_BATCH // config.n)
    frames = [SAMPLES.empty()]
    for rows in prompts.iter_slices(per_batch):
        read = [prompt_tokens(model, prompt, config.max_prompt_tokens) for prompt in rows["prompt"]]
        generators = [_generator(config.seed, prompt_id) for prompt_id in rows["prompt_id"]]
        tokenizer = model.tokenizer
        drawn = generate(
            model.model,
            read,
            config.n,
            config.max_new_tokens,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
            temperature=config.temperature,
            top_p=config.top_p,
            generator=generators,
        )
        other = None if reference is None else _log_probs(reference, read, drawn, config.n)
        frames.append(_table(model, rows, drawn, config.n, source, other))
        advance(rows.height)
    return pl.concat(frames)


def fitting(model: CausalModel, config: SamplingConfig) -> SamplingConfig:
    """The config with max_prompt_tokens lowered to what the model's context leaves beside a response.

    Raises:
        CallError: max_new_tokens leaves no room for a prompt.
    """
    if model.max_positions is None:
        return config
    around = layout(model.tokenizer)
    room = model.max_positions - config.max_new_tokens - len(around.start) - len(around.separator)
    if room < 0:
        raise CallError(
            f"The model reads at most {model.max_positions:,} tokens, and max_new_tokens is {config.max_new_tokens:,}.",
            "Lower it: `--max-new-tokens`.",
        )
    return replace(config, max_prompt_tokens=min(config.max_prompt_tokens, room))


def count_cut(model: CausalModel, prompts: Sequence[str], max_prompt_tokens: int) -> int:
    """How many prompts are longer than what the policy reads of them."""
    ids = token_ids(model.tokenizer, prompts)
    return sum(len(ids[prompt]) > max_prompt_tokens for prompt in prompts)


def _generator(seed: int, prompt_id: str) -> torch.Generator:
    return torch.Generator().manual_seed(stable_hash(seed, prompt_id))


def _table(
    model: CausalModel, rows: pl.DataFrame, drawn: Generated, n: int, source: str, reference: Any
) -> pl.DataFrame:
    texts = [response_text(model, tokens[mask].tolist()) for tokens, mask in zip(drawn.tokens, drawn.mask, strict=True)]
    repeated = rows.select(pl.col(name).repeat_by(n).explode() for name in ("prompt_id", "prompt", "subreddit"))
    return repeated.with_columns(
        source=pl.lit(source),
        sample=pl.Series(np.tile(np.arange(n), rows.height)),
        response=pl.Series(texts, dtype=pl.String),
        n_tokens=pl.Series(drawn.n_tokens.numpy()),
        is_finished=pl.Series(drawn.is_finished(model.tokenizer.eos_token_id).numpy()),
        log_prob=pl.Series(drawn.log_probs.double().sum(1).numpy()),
        reference_log_prob=pl.lit(None, dtype=pl.Float64) if reference is None else pl.Series(reference),
    ).select(list(SAMPLES.columns))


@torch.no_grad()
def _log_probs(model: CausalModel, read: list[list[int]], drawn: Generated, n: int) -> list[float]:
    """Log-probability of each drawn response under another policy, nats."""
    model.model.eval()
    device, found = next(model.model.parameters()).device, []
    for number, prompt in enumerate(read):
        rows = slice(number * n, (number + 1) * n)
        mask = drawn.mask[rows]
        tokens = torch.cat([torch.tensor(prompt).expand(n, -1), drawn.tokens[rows]], dim=1).to(device)
        is_response = torch.cat([torch.zeros(n, len(prompt), dtype=torch.bool), mask], dim=1).to(device)
        found += sequence_log_probs(model.model, tokens, is_response).double().sum(1).tolist()
    return found


def require_same_tokens(model: CausalModel, reference: CausalModel) -> None:
    """Refuse a reference that reads other tokens than the policy writes.

    Raises:
        CallError: their vocabularies differ.
    """
    if model.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        raise CallError(
            "The policy and the reference have different tokens, so that log-probabilities cannot be compared.",
            "Name the writer that the policy was trained from.",
        )


def sample_with_vllm(
    folder: str, model: CausalModel, prompts: pl.DataFrame, config: SamplingConfig, source: str
) -> pl.DataFrame:
    """`sample_prompts` by vLLM, for GPUs; its samples differ from those of transformers with the same seed.

    Args:
        folder: the policy's model as transformers loads it.
        model: the same model, whose tokenizer is used.
        prompts, config, source: as of `sample_prompts`.

    Raises:
        CallError: vLLM is not installed.
    """
    if find_spec("vllm") is None:
        raise CallError("vLLM is not installed.", "Install it: `pip install vllm` (GPU), or leave out `--engine vllm`.")
    from vllm import LLM, SamplingParams

    config = fitting(model, config)
    read = [prompt_tokens(model, prompt, config.max_prompt_tokens) for prompt in prompts["prompt"]]
    settings = [
        SamplingParams(
            n=config.n,
            max_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=stable_hash(config.seed, prompt_id) % 2**31,
            stop_token_ids=[model.tokenizer.eos_token_id],
            logprobs=0,
            detokenize=False,
        )
        for prompt_id in prompts["prompt_id"]
    ]
    llm = LLM(model=folder, skip_tokenizer_init=True, seed=config.seed)
    outputs = llm.generate([{"prompt_token_ids": tokens} for tokens in read], settings, use_tqdm=False)
    frames = [SAMPLES.empty()]
    for row, output in zip(prompts.iter_slices(1), outputs, strict=True):
        frames.append(_table(model, row, _generated(output, model.tokenizer.eos_token_id), config.n, source, None))
        advance(1)
    return pl.concat(frames)


def _generated(output: Any, eos_token_id: int) -> Generated:
    """The samples of one prompt as vLLM returns them: token_ids, cumulative_logprob and finish_reason of each."""
    rows = [[*sample.token_ids] for sample in output.outputs]
    for row, sample in zip(rows, output.outputs, strict=True):
        if sample.finish_reason == "stop" and (not row or row[-1] != eos_token_id):
            row.append(eos_token_id)  # some versions leave the stop token out
    width = max(map(len, rows))
    tokens = torch.zeros(len(rows), width, dtype=torch.int64)
    mask, log_probs = torch.zeros(tokens.shape, dtype=torch.bool), torch.zeros(tokens.shape)
    for number, (row, sample) in enumerate(zip(rows, output.outputs, strict=True)):
        tokens[number, : len(row)], mask[number, : len(row)] = torch.tensor(row, dtype=torch.int64), True
        log_probs[number, 0] = float(sample.cumulative_logprob)  # the sum is all that is read
    return Generated(tokens, mask, log_probs)


def describe_samples(samples: pl.DataFrame) -> Iterator[str]:
    """Sentences on what is odd among samples: empty ones and unfinished ones."""
    n_empty = samples.filter(pl.col("response") == "").height
    n_unfinished = samples.filter(~pl.col("is_finished")).height
    if n_empty:
        yield f"{n_empty:,} of {samples.height:,} samples are empty."
    if n_unfinished:
        yield f"{n_unfinished:,} of {samples.height:,} samples were cut at max_new_tokens before their end."
