"""Export a run as a Hugging Face folder: weights, a tokenizer that arranges prompt and response, and a model card."""

import shutil
import uuid
from pathlib import Path
from typing import Any

import torch

from lurker.errors import CallError, LurkerError
from lurker.exports import note_export
from lurker.files import read_json, require_file_name
from lurker.progress import say
from lurker.workspace import Workspace
from rm.evaluation.score import TextScorer, score_texts, text_scorer
from rm.models.ladder import load
from rm.pairs.tokens import Layout, encode, layout
from rm.runs.export_tokenizer import export_tokenizer
from rm.training.config import TrainConfig
from rm.training.identity import copy_seen_posts
from rm.training.run_folder import finished_run, run_config

CHECKED_TEXTS = (("A question about tea", "Black, and without sugar."), ("", "✨ two\n\nlines"))
CHAT = """
Its chat template gives the same tokens for a conversation that ends with the response, so trainers take the folder as
a reward model: `tokenizer.apply_chat_template(messages)`, or what it renders with `add_special_tokens=False`. A special
token that a text spells is read as text.
"""
TOLERANCE = 1e-4
"""Largest difference between exported and original rewards."""


def export_run(workspace: Workspace, run_id: str, out: Path) -> Path:
    """Write the run's model as AutoModelForSequenceClassification and TRL load it.

    `tokenizer(prompt, response)` and the chat template return exactly the tokens that the model was trained on. The
    folder appears only after the exported model has scored a few texts like the original.

    Returns:
        The folder, `out`.

    Raises:
        CallError: There is no such run, it is a pairwise model, or the folder exists.
        LurkerError: The exported model scores differently or cannot be written.
    """
    source = finished_run(workspace, run_id)
    require_file_name(out)
    if out.exists():
        raise CallError(f"{out} exists already.", "Choose another folder with `--out`.")
    described = read_json(source / "config.json")
    reward_model = load(source / "model")
    train = run_config(described).train
    scorer = text_scorer(reward_model, train)
    temporary = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        tokenizer = export_tokenizer(reward_model.tokenizer, train.max_tokens, train.max_prompt_tokens)
        is_chat = _has_equal_tokens(scorer, tokenizer, train)
        if not is_chat:
            tokenizer.chat_template = None
            say("The export has no chat template: this tokenizer reads a text differently inside a conversation.")
        reward_model.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        copy_seen_posts(source / "model", temporary)
        result = read_json(source / "result.json")
        card = model_card(run_id, described, result, layout(reward_model.tokenizer), has_chat_template=is_chat)
        (temporary / "README.md").write_text(card, "utf-8")
        _require_equal_scores(scorer, temporary, train)
        temporary.rename(out)
        note_export(source, out)
    except OSError as error:
        raise LurkerError(f"Cannot write {out}: {error}.", "Free some space, or name another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def model_card(
    run_id: str, described: dict[str, Any], result: dict[str, Any], around: Layout, *, has_chat_template: bool
) -> str:
    """The exported README: what the model was trained on, how to use it, and its accuracy next to the baselines."""
    rows = "\n".join(
        f"| {row['pairs']} | {row['predictor']} | {row['accuracy']:.3f} [{row['accuracy_low']:.3f}, "
        f"{row['accuracy_high']:.3f}] | {row['n_test_pairs']:,} | {row['n_test_posts']:,} |"
        for row in result["evaluations"]
    )
    train = described["train"]
    delay = (
        "\nIts input includes each response's delay (`[3 hours] text`), so part of its accuracy comes from timing.\n"
        if train["with_delay"]
        else ""
    )
    n_prompt = train["max_prompt_tokens"]
    limit = ""
    if n_prompt is not None:
        read = f"at most {n_prompt:,} tokens of each prompt" if n_prompt else "empty prompts"
        limit = f"\nIt was trained with {read}.\n"
    room = train["max_tokens"] - around.n_tokens
    of_prompt = "prompt" if n_prompt is None else f"prompt[:{n_prompt}]"
    parts = [", ".join(map(str, ids)) for ids in (around.start, around.separator, around.end)]
    start, between, end = (f"{ids}, " if ids else "" for ids in parts)
    sequence = f"{start}*prompt, {between}*response, {end}".rstrip(", ")
    chat = CHAT if has_chat_template else ""
    seeds = f"seed {result['seed']}"
    if "mean_of" in described:
        seeds = f"mean of the weights of {len(described['mean_of'])} runs with different seeds"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, preference, reddit, lurker]
---
# {run_id}

A reward model: a number for each response to a prompt, higher if the voters of
{", ".join(f"r/{name}" for name in result["subreddits"])} would like it more. Rewards compare responses to one prompt;
the difference of two is the log-odds that the first is liked more.
{delay}{limit}
```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained(".").eval()
tokenizer = AutoTokenizer.from_pretrained(".")


def encode(prompt, response):  # a long prompt is cut first, then the end of the response, as in training
    prompt, response = tokenizer([prompt, response], add_special_tokens=False)["input_ids"]
    response = response[:{room}]
    prompt = {of_prompt}[:{room} - len(response)]
    return {{"input_ids": [{sequence}]}}


batch = tokenizer.pad([encode("prompt", "response")], return_tensors="pt")
reward = model(**batch).logits[:, 0]
```
{chat}
## Training
From `{result["model"]}` ({result["n_parameters"]:,} parameters without embeddings) on {result["n_train_pairs"]:,}
pairs from {result["n_train_posts"]:,} posts of the pair set `{result["pairs"]}`: {result["steps"]:,} steps, trained
weights: {train["trained"]}, at most {train["max_tokens"]:,} tokens, learning rate {train["learning_rate"]:g},
{seeds}.

## Accuracy next to the baselines
95 % intervals clustered by post. `length` and `time` predict the longer and the earlier response.

| pairs | predictor | accuracy | pairs | posts |
|---|---|---|---|---|
{rows}
"""


def _checked_texts(tokenizer: Any) -> tuple[list[str], list[str]]:
    """Prompts and responses on which export and run are compared; some spell special tokens."""
    spelt = " ".join(tokenizer.all_special_tokens)
    prompts, responses = (list(texts) for texts in zip(*CHECKED_TEXTS, strict=True))
    return [*prompts, f"What does {spelt} mean?"], [*responses, f"{spelt}{spelt} the end{spelt}"]


def _has_equal_tokens(scorer: TextScorer, exported: Any, train: TrainConfig) -> bool:
    """Whether the exported chat template gives the run's tokens."""
    prompts, responses = _checked_texts(scorer.tokenizer)
    if train.max_prompt_tokens:
        prompts = [""] * len(prompts)
    expected = encode(scorer.tokenizer, prompts, responses, train.max_tokens, train.max_prompt_tokens)
    for prompt, response, tokens in zip(prompts, responses, expected.tokens, strict=True):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text = exported.apply_chat_template(messages, tokenize=False)
        ids = exported(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= train.max_tokens and ids != tokens.tolist():
            return False
    return True


@torch.no_grad()
def _require_equal_scores(scorer: TextScorer, folder: Path, train: TrainConfig) -> None:
    """Compare tokens and rewards of the exported model, through transformers alone, with the original's.

    With max_prompt_tokens the caller must cut prompts, so the comparison then uses empty ones.

    Raises:
        LurkerError: Tokens or rewards differ.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    prompts, responses = _checked_texts(scorer.tokenizer)
    if train.max_prompt_tokens is not None:
        prompts = [""] * len(responses)
    batch = tokenizer(prompts, responses, padding=True, truncation=True, return_tensors="pt")
    expected = encode(scorer.tokenizer, prompts, responses, train.max_tokens)
    for ids, mask, tokens in zip(batch["input_ids"], batch["attention_mask"], expected.tokens, strict=True):
        if tokens.size < train.max_tokens and ids[mask.bool()].tolist() != tokens.tolist():
            raise LurkerError("The exported tokenizer returns other tokens than the run's.")
    rewards = model(**batch).logits[:, 0].tolist()
    ours = score_texts(scorer, prompts, responses)
    is_short = [tokens.size < train.max_tokens for tokens in expected.tokens]
    if max((abs(a - b) for a, b, same in zip(rewards, ours, is_short, strict=True) if same), default=0) > TOLERANCE:
        raise LurkerError(f"The exported model's rewards are {rewards}, and the run's are {ours}.")
