"""A planted world with its truth, and a small writer of its responses, shared by the tests of agents and judges."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from lurker.pair_sets import read_pairs
from lurker.true_quality import QualityRule, write_quality_rule
from lurker.workspace import Workspace
from rm.models.ladder import save
from rm.pairs.subsets import texts
from rm.pairs.tokens import train_tokenizer
from rm.policy.causal import CausalModel, build_causal, prompt_tokens, response_tokens, sequence_log_probs
from tests.rm.conftest import DISLIKED, LIKED, PLAIN, planted_workspace


@dataclass(frozen=True)
class PolicyWorld:
    """A workspace with the pair set `planted`, the truth of its taste, and a writer's folder."""

    workspace: Workspace
    writer: Path


@pytest.fixture(scope="session")
def policy_world(tmp_path_factory: pytest.TempPathFactory) -> PolicyWorld:
    """Read-only, but for new policies and runs."""
    root = tmp_path_factory.mktemp("policy-world")
    workspace = planted_workspace(root / "workspace")
    write_quality_rule(planted_rule(), {}, workspace)
    writer = root / "writer"
    model = planted_writer(read_pairs(workspace, "planted"))
    save(model.model, model.tokenizer, writer)
    return PolicyWorld(workspace, writer)


def planted_rule() -> QualityRule:
    """The taste of `planted_pairs`: liked words raise quality, disliked ones lower it."""
    n = len(LIKED) + len(DISLIKED)
    return QualityRule(
        subreddits=["alpha", "beta"],
        taste_words=[*LIKED, *DISLIKED],
        neutral_words=[*PLAIN],
        subjects=[],
        turn="",
        word_share=1.0,
        phrase_share=0.0,
        uptake_share=0.0,
        taste_word_share=0.25,
        subject_word_share=0.0,
        min_words=5,
        weights=[[1.0] * len(LIKED) + [-1.0] * len(DISLIKED)] * 2,
        mean_weight=[0.0, 0.0],
        variance_between=[0.5, 0.5],
        variance_within=[0.5, 0.5],
        largest_probability=[[0.5] * n + [0.3] * len(PLAIN)] * 2,
    )


def planted_writer(frame: pl.DataFrame) -> CausalModel:
    """A language model of 10 k parameters that has learned the responses, good and bad."""
    torch.manual_seed(0)
    frame = frame.filter(pl.col("split") == "train")
    model = build_causal("scratch-10k", (), 0, 0, train_tokenizer(texts(frame), 300))
    rows = pl.concat([frame.select("prompt", response=side) for side in ("chosen", "rejected")]).unique()
    rows = rows.sort("prompt", "response")
    prompts = [prompt_tokens(model, prompt, 16) for prompt in rows["prompt"]]
    responses = [response_tokens(model, response, 24) for response in rows["response"]]
    width = max(len(one) + len(two) for one, two in zip(prompts, responses, strict=True))
    tokens = torch.full((len(prompts), width), model.tokenizer.pad_token_id)
    mask = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, (one, two) in enumerate(zip(prompts, responses, strict=True)):
        tokens[row, : len(one) + len(two)] = torch.tensor([*one, *two])
        mask[row, len(one) : len(one) + len(two)] = True
    optimiser = torch.optim.AdamW(model.model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(250):
        chosen = torch.from_numpy(rng.choice(len(prompts), 32, replace=False))
        loss = -sequence_log_probs(model.model, tokens[chosen], mask[chosen]).sum() / mask[chosen].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model
