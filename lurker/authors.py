"""Names of authors: never in a table, but hashed with the workspace's salt, so that one author is one hash."""

import hashlib

import polars as pl

NO_AUTHORS = ("[deleted]", "[removed]", "")
HASH_HEX_DIGITS = 16
KNOWN_BOTS = (
    *("AutoModerator", "sneakpeekbot", "RemindMeBot", "TotesMessenger", "autowikibot", "WikiTextBot", "HelperBot_"),
    *("WikiSummarizerBot", "imguralbumbot", "autotldr", "GoodBot_BadBot", "B0tRank", "CommonMisspellingBot"),
    *("RepostSleuthBot", "savevideo", "VettedBot", "AmputatorBot", "haikusbot", "nice-scores", "LinkifyBot"),
    *("Mentioned_Videos", "FatFingerHelperBot", "timezone_bot", "converter-bot", "stabbot", "gifendore"),
    *("image_linker_bot", "profanitycounter", "FakespotAnalysisBot"),
)
"""Well-known accounts that answer by program: votes on them judge no one's words."""


def hash_authors(names: pl.Series, salt: bytes) -> pl.Series:
    """Names -> keyed BLAKE2b digests of 16 hex digits; null for deleted and missing authors.

    Source: RFC 7693 (keyed hashing).
    """
    unique = names.unique().drop_nulls()
    unique = unique.filter(~unique.is_in(NO_AUTHORS))
    digests = [
        hashlib.blake2b(name.encode(), key=salt, digest_size=HASH_HEX_DIGITS // 2).hexdigest() for name in unique
    ]
    hashes = names.replace_strict(unique, pl.Series(digests, dtype=pl.String), default=None, return_dtype=pl.String)
    return hashes.alias("author_hash")
