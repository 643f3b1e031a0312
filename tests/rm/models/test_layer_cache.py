"""Frozen lower layers: training on their cached outputs matches training the complete model."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from lurker.errors import CallError, LurkerError
from lurker.locks import locked
from lurker.workspace import Workspace
from rm.models import frozen_pass, layer_cache
from rm.models.layer_cache import freeze_below, use_cached_states
from rm.models.scorer import Scorer
from rm.pairs.subsets import texts
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.pairs.tokens import train_tokenizer
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.reward_step import train_rewards
from rm.training.run_folder import RunConfig

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_labels": 1}
CONFIG = TrainConfig(learning_rate=1e-3, train_layers=1, epochs=1, min_steps=8, pairs_per_step=8)


def small(family: str, frame: pl.DataFrame) -> tuple[PreTrainedModel, TokenisedPairs]:
    tokenizer = train_tokenizer(texts(frame), 400)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    torch.manual_seed(0)
    model: PreTrainedModel = (
        LlamaForSequenceClassification(LlamaConfig(**sizes))
        if family == "llama"
        else BertForSequenceClassification(
            BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        )
    )
    return model, tokenise(frame, tokenizer, max_tokens=24)  # some prompts are cut


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_training_on_cached_states_matches_the_complete_model(
    planted: Callable[..., pl.DataFrame], tmp_path: Path, family: str
) -> None:
    frame, ends = planted(6), []
    for is_cached in (False, True):
        model, pairs = small(family, frame)
        scorer = Scorer(model, model.config.pad_token_id, 24)
        assert freeze_below(model, 1) == 2
        before = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
        assert {name.split(".")[2 if family == "llama" else 3] for name in before if "layer" in name.lower()} >= {"0"}
        read = use_cached_states(scorer, [pairs], 2, 100, tmp_path / "cache")[0] if is_cached else pairs
        folder = tmp_path / str(is_cached)
        folder.mkdir()
        train_rewards(scorer, read, read, CONFIG, folder)
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)
        scorer.states = None
        with torch.no_grad():
            ends.append(scorer(pairs.sequences).numpy())
    assert ends[0].std() > 0.05
    assert float(np.abs(ends[0] - ends[1]).max()) < 0.02 * ends[0].std()  # states are stored in float16


def test_states_are_computed_once(
    planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[list[float]] = []
    for frame in (planted(6), planted(6), planted(5)):
        model, pairs = small("bert", frame)
        scorer = Scorer(model, model.config.pad_token_id, 24)
        freeze_below(model, 2)
        done.append([])
        monkeypatch.setattr(frozen_pass, "advance", done[-1].append)
        use_cached_states(scorer, [pairs], 1, 100, tmp_path)
    assert sum(done[0]) == scorer_tokens(planted(6)) and not done[1] and done[2]
    assert len(list(tmp_path.iterdir())) == 2


def test_states_that_another_process_computes_are_waited_for(
    planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(folder: Path) -> None:
        model, pairs = small("bert", planted(6))
        freeze_below(model, 2)
        use_cached_states(Scorer(model, model.config.pad_token_id, 24), [pairs], 1, 100, folder)

    read(tmp_path / "alone")
    (states,) = (tmp_path / "alone").iterdir()
    done: list[float] = []
    monkeypatch.setattr(frozen_pass, "advance", done.append)
    waiter = threading.Thread(target=read, args=(tmp_path / "shared",))
    with locked(tmp_path / "shared" / f".{states.name}.lock", waits=False):
        waiter.start()
        waiter.join(2)
        assert waiter.is_alive() and not done
        shutil.copy(states, tmp_path / "shared" / states.name)
    waiter.join(30)
    assert not waiter.is_alive() and not done


def scorer_tokens(frame: pl.DataFrame) -> int:
    return int(small("bert", frame)[1].sequences.n_tokens.sum())


def test_a_full_disk_is_reported_before_any_work(
    planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pairs = small("bert", planted(2))
    scorer = Scorer(model, model.config.pad_token_id, 24)
    monkeypatch.setattr(layer_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(LurkerError, match="Caching frozen layers takes"):
        use_cached_states(scorer, [pairs], 1, 100, tmp_path)


def test_a_run_with_frozen_layers_evaluates_the_complete_model(
    workspace: Workspace, planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    model, _ = small("bert", planted(60))
    model.save_pretrained(tmp_path / "small")
    train_tokenizer(texts(planted(60)), 400).save_pretrained(tmp_path / "small")
    settings = TrainConfig(learning_rate=1e-3, train_layers=1, epochs=1, min_steps=8, max_prompt_tokens=0)
    config = RunConfig(pairs="planted", model=str(tmp_path / "small"), train=settings, test_pairs=("planted",))
    result = train_run(workspace, "run", config, resume=False)
    assert result["steps"] >= 8
    assert len(list((workspace.root / "cache").glob("states-*.npy"))) == 1
    assert "embeddings" in {row["predictor"] for row in result["evaluations"]}


def test_train_layers_that_freeze_nothing_are_rejected(planted: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(CallError, match="the model has 3 layers"):
        freeze_below(small("bert", planted(2))[0], 3)
    with pytest.raises(ValueError, match="train_layers"):
        TrainConfig(learning_rate=1e-3, train_layers=1, trained="lora")
