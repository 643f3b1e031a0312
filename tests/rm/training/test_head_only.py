"""Training the reward head alone: cached embeddings, and starting from a linear probe."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
import torch

from lurker.errors import LurkerError
from lurker.pairwise import EMBEDDING_PENALTIES, fit_logistic
from lurker.workspace import Workspace
from rm.evaluation.metrics import model_margins
from rm.models import embedding_cache
from rm.models.ladder import RewardModel, build, reward_head
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.pairs.tokens import Sequences
from rm.runs.train_run import train_run
from rm.training import head_only
from rm.training.config import TrainConfig
from rm.training.head_only import HeadScorer, embed_for_head, head_margins, start_from_probe
from rm.training.run_folder import RunConfig
from rm.training.trainable import make_trainable
from tests.rm.conftest import save_pairs

CONFIG = TrainConfig(learning_rate=1e-3, head="probe", max_tokens=64)


@pytest.fixture
def frame(planted: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    return planted(100)


@pytest.fixture
def reward_model(frame: pl.DataFrame) -> RewardModel:
    return build("scratch-10k", [*frame["chosen"], *frame["rejected"]], 400, seed=0)


def split(frame: pl.DataFrame, reward_model: RewardModel, name: str) -> TokenisedPairs:
    return tokenise(frame.filter(pl.col("split") == name), reward_model.tokenizer, 64)


@pytest.mark.parametrize("is_packed", [True, False])
def test_embeddings_are_the_input_of_the_head(
    planted: Callable[..., pl.DataFrame], pretrained: Path, tmp_path: Path, is_packed: bool
) -> None:
    reward_model = build(str(pretrained), [], 400, seed=0)
    scorer = reward_model.scorer(64)
    scorer.is_packed = is_packed
    pairs = tokenise(planted(10), reward_model.tokenizer, 64)
    head, (read,) = embed_for_head(scorer, [pairs], 100, tmp_path)
    assert isinstance(head, HeadScorer)
    with torch.no_grad():
        numbers = np.array([3, 0, 7])
        found, expected = head(read.sequences.take(numbers), 1), scorer(pairs.sequences)[numbers]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert head_margins(scorer, pairs, 100, tmp_path) == pytest.approx(model_margins(scorer, pairs, 100), abs=1e-5)


def test_a_probe_gives_the_rewards_of_a_regression_on_embeddings(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path
) -> None:
    training, validation = (split(frame, reward_model, name) for name in ("train", "validation"))
    scorer = reward_model.scorer(64)
    _, read = embed_for_head(scorer, (training, validation), 8192, tmp_path)
    known, held_out = (
        (one.sequences.features[one.chosen] - one.sequences.features[one.rejected]).numpy()  # type: ignore[attr-defined]
        for one in read
    )
    scale = float(read[0].sequences.features.square().mean().sqrt())  # type: ignore[attr-defined]
    fits = fit_logistic(known / scale, np.ones(len(known)), EMBEDDING_PENALTIES)
    before = model_margins(scorer, validation, 8192)
    start_from_probe(scorer, training, validation, CONFIG, tmp_path)
    margins = model_margins(scorer, validation, 8192)
    assert max(np.corrcoef(margins, held_out @ fit)[0, 1] for fit in fits) > 0.9999
    losses = [np.logaddexp(0, -one).mean() for one in (margins, before)]
    assert losses[0] < min(losses[1], np.log(2)) - 0.02


def test_embeddings_are_computed_once_for_the_same_weights_and_tokens(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, calls = split(frame, reward_model, "train"), []
    compute = head_only.frozen_batches
    monkeypatch.setattr(head_only, "frozen_batches", lambda *given: calls.append(1) or compute(*given))

    def features(model: RewardModel) -> torch.Tensor:
        _, (read,) = embed_for_head(model.scorer(64), [pairs], 8192, tmp_path)
        found: torch.Tensor = read.sequences.features  # type: ignore[attr-defined]
        return found

    first = features(reward_model)
    with torch.no_grad():
        reward_head(reward_model.model).weight.zero_()  # another head has the same input
    assert torch.equal(features(reward_model), first) and len(calls) == 1
    (kept,) = tmp_path.glob("features-*/*-vectors.npy")
    kept.write_bytes(kept.read_bytes()[:-100])  # cut short
    assert torch.equal(features(reward_model), first) and len(calls) == 2
    with torch.no_grad():
        reward_model.model.model.layers[0].mlp.up_proj.weight.mul_(1.1)
    assert not torch.equal(features(reward_model), first) and len(calls) == 3
    assert len([*tmp_path.glob("features-*")]) == 2


def test_a_larger_set_computes_the_embeddings_of_its_new_texts_alone(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute = head_only.frozen_batches

    def counted(scorer: Scorer, sequences: Sequences, *given: Any) -> Any:
        sizes.append(len(sequences))
        return compute(scorer, sequences, *given)

    monkeypatch.setattr(head_only, "frozen_batches", counted)
    pairs = split(frame, reward_model, "train")
    few = replace(pairs, sequences=pairs.sequences.take(np.arange(20)))
    embed_for_head(reward_model.scorer(64), [few], 8192, tmp_path)
    _, (read,) = embed_for_head(reward_model.scorer(64), [pairs], 8192, tmp_path)
    _, (alone,) = embed_for_head(reward_model.scorer(64), [pairs], 8192, tmp_path / "empty")
    assert sizes == [20, len(pairs.sequences) - 20, len(pairs.sequences)]
    torch.testing.assert_close(read.sequences.features, alone.sequences.features)  # type: ignore[attr-defined]


def test_two_processes_share_a_pass_and_an_interrupted_one_goes_on(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process holds the first shard, and has computed it when this one comes back to it."""
    pairs, scorer = split(frame, reward_model, "train"), reward_model.scorer(64)
    _, (alone,) = embed_for_head(scorer, [pairs], 8192, tmp_path / "alone")
    monkeypatch.setattr(embedding_cache, "SHARD_TOKENS", 400)
    first, *others = embedding_cache.shards(pairs.sequences)
    assert len(others) > 2
    computed: list[int] = []
    compute = head_only.frozen_batches

    def counted(scorer: Scorer, sequences: Sequences, *given: Any) -> Any:
        if len(computed) == 2 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt
        computed.append(len(sequences))
        return compute(scorer, sequences, *given)

    monkeypatch.setattr(head_only, "frozen_batches", counted)
    keys = embedding_cache.sequence_keys(pairs.sequences)
    (folder,) = (tmp_path / "alone").iterdir()
    shared = tmp_path / "shared" / folder.name
    held, release = threading.Event(), threading.Event()

    def other() -> None:
        with embedding_cache.alone_with(shared, keys[first], waits=False):
            held.set()
            release.wait(30)
            known, vectors = embedding_cache.find_vectors(folder, keys[first])
            assert known.all()
            embedding_cache.add_vectors(shared, keys[first], vectors)

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(30)
    with pytest.raises(KeyboardInterrupt):
        embed_for_head(scorer, [pairs], 8192, tmp_path / "shared")
    release.set()
    _, (together,) = embed_for_head(scorer, [pairs], 8192, tmp_path / "shared")
    thread.join(30)
    assert sorted(computed) == sorted(len(shard) for shard in others)  # nothing twice, and not what the other computed
    torch.testing.assert_close(together.sequences.features, alone.sequences.features)  # type: ignore[attr-defined]


def test_a_cache_that_cannot_be_written_does_not_stop_training(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    pairs = split(frame, reward_model, "train")
    _, (read,) = embed_for_head(reward_model.scorer(64), [pairs], 8192, tmp_path / "cache")
    assert len(read.sequences) == len(pairs.sequences)
    assert "Cannot cache" in capsys.readouterr().err


def test_with_lora_the_probe_sets_the_trained_head(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path
) -> None:
    config = replace(CONFIG, trained="lora", lora_rank=2)
    training, validation = (split(frame, reward_model, name) for name in ("train", "validation"))
    model = make_trainable(reward_model.model, "scratch-10k", config)
    scorer = RewardModel(model, reward_model.tokenizer).scorer(64)
    before = model_margins(scorer, validation, 8192)
    start_from_probe(scorer, training, validation, config, tmp_path)
    assert reward_head(model).weight.requires_grad
    after = model_margins(scorer, validation, 8192)
    assert np.logaddexp(0, -after).mean() < np.logaddexp(0, -before).mean() - 0.02


def test_the_probe_excludes_what_confounders_predict(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path
) -> None:
    sets = [split(frame, reward_model, name) for name in ("train", "validation")]
    scorer = reward_model.scorer(64)
    start_from_probe(scorer, *sets, CONFIG, tmp_path)
    plain = [model_margins(scorer, one, 8192) for one in sets]
    # confounders that predict everything this head does, and more
    known = [
        replace(one, nuisance=np.column_stack([3 * margins, 0 * margins, 0 * margins]).astype(np.float32))
        for one, margins in zip(sets, plain, strict=True)
    ]
    start_from_probe(scorer, *known, CONFIG, tmp_path)
    assert model_margins(scorer, sets[1], 8192) == pytest.approx(plain[1], rel=1e-3)  # no confounders subtracted
    start_from_probe(scorer, *known, replace(CONFIG, has_nuisance_head=True), tmp_path)
    assert np.abs(model_margins(scorer, sets[1], 8192)).mean() < 0.6 * np.abs(plain[1]).mean()


def test_pairs_with_equal_sides_do_not_change_the_probe(
    frame: pl.DataFrame, reward_model: RewardModel, tmp_path: Path
) -> None:
    training, validation = (split(frame, reward_model, name) for name in ("train", "validation"))
    scorer, weights = reward_model.scorer(64), []
    for is_equal in (False, True):
        odd = replace(training, is_equal=np.arange(training.post.size) % 2 == 1)
        if is_equal:  # the other pairs swapped: if they were read, the head would learn the opposite
            swapped = np.where(odd.is_equal, odd.rejected, odd.chosen), np.where(odd.is_equal, odd.chosen, odd.rejected)
            odd = replace(odd, chosen=swapped[0], rejected=swapped[1])
        start_from_probe(scorer, odd, validation, CONFIG, tmp_path)
        weights.append(reward_head(scorer.model).weight.detach().clone())
    assert torch.equal(*weights)


def test_training_and_not_the_probe_rejects_pairs_with_equal_sides(workspace: Workspace, frame: pl.DataFrame) -> None:
    save_pairs(workspace, "alike", frame.with_columns(rejected=pl.col("chosen")))
    config = RunConfig(pairs="alike", model="scratch-10k", train=CONFIG)
    with pytest.raises(LurkerError, match="the two sides of every pair are equal"):
        train_run(workspace, "alike", config, resume=False)


def test_a_killed_run_resumes_from_its_checkpoint_and_not_from_the_probe(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = replace(CONFIG, min_steps=8, epochs=1, checkpoint_interval_s=0.0)
    config = RunConfig(pairs="planted", model="scratch-10k", train=train, test_pairs=("planted",))
    train_run(workspace, "uninterrupted", config, resume=False)
    from rm.training import loop

    append = loop.append_metric

    def killed(folder: Path, metric: dict[str, float]) -> None:
        if metric["step"] == 5:
            raise KeyboardInterrupt
        append(folder, metric)

    monkeypatch.setattr(loop, "append_metric", killed)
    with pytest.raises(KeyboardInterrupt):
        train_run(workspace, "cut", config, resume=False)
    monkeypatch.setattr(loop, "append_metric", append)
    train_run(workspace, "cut", config, resume=True)
    losses = [
        [orjson.loads(line)["train_log_loss"] for line in (workspace.folder("runs", run) / "metrics.jsonl").open("rb")]
        for run in ("uninterrupted", "cut")
    ]
    assert losses[0] == losses[1] and len(losses[0]) >= 8


def test_a_probe_for_the_head_alone_is_rejected() -> None:
    with pytest.raises(ValueError, match="head=probe works with"):
        TrainConfig(learning_rate=1e-3, head="probe", trained="head")
