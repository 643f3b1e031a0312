"""Policies before training: their size, what they read, and the probabilities that they give to responses."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertLMHeadModel

from lurker.errors import CallError
from lurker.workspace import Workspace
from rm.models.ladder import LADDER
from rm.pairs.tokens import train_tokenizer
from rm.policy.causal import (
    CausalModel,
    build_causal,
    load_policy,
    prompt_tokens,
    response_text,
    response_tokens,
    sequence_log_probs,
)

TEXTS = ["the road was long", "we went home after rain", "tea with amber", "ünïcode ✨ and 日本"] * 3


@pytest.fixture(scope="module")
def small() -> CausalModel:
    return build_causal("scratch-10k", TEXTS, 400, seed=0)


@pytest.mark.parametrize("spec", sorted(LADDER))
def test_a_name_on_the_ladder_states_its_size(spec: str, small: CausalModel) -> None:
    named = float(spec.removeprefix("scratch-")[:-1]) * {"k": 1e3, "m": 1e6}[spec[-1]]
    model = build_causal(spec, (), 400, seed=0, tokenizer=small.tokenizer)
    assert model.n_parameters == pytest.approx(named, rel=0.2)
    n_embeddings = len(small.tokenizer) * LADDER[spec].hidden_size  # shared by input and output
    assert model.n_parameters_total == model.n_parameters + n_embeddings


def test_a_response_is_read_as_it_is_written(small: CausalModel) -> None:
    tokenizer = small.tokenizer
    prompt = prompt_tokens(small, "the road <|end|>", 400)
    assert tokenizer.eos_token_id not in prompt  # spelled out, it is plain characters
    assert (prompt[0], prompt[-1]) == (tokenizer.bos_token_id, tokenizer.sep_token_id)
    assert len(prompt_tokens(small, "the road " * 50, 7)) == 9
    written = response_tokens(small, "ünïcode ✨ and 日本", 100)
    assert written[-1] == tokenizer.eos_token_id
    assert response_text(small, written) == "ünïcode ✨ and 日本"
    assert response_tokens(small, "the road was long", 3)[-1] == tokenizer.eos_token_id
    assert len(response_tokens(small, "the road was long", 3)) == 3


def test_log_probabilities_are_those_of_each_sequence_alone(small: CausalModel) -> None:
    rows = [(prompt_tokens(small, p, 50), response_tokens(small, r, 50)) for p, r in pairwise(TEXTS[:4])]
    length = max(len(prompt) + len(response) for prompt, response in rows)
    tokens = torch.full((3, length), small.tokenizer.pad_token_id)
    mask = torch.zeros(3, length, dtype=torch.bool)
    for row, (prompt, response) in enumerate(rows):
        tokens[row, : len(prompt) + len(response)] = torch.tensor(prompt + response)
        mask[row, len(prompt) : len(prompt) + len(response)] = True
    found = sequence_log_probs(small.model, tokens, mask)
    assert not found[~mask].any()
    for row, (prompt, response) in enumerate(rows):
        logits = small.model(torch.tensor([prompt + response])).logits[0].detach()
        alone = torch.log_softmax(logits, dim=-1)
        expected = [alone[len(prompt) + n - 1, token] for n, token in enumerate(response)]
        assert found[row][mask[row]].tolist() == pytest.approx([float(one) for one in expected], abs=1e-5)
    found.sum().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in small.model.parameters())
    with pytest.raises(ValueError, match="nothing before it"):
        sequence_log_probs(small.model, tokens, torch.ones_like(mask))


def test_a_saved_policy_loads_with_the_same_probabilities(
    small: CausalModel, tmp_path: Path, workspace: Workspace
) -> None:
    small.model.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    loaded = load_policy(workspace, str(tmp_path))
    tokens = torch.tensor([prompt_tokens(small, "tea", 9) + response_tokens(small, "rain", 9)])
    mask = torch.arange(tokens.shape[1])[None] > 2
    assert torch.equal(sequence_log_probs(small.model, tokens, mask), sequence_log_probs(loaded.model, tokens, mask))


def test_what_is_no_language_model_is_refused(workspace: Workspace, pretrained: Path, tmp_path: Path) -> None:
    for spec in (str(pretrained), "run:any"):
        with pytest.raises(CallError, match="is a reward model: it has learned to read") as error:
            load_policy(workspace, spec)
        assert "--model run:ID" in error.value.next_step
    with pytest.raises(CallError, match="random weights") as error:
        load_policy(workspace, "scratch-1m")
    assert "train-writer" in error.value.next_step
    with pytest.raises(CallError, match="There is no finished policy 'none-such'"):
        load_policy(workspace, "policy:none-such")
    tokenizer = train_tokenizer(TEXTS, 400)
    config = BertConfig(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=1.0,
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CallError, match="is an encoder"):
        load_policy(workspace, str(tmp_path))


@torch.no_grad()
def test_weights_that_are_no_numbers_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    damaged = build_causal("scratch-10k", TEXTS, 400, seed=0)
    for weight in damaged.model.parameters():
        weight.fill_(float("nan"))
    damaged.model.save_pretrained(tmp_path)
    damaged.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CallError, match="its weights are damaged"):
        load_policy(workspace, str(tmp_path))
