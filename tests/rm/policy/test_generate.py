"""Samples follow the model's own distribution, whatever the batch, the padding and the rows that have ended."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from rm.policy.generate import draw_tokens, generate

PAD, END = 0, 3
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 4], [5, 6, 7]]
N = 24
SIZES = {"vocab_size": 24, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 1}


def llama() -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**SIZES, **shape, num_key_value_heads=2, initializer_range=0.5))


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(**SIZES, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3))


def mistral() -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(**SIZES, **shape, num_key_value_heads=2, sliding_window=4, initializer_range=0.5)
    return MistralForCausalLM(config)


@pytest.mark.parametrize("make", [llama, gpt2, mistral])
def test_log_probs_are_those_of_the_model_alone_whatever_the_batch(make: Any) -> None:
    torch.manual_seed(0)
    model = make()
    drawn = [
        generate(model, PROMPTS, N, 12, END, PAD, generator=torch.Generator().manual_seed(1), rows_per_batch=size)
        for size in (1000, N)
    ]
    assert torch.equal(drawn[0].tokens, drawn[1].tokens) and torch.equal(drawn[0].mask, drawn[1].mask)
    assert 0 < int(drawn[0].is_finished(END).sum()) < 3 * N  # some rows leave the batch
    model.eval()
    for row in range(0, 3 * N, 5):
        prompt = PROMPTS[row // N]
        tokens = drawn[0].tokens[row, drawn[0].mask[row]]
        ids = torch.cat([torch.tensor(prompt), tokens])[None]
        with torch.no_grad():
            known = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        np.testing.assert_allclose(
            drawn[0].log_probs[row, : tokens.numel()], known[range(tokens.numel()), tokens], atol=2e-5
        )
        assert (tokens[:-1] != END).all() and (drawn[0].tokens[row, tokens.numel() :] == PAD).all()
    assert not drawn[0].log_probs[~drawn[0].mask].any()


def test_the_samples_of_a_prompt_depend_on_its_own_generator_alone() -> None:
    torch.manual_seed(0)
    model = llama()
    together = generate(
        model, PROMPTS, 4, 8, END, PAD, generator=[torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    )
    alone = generate(model, PROMPTS[1:2], 4, 8, END, PAD, generator=[torch.Generator().manual_seed(2)])
    assert torch.equal(together.tokens[4:8], alone.tokens)


def test_temperature_0_follows_the_generation_of_transformers() -> None:
    torch.manual_seed(0)
    model = llama()
    drawn = generate(model, PROMPTS, 1, 10, END, PAD, temperature=0, generator=torch.Generator())
    for row, prompt in enumerate(PROMPTS):
        known = model.eval().generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=10)[0, len(prompt) :]
        assert drawn.tokens[row, drawn.mask[row]].tolist() == known.tolist()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7), (2.0, 0.7)])
def test_tokens_are_drawn_with_their_probabilities(temperature: float, top_p: float) -> None:
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0, 0.5])
    uniforms = torch.linspace(0, 1 - 1e-9, 20_001, dtype=torch.float64)
    tokens, log_probs = draw_tokens(logits.expand(uniforms.numel(), -1), uniforms, temperature, top_p)
    shares = np.bincount(tokens, minlength=5) / uniforms.numel()
    expected = (logits / temperature).softmax(0).double().numpy()
    order = np.argsort(-expected)
    kept = order[np.cumsum(expected[order]) - expected[order] < top_p]
    truncated = np.zeros(5)
    truncated[kept] = expected[kept] / expected[kept].sum()
    np.testing.assert_allclose(shares, truncated, atol=1e-3)
    np.testing.assert_allclose(log_probs[:50], logits.log_softmax(0)[tokens[:50]], atol=1e-6)


def test_impossible_calls_are_refused() -> None:
    model = llama()
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, [[5], []], 1, 4, END, PAD, generator=torch.Generator())
    with pytest.raises(ValueError, match="top_p=0"):
        generate(model, [[5]], 1, 4, END, PAD, top_p=0.0, generator=torch.Generator())
    with pytest.raises(ValueError, match="2 generators for 1 prompts"):
        generate(model, [[5]], 1, 4, END, PAD, generator=[torch.Generator(), torch.Generator()])
