"""Mean pooling as an extra layer: it reads the mean, packed or padded, and transformers loads it like any BERT."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from lurker.errors import CallError
from rm.models.mean_pooling import MEAN_WEIGHT, add_mean_pooling
from rm.models.scorer import Scorer
from rm.pairs.tokens import Sequences

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


@pytest.fixture
def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES, num_labels=1, initializer_range=0.2)).eval()


@torch.no_grad()
def test_the_pooler_reads_the_mean_of_all_tokens(bert: BertForSequenceClassification) -> None:
    ids = torch.randint(1, 300, (1, 9))
    states = bert.bert(input_ids=ids).last_hidden_state[0]
    add_mean_pooling(bert)
    pooled = bert.bert(input_ids=ids).pooler_output[0]
    mean = torch.nn.functional.layer_norm(MEAN_WEIGHT * states.mean(0) + states[0], (32,))
    assert torch.allclose(pooled, torch.tanh(0.5 * mean), atol=1e-5)
    assert torch.nn.functional.cosine_similarity(mean, states.mean(0), dim=0) > 0.97


def test_rewards_agree_packed_padded_and_after_loading(bert: BertForSequenceClassification, tmp_path: Path) -> None:
    add_mean_pooling(bert)
    rng = np.random.default_rng(0)
    tokens = [rng.integers(1, 300, size).astype(np.int32) for size in (3, 17, 8, 40)]
    sequences = Sequences(tokens, np.arange(4), np.zeros(4, dtype=np.int64))
    scorer = Scorer(bert, 0, max_tokens=64)
    assert scorer.is_packed, scorer.reason_not_packed
    bert.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        alone = [float(loaded(input_ids=torch.from_numpy(ids)[None].long()).logits) for ids in tokens]
        assert scorer(sequences).tolist() == pytest.approx(alone, abs=1e-5)


def test_every_relevant_weight_of_the_layer_gets_a_gradient(bert: BertForSequenceClassification) -> None:
    add_mean_pooling(bert)
    bert(input_ids=torch.randint(1, 300, (2, 9))).logits.sum().backward()
    layer = bert.bert.encoder.layer[-1]
    for linear in (layer.attention.self.query, layer.attention.self.value, layer.output.dense):
        assert linear.weight.grad is not None and float(linear.weight.grad.abs().max()) > 0


def test_a_model_that_is_not_a_bert_is_rejected() -> None:
    with pytest.raises(CallError, match=r"pooling=mean needs a BERT .* this model is roberta"):
        add_mean_pooling(RobertaForSequenceClassification(RobertaConfig(**SIZES, num_labels=1)))
