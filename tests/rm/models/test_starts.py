"""What a model may start from: classifiers of other sizes, and folders that lack something."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from lurker.errors import CallError
from lurker.workspace import Workspace
from rm.evaluation.score import score_texts, text_scorer
from rm.models.ladder import build, new_layers
from rm.pairs.tokens import load_tokenizer
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig
from tests.rm.conftest import planted_pairs, save_pairs

TRAIN = TrainConfig(learning_rate=1e-3, epochs=1, min_steps=2, max_tokens=64)


@pytest.fixture
def two_labels(pretrained: Path, tmp_path: Path) -> Path:
    """The folder of a DistilBERT that tells two classes apart."""
    tokenizer = load_tokenizer(pretrained)
    torch.manual_seed(1)
    sizes = {"dim": 24, "hidden_dim": 48, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 64}
    config = DistilBertConfig(vocab_size=len(tokenizer), num_labels=2, **sizes)
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path / "two")
    tokenizer.save_pretrained(tmp_path / "two")
    return tmp_path / "two"


def test_a_classifier_of_two_labels_gets_a_new_head_and_keeps_the_rest(
    two_labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = DistilBertForSequenceClassification.from_pretrained(two_labels).state_dict()
    first, other = (build(str(two_labels), [], 0, seed=seed).model for seed in (0, 1))
    assert "several outputs: its head is replaced" in capsys.readouterr().err
    assert first.classifier.weight.shape == (1, 24) and not torch.equal(
        first.classifier.weight, other.classifier.weight
    )
    assert float(first.classifier.weight.std()) == pytest.approx(0.2, rel=0.5)  # N(0, 1/25), as any new head
    assert torch.equal(first.pre_classifier.weight, before["pre_classifier.weight"])
    assert new_layers(str(two_labels)) == []


def test_lora_trains_a_distilbert(workspace: Workspace, two_labels: Path) -> None:
    train = replace(TRAIN, trained="lora", lora_rank=2)
    config = RunConfig(pairs="planted", model=str(two_labels), train=train, test_pairs=("planted",))
    result = train_run(workspace, "run", config, resume=False, baselines="none")
    assert result["steps"] >= 2
    before = DistilBertForSequenceClassification.from_pretrained(two_labels).state_dict()
    after = build(str(workspace.folder("runs", "run") / "model"), [], 0, seed=0).model.state_dict()
    assert set(after) == set(before)
    for name in ("distilbert.transformer.layer.0.ffn.lin1.weight", "pre_classifier.weight"):
        assert not torch.equal(after[name], before[name]), name
    assert torch.equal(
        after["distilbert.embeddings.word_embeddings.weight"], before["distilbert.embeddings.word_embeddings.weight"]
    )


def test_a_folder_without_a_tokenizer_says_so(two_labels: Path) -> None:
    for file in two_labels.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CallError, match="holds no tokenizer"):
        build(str(two_labels), [], 0, seed=0)


def test_empty_texts_have_a_reward_where_a_tokenizer_has_no_special_tokens(
    workspace: Workspace, tmp_path: Path
) -> None:
    words = sorted({word for text in planted_pairs(20)["chosen"] for word in text.split()})
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["?", *words])}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")
    tokenizer.save_pretrained(tmp_path / "plain")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForSequenceClassification(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "plain")
    frame = planted_pairs(20).with_columns(prompt=pl.lit(" "))
    is_empty = pl.int_range(pl.len()) % 3 == 0
    frame = frame.with_columns(rejected=pl.when(is_empty).then(pl.lit(" ")).otherwise("rejected"))
    save_pairs(workspace, "empty", frame)
    config = RunConfig(pairs="empty", model=str(tmp_path / "plain"), train=TRAIN, test_pairs=("empty",))
    result = train_run(workspace, "run", config, resume=False)
    assert {row["predictor"] for row in result["evaluations"]} >= {"model", "embeddings"}
    scorer = text_scorer(build(str(workspace.folder("runs", "run") / "model"), [], 0, seed=0), TRAIN)
    together = score_texts(scorer, ["", "", "the road"], ["", "tea", ""])
    alone = [score_texts(scorer, [p], [r])[0] for p, r in (("", ""), ("", "tea"), ("the road", ""))]
    assert together == pytest.approx(alone, abs=1e-5) and together[0] != together[1]
