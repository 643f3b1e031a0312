"""Export a run as a Hugging Face folder: weights, a tokenizer that arranges prompt and response, and a model card."""

import shutil
import uuid
from pathlib import Path
from typing import Any

import torch

from lurker.errors import CallError, LurkerError
from lurker.exports import note_export
from lurker.workspace import Workspace, read_json
from rm.evaluation.score import TextScorer, score_texts, text_scorer
from rm.models.ladder import load
from rm.pairs.tokens import encode, layout
from rm.training.config import TrainConfig
from rm.training.identity import copy_seen_posts
from rm.training.run_folder import finished_run, run_config

CHECKED_TEXTS = (("A question about tea", "Black, and without sugar."), ("", "✨ two\n\nlines"))
TOLERANCE = 1e-4
"""Largest difference between exported and original rewards."""


def export_run(workspace: Workspace, run_id: str, out: Path) -> Path:
    """Write the run's model as AutoModelForSequenceClassification and TRL load it.

    `tokenizer(prompt, response)` returns exactly the tokens that the model was trained on. The folder appears only
    after the exported model has scored two texts like the original.

    Returns:
        The folder, `out`.

    Raises:
        CallError: There is no such run, it is a pairwise model, or the folder exists.
        LurkerError: The exported model scores differently or cannot be written.
    """
    source = finished_run(workspace, run_id)
    if out.exists():
        raise CallError(f"{out} exists already.", "Choose another folder with `--out`.")
    described = read_json(source / "config.json")
    reward_model = load(source / "model")
    train = run_config(described).train
    scorer = text_scorer(reward_model, train)
    temporary = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        tokenizer = template_tokenizer(reward_model.tokenizer, train.max_tokens)
        reward_model.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        copy_seen_posts(source / "model", temporary)
        (temporary / "README.md").write_text(model_card(run_id, described, read_json(source / "result.json")), "utf-8")
        _require_equal_scores(scorer, temporary, train)
        temporary.rename(out)
        note_export(source, out)
    except OSError as error:
        raise LurkerError(f"Cannot write {out}: {error}.", "Free some space, or name another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def template_tokenizer(tokenizer: Any, max_tokens: int) -> Any:
    """A tokenizer that arranges (prompt, response) as `rm.pairs.tokens.encode` does.

    Raises:
        CallError: It is not a fast tokenizer, and only those support templates.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    if not getattr(tokenizer, "is_fast", False):
        raise CallError("A slow tokenizer cannot be exported.", "Score texts with `lurker rm score` instead.")
    around = layout(tokenizer)
    parts = [("<start>", around.start), ("<between>", around.separator), ("<end>", around.end)]
    names = tokenizer.convert_ids_to_tokens
    known = [{"id": name, "ids": list(ids), "tokens": names(list(ids))} for name, ids in parts if ids]
    start, between, end = (f"{name}:0 " if ids else "" for name, ids in parts)
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = TemplateProcessing(
        single=f"{start}{between}$A:0 {end}".strip(),
        pair=f"{start}$A:0 {between}$B:0 {end}".strip(),
        special_tokens=known,
    )
    special = {
        name: getattr(tokenizer, name)
        for name in ("pad_token", "bos_token", "eos_token", "sep_token", "cls_token", "unk_token", "mask_token")
        if getattr(tokenizer, name) is not None
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="right",
        truncation_side="right",
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )


def model_card(run_id: str, described: dict[str, Any], result: dict[str, Any]) -> str:
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
        read = f"at most {n_prompt:,} tokens of each prompt: cut yours to that length" if n_prompt else "empty prompts"
        limit = f"\nIt was trained with {read}.\n"
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
batch = tokenizer(["prompt"], ["response"], padding=True, truncation="only_first", return_tensors="pt")
reward = model(**batch).logits[:, 0]
```

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
    prompts, responses = (list(texts) for texts in zip(*CHECKED_TEXTS, strict=True))
    if train.max_prompt_tokens is not None:
        prompts = [""] * len(responses)
    batch = tokenizer(prompts, responses, padding=True, return_tensors="pt")
    expected = encode(scorer.tokenizer, prompts, responses, train.max_tokens)
    for ids, mask, tokens in zip(batch["input_ids"], batch["attention_mask"], expected.tokens, strict=True):
        if ids[mask.bool()].tolist() != tokens.tolist():
            raise LurkerError("The exported tokenizer returns other tokens than the run's.")
    rewards = model(**batch).logits[:, 0].tolist()
    ours = score_texts(scorer, prompts, responses)
    if max(abs(a - b) for a, b in zip(rewards, ours, strict=True)) > TOLERANCE:
        raise LurkerError(f"The exported model's rewards are {rewards}, and the run's are {ours}.")
