"""Frozen embeddings depend on a response and its prompt alone and are computed once; a baseline learns from them."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from lurker.workspace import Workspace
from rm.evaluation.baselines import fit_baseline
from rm.evaluation.embeddings import Embedder
from rm.evaluation.metrics import is_correct
from rm.models import embedding_cache, frozen_pass
from rm.pairs.tokens import encode
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import RunConfig
from tests.rm.conftest import save_encoder

TRAIN = TrainConfig(learning_rate=1e-3, max_tokens=64, max_prompt_tokens=0)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return save_encoder(tmp_path / "small", n_layers=2)


@torch.no_grad()
def mean_state(spec: str, response: str) -> np.ndarray:
    """The embedding by transformers alone: the mean over what follows the start token, scaled to a mean square of 1."""
    (tokens,) = encode(AutoTokenizer.from_pretrained(spec), [""], [response], 64).tokens
    states = AutoModel.from_pretrained(spec)(torch.from_numpy(tokens)[None].long()).last_hidden_state[0]
    mean = states[1:].mean(0).double().numpy()
    return mean / np.sqrt(np.square(mean).mean())


def test_an_embedding_is_the_mean_state_of_the_response_alone_and_is_cached(
    spec: str, planted: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    sides = ["tea", "the road was long and we went home", "tea", "", "  ", "✨"]
    frame = planted(1).head(6).with_columns(chosen=pl.Series(sides), rejected=pl.lit("amber"))
    together = Embedder(spec, TRAIN, tmp_path / "cache")(frame)
    assert together.shape == (6, 32) and (together[0] == together[2]).all()
    expected = [mean_state(spec, text) - mean_state(spec, "amber") for text in sides]
    assert together == pytest.approx(np.stack(expected), abs=0.01)  # kept in float16
    (kept,) = (tmp_path / "cache").glob("embeddings-*/*-vectors.npy")
    before = kept.stat().st_mtime_ns
    assert (Embedder(spec, TRAIN, tmp_path / "cache")(frame) == together).all()
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(b"torn")
    assert (Embedder(spec, TRAIN, tmp_path / "cache")(frame) == together).all()


def test_the_baseline_learns_a_planted_taste(spec: str, planted: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    frame = planted(200)
    training, validation, test = (frame.filter(pl.col("split") == name) for name in ("train", "validation", "test"))
    assert fit_baseline("embeddings", training, validation) is None
    baseline = fit_baseline("embeddings", training, validation, Embedder(spec, TRAIN, tmp_path))
    assert is_correct(baseline(test)).mean() > 0.7


@pytest.mark.parametrize("settings", [{"train_layers": 1, "head": "probe"}, {"head": "probe"}, {"trained": "head"}])
def test_the_frozen_model_reads_every_text_once(
    workspace: Workspace, spec: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    read: list[float] = []
    monkeypatch.setattr(frozen_pass, "advance", read.append)
    train = TrainConfig(learning_rate=1e-3, max_tokens=64, max_prompt_tokens=0, epochs=1, min_steps=2, **settings)
    config = RunConfig(pairs="planted", model=spec, train=train, test_pairs=("planted",))
    result = train_run(workspace, "run", config, resume=False)
    assert {row["predictor"] for row in result["evaluations"]} >= {"model", "tfidf", "embeddings"}
    tokenizer = AutoTokenizer.from_pretrained(spec)
    frame = pl.read_parquet(workspace.root / "pairs/planted/pairs.parquet")
    n_tokens = 0
    for split in ("train", "validation", "test"):
        part = frame.filter(pl.col("split") == split)
        rows = set(part.select("post_id", "chosen").rows()) | set(part.select("post_id", "rejected").rows())
        n_tokens += int(encode(tokenizer, [""] * len(rows), [text for _, text in rows], 64).n_tokens.sum())
    assert sum(read) == n_tokens
    again = train_run(workspace, "again", config, resume=False)
    assert [row["accuracy"] for row in again["evaluations"]] == [row["accuracy"] for row in result["evaluations"]]


def test_an_interrupted_pass_goes_on_where_it_stopped(
    spec: str, planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, read = planted(30), [0.0]
    whole = Embedder(spec, TRAIN, tmp_path / "whole")(frame)
    monkeypatch.setattr(embedding_cache, "SHARD_TOKENS", 300)

    def advance(n_tokens: float) -> None:
        read[0] += n_tokens
        if 600 < read[0] < 1e6:
            raise KeyboardInterrupt

    monkeypatch.setattr(frozen_pass, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        Embedder(spec, TRAIN, tmp_path / "cut")(frame)
    kept = sum(np.load(file).size for file in (tmp_path / "cut").glob("*/*-keys.npy"))
    read[0] = 1e6
    assert Embedder(spec, TRAIN, tmp_path / "cut")(frame) == pytest.approx(whole, abs=0.01)  # kept in float16
    n_texts = len({*frame["chosen"], *frame["rejected"]})
    (total,) = {sum(np.load(file).size for file in (tmp_path / name).glob("*/*-keys.npy")) for name in ("cut", "whole")}
    assert 0 < kept < total == n_texts


def test_a_shard_that_another_process_embeds_is_waited_for(
    spec: str, planted: Callable[..., pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = planted(30)
    monkeypatch.setattr(embedding_cache, "SHARD_TOKENS", 300)
    whole = Embedder(spec, TRAIN, tmp_path / "whole")(frame)
    (folder,) = (tmp_path / "whole").iterdir()
    shared = tmp_path / "shared" / folder.name
    sequences = tokenise_for_model(frame, AutoTokenizer.from_pretrained(spec), TRAIN).sequences
    first = embedding_cache.shards(sequences)[0]
    keys = embedding_cache.sequence_keys(sequences)[first]
    held, others_done, read = threading.Event(), threading.Event(), [0.0]
    n_other = int(sequences.n_tokens.sum() - sequences.n_tokens[first].sum())

    def advance(n_tokens: float) -> None:
        read[0] += n_tokens
        if read[0] == n_other:
            others_done.set()

    def other() -> None:
        with embedding_cache.alone_with(shared, keys, waits=False):
            held.set()
            others_done.wait(30)
            known, vectors = embedding_cache.find_vectors(folder, keys)
            assert known.all()
            embedding_cache.add_vectors(shared, keys, vectors)

    monkeypatch.setattr(frozen_pass, "advance", advance)
    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(30)
    assert Embedder(spec, TRAIN, tmp_path / "shared")(frame) == pytest.approx(whole, abs=0.01)  # kept in float16
    thread.join()
    assert read[0] == n_other and not list(shared.glob("*.lock"))
