"""HTML of an arena's texts: escaped, in equal cards that scroll, with nothing that loads or that tells who wrote it."""

import html
import re

from dashboard.layout import visible

SHOWN_CHARS = 20_000
"""Characters of one text on the page: the rest of a longer one is cut, and the card says so."""
STYLE = """<style>
.arena-prompt {max-height: 150px; overflow: auto; font-size: 1.05rem; line-height: 1.5; padding-right: .5rem}
.arena-cards {display: grid; grid-template-columns: 1fr 1fr; gap: 1rem}
.arena-card {border: 1px solid rgba(128, 136, 146, .55); border-radius: 10px; display: flex; flex-direction: column;
  height: clamp(170px, 46vh, 480px); min-width: 0}
.arena-card > b {padding: .7rem 1rem .3rem; font-size: 1rem}
.arena-text {overflow: auto; padding: 0 1rem .9rem; line-height: 1.55; flex: 1}
.arena-inert {white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; contain: content}
.arena-note {opacity: .8; font-size: .875rem; padding-top: .5rem}
.arena-short .arena-card {height: auto; max-height: 40vh}
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {color: inherit; opacity: .88}
@media (max-width: 640px) {.arena-cards {grid-template-columns: 1fr} .arena-card {height: 34vh}}
</style>"""
_IMAGE = re.compile(r"!(?=\[)")


def prompt(text: str) -> str:
    """The prompt, at most 150 px high."""
    return f'<div class="arena-prompt" tabindex="0" role="region" aria-label="Prompt">{_inert(text)}</div>'


def pair(
    a: str, b: str, titles: tuple[str, str] = ("A", "B"), notes: tuple[str, str] = ("", ""), *, is_short: bool = False
) -> str:
    """Two texts in cards of one height.

    Args:
        titles: above the texts, by us.
        notes: below the texts, by the researcher; escaped too.
        is_short: the cards are as high as the longer text, not the same for every pair.
    """
    cards = (
        f'<section class="arena-card" aria-label="Response {title}"><b>{html.escape(title)}</b>'
        f'<div class="arena-text" tabindex="0">{_inert(text)}{_note(note)}</div></section>'
        for title, text, note in zip(titles, (a, b), notes, strict=True)
    )
    kind = " arena-short" if is_short else ""
    return f'<div class="arena-cards{kind}">{"".join(cards)}</div>'


def without_images(markdown: str) -> str:
    """Markdown by the researcher in which an image is a link, so that a rater's browser loads nothing.

    Streamlit shows HTML in Markdown as text.
    """
    return _IMAGE.sub("", markdown)


def _inert(text: str) -> str:
    """Untrusted text as text."""
    note = _note(f"The first {SHOWN_CHARS:,} characters of a very long text.") if len(text) > SHOWN_CHARS else ""
    return f'<div class="arena-inert" dir="auto">{html.escape(visible(text[:SHOWN_CHARS]))}</div>{note}'


def _note(text: str) -> str:
    return f'<div class="arena-note">{html.escape(text)}</div>' if text else ""
