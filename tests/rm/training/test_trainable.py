from collections.abc import Callable
from pathlib import Path

import orjson
import polars as pl
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.workspace import Workspace
from rm.models.ladder import RewardModel, build
from rm.models.scorer import Scorer
from rm.pairs.tokenised import tokenise
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.identity import SEEN
from rm.training.reward_step import train_rewards
from rm.training.run_folder import RunConfig
from rm.training.trainable import make_trainable, merge_adapters, train_config


def test_the_default_learning_rate_fits_the_trained_weights() -> None:
    assert train_config("minilm", 0, []).learning_rate == 2e-5
    assert train_config("minilm", 0, ["trained=lora"]).learning_rate == pytest.approx(2e-4)
    assert train_config("minilm", 0, ["trained=head"]).learning_rate == 1e-3
    assert train_config("minilm", 0, ["trained=lora", "learning_rate=3e-5"]).learning_rate == 3e-5


def test_a_run_continues_at_the_rate_of_the_model_it_started_from(tmp_path: Path) -> None:
    first, second = (
        {"run": run, "pairs": "naive", "model": model} for run, model in (("a", "scratch-50k"), ("b", "x"))
    )
    write_json({"lineage": [second, first]}, tmp_path / SEEN)
    assert train_config(str(tmp_path), 0, []).learning_rate == train_config("scratch-50k", 0, []).learning_rate
    write_json({"lineage": [first | {"model": "minilm"}]}, tmp_path / SEEN)
    assert train_config(str(tmp_path), 0, []).learning_rate == 2e-5


def test_lora_trains_adapters_only_and_merges_into_a_plain_model(
    planted: Callable[..., pl.DataFrame], pretrained: Path, tmp_path: Path
) -> None:
    reward_model = build(str(pretrained), [], 400, seed=0)
    before = {name: value.clone() for name, value in reward_model.model.state_dict().items()}
    config = TrainConfig(learning_rate=3e-3, trained="lora", lora_rank=4, min_steps=10, epochs=1, pairs_per_step=16)
    model = make_trainable(reward_model.model, str(pretrained), config)
    scorer = Scorer(model, reward_model.tokenizer.pad_token_id, 64)
    assert scorer.is_packed, scorer.reason_not_packed
    splits = [planted(30).filter(pl.col("split") == split) for split in ("train", "validation")]
    pairs = [tokenise(part, reward_model.tokenizer, 64) for part in splits]
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    train_rewards(scorer, pairs[0], pairs[1], config, tmp_path)
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    with torch.no_grad():
        adapted = scorer(pairs[1].sequences)
        plain = merge_adapters(model)
        assert set(plain.state_dict()) == set(before)
        again = Scorer(plain, reward_model.tokenizer.pad_token_id, 64)(pairs[1].sequences)
    assert torch.allclose(again, adapted, atol=1e-4)
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(plain.state_dict()[name], before[name])


@pytest.mark.parametrize("trained", ["lora", "head"])
def test_transformers_loads_the_model_of_a_run(workspace: Workspace, pretrained: Path, trained: str) -> None:
    settings = TrainConfig(
        learning_rate=1e-3,
        trained=trained,
        min_steps=5,
        epochs=1,
        max_tokens=64,
        has_tensorboard=True,  # type: ignore[arg-type]
    )
    config = RunConfig(pairs="planted", model=str(pretrained), train=settings, test_pairs=("planted",))
    result = train_run(workspace, "run", config, resume=False)
    assert result["steps"] >= 5
    run = workspace.root / "runs" / "run"
    _, info = AutoModelForSequenceClassification.from_pretrained(run / "model", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert list((run / "tensorboard").glob("events*"))


def test_training_the_head_of_a_random_model_is_rejected(workspace: Workspace) -> None:
    model = build("scratch-10k", ["the road"], 400, seed=0)
    with pytest.raises(CallError, match="random weights"):
        make_trainable(model.model, "scratch-10k", TrainConfig(learning_rate=1e-3, trained="head"))


def test_gradient_checkpointing_trains_to_the_same_losses(
    planted: Callable[..., pl.DataFrame], pretrained: Path, tmp_path: Path
) -> None:
    found = []
    for is_checkpointed in (False, True):
        config = TrainConfig(learning_rate=1e-3, is_checkpointed=is_checkpointed, min_steps=5, epochs=1)
        reward_model = build(str(pretrained), [], 400, seed=0)
        make_trainable(reward_model.model, str(pretrained), config)
        pairs = [tokenise(planted(20), reward_model.tokenizer, 64)] * 2
        out = tmp_path / str(is_checkpointed)
        out.mkdir()
        train_rewards(reward_model.scorer(64), pairs[0], pairs[1], config, out)
        lines = (out / "metrics.jsonl").read_bytes().splitlines()
        found.append([orjson.loads(line)["train_log_loss"] for line in lines])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_the_error_for_lack_of_memory_names_a_setting(
    planted: Callable[..., pl.DataFrame], pretrained: Path, tmp_path: Path
) -> None:
    reward_model = build(str(pretrained), [], 400, seed=0)
    pairs = tokenise(planted(10), reward_model.tokenizer, 64)

    def exhaust_memory(*_: object) -> None:
        torch.empty(1 << 50)  # the allocator really fails

    scorer = reward_model.scorer(64)
    scorer.model.score.register_forward_hook(exhaust_memory)
    with pytest.raises(LurkerError, match=r"Step 1: out of memory") as raised:
        train_rewards(scorer, pairs, pairs, TrainConfig(learning_rate=1e-3), tmp_path)
    assert "accumulation=2" in str(raised.value)


def test_frozen_weights_stay_out_of_the_checkpoint(
    planted: Callable[..., pl.DataFrame], pretrained: Path, tmp_path: Path
) -> None:
    reward_model: RewardModel = build(str(pretrained), [], 400, seed=0)
    config = TrainConfig(learning_rate=1e-3, trained="lora", lora_rank=2, min_steps=2, epochs=1)
    model = make_trainable(reward_model.model, str(pretrained), config)
    pairs = tokenise(planted(4), reward_model.tokenizer, 64)
    train_rewards(Scorer(model, 0, 64), pairs, pairs, config, tmp_path)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    assert kept and all("lora" in name or "score" in name for name in kept)
