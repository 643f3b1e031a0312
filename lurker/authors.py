"""Author names -> hashes with the workspace's salt. Names are in no table; one author has one hash."""

import hashlib

import polars as pl

HASH_HEX_DIGITS = 16
KNOWN_BOTS = (
    *("AutoModerator", "sneakpeekbot", "RemindMeBot", "TotesMessenger", "autowikibot", "WikiTextBot", "HelperBot_"),
    *("WikiSummarizerBot", "imguralbumbot", "autotldr", "GoodBot_BadBot", "B0tRank", "CommonMisspellingBot"),
    *("RepostSleuthBot", "savevideo", "VettedBot", "AmputatorBot", "haikusbot", "nice-scores", "LinkifyBot"),
    *("Mentioned_Videos", "FatFingerHelperBot", "timezone_bot", "converter-bot", "stabbot", "gifendore"),
    *("image_linker_bot", "profanitycounter", "FakespotAnalysisBot"),
)
"""Well-known bots: votes on them say nothing about human writing."""


def is_placeholder(name: str) -> bool:
    """Whether Reddit shows this instead of a name: nothing, or words in brackets, which no name has."""
    plain = name.strip()
    return not plain or (plain[0] == "[" and plain[-1] == "]")


def hash_authors(names: pl.Series, salt: bytes) -> pl.Series:
    """Keyed BLAKE2b digest of each name, 16 hex digits; null for deleted and missing authors.

    Source:
        RFC 7693 (keyed hashing).
    """
    coded = names.cast(pl.Categorical(pl.Categories.random()))  # codes of its own: no name outlives the call
    keyed = hashlib.blake2b(key=salt, digest_size=HASH_HEX_DIGITS // 2)
    digests: list[str | None] = []
    for name in coded.to_arrow().dictionary.to_pylist():
        digest = keyed.copy()
        digest.update(name.encode())
        digests.append(None if is_placeholder(name) else digest.hexdigest())
    return pl.Series("author_hash", digests, dtype=pl.String).gather(coded.to_physical())
