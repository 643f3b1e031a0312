import polars as pl
import pytest

from features.clean import prompt_text, remove_score_talk, response_text


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
def test_a_response_is_read_as_written_without_what_transport_adds(written: str, read: str) -> None:
    assert apply(response_text(pl.col("body")), written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Go to class.\n\nEDIT: thanks for the gold!", "Go to class."),
        ("Go to class. Wow, this blew up! Eat well.", "Go to class. Eat well."),
        ("Edit 2: thank you so much for the awards\nSleep.", "Sleep."),
        ("Why all the downvotes? Sleep.", "Sleep."),
        ("Thanks, kind stranger!", ""),
    ],
)
def test_sentences_that_betray_the_score_go(written: str, read: str) -> None:
    assert apply(remove_score_talk(pl.col("body")), written) == read


@pytest.mark.parametrize(
    "text",
    [
        "Thanks for the advice. I won a gold medal in swimming.",
        "EDIT: fixed a typo in the second line.",
        "My first award was in physics.",
        "I voted yesterday. The balloon grew until it burst.",
    ],
)
def test_ordinary_sentences_stay(text: str) -> None:
    assert apply(remove_score_talk(pl.col("body")), text) == text


def test_a_prompt_is_the_title_a_blank_line_and_the_body() -> None:
    frame = pl.DataFrame({"title": ["Which school?", "Only a title", "Gone"], "body": ["A or B?", "", "[removed]"]})
    prompts = frame.select(prompt_text(pl.col("title"), pl.col("body"))).to_series().to_list()
    assert prompts == ["Which school?\n\nA or B?", "Only a title", "Gone"]


def test_cleaning_a_long_text_takes_linear_time() -> None:
    text = "thanks for the " * 200_000  # almost a match at every word
    assert len(apply(response_text(pl.col("body")), text)) == len(text.strip())
