"""An exported run gives the run's rewards however it is called: by its card, as a chat model, and inside TRL."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from lurker.workspace import Workspace
from rm.evaluation.score import score_texts, text_scorer
from rm.models.ladder import load
from rm.pairs.subsets import texts
from rm.pairs.tokens import encode, layout
from rm.runs.export import export_run
from rm.runs.export_tokenizer import export_tokenizer
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig
from tests.rm.conftest import planted_pairs

TRAIN = TrainConfig(learning_rate=1e-3, epochs=1, min_steps=2, max_tokens=48)
PROMPTS = ["the road?", "", "what is </s> or <|end|>", "tea [SEP]", "rain  \n\n rain " * 20]
RESPONSES = ["amber</s> cedar [SEP][CLS]", "<|endoftext|>", " two\n\nlines ", "<|end|><|pad|>", "husk"]
Score = Callable[[list[str], list[str]], list[float]]


def bert_style() -> PreTrainedTokenizerFast:
    """WordPiece with [CLS] and [SEP]."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(
        texts(planted_pairs(20)), trainers.WordPieceTrainer(special_tokens=names, vocab_size=300)
    )
    kinds = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **dict(zip(kinds, names, strict=True)))


def gpt_style() -> PreTrainedTokenizerFast:
    """Byte-level BPE with one special token and none between texts."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = ["<|endoftext|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(special_tokens=names, vocab_size=400, initial_alphabet=alphabet)
    backend.train_from_iterator([*texts(planted_pairs(20)), "a\n\nb"] * 2, trainer)
    ends = {"bos_token": names[0], "eos_token": names[0], "pad_token": names[1]}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **ends)


def unigram_style() -> PreTrainedTokenizerFast:
    """Unigram with <s> and </s>, whose model itself finds them in plain text."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(special_tokens=names, unk_token="<unk>", vocab_size=200)
    backend.train_from_iterator([*texts(planted_pairs(20)), "</s>[]|<>?"], trainer)
    ends = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", **ends)


@pytest.mark.parametrize("make", [bert_style, gpt_style, unigram_style])
def test_every_way_to_call_an_exported_tokenizer_gives_the_tokens_of_training(
    make: Callable[[], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    tokenizer = make()
    export_tokenizer(tokenizer, 400).save_pretrained(tmp_path)
    exported = AutoTokenizer.from_pretrained(tmp_path)
    expected = [tokens.tolist() for tokens in encode(tokenizer, PROMPTS, RESPONSES, 400).tokens]
    around = layout(tokenizer)
    specials = {tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    specials -= {tokenizer.unk_token_id, None}
    for tokens in expected:  # what texts spell is no special token
        n_special = sum(token in specials for token in tokens)
        assert n_special == sum(token in specials for token in (*around.start, *around.separator, *around.end))
    assert exported(PROMPTS, RESPONSES)["input_ids"] == expected
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    ]
    assert exported.apply_chat_template(chats, return_dict=True)["input_ids"] == expected
    rendered = exported.apply_chat_template(chats, tokenize=False)
    assert exported(rendered, add_special_tokens=False)["input_ids"] == expected
    name = exported.eos_token or exported.sep_token
    marked = [{"role": "user", "content": "tea"}, {"role": "assistant", "content": f"am{name}ber"}]
    plain = [marked[0], {"role": "assistant", "content": "amber"}]
    assert exported.apply_chat_template(marked, tokenize=False) == exported.apply_chat_template(plain, tokenize=False)


@pytest.fixture(params=["bert", "gpt"])
def exported(
    request: pytest.FixtureRequest, workspace: Workspace, tmp_path: Path
) -> tuple[Path, Callable[..., list[float]]]:
    """The folder of an exported run, and what the run itself scores."""
    tokenizer = bert_style() if request.param == "bert" else gpt_style()
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    if request.param == "bert":
        model = BertForSequenceClassification(BertConfig(**sizes, max_position_embeddings=48, initializer_range=0.3))
    else:
        model = LlamaForSequenceClassification(LlamaConfig(**sizes, initializer_range=0.3))
    model.save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    config = RunConfig(pairs="planted", model=str(tmp_path / "start"), train=TRAIN, test_pairs=("planted",))
    train_run(workspace, "run", config, resume=False, baselines="none")
    export_run(workspace, "run", tmp_path / "exported")
    scorer = text_scorer(load(workspace.folder("runs", "run") / "model"), TRAIN)
    return tmp_path / "exported", lambda prompts, responses: score_texts(scorer, prompts, responses)


def test_the_card_and_trl_give_the_rewards_of_the_run(
    exported: tuple[Path, Score], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, score = exported
    monkeypatch.chdir(folder)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    prompts, responses = [*PROMPTS, "tea " * 90], [*RESPONSES, "amber </s> " * 90]
    shown: dict[str, object] = {}
    for prompt, response, ours in zip(prompts, responses, score(prompts, responses), strict=True):
        exec(code.replace('"prompt", "response")]', f"{prompt!r}, {response!r})]"), shown)
        assert float(shown["reward"][0]) == pytest.approx(ours, abs=1e-4)  # type: ignore[index]
    short = slice(0, 4)
    assert trl_rewards(folder, prompts[short], responses[short], tmp_path) == pytest.approx(
        score(prompts[short], responses[short]), abs=1e-4
    )


def trl_rewards(folder: Path, prompts: list[str], responses: list[str], out: Path) -> list[float]:
    """What GRPO's trainer computes with the exported folder as its reward model."""
    import trl

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    of_policy = gpt_style()
    of_policy.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    policy = LlamaForCausalLM(LlamaConfig(vocab_size=len(of_policy), pad_token_id=of_policy.pad_token_id, **sizes))
    asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
    answers = [[{"role": "assistant", "content": response}] for response in responses]
    settings = trl.GRPOConfig(
        output_dir=str(out), use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=2, num_generations=2
    )
    trainer = trl.GRPOTrainer(
        model=policy,
        reward_funcs=[model],
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in asked]),
        processing_class=of_policy,
        reward_processing_classes=[tokenizer],
    )
    rewards = trainer._calculate_rewards([{"prompt": prompt} for prompt in asked], asked, answers, [[0]] * len(asked))
    return [float(reward) for reward in np.asarray(rewards[:, 0])]


def test_trl_trains_on_from_an_export_with_the_tokens_of_training(exported: tuple[Path, Score], tmp_path: Path) -> None:
    import trl

    folder, _ = exported
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [
        {
            "prompt": [{"role": "user", "content": "tea </s>?"}],
            "chosen": [{"role": "assistant", "content": "amber [SEP] <|endoftext|>"}],
            "rejected": [{"role": "assistant", "content": "husk"}],
        }
    ] * 2
    settings = trl.RewardConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], max_length=48)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    trainer = trl.RewardTrainer(
        model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    original = AutoTokenizer.from_pretrained(folder.parent / "start")
    for side, response in (("chosen", "amber [SEP] <|endoftext|>"), ("rejected", "husk")):
        (expected,) = encode(original, ["tea </s>?"], [response], 48).tokens
        assert trainer.train_dataset[0][f"{side}_ids"] == expected.tolist()


def test_a_model_that_reads_no_prompts_gets_none_from_its_chat_template(tmp_path: Path) -> None:
    tokenizer = bert_style()
    exported = export_tokenizer(tokenizer, 48, max_prompt_tokens=0)
    messages = [{"role": "user", "content": "tea?"}, {"role": "assistant", "content": "amber"}]
    (expected,) = encode(tokenizer, ["tea?"], ["amber"], 48, 0).tokens
    assert exported.apply_chat_template(messages, return_dict=True)["input_ids"] == expected.tolist()
