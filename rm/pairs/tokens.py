"""Texts as tokens: the ladder's tokenizer, padding, and the layout of prompt and response.

A sequence is `start · prompt · separator · response · end`. If it is longer than max_tokens, the prompt is cut first,
then the response, each at its end: beginnings say most, and the response is what the reward is about.
max_prompt_tokens limits the prompt further.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm.pairs.plain_text import plain_backend

Tokens = NDArray[np.int32]
Indices = NDArray[np.int64]
PAD, START, SEPARATOR, END = "<|pad|>", "<|start|>", "<|response|>", "<|end|>"
MIN_PAIR_FREQUENCY = 2
MAX_LEARNED_CHARS = 40_000
"""Characters of each text, from its start, that a tokenizer is trained on: Reddit's limit for a post. Training time is
quadratic in the length of a word, so one word of five million characters would take hours."""
KEPT_TOKENS = 2_000_000
"""Tokens of texts, about 70 MB, that the tokenizer of an experiment's cells keeps at most."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Token ids around the two texts of a sequence."""

    start: tuple[int, ...]
    separator: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of a sequence that are neither prompt nor response."""
        return len(self.start) + len(self.separator) + len(self.end)


@dataclass(frozen=True, slots=True)
class Sequences:
    """Token sequences, and which prefixes they share."""

    tokens: list[Tokens]
    """token ids of each of n sequences"""
    prompt: Indices
    """[n] code of the prompt"""
    n_prefix: Indices
    """[n] leading tokens up to the end of the prompt; of two sequences with one prompt, the shorter prefix starts the
    longer one"""
    n_cut: int = 0
    """sequences cut to max_tokens; cuts to max_prompt_tokens do not count"""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_tokens(self) -> Indices:
        """[n] tokens of each sequence."""
        return np.array([tokens.size for tokens in self.tokens], dtype=np.int64)

    @property
    def n_own(self) -> Indices:
        """[n] tokens of each sequence after its prefix, at least 1."""
        return self.n_tokens - self.n_prefix

    def take(self, indices: Indices) -> "Sequences":
        """The sequences with these indices, in that order."""
        return Sequences([self.tokens[index] for index in indices], self.prompt[indices], self.n_prefix[indices])


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Any:
    """Train a byte-level BPE tokenizer on the texts.

    Its alphabet holds every byte, so no text is out of vocabulary. It does not depend on the order of the texts.
    Source: Sennrich et al. 2016 (BPE); byte level as in Radford et al. 2019.

    Returns:
        A transformers fast tokenizer; `tokenizer(prompt, response)` arranges a sequence as `layout` describes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=MIN_PAIR_FREQUENCY,
        special_tokens=[PAD, START, SEPARATOR, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted({text[:MAX_LEARNED_CHARS] for text in texts}), trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in (START, SEPARATOR, END)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} {SEPARATOR} $A {END}", pair=f"{START} $A {SEPARATOR} $B:0 {END}:0", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        sep_token=SEPARATOR,
        eos_token=END,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer saved with `save_pretrained`."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


@lru_cache(maxsize=1)
def load_shared_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of an experiment's cells, once per process; it keeps the tokens of texts that cells share.

    Args:
        folder: Named by a digest of what the tokenizer was trained on, so its content never changes.
    """
    tokenizer = load_tokenizer(folder)
    tokenizer._lurker_kept_tokens = {}
    return tokenizer


def ensure_pad_token(tokenizer: Any) -> bool:
    """Add a padding token if the tokenizer has none or shares it with the end token.

    A decoder's classifier reads the last token that is not padding; with a shared token it would skip the end token.
    Source: huggingface/trl#937, RLHFlow#49 (equal scores for every text).

    Returns:
        Whether a token was added.
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    tokenizer.add_special_tokens({"pad_token": PAD})
    return True


def layout(tokenizer: Any) -> Layout:
    """The tokens that this tokenizer's models expect around texts: [CLS] and [SEP], or start and end tokens."""
    cls, sep, bos, eos = (getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "bos", "eos"))
    if cls is not None and sep is not None:
        return Layout((cls,), (sep,), (sep,))
    between = (sep,) if sep is not None else tuple(tokenizer("\n\n", add_special_tokens=False)["input_ids"])
    return Layout((bos,) if bos is not None else (), between, (eos,) if eos is not None else ())


def encode(
    tokenizer: Any,
    prompts: Sequence[str],
    responses: Sequence[str],
    max_tokens: int,
    max_prompt_tokens: int | None = None,
) -> Sequences:
    """Tokenise each (prompt, response); every distinct text is tokenised once.

    Special tokens spelled out in a text are treated as plain characters.

    Args:
        tokenizer: A transformers tokenizer.
        prompts: [n] texts.
        responses: [n] texts.
        max_tokens: Maximum tokens of a sequence.
        max_prompt_tokens: Maximum tokens of the prompt; no limit when None.

    Raises:
        ValueError: max_tokens leaves no room for text.
    """
    around = layout(tokenizer)
    room = max_tokens - around.n_tokens
    if room < 1:
        raise ValueError(f"max_tokens is {max_tokens}, but the tokens around the texts already take {around.n_tokens}")
    ids = token_ids(tokenizer, [*prompts, *responses])
    codes: dict[str, int] = {}
    tokens, code, n_prefix, n_cut = [], [], [], 0
    for prompt, response in zip(prompts, responses, strict=True):
        response_ids, prompt_ids = ids[response][:room], ids[prompt][:max_prompt_tokens]
        kept = prompt_ids[: room - len(response_ids)]
        n_cut += len(kept) < len(prompt_ids) or len(response_ids) < len(ids[response])
        sequence = [*around.start, *kept, *around.separator, *response_ids, *around.end] or _nothing(tokenizer)
        tokens.append(np.array(sequence, dtype=np.int32))
        code.append(codes.setdefault(prompt, len(codes)))
        n_prefix.append(min(len(around.start) + len(kept), tokens[-1].size - 1))
    return Sequences(tokens, np.array(code, dtype=np.int64), np.array(n_prefix, dtype=np.int64), n_cut)


def encode_both(
    tokenizer: Any,
    prompts: Sequence[str],
    firsts: Sequence[str],
    seconds: Sequence[str],
    max_tokens: int,
    max_prompt_tokens: int | None = None,
) -> Sequences:
    """Tokenise each (prompt, first, second) as `start · prompt · separator · first · separator · second · end`.

    If it is too long, the prompt is cut first, then the longer response, down to the length of the other.

    Args:
        tokenizer: A transformers tokenizer.
        prompts: [n] texts.
        firsts: [n] responses in first position.
        seconds: [n] responses in second position.
        max_tokens: Maximum tokens of a sequence.
        max_prompt_tokens: Maximum tokens of the prompt; no limit when None.

    Raises:
        ValueError: max_tokens leaves no room for a token of each response.
    """
    around = layout(tokenizer)
    n_around = around.n_tokens + len(around.separator)
    room = max_tokens - n_around
    if room < 2:
        raise ValueError(f"max_tokens is {max_tokens}, but the tokens around the texts already take {n_around}")
    ids = token_ids(tokenizer, [*prompts, *firsts, *seconds])
    codes: dict[str, int] = {}
    tokens, code, n_prefix, n_cut = [], [], [], 0
    for prompt, first, second in zip(prompts, firsts, seconds, strict=True):
        one, other = ids[first], ids[second]
        one = one[: max(room // 2, room - len(other))]
        other = other[: max(room // 2, room - len(one))][: room - len(one)]
        prompt_ids = ids[prompt][:max_prompt_tokens]
        kept = prompt_ids[: room - len(one) - len(other)]
        n_cut += len(kept) + len(one) + len(other) < len(prompt_ids) + len(ids[first]) + len(ids[second])
        parts = (around.start, kept, around.separator, one, around.separator, other, around.end)
        sequence = [token for part in parts for token in part] or _nothing(tokenizer)
        tokens.append(np.array(sequence, dtype=np.int32))
        code.append(codes.setdefault(prompt, len(codes)))
        n_prefix.append(min(len(around.start) + len(kept), tokens[-1].size - 1))
    return Sequences(tokens, np.array(code, dtype=np.int64), np.array(n_prefix, dtype=np.int64), n_cut)


def _nothing(tokenizer: Any) -> list[int]:
    """What a model reads of two empty texts where nothing stands around them: one padding token."""
    return [int(tokenizer.pad_token_id)]


def token_ids(tokenizer: Any, texts: Sequence[str]) -> dict[str, list[int]]:
    """Token ids of each distinct text, without special tokens."""
    unique = sorted(set(texts))
    kept: dict[str, list[int]] | None = getattr(tokenizer, "_lurker_kept_tokens", None)
    if kept is None:
        return _encoded(tokenizer, unique)
    new = _encoded(tokenizer, [text for text in unique if text not in kept])
    found = {text: kept[text] for text in unique if text in kept} | new
    if sum(map(len, kept.values())) + sum(map(len, new.values())) <= KEPT_TOKENS:
        kept.update(new)
    return found


def _encoded(tokenizer: Any, unique: list[str]) -> dict[str, list[int]]:
    """Token ids of distinct texts, computed."""
    if not unique:
        return {}
    if (backend := plain_backend(tokenizer)) is not None:
        encoded = backend.encode_batch_fast(unique, add_special_tokens=False)
        return dict(zip(unique, [one.ids for one in encoded], strict=True))
    ids = tokenizer(
        unique,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    return dict(zip(unique, ids, strict=True))
