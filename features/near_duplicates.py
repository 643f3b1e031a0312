"""Texts that are nearly the same: MinHash over runs of words, candidates by locality-sensitive hashing, then checked.

Work grows with the words, not with the pairs of texts: two texts are compared only where a band of their signatures
agrees, and every such pair is judged by its exact similarity, so chance decides what is looked at, never what is found
alike. Sources: Broder 1997, "On the resemblance and containment of documents" (MinHash); Leskovec, Rajaraman & Ullman,
Mining of Massive Datasets, section 3.4 (bands). Runs of 5 words and 0.8 as in Lee et al. 2022, "Deduplicating training
data makes language models better".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.hashing import hash_ids

N_BANDS = 10
BAND_ROWS = 4
"""Ten bands of four: a pair at similarity 0.8 is looked at with probability 1 - (1 - 0.8^4)^10 = 0.995."""
_MULTIPLIERS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15], dtype=np.uint64)
_Hashes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """When two texts count as nearly the same."""

    min_similarity: float = 0.8
    """Least share of runs of words that both have, of those that either has, 0-1."""
    min_words: int = 10
    """Texts of fewer words are nobody's copy: people say "Congratulations!" by themselves, words."""
    run_words: int = 5
    """Words in a run, words."""


def near_duplicate_groups(
    texts: Iterable[pl.DataFrame], reread: Callable[[pl.Series], pl.DataFrame], likeness: Likeness
) -> pl.DataFrame:
    """Texts that are nearly the same as another: columns id and copy_group (the lowest id of the group), by id.

    texts: parts with columns id (String; of two with one id the first counts) and text. reread: ids -> those texts
    again, any order; called for the candidates only, so that a part and the signatures are all that memory holds.
    """
    parts = [(part["id"], _band_keys(*_runs(part["text"], likeness))) for part in texts]
    if not parts:
        return pl.DataFrame(schema={"id": pl.String, "copy_group": pl.String})
    every_id = pl.concat([part_ids for part_ids, _ in parts])
    order = every_id.arg_sort().filter(every_id.sort().is_first_distinct())
    ids, keys = every_id.gather(order), np.concatenate([part for _, part in parts])[order.to_numpy()]
    left, right = _candidates(keys)
    alike = _similarities(ids, left, right, reread, likeness) >= likeness.min_similarity
    return join_groups(ids, left[alike], right[alike])


def join_groups(ids: pl.Series, left: NDArray[np.int64], right: NDArray[np.int64]) -> pl.DataFrame:
    """Chains of alike texts as groups: id, copy_group (its lowest id). left, right: [k] places in the sorted ids."""
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(ids), len(ids)))
    labels = connected_components(graph, directed=False)[1]
    in_pair = np.unique(np.concatenate([left, right]))
    grouped = pl.DataFrame({"id": ids.gather(in_pair), "copy_group": pl.Series(labels[in_pair])})
    return grouped.with_columns(copy_group=pl.col("id").min().over("copy_group")).sort("id")


def words_of(text: pl.Expr) -> pl.Expr:
    """The text's words in lower case between single blanks: what is compared of it."""
    return text.str.to_lowercase().str.replace_all(r"[^\w]+", " ").str.strip_chars()


def _runs(texts: pl.Series, likeness: Likeness) -> tuple[_Hashes, NDArray[np.int64], int]:
    """Hashes of all runs of words, [m], the text each is of, [m] rising, and the number of texts."""
    words = pl.select(words_of(pl.lit(texts)).str.split(" ")).to_series()
    n_words = words.list.len().to_numpy().astype(np.int64)
    n_words[n_words < max(likeness.min_words, likeness.run_words)] = 0
    flat = words.filter(pl.Series(n_words > 0)).explode()
    if flat.is_empty():
        return np.empty(0, np.uint64), np.empty(0, np.int64), len(texts)
    vocabulary = flat.unique()
    numbers = pl.Series(hash_ids(vocabulary, "word").astype(np.uint64))
    hashed = flat.replace_strict(vocabulary, numbers, return_dtype=pl.UInt64).to_numpy()
    k = likeness.run_words
    text_of = np.repeat(np.arange(len(texts)), n_words)
    runs = hashed[: len(hashed) - k + 1].copy()
    for place in range(1, k):
        runs = _mixed(runs) + hashed[place : len(hashed) - k + 1 + place]
    inside = text_of[: len(runs)] == text_of[k - 1 :]
    return _mixed(runs[inside]), text_of[: len(runs)][inside], len(texts)


def _mixed(x: _Hashes) -> _Hashes:
    """Numbers spread over all 64 bits. Source: Stafford's variant 13 of MurmurHash3's finaliser."""
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIERS[0]
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIERS[1]
    return np.asarray(x ^ (x >> np.uint64(31)), dtype=np.uint64)


def _band_keys(runs: _Hashes, text_of: NDArray[np.int64], n_texts: int) -> _Hashes:
    """A key a band, [n_texts, N_BANDS]; 0 throughout where a text has no runs."""
    keys = np.zeros((n_texts, N_BANDS), dtype=np.uint64)
    if not len(runs):
        return keys
    starts = np.flatnonzero(np.r_[True, text_of[1:] != text_of[:-1]])
    with_runs = text_of[starts]
    low, high = runs.astype(np.uint32), (runs >> np.uint64(32)).astype(np.uint32)
    multipliers = (np.random.default_rng(0).integers(0, 2**31, N_BANDS * BAND_ROWS) * 2 + 1).astype(np.uint32)
    for band in range(N_BANDS):
        key = np.full(len(starts), band + 1, dtype=np.uint64)
        for multiplier in multipliers[band * BAND_ROWS : (band + 1) * BAND_ROWS]:
            key = _mixed(key) + np.minimum.reduceat(low * multiplier + high, starts)
        keys[with_runs, band] = _mixed(key) | np.uint64(1)
    return keys


def _candidates(keys: _Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of places that share a band's key: each text with the first and with the one before of its bucket."""
    found = []
    for band in range(keys.shape[1]):
        with_runs = np.flatnonzero(keys[:, band])
        order = with_runs[np.argsort(keys[with_runs, band], kind="stable")]
        is_first = np.r_[True, keys[order[1:], band] != keys[order[:-1], band]] if len(order) else np.empty(0, bool)
        firsts = order[np.flatnonzero(is_first)][np.cumsum(is_first) - 1]
        later = np.flatnonzero(~is_first)
        found += [np.column_stack([firsts[later], order[later]]), np.column_stack([order[later - 1], order[later]])]
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


def _similarities(
    ids: pl.Series,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    reread: Callable[[pl.Series], pl.DataFrame],
    likeness: Likeness,
) -> NDArray[np.float64]:
    """Exact Jaccard similarity of the runs of each pair of places. [k]."""
    if not len(left):
        return np.empty(0)
    needed = np.unique(np.concatenate([left, right]))
    texts = reread(ids.gather(needed)).sort("id")
    runs, text_of, n_texts = _runs(texts["text"], likeness)
    bounds = np.searchsorted(text_of, np.arange(n_texts + 1))
    sets = [np.unique(runs[start:end]) for start, end in pairwise(bounds)]
    places = zip(np.searchsorted(needed, left), np.searchsorted(needed, right), strict=True)
    shared = np.array([len(np.intersect1d(sets[a], sets[b], assume_unique=True)) for a, b in places])
    sizes = np.array([len(one) for one in sets])
    either = sizes[np.searchsorted(needed, left)] + sizes[np.searchsorted(needed, right)] - shared
    return np.asarray(shared / either, dtype=np.float64)
