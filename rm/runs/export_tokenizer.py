"""The tokenizer of an exported run: it arranges prompt and response as training did, in every way it can be called."""

import json
from typing import Any

from lurker.errors import CallError
from rm.pairs.plain_text import rename_special_tokens
from rm.pairs.tokens import layout

TEMPLATE = """\
{%- set parts = namespace(prompt='', response='') -%}
{%- for message in messages -%}
{%- set text = message['content']NO_MARKS -%}
{%- if loop.last and message['role'] == 'assistant' -%}
{%- set parts.response = text -%}
{%- else -%}
{%- set parts.prompt = parts.prompt + ('\\n\\n' if parts.prompt else '') + text -%}
{%- endif -%}
{%- endfor -%}
{{- START + PROMPT + BETWEEN + parts.response + ('' if add_generation_prompt else END) -}}
"""
"""Earlier messages are the prompt, the last one of the assistant is the response."""


def export_tokenizer(tokenizer: Any, max_tokens: int, max_prompt_tokens: int | None = None) -> Any:
    """A tokenizer that returns `rm.pairs.tokens.encode`'s tokens for (prompt, response), and for a conversation.

    Special tokens have other names in it, so that a text that spells one is read as text. The chat template writes
    the new names, and takes them out of messages: `apply_chat_template` and trainers that tokenise what it returns
    with add_special_tokens=False get the same ids. A model that never read prompts gets none from the template.

    Raises:
        CallError: It is not a fast tokenizer, and only those support templates.
    """
    from tokenizers.pre_tokenizers import Sequence, Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    if not getattr(tokenizer, "is_fast", False):
        raise CallError("A slow tokenizer cannot be exported.", "Score texts with `lurker rm score` instead.")
    around = layout(tokenizer)
    backend, names = rename_special_tokens(tokenizer)
    name_of = {tokenizer.convert_tokens_to_ids(token): name for token, name in names.items()}
    parts = [("<start>", around.start), ("<between>", around.separator), ("<end>", around.end)]
    known = [
        {"id": name, "ids": list(ids), "tokens": [backend.id_to_token(number) for number in ids]}
        for name, ids in parts
        if ids
    ]
    start, between, end = (f"{name}:0 " if ids else "" for name, ids in parts)
    backend.post_processor = TemplateProcessing(
        single=f"{start}{between}$A:0 {end}".strip(),
        pair=f"{start}$A:0 {between}$B:0 {end}".strip(),
        special_tokens=known,
    )
    boundary = next(iter(name_of.values())).replace("|>", "-boundary|>")
    between_text = "".join(name_of.get(number, "") for number in around.separator)
    if around.separator and not between_text:  # plain text, kept apart from what surrounds it
        between_text = f"{boundary}\n\n{boundary}"
        split = Split(boundary, "removed")
        backend.pre_tokenizer = Sequence([split, backend.pre_tokenizer]) if backend.pre_tokenizer else split
    special = {
        name: names[getattr(tokenizer, name)]
        for name in ("pad_token", "bos_token", "eos_token", "sep_token", "cls_token", "unk_token", "mask_token")
        if getattr(tokenizer, name) is not None
    }
    exported = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="right",
        truncation_side="right",
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )
    start_text, end_text = ("".join(name_of[number] for number in ids) for ids in (around.start, around.end))
    no_marks = "".join(f" | replace({json.dumps(mark)}, '')" for mark in (*names.values(), boundary))
    exported.chat_template = (
        TEMPLATE.replace("NO_MARKS", no_marks)
        .replace("START", json.dumps(start_text))
        .replace("PROMPT", "''" if max_prompt_tokens == 0 else "parts.prompt")
        .replace("BETWEEN", json.dumps(between_text))
        .replace("END", json.dumps(end_text))
    )
    return exported
