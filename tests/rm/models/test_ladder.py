from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from lurker.errors import CallError
from rm.evaluation.score import score_texts, text_scorer
from rm.models.ladder import LADDER, RewardModel, build, check_spec, require_loadable
from rm.models.loading import HUB_TIMEOUT_S
from rm.pairs.tokens import encode, train_tokenizer
from rm.policy.causal import build_causal
from rm.training.config import TrainConfig
from rm.training.identity import model_digest

TEXTS = ["the road was long", "we went home after rain", "tea with amber", "ünïcode ✨ and 日本"] * 3

CONFIG = TrainConfig(learning_rate=1e-3, max_tokens=64)


def small(seed: int = 0) -> RewardModel:
    return build("scratch-10k", TEXTS, 400, seed)


@pytest.mark.parametrize("spec", sorted(LADDER))
def test_a_name_on_the_ladder_states_its_size(spec: str) -> None:
    named = float(spec.removeprefix("scratch-")[:-1]) * {"k": 1e3, "m": 1e6}[spec[-1]]
    model = build(spec, TEXTS, 400, seed=0)
    assert model.n_parameters == pytest.approx(named, rel=0.2)
    assert model.n_parameters < model.n_parameters_total


def test_a_score_does_not_depend_on_other_texts_in_the_batch() -> None:
    model = small()
    texts = ["tea", "the road was long", "we went home after rain " * 20, "✨", "   "]
    together = score_texts(text_scorer(model, CONFIG), ["the road"] * 5, texts)
    alone = [score_texts(text_scorer(model, CONFIG), ["the road"], [text])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(alone)) == 5  # so the comparison is meaningful


@pytest.mark.parametrize("tokens_per_batch", [1, 50, 10_000])
def test_a_score_does_not_depend_on_the_batch_size(tokens_per_batch: int) -> None:
    model = small()
    sequences = encode(model.tokenizer, ["a", "bb", "c"], ["tea " * 9, "rain", "road " * 3], 64)
    with torch.no_grad():
        expected = model.scorer(64)(sequences)
        found = model.scorer(64)(sequences, tokens_per_batch)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, again, other = (
        score_texts(text_scorer(small(seed), CONFIG), ["the road"], ["tea with amber"])[0] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_an_exported_model_scores_the_same_through_transformers(tmp_path: Path) -> None:
    model = small()
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    exported = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(["the road", "rain"], ["tea with amber", "we went home ✨"], padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = exported(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0].tolist()
    ours = score_texts(text_scorer(model, CONFIG), ["the road", "rain"], ["tea with amber", "we went home ✨"])
    assert scores == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize("has_pad", [True, False])
def test_a_model_without_a_padding_token_gets_one_that_is_not_the_end_token(has_pad: bool, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.pad_token = tokenizer.eos_token if has_pad else None
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = build(str(tmp_path), [], 400, seed=0)
    assert model.tokenizer.pad_token_id != model.tokenizer.eos_token_id
    assert model.model.config.pad_token_id == model.tokenizer.pad_token_id
    alone = score_texts(text_scorer(model, CONFIG), ["rain"], ["tea"])
    in_batch = score_texts(text_scorer(model, CONFIG), ["rain", "rain"], ["tea", "we went home after rain and tea"])
    assert in_batch[0] == pytest.approx(alone[0], abs=1e-5)


@pytest.mark.parametrize("spec", ["scratch-3k", "", "no/such-model-anywhere"])
def test_the_error_for_an_unknown_model_lists_the_ladder(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CallError, match=r"scratch-10k.*scratch-16m"):
        build(spec, TEXTS, 400, seed=0)


@pytest.mark.parametrize(
    ("fault", "said"), [(OSError("Name or service not known"), "cannot be reached"), (None, "public or yours")]
)
def test_a_name_that_is_known_nowhere_is_refused_at_the_first_answer_of_the_hub(
    fault: Exception | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def model_info(_: object, spec: str, **options: object) -> None:
        asked.append((spec, options))
        raise fault or RepositoryNotFoundError("404", response=MagicMock())

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    builds = [partial(one, texts=TEXTS, vocabulary_size=400, seed=0) for one in (build, build_causal)]
    for load in (require_loadable, *builds):
        with pytest.raises(CallError, match=rf"{said}.*Did you mean smollm2-135m\?.*scratch-10k"):
            load("smolm2-135m")
    assert model_digest("smolm2-135m") is None
    assert asked == [("smolm2-135m", {"timeout": HUB_TIMEOUT_S})] * 4
    assert "is no model, run or folder here: asking the Hugging Face Hub" in capsys.readouterr().err


def test_a_baseline_is_no_model_and_is_refused_before_any_look_up() -> None:
    with pytest.raises(CallError, match="tfidf is a baseline"):
        check_spec("tfidf")


def test_a_folder_without_a_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"config\.json is missing"):
        build(str(tmp_path), TEXTS, 400, seed=0)
