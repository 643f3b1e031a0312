"""Tokenizers for which a special token spelled out in a text is text.

`</s>`, `[SEP]` or `<|endoftext|>` in a response would otherwise end it, and could be written to game a reward.
"""

import hashlib
import json
from typing import Any

NORMAL_TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def rename_special_tokens(tokenizer: Any) -> tuple[Any, dict[str, str]]:
    """A copy of a fast tokenizer's backend whose special tokens have names that no text holds by chance.

    Ids stay as they are. The names follow from the tokenizer, so that they are the same at every call.

    Returns:
        The backend, without truncation, padding and post-processor; and the new name of each special token.
    """
    from tokenizers import Tokenizer

    written = tokenizer.backend_tokenizer.to_str()
    content = json.loads(written)
    digest = hashlib.sha256(written.encode()).hexdigest()[:16]
    specials = {token["content"]: token["id"] for token in content["added_tokens"] if token["special"]}
    specials |= {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    names = {token: f"<|{digest}-{number}|>" for token, number in specials.items()}
    for token in content["added_tokens"]:
        if token["content"] in names:
            token.update(NORMAL_TOKEN, content=names[token["content"]], special=True)
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): number for token, number in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    content |= {"truncation": None, "padding": None, "post_processor": None}
    return Tokenizer.from_str(json.dumps(content, ensure_ascii=False)), names


def plain_backend(tokenizer: Any) -> Any | None:
    """The backend to tokenise texts with where the tokenizer's own model finds special tokens in them, as Unigram does.

    None where splitting special tokens is enough. It is made once per tokenizer.
    """
    if not getattr(tokenizer, "is_fast", False) or type(tokenizer.backend_tokenizer.model).__name__ != "Unigram":
        return None
    if not hasattr(tokenizer, "_lurker_plain_backend"):
        tokenizer._lurker_plain_backend = rename_special_tokens(tokenizer)[0]
    return tokenizer._lurker_plain_backend
