"""Frozen embeddings depend on the text alone and are computed once; a baseline learns from them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import BertConfig, BertModel

from rm.evaluation.baselines import fit_baselines
from rm.evaluation.embeddings import embeddings
from rm.evaluation.metrics import is_correct
from rm.pairs.subsets import texts
from rm.pairs.tokens import train_tokenizer


@pytest.fixture
def spec(planted: Callable[..., pl.DataFrame], tmp_path: Path) -> str:
    tokenizer = train_tokenizer(texts(planted(60)), 400)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(**sizes, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, initializer_range=0.2)
    BertModel(config).save_pretrained(tmp_path / "small")
    tokenizer.save_pretrained(tmp_path / "small")
    return str(tmp_path / "small")


def test_an_embedding_does_not_depend_on_other_texts_and_is_cached(spec: str, tmp_path: Path) -> None:
    some = ["tea", "the road was long and we went home", "tea", "", "  ", "✨"]
    together = embeddings(spec, some, tmp_path / "cache")
    assert together.shape == (6, 32) and np.isfinite(together).all()
    assert (together[0] == together[2]).all() and (together[0] != together[1]).any()
    alone = np.concatenate([embeddings(spec, [some[index]], tmp_path / f"cache{index}") for index in range(6)])
    assert alone == pytest.approx(together, abs=0.01)  # kept in float16
    (kept,) = (tmp_path / "cache").iterdir()
    before = kept.stat().st_mtime_ns
    assert (embeddings(spec, some, tmp_path / "cache") == together).all()
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(b"torn")
    assert (embeddings(spec, some, tmp_path / "cache") == together).all()


def test_the_baseline_learns_a_planted_taste(spec: str, planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    frame = planted(200)
    training, validation, test = (frame.filter(pl.col("split") == name) for name in ("train", "validation", "test"))
    assert "embeddings" not in fit_baselines(training, validation)
    baselines = fit_baselines(training, validation, partial(embeddings, spec, folder=tmp_path))
    assert is_correct(baselines["embeddings"](test)).mean() > 0.7
