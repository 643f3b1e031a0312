from pathlib import Path

import pytest

from rm.pairs import tokens
from rm.pairs.tokens import (
    END,
    MAX_LEARNED_CHARS,
    PAD,
    SEPARATOR,
    START,
    encode,
    encode_both,
    load_shared_tokenizer,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = ["the road was long", "we went home after rain", "tea with amber"] * 3


def test_the_tokenizer_does_not_depend_on_the_order_of_texts() -> None:
    assert train_tokenizer(TEXTS, 400).get_vocab() == train_tokenizer(TEXTS[::-1], 400).get_vocab()


def test_a_sequence_is_start_prompt_separator_response_end() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    sequences = encode(tokenizer, ["the road"], ["was long"], 64)
    sequence = sequences.tokens[0]
    assert sequence.tolist() == tokenizer("the road", "was long")["input_ids"]
    assert tokenizer.decode(sequence) == f"{START} the road{SEPARATOR} was long{END}"
    assert sequences.n_cut == 0


def test_the_prompt_is_cut_first_then_the_end_of_the_response() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    prompt, response = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("tea " * 9, "rain " * 5))
    sequences = encode(tokenizer, ["tea " * 9] * 2, ["rain " * 5, "rain " * 40], len(response) + 6)
    some, all_gone = sequences.tokens
    assert some.tolist()[1:-1] == [*prompt[:3], tokenizer.sep_token_id, *response]
    assert all_gone.size == len(response) + 6
    assert all_gone[1] == tokenizer.sep_token_id  # the prompt is cut completely
    assert sequences.n_cut == 2
    assert sequences.prompt.tolist() == [0, 0]
    assert sequences.n_prefix.tolist() == [4, 1]  # the start token and the rest of the prompt


@pytest.mark.parametrize("text", ["", "   ", "✨🎉", "日本語", "a\x00b", PAD, END * 3])
def test_special_tokens_spelled_out_in_a_text_are_plain_characters(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    (sequence,) = encode(tokenizer, ["the road"], [text], 64).tokens
    assert (sequence == tokenizer.eos_token_id).sum() == 1
    assert (sequence == tokenizer.pad_token_id).sum() == 0


def test_max_tokens_without_room_for_text_is_rejected() -> None:
    with pytest.raises(ValueError, match="max_tokens is 3"):
        encode(train_tokenizer(TEXTS, 400), ["a"], ["b"], 3)


def test_a_text_of_a_megabyte_without_a_space_is_cut() -> None:
    """Training a tokenizer on the complete text would take an hour."""
    endless = "ab" * 500_000
    tokenizer = train_tokenizer([*TEXTS, endless], 400)
    assert tokenizer.get_vocab() == train_tokenizer([*TEXTS, endless[:MAX_LEARNED_CHARS]], 400).get_vocab()
    sequences = encode(tokenizer, ["tea", ""], [endless, "the road"], 64)
    assert sequences.n_cut == 1 and sequences.n_tokens.max() == 64


@pytest.mark.parametrize("max_tokens", [8, 20, 30, 64])
def test_a_pairwise_sequence_drops_its_prompt_before_it_cuts_responses(max_tokens: int) -> None:
    tokenizer = train_tokenizer(["the road was long"], 300)
    prompt, short, long = "the road " * 8, "tea", "the long road was long " * 6
    (cut,) = encode_both(tokenizer, [prompt], [short], [long], max_tokens).tokens
    (other,) = encode_both(tokenizer, [prompt], [long], [short], max_tokens).tokens
    assert cut.size == other.size <= max_tokens
    assert short[:1] in tokenizer.decode(cut) and sorted(cut) == sorted(other)


@pytest.mark.parametrize("most", [0, 10, 10_000])
def test_a_shared_tokenizer_keeps_tokens_and_changes_none(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "KEPT_TOKENS", most)
    train_tokenizer(["some words about tea"], 300).save_pretrained(tmp_path)
    plain, shared = load_tokenizer(tmp_path), load_shared_tokenizer(tmp_path)
    for prompts, responses in ((["a", "b"], ["tea", "a"]), (["b", "c"], ["tea", "some words about tea"])):
        expected, found = (encode(one, prompts, responses, 30).tokens for one in (plain, shared))
        assert [one.tolist() for one in found] == [one.tolist() for one in expected]
    assert load_shared_tokenizer(tmp_path) is shared
    assert bool(shared._lurker_kept_tokens) == bool(most)
