"""Texts that are nearly the same: MinHash over word n-grams, candidates by locality-sensitive hashing, then checked.

The work grows with the number of words, not of text pairs: two texts are compared only if a band of their signatures
agrees. Every such candidate is then checked by its exact similarity, so chance affects which pairs are compared, never
the result of a comparison.

Source: Broder 1997, "On the resemblance and containment of documents" (MinHash); Leskovec, Rajaraman & Ullman, Mining
of Massive Datasets, section 3.4 (bands). 5-grams and 0.8 as in Lee et al. 2022, "Deduplicating training data makes
language models better".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.blocks import parquet_sql, write_block
from features.build_context import BuildOptions, temporary_folder
from features.databases import connect
from features.hashing import quick_hashes
from lurker.engine import map_in_order
from lurker.files import sql_string

N_BANDS = 10
BAND_ROWS = 4
"""Ten bands of four: a pair at similarity 0.8 is compared with probability 1 - (1 - 0.8^4)^10 = 0.995."""
_MULTIPLIERS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15], dtype=np.uint64)
_Hashes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateRule:
    """When two texts count as near-duplicates."""

    min_similarity: float = 0.8
    """Minimum Jaccard similarity of their sets of n-grams, 0-1."""
    min_words: int = 10
    """Shorter texts are never duplicates: different people write "Congratulations!", words."""
    ngram_words: int = 5
    """Length of an n-gram, words."""


def near_duplicate_groups(
    texts: Callable[[], Iterable[pl.DataFrame]], rule: DuplicateRule, options: BuildOptions | None = None
) -> pl.DataFrame:
    """Group the texts that are near-duplicates of each other.

    Signatures are written to disk and joined by DuckDB; memory holds a few parts, and the ids that share a band.

    Args:
        texts: returns parts with columns id (String) and text, in any order; called twice.

    Returns:
        id and copy_group (the lowest id of the group), sorted by id; only texts that have a near-duplicate.
    """
    options = options or BuildOptions()
    with temporary_folder(options) as folder, connect(options) as connection:
        key_files = [
            write_block(keys, folder / f"keys-{n:06}.parquet")
            for n, keys in enumerate(_map(_signatures, texts(), rule, options))
        ]
        if not key_files:
            return pl.DataFrame(schema={"id": pl.String, "copy_group": pl.String})
        candidates = folder / "candidates.parquet"
        connection.execute(f"COPY ({_candidates_sql(key_files)}) TO {sql_string(str(candidates))} (FORMAT parquet)")
        in_candidates = connection.sql(
            f"SELECT a AS id FROM {parquet_sql([candidates])} UNION SELECT b FROM {parquet_sql([candidates])}"
        ).pl()
        compared = (part.join(in_candidates, on="id", how="semi") for part in texts())
        ngram_files = [
            write_block(sets, folder / f"ngrams-{n:06}.parquet")
            for n, sets in enumerate(_map(_ngram_sets, compared, rule, options))
        ]
        similar = (
            connection.sql(_similar_sql(candidates, ngram_files, rule)).pl()
            if ngram_files
            else pl.DataFrame(schema={"a": pl.String, "b": pl.String})
        )
    return connected_groups(similar["a"], similar["b"])


def _map(
    function: Callable[..., pl.DataFrame], parts: Iterable[pl.DataFrame], rule: DuplicateRule, options: BuildOptions
) -> Iterator[pl.DataFrame]:
    tasks = ({"part": part} for part in parts)
    return map_in_order(function, tasks, engine=options.engine, shared={"rule": rule})


def _signatures(part: pl.DataFrame, rule: DuplicateRule) -> pl.DataFrame:
    """id and one key per band, of the texts that have n-grams."""
    keys = _band_keys(*_ngrams(part["text"], rule))
    named = {f"key_{band}": keys[:, band] for band in range(N_BANDS)}
    return pl.DataFrame({"id": part["id"]} | named).filter(pl.col("key_0") != 0)


def _candidates_sql(key_files: Sequence[Path]) -> str:
    """Pairs a < b that share a band's key: each text with the first, and with the previous, of its bucket."""
    buckets = [
        f"SELECT id, first_value(id) OVER bucket AS first, lag(id) OVER bucket AS before FROM {parquet_sql(key_files)} "
        f"WINDOW bucket AS (PARTITION BY key_{band} ORDER BY id) QUALIFY before IS NOT NULL"
        for band in range(N_BANDS)
    ]
    both = " UNION ALL ".join(f"SELECT {other} AS a, id AS b FROM buckets" for other in ("first", "before"))
    return f"WITH buckets AS ({' UNION ALL '.join(buckets)}) SELECT DISTINCT a, b FROM ({both}) WHERE a <> b"


def _ngram_sets(part: pl.DataFrame, rule: DuplicateRule) -> pl.DataFrame:
    """id and the distinct n-grams of each text."""
    ngrams, text_numbers, _ = _ngrams(part["text"], rule)
    flat = pl.DataFrame({"row": text_numbers, "ngrams": ngrams}, schema={"row": pl.Int64, "ngrams": pl.UInt64})
    sets = flat.group_by("row").agg(pl.col("ngrams").unique())
    return part.select("id", row=pl.int_range(pl.len())).join(sets, on="row").select("id", "ngrams")


def _similar_sql(candidates: Path, ngram_files: Sequence[Path], rule: DuplicateRule) -> str:
    """The candidates with a sufficient exact Jaccard similarity; of two texts with one id, the smaller set counts."""
    return (
        "WITH sets AS (SELECT id, arg_min(ngrams, len(ngrams)) AS ngrams "
        f"FROM {parquet_sql(ngram_files)} GROUP BY id), "
        "compared AS (SELECT a, b, len(list_intersect(x.ngrams, y.ngrams)) AS shared, "
        "len(x.ngrams) + len(y.ngrams) AS total "
        f"FROM {parquet_sql([candidates])} pairs JOIN sets x ON a = x.id JOIN sets y ON b = y.id) "
        f"SELECT a, b FROM compared WHERE shared / (total - shared) >= {rule.min_similarity} ORDER BY a, b"
    )


def connected_groups(left: pl.Series, right: pl.Series) -> pl.DataFrame:
    """Connected components of a graph of ids.

    Args:
        left, right: the two ends of each edge, shape [k]; an id may be linked to itself.

    Returns:
        id and copy_group (the lowest id of its component), sorted by id.
    """
    ids = pl.concat([left, right]).unique().sort().alias("id")
    ends = [ids.search_sorted(side).to_numpy().astype(np.int64) for side in (left, right)]
    graph = coo_array((np.ones(len(left), dtype=np.int8), tuple(ends)), shape=(len(ids), len(ids)))
    labels = connected_components(graph, directed=False)[1]
    grouped = pl.DataFrame({"id": ids, "copy_group": pl.Series(labels)})
    return grouped.with_columns(copy_group=pl.col("id").min().over("copy_group")).sort("id")


def normalised_words(text: pl.Expr) -> pl.Expr:
    """The words of the text in lower case between single blanks: the form in which texts are compared."""
    return text.str.to_lowercase().str.replace_all(r"[^\w]+", " ").str.strip_chars()


def _ngrams(texts: pl.Series, rule: DuplicateRule) -> tuple[_Hashes, NDArray[np.int64], int]:
    """Hashes of all n-grams, shape [m]; the number of the text of each, shape [m], rising; the number of texts."""
    words = pl.select(normalised_words(pl.lit(texts)).str.split(" ")).to_series()
    n_words = words.list.len().to_numpy().astype(np.int64)
    n_words[n_words < max(rule.min_words, rule.ngram_words)] = 0
    flat = words.filter(pl.Series(n_words > 0)).explode()
    if flat.is_empty():
        return np.empty(0, np.uint64), np.empty(0, np.int64), len(texts)
    vocabulary = flat.unique()
    numbers = quick_hashes(vocabulary, "word").cast(pl.UInt64)
    hashed = flat.replace_strict(vocabulary, numbers, return_dtype=pl.UInt64).to_numpy()
    n = rule.ngram_words
    text_numbers = np.repeat(np.arange(len(texts)), n_words)
    ngrams = hashed[: len(hashed) - n + 1].copy()
    for offset in range(1, n):
        ngrams = _mix(ngrams) + hashed[offset : len(hashed) - n + 1 + offset]
    is_within_text = text_numbers[: len(ngrams)] == text_numbers[n - 1 :]
    return _mix(ngrams[is_within_text]), text_numbers[: len(ngrams)][is_within_text], len(texts)


def _mix(x: _Hashes) -> _Hashes:
    """Spread numbers over all 64 bits.

    Source: Stafford's variant 13 of MurmurHash3's finaliser.
    """
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIERS[0]
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIERS[1]
    return np.asarray(x ^ (x >> np.uint64(31)), dtype=np.uint64)


def _band_keys(ngrams: _Hashes, text_numbers: NDArray[np.int64], n_texts: int) -> _Hashes:
    """One key per band, shape [n_texts, N_BANDS]; all 0 for a text without n-grams."""
    keys = np.zeros((n_texts, N_BANDS), dtype=np.uint64)
    if not len(ngrams):
        return keys
    starts = np.flatnonzero(np.r_[True, text_numbers[1:] != text_numbers[:-1]])
    with_ngrams = text_numbers[starts]
    low, high = ngrams.astype(np.uint32), (ngrams >> np.uint64(32)).astype(np.uint32)
    multipliers = (np.random.default_rng(0).integers(0, 2**31, N_BANDS * BAND_ROWS) * 2 + 1).astype(np.uint32)
    for band in range(N_BANDS):
        key = np.full(len(starts), band + 1, dtype=np.uint64)
        for multiplier in multipliers[band * BAND_ROWS : (band + 1) * BAND_ROWS]:
            key = _mix(key) + np.minimum.reduceat(low * multiplier + high, starts)
        keys[with_ngrams, band] = _mix(key) | np.uint64(1)
    return keys
