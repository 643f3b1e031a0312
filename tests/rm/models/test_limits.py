"""How many tokens a model reads, whatever its configuration calls it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from lurker.errors import CallError
from lurker.workspace import Workspace
from rm.models.limits import most_tokens
from rm.models.scorer import Scorer
from rm.pairs.tokens import Sequences, load_tokenizer
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig


def roberta(n_tokens: int = 60) -> torch.nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return RobertaForSequenceClassification(
        RobertaConfig(vocab_size=n_tokens, max_position_embeddings=40, pad_token_id=1, num_labels=1, **sizes)
    )


def test_a_model_reads_as_many_tokens_as_it_has_positions_for() -> None:
    gpt2 = GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=24, num_labels=1, pad_token_id=0)
    t5 = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, num_labels=1)
    xlnet = XLNetConfig(vocab_size=60, d_model=16, n_layer=1, n_head=2, d_inner=32, num_labels=1)
    assert most_tokens(GPT2ForSequenceClassification(gpt2)) == 24
    assert most_tokens(T5ForSequenceClassification(t5)) is None
    assert most_tokens(XLNetForSequenceClassification(xlnet)) is None
    model = roberta().eval()
    assert most_tokens(model) == 38  # its first token has position 2
    longest = Sequences([np.arange(2, 40, dtype=np.int32)], np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))
    with torch.no_grad():
        assert Scorer(model, 1, 38)(longest).isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.arange(2, 41)[None])


def test_more_tokens_than_a_model_reads_are_refused_with_the_number(
    workspace: Workspace, pretrained: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(pretrained)
    roberta(len(tokenizer)).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    train = TrainConfig(learning_rate=1e-3, epochs=1, min_steps=2, max_tokens=39)
    config = RunConfig(pairs="planted", model=str(tmp_path / "roberta"), train=train, test_pairs=("planted",))
    with pytest.raises(CallError, match="reads at most 38 tokens, and max_tokens is 39"):
        train_run(workspace, "run", config, resume=False)
