import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.text.clean import prompt_text, remove_score_talk, response_text


def apply(expression: pl.Expr, text: str) -> str:
    return str(pl.DataFrame({"body": [text]}).select(expression).item())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Study early.", "Study early."),
        ("  two   blanks \r\n\r\n\r\n\r\nnext ", "two blanks\n\nnext"),
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
        ("zero\u200bwidth &#x200B;", "zerowidth"),
        ("    code = 1\n    more = 2", "code = 1\n    more = 2"),
        ("**bold** and [link](http://x.y)\n\n> quote", "**bold** and [link](http://x.y)\n\n> quote"),
        ("[deleted]", ""),
        ("[removed]", ""),
        (" \n\t ", ""),
    ],
)
def test_only_what_transport_adds_is_removed_from_a_response(written: str, read: str) -> None:
    assert apply(response_text(pl.col("body")), written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Go to class.\n\nEDIT: thanks for the gold!", "Go to class."),
        ("Go to class. Wow, this blew up! Eat well.", "Go to class. Eat well."),
        ("Edit 2: thank you so much for the awards\nSleep.", "Sleep."),
        ("Why all the downvotes? Sleep.", "Sleep."),
        ("Thanks, kind stranger!", ""),
        ("Eat.\nedit: RIP inbox", "Eat."),
        ("edit: why the downvotes?\n\nEat.", "Eat."),
        ("Never expected this to blow up. Eat.", "Eat."),
        ("Eat.\n\nEDIT: wow, front page! Sleep.", "Eat.\n\n Sleep."),
        ("Woke up to 300 upvotes. Eat.", "Eat."),
        ("Eat. My first gold!", "Eat."),
        ("Eat. Not sure why I’m being downvoted.", "Eat."),
        ("> EDIT: thanks for the gold\n\nWell said.", "Well said."),
    ],
)
def test_sentences_about_the_score_are_removed(written: str, read: str) -> None:
    assert apply(remove_score_talk(pl.col("body")), written) == read


@pytest.mark.parametrize(
    "text",
    [
        "Thanks for the advice. I won a gold medal in swimming.",
        "EDIT: fixed a typo in the second line.",
        "My first award was in physics.",
        "I voted yesterday. The balloon grew until it burst.",
        "This tire blew up on the road.",
        "My gold ring is in the inbox.",
        "Do not talk to anonymous strangers. I will not comment.",
    ],
)
def test_ordinary_sentences_are_kept(text: str) -> None:
    assert apply(remove_score_talk(pl.col("body")), text) == text


def test_a_prompt_is_the_title_a_blank_line_and_the_body() -> None:
    frame = pl.DataFrame({"title": ["Which school?", "Only a title", "Gone"], "body": ["A or B?", "", "[removed]"]})
    prompts = frame.select(prompt_text(pl.col("title"), pl.col("body"))).to_series().to_list()
    assert prompts == ["Which school?\n\nA or B?", "Only a title", "Gone"]


def test_cleaning_a_long_text_takes_linear_time() -> None:
    text = "thanks for the " * 200_000  # almost a match at every word
    assert len(apply(response_text(pl.col("body")), text)) == len(text.strip())


SCORE_TALK = (
    "EDIT: thanks for the gold!",
    "Wow, this blew up.",
    "Why the downvotes?",
    "RIP inbox",
    "Thanks, kind stranger!",
)
PLAIN = st.text(alphabet="abc XY*_>`#[]()-\n\t’é", max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(PLAIN, st.sampled_from(SCORE_TALK), st.text(max_size=20)), max_size=6))
def test_cleaning_is_idempotent_and_adds_no_word(parts: list[str]) -> None:
    written = "\n".join(parts)
    once = apply(response_text(pl.col("body")), written)
    assert apply(response_text(pl.col("body")), once) == once
    assert once == once.strip(" \n\t") and "\n\n\n" not in once and "\r" not in once


@settings(max_examples=50, deadline=None)
@given(PLAIN, st.sampled_from(SCORE_TALK), PLAIN)
def test_score_talk_on_its_own_line_is_removed_and_other_lines_are_kept(
    before: str, score_talk: str, after: str
) -> None:
    with_it = apply(response_text(pl.col("body")), f"{before}\n\n{score_talk}\n\n{after}")
    without = apply(response_text(pl.col("body")), f"{before}\n\n{after}")
    assert with_it == without


@settings(max_examples=50, deadline=None)
@given(PLAIN, st.sampled_from(SCORE_TALK))
def test_prompts_are_cleaned_of_score_talk_too(text: str, score_talk: str) -> None:
    prompt = prompt_text(pl.col("title"), pl.col("body"))
    frame = pl.DataFrame({"title": ["Which?", "Which?"], "body": [f"{text}\n\n{score_talk}", text]})
    with_it, without = frame.select(prompt).to_series().to_list()
    assert with_it == without


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["**bold**", "`code`", "> quote", "[a](http://b.c)", "- item", "    x = 1", "word"])))
def test_markup_is_kept_as_written(lines: list[str]) -> None:
    written = "\n".join(["start", *lines])
    assert apply(response_text(pl.col("body")), written) == written
