import pytest

from rm.pairs.tokens import END, MAX_LEARNED_CHARS, PAD, SEPARATOR, START, encode, train_tokenizer

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
    assert all_gone[1] == tokenizer.sep_token_id  # nothing of the prompt is left
    assert sequences.n_cut == 2
    assert sequences.prompt.tolist() == [0, 0]
    assert sequences.n_prefix.tolist() == [4, 1]  # the start token, and what is left of the prompt


@pytest.mark.parametrize("text", ["", "   ", "✨🎉", "日本語", "a\x00b", PAD, END * 3])
def test_every_text_has_tokens_and_none_that_it_spells_out_is_special(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    (sequence,) = encode(tokenizer, ["the road"], [text], 64).tokens
    assert (sequence == tokenizer.eos_token_id).sum() == 1
    assert (sequence == tokenizer.pad_token_id).sum() == 0


def test_no_room_for_text_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 3"):
        encode(train_tokenizer(TEXTS, 400), ["a"], ["b"], 3)


def test_a_text_of_five_megabytes_without_a_space_is_learned_from_and_cut() -> None:
    """Learned from whole it would take hours."""
    endless = "ab" * 2_500_000
    tokenizer = train_tokenizer([*TEXTS, endless], 400)
    assert tokenizer.get_vocab() == train_tokenizer([*TEXTS, endless[:MAX_LEARNED_CHARS]], 400).get_vocab()
    sequences = encode(tokenizer, ["tea", ""], [endless, "the road"], 64)
    assert sequences.n_cut == 1 and sequences.n_tokens.max() == 64
