"""Rewards do not depend on the other texts of a batch, whatever the architecture."""

import numpy as np
import pytest
import torch
from transformers import (
    FNetConfig,
    FNetForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    Phi3Config,
    Phi3ForSequenceClassification,
)

from rm.models.scorer import Scorer
from rm.pairs.tokens import Sequences

SMALL = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}


def phi3() -> torch.nn.Module:
    rope = {"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [4.0, 9.0], "rope_theta": 10000.0}
    config = Phi3Config(
        **SMALL,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        original_max_position_embeddings=32,
        rope_parameters=rope | {"original_max_position_embeddings": 32},
        bos_token_id=1,
        eos_token_id=2,
        num_labels=1,
        initializer_range=0.3,
    )
    return Phi3ForSequenceClassification(config)


def fnet() -> torch.nn.Module:
    return FNetForSequenceClassification(FNetConfig(**SMALL, num_labels=1, initializer_range=0.3))


def gpt2() -> torch.nn.Module:
    config = GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=4, pad_token_id=0, num_labels=1)
    return GPT2ForSequenceClassification(config)


@pytest.mark.parametrize("make", [phi3, fnet, gpt2])
@torch.no_grad()
def test_a_reward_next_to_a_long_text_is_the_reward_alone(make) -> None:
    torch.manual_seed(0)
    scorer = Scorer(make().eval(), 0, 64)
    rng = np.random.default_rng(1)
    tokens = [rng.integers(3, 60, size).astype(np.int32) for size in (7, 7, 12, 64)]
    numbers = np.arange(4)
    together = scorer(Sequences(tokens, numbers, np.full(4, 2)))
    alone = [scorer(Sequences([one], numbers[:1], np.full(1, 2)))[0] for one in tokens]
    assert together == pytest.approx(torch.stack(alone), abs=1e-4)
    assert scorer.needs_equal_lengths == (make is not gpt2)
