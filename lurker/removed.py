"""The texts that Reddit shows instead of a deleted or removed one: one pattern for titles, texts and author names."""

import polars as pl

_SPACE = r"[\s\x{200b}-\x{200d}\x{2060}\x{feff}\x00]*"
_EDGE = rf"(?:{_SPACE}[*_~>\\]*)*"
_ITEM = (
    r"(?:(?:this|the)\s+)?(?:comment|post|submission|content|title|text|user|account|message)\s+"
    r"(?:(?:was|is|has\s+been|had\s+been)\s+)?"
)
_TAIL = r"(?:[^\[\]\n]|\[[^\[\]\n]*\])*"
_LINK = r"(?:\([^()\n]*\))"

REMOVED_TEXT = (
    rf"(?i)\A{_EDGE}\[{_SPACE}(?:"
    rf"(?:{_ITEM})?(?:deleted|removed)(?:\s*\\?\]{_LINK}?|(?:\s+by\b{_TAIL})\]{_LINK}?|\b{_TAIL}\])"
    rf"|unavailable\s*\\?\])[.!]?{_EDGE}\z"
)
"""A text that is one bracket "[deleted ...]" or "[removed ...]", in any case and with any words behind.

Examples: "[deleted]", "[Removed]", "[deleted by user]", "[ Removed by Reddit ]", "[removed by moderator]", and
"[ Removed by reddit in response to a copyright notice. ]". The bracket may hold a link, be emphasised or be escaped. A
link whose text starts with one of these words, such as "[Deleted scene](https://...)", is not among them.
"""

MAX_BYTES = 300
"""Reddit's own texts are shorter; a longer text in one bracket was written by a person."""


def is_removed(text: pl.Expr) -> pl.Expr:
    """Whether the text is one that Reddit shows instead of a deleted or removed one; false for null."""
    return text.map_batches(_is_removed, return_dtype=pl.Boolean)


def _is_removed(texts: pl.Series) -> pl.Series:
    """Few texts are short and hold a bracket: only these are compared with the pattern."""
    rows = ((texts.str.len_bytes() <= MAX_BYTES) & texts.str.contains("[", literal=True)).fill_null(False).arg_true()
    removed = rows.filter(texts.gather(rows).str.contains(REMOVED_TEXT))
    return pl.repeat(False, len(texts), dtype=pl.Boolean, eager=True).scatter(removed, True).alias(texts.name)
