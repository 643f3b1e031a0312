"""Formatting of a text in counts: what a reader sees before reading a word. Pure Polars expressions."""

import polars as pl

FORMATTING_COUNTS = ("n_sentences", "n_paragraphs", "n_marks", "n_links")


def formatting_counts(text: pl.Expr) -> dict[str, pl.Expr]:
    """The counts of a cleaned text, by name.

    n_sentences: runs of full stops, exclamation or question marks. n_paragraphs: parts between empty lines. n_marks:
    Markdown's emphasis and code, and lines that are headings, quotes or list items. n_links: addresses.
    """
    counts = {
        "n_sentences": text.str.count_matches(r"[.!?]+"),
        "n_paragraphs": text.str.count_matches("\n\n", literal=True) + 1,
        "n_marks": text.str.count_matches(r"\*+|`+|(?m:^\s*(?:#{1,6}\s|>|[-+]\s|\d+[.)]\s))"),
        "n_links": text.str.count_matches(r"https?://"),
    }
    return {name: count.cast(pl.Int64) for name, count in counts.items()}
