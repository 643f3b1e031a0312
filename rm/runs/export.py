"""A run as a Hugging Face folder: weights, a tokenizer that lays texts out by itself, and a model card."""

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
from rm.training.run_folder import finished_run, run_config

PROBES = (("A question about tea", "Black, and without sugar."), ("", "✨ two\n\nlines"))
TOLERANCE = 1e-4


def export_run(workspace: Workspace, run_id: str, out: Path) -> Path:
    """Write the run's model as AutoModelForSequenceClassification and TRL load it; the folder appears whole.

    `tokenizer(prompt, response)` gives the very tokens that the model was trained on, which two texts are scored to
    show before the folder is named.
    Errors: CallError when there is no such run, it reads pairs, or the folder exists; LurkerError when the exported
    model scores otherwise or cannot be written.
    """
    source = finished_run(workspace, run_id)
    if out.exists():
        raise CallError(f"{out} exists already.", "Name another folder with --out.")
    described = read_json(source / "config.json")
    reward_model = load(source / "model")
    train = run_config(described).train
    scorer = text_scorer(reward_model, train)
    temporary = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        tokenizer = self_laying(reward_model.tokenizer, train.max_tokens)
        reward_model.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "README.md").write_text(model_card(run_id, described, read_json(source / "result.json")), "utf-8")
        _require_equal_scores(scorer, temporary, train)
        temporary.rename(out)
        note_export(source, out)
    except OSError as error:
        raise LurkerError(f"Cannot write {out}: {error}.", "Free some space, or name another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def self_laying(tokenizer: Any, max_tokens: int) -> Any:
    """A tokenizer whose call with (prompt, response) gives the sequence of `rm.pairs.tokens.encode`.

    Errors: CallError for a tokenizer without the fast form, which no template can be given.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    if not getattr(tokenizer, "is_fast", False):
        raise CallError("The model's tokenizer has no fast form, so it cannot be exported.", "Use it through lurker.")
    frame = layout(tokenizer)
    parts = [("<start>", frame.start), ("<between>", frame.separator), ("<end>", frame.end)]
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
    """The README of the folder: what the model was trained on, how to call it, and every figure with its baselines."""
    rows = "\n".join(
        f"| {row['pairs']} | {row['predictor']} | {row['accuracy']:.3f} [{row['accuracy_low']:.3f}, "
        f"{row['accuracy_high']:.3f}] | {row['n_test_pairs']:,} | {row['n_test_posts']:,} |"
        for row in result["evaluations"]
    )
    train = described["train"]
    delay = (
        "\nIts input held each response's delay (`[3 hours] text`): its accuracy is partly the clock's.\n"
        if train["with_delay"]
        else ""
    )
    n_prompt = train["max_prompt_tokens"]
    limit = ""
    if n_prompt is not None:
        limit = f"\nIt read at most {n_prompt:,} tokens of a prompt: cut yours{'' if n_prompt else ' to nothing'}.\n"
    seeds = f"seed {result['seed']}"
    if "mean_of" in described:
        seeds = f"the mean of the weights of {len(described['mean_of'])} runs that differ by seed"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, preference, reddit, lurker]
---
# {run_id}

A reward model: one number for a response to a prompt, higher where the voters of
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
pairs of {result["n_train_posts"]:,} posts of the pair set `{result["pairs"]}`, {result["steps"]:,} steps, weights that
train: {train["trained"]}, at most {train["max_tokens"]:,} tokens, learning rate {train["learning_rate"]:g};
{seeds}.

## Accuracy, beside what it must beat
95 % intervals clustered by post. `length` and `time` name the longer and the earlier response.

| pairs | predictor | accuracy | pairs | posts |
|---|---|---|---|---|
{rows}
"""


@torch.no_grad()
def _require_equal_scores(scorer: TextScorer, folder: Path, train: TrainConfig) -> None:
    """Score the probes through transformers alone; a limit of the prompt is the caller's to keep, so without a prompt.

    Errors: LurkerError when tokens or rewards differ.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    prompts, responses = (list(texts) for texts in zip(*PROBES, strict=True))
    if train.max_prompt_tokens is not None:
        prompts = [""] * len(responses)
    batch = tokenizer(prompts, responses, padding=True, return_tensors="pt")
    expected = encode(scorer.tokenizer, prompts, responses, train.max_tokens)
    for ids, mask, tokens in zip(batch["input_ids"], batch["attention_mask"], expected.tokens, strict=True):
        if ids[mask.bool()].tolist() != tokens.tolist():
            raise LurkerError("The exported tokenizer lays texts out otherwise than the run's.")
    rewards = model(**batch).logits[:, 0].tolist()
    ours = score_texts(scorer, prompts, responses)
    if max(abs(a - b) for a, b in zip(rewards, ours, strict=True)) > TOLERANCE:
        raise LurkerError(f"The exported model gives {rewards}, the run's gives {ours}.")
