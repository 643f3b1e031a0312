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


def is_removed(text: pl.Expr) -> pl.Expr:
    """Whether the text is one that Reddit shows instead of a deleted or removed one; false for null."""
    may_be = text.str.contains_any(["deleted", "removed", "unavailable"], ascii_case_insensitive=True)
    is_short = text.str.len_bytes() <= 300
    return pl.when(may_be & is_short).then(text).str.contains(REMOVED_TEXT).fill_null(False)
