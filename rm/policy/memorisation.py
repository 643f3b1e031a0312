"""What a policy copies from its training texts: novel n-grams, the longest copied run of words, the nearest neighbour.

Words are compared in lower case, with punctuation as words of its own, so that figures of policies with different
tokenizers compare. People copy, too (quotes, idioms), so every figure stands beside that of held-out human responses.
Source: Merrill, Smith & Elazar 2024, "Evaluating n-gram novelty of language models", arXiv 2406.13069; they count
tokens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_N = 10
"""Longest n-gram of the novelty curve, words."""
WORD = re.compile(r"\w+|[^\w\s]")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that multiplication modulo 2^64 loses nothing. Source: the golden ratio, Knuth, TAOCP 3, section 6.4."""
Hashes = NDArray[np.uint64]
NEIGHBOUR_ROWS = 512
"""Texts compared with all training texts at a time."""


@dataclass(frozen=True, slots=True)
class Memorisation:
    """How much some texts repeat of the training texts."""

    novelty: list[float | None]
    """share of the n-grams that no training text has, for n = 1 ... MAX_N; None if the texts have no such n-gram"""
    longest: NDArray[np.int64]
    """[n_texts] words of the longest run that a training text has, too"""
    copied: list[str]
    """[n_texts] that run, as words joined by blanks"""
    nearest: NDArray[np.int64]
    """[n_texts] index of the most similar training text; -1 if it shares no word"""
    similarity: NDArray[np.float64]
    """[n_texts] cosine of TF-IDF vectors of words and pairs of words with it, 0-1"""

    def report(self) -> dict[str, Any]:
        """JSON-ready figures over all texts."""
        return {
            "novelty": [None if share is None else round(share, 4) for share in self.novelty],
            "longest_copied_words": int(self.longest.max(initial=0)),
            "median_longest_copied_words": float(np.median(self.longest)) if self.longest.size else 0.0,
            "mean_similarity_to_nearest": round(float(self.similarity.mean()), 4) if self.similarity.size else 0.0,
        }


def memorisation(texts: Sequence[str], training: Sequence[str]) -> Memorisation:
    """Compare texts with the training texts.

    Args:
        texts: what the policy wrote, or what people wrote for comparison.
        training: responses that it was trained on.
    """
    codes: dict[str, int] = {}
    learned, written = ([_words(text, codes) for text in group] for group in (training, texts))
    longest, novelty = longest_copies(written, learned)
    words = [WORD.findall(text.lower()) for text in texts]
    copied = [" ".join(one[start : start + n]) for one, (start, n) in zip(words, longest, strict=True)]
    nearest, similarity = nearest_texts(texts, training)
    lengths = np.array([n for _, n in longest], dtype=np.int64)
    return Memorisation(novelty, lengths, copied, nearest, similarity)


def longest_copies(
    texts: Sequence[NDArray[np.int64]], training: Sequence[NDArray[np.int64]]
) -> tuple[list[tuple[int, int]], list[float | None]]:
    """The longest run of each text that a training text has, and the novelty curve.

    Every part of a copied run is copied, so n grows until nothing of a text is copied any more.

    Args:
        texts, training: word codes of each text.

    Returns:
        (start, length) of the longest copied run of each text, and the share of novel n-grams for n = 1 ... MAX_N.
    """
    longest = [(0, 0)] * len(texts)
    novelty: list[float | None] = []
    own, learned = _Runs(texts), _Runs(training)
    alive = True
    n = 0
    while alive or n < MAX_N:
        n += 1
        hashes, text = own.grow()
        known = np.unique(learned.grow()[0])
        is_copied = np.isin(hashes, known)
        if n <= MAX_N:
            novelty.append(float(1 - is_copied.mean()) if hashes.size else None)
        alive = bool(is_copied.any())
        for number, place in zip(*np.unique(text[is_copied], return_index=True), strict=True):
            start = int(own.start[is_copied][place])
            longest[int(number)] = (start - int(own.first[number]), n)
    return longest, novelty


class _Runs:
    """Hashes of all runs of n words within texts; `grow` makes them one word longer."""

    def __init__(self, texts: Sequence[NDArray[np.int64]]) -> None:
        sizes = np.array([text.size for text in texts], dtype=np.int64)
        self.codes = np.concatenate([*texts, np.empty(0, dtype=np.int64)]).astype(np.uint64) + np.uint64(1)
        self.first = np.cumsum(sizes) - sizes
        self.text = np.repeat(np.arange(sizes.size), sizes)
        self.end = np.repeat(np.cumsum(sizes), sizes)
        self.start = np.arange(self.codes.size)
        self.hashes: Hashes = np.zeros(self.codes.size, dtype=np.uint64)
        self.n = 0

    def grow(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Hashes of the runs of one more word, and the text of each."""
        fits = self.start + self.n < self.end[self.start] if self.start.size else np.zeros(0, dtype=bool)
        self.start, self.hashes = self.start[fits], self.hashes[fits]
        self.hashes = _mix(self.hashes * MULTIPLIER + self.codes[self.start + self.n])
        self.n += 1
        return self.hashes, self.text[self.start]


def _mix(x: Hashes) -> Hashes:
    """Spread differences over all 64 bits. Source: Steele et al. 2014, the finaliser of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def nearest_texts(texts: Sequence[str], training: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the training text most similar to each text, the first of several, and the similarity, [n] each."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    nearest, similarity = np.full(len(texts), -1, dtype=np.int64), np.zeros(len(texts))
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD.pattern)
    try:
        learned = vectoriser.fit_transform(training).T.tocsr()
    except ValueError:  # no training text has a word
        return nearest, similarity
    for start in range(0, len(texts), NEIGHBOUR_ROWS):
        part = slice(start, start + NEIGHBOUR_ROWS)
        cosines = (vectoriser.transform(texts[part]) @ learned).toarray()
        best = cosines.argmax(axis=1)
        value = cosines[np.arange(best.size), best]
        nearest[part], similarity[part] = np.where(value > 0, best, -1), value.clip(0, 1)
    return nearest, similarity


def _words(text: str, codes: dict[str, int]) -> NDArray[np.int64]:
    words = WORD.findall(text.lower())
    return np.array([codes.setdefault(word, len(codes)) for word in words], dtype=np.int64)
