"""Texts into tokens: the ladder's own tokenizer, honest padding, and one layout of prompt and response.

A sequence is `start · prompt · separator · response · end`. When it is longer than max_tokens the prompt is cut first
(its start is kept), then the response (its start is kept): the title and the opening say most, and the response is
what is judged. max_prompt_tokens limits the prompt further.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Indices = NDArray[np.int64]
PAD, START, SEPARATOR, END = "<|pad|>", "<|start|>", "<|response|>", "<|end|>"
MIN_PAIR_FREQUENCY = 2
MAX_LEARNED_CHARS = 40_000
"""Of a text, from its start, that a tokenizer learns from: Reddit's own limit of a post. Learning from one endless word
takes a time that grows with the square of its length: five million characters would take hours."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Token ids that stand around the two texts."""

    start: tuple[int, ...]
    separator: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of a sequence that are neither prompt nor response."""
        return len(self.start) + len(self.separator) + len(self.end)


@dataclass(frozen=True, slots=True)
class Sequences:
    """Token sequences that know what they share.

    tokens: of each sequence. prompt: [n] code of the prompt. n_prefix: [n] leading tokens that come from the prompt and
    what stands before it: for two sequences of one prompt, the shorter prefix is the start of the longer.
    n_cut: sequences that were longer than the room there was; a prompt's own limit does not count.
    """

    tokens: list[Tokens]
    prompt: Indices
    n_prefix: Indices
    n_cut: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_tokens(self) -> Indices:
        """[n] tokens of each sequence."""
        return np.array([tokens.size for tokens in self.tokens], dtype=np.int64)

    @property
    def n_own(self) -> Indices:
        """[n] tokens of each sequence after its prefix: at least one."""
        return self.n_tokens - self.n_prefix

    def take(self, numbers: Indices) -> "Sequences":
        """The sequences of these indices, in their order."""
        return Sequences([self.tokens[number] for number in numbers], self.prompt[numbers], self.n_prefix[numbers])


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> Any:
    """A byte-level BPE tokenizer (a transformers fast tokenizer) learned from the texts and from nothing else.

    Every byte is in its alphabet, so no text is out of vocabulary. The same texts in any order give the same
    tokenizer. `tokenizer(prompt, response)` lays out a sequence as `layout` says.
    Source: Sennrich et al. 2016 (BPE); byte level as in Radford et al. 2019.
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
    """A tokenizer that was saved with `save_pretrained`."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def ensure_pad_token(tokenizer: Any) -> bool:
    """Give the tokenizer a padding token of its own where it has none or shares it with the end; True if added.

    A classifier on a decoder reads the last token that is not padding: were padding the end token, the end would
    be taken for padding. Source: huggingface/trl#937, RLHFlow#49 (equal scores for every text).
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    tokenizer.add_special_tokens({"pad_token": PAD})
    return True


def layout(tokenizer: Any) -> Layout:
    """How this tokenizer's models expect two texts: encoders with [CLS] and [SEP], decoders with an end token."""
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
    """The sequence of each (prompt, response), none longer than max_tokens, with at most max_prompt_tokens of prompt.

    Each distinct text is tokenised once. Special tokens spelled out in a text are plain characters here.
    Errors: ValueError when max_tokens leaves no room for a token of text.
    """
    frame = layout(tokenizer)
    room = max_tokens - frame.n_tokens
    if room < 1:
        raise ValueError(f"max_tokens is {max_tokens}, but {frame.n_tokens} tokens stand around the texts")
    known = _token_ids(tokenizer, [*prompts, *responses])
    codes: dict[str, int] = {}
    tokens, code, n_prefix, n_cut = [], [], [], 0
    for prompt, response in zip(prompts, responses, strict=True):
        said, asked = known[response][:room], known[prompt][:max_prompt_tokens]
        kept = asked[: room - len(said)]
        n_cut += len(kept) < len(asked) or len(said) < len(known[response])
        tokens.append(np.array([*frame.start, *kept, *frame.separator, *said, *frame.end], dtype=np.int32))
        code.append(codes.setdefault(prompt, len(codes)))
        n_prefix.append(min(len(frame.start) + len(kept), tokens[-1].size - 1))
    return Sequences(tokens, np.array(code, dtype=np.int64), np.array(n_prefix, dtype=np.int64), n_cut)


def encode_both(
    tokenizer: Any,
    prompts: Sequence[str],
    firsts: Sequence[str],
    seconds: Sequence[str],
    max_tokens: int,
    max_prompt_tokens: int | None = None,
) -> Sequences:
    """The sequence of each (prompt, first, second): `start · prompt · separator · first · separator · second · end`.

    When it is too long the prompt is cut first, then the longer response, down to the other's length.
    Errors: ValueError when max_tokens leaves no room for a token of each response.
    """
    frame = layout(tokenizer)
    room = max_tokens - frame.n_tokens - len(frame.separator)
    if room < 2:
        raise ValueError(f"max_tokens is {max_tokens}, but {max_tokens - room} tokens stand around the texts")
    known = _token_ids(tokenizer, [*prompts, *firsts, *seconds])
    codes: dict[str, int] = {}
    tokens, code, n_prefix, n_cut = [], [], [], 0
    for prompt, first, second in zip(prompts, firsts, seconds, strict=True):
        one, other = known[first], known[second]
        one = one[: max(room // 2, room - len(other))]
        other = other[: max(room // 2, room - len(one))][: room - len(one)]
        asked = known[prompt][:max_prompt_tokens]
        kept = asked[: room - len(one) - len(other)]
        n_cut += len(kept) + len(one) + len(other) < len(asked) + len(known[first]) + len(known[second])
        parts = (frame.start, kept, frame.separator, one, frame.separator, other, frame.end)
        tokens.append(np.array([token for part in parts for token in part], dtype=np.int32))
        code.append(codes.setdefault(prompt, len(codes)))
        n_prefix.append(min(len(frame.start) + len(kept), tokens[-1].size - 1))
    return Sequences(tokens, np.array(code, dtype=np.int64), np.array(n_prefix, dtype=np.int64), n_cut)


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> dict[str, list[int]]:
    unique = sorted(set(texts))
    if not unique:
        return {}
    ids = tokenizer(
        unique,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    return dict(zip(unique, ids, strict=True))
