"""Safe display of untrusted texts, and figures and time spans in words."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import layout


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (86_400 * 4000, "4,000 d"),
        (-30, "−30 s"),
    ],
)
def test_durations(seconds: int, expected: str) -> None:
    assert layout.duration(seconds) == expected


@given(st.text())
def test_a_text_box_is_one_tag_for_any_text(text: str) -> None:
    box = layout.text_box(text, accent="#000000")
    assert box.count("<") == 2
    assert box.startswith("<div ") and box.endswith("</div>")
    inner = box[box.index(">") + 1 : -len("</div>")]
    assert html.unescape(inner) == layout.visible(text)


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_visible_text_can_always_be_sent(text: str) -> None:
    shown = layout.visible(text)
    shown.encode("utf-8")
    assert "\x00" not in shown
    assert "\u202e" not in shown


def test_ordinary_text_is_unchanged() -> None:
    assert layout.visible("Grüße\tund\n日本語 👍🏽 كيف") == "Grüße\tund\n日本語 👍🏽 كيف"
    assert layout.visible("a\r\nb\x00\u202e") == "a\nb[U+0000][U+202E]"


def test_escaped_text_is_not_markdown() -> None:
    assert layout.escape("![x](http://y) **b** :smile:") == r"\!\[x\]\(http\:\/\/y\) \*\*b\*\* \:smile\:".replace(
        r"\/", "/"
    )


def test_commands_stay_code_in_escaped_text() -> None:
    assert layout.escape_with_code("*Read* it: `lurker status --json`.") == r"\*Read\* it\: `lurker status --json`\."
