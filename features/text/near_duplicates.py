"""Texts that are nearly the same: MinHash over runs of words, candidates by locality-sensitive hashing, then checked.

Work grows with the words, not with the pairs of texts: two texts are compared only where a band of their signatures
agrees, and every such pair is judged by its exact similarity, so chance decides what is looked at, never what is found
alike. Sources: Broder 1997, "On the resemblance and containment of documents" (MinHash); Leskovec, Rajaraman & Ullman,
Mining of Massive Datasets, section 3.4 (bands). Runs of 5 words and 0.8 as in Lee et al. 2022, "Deduplicating training
data makes language models better".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.blocks import Means, connect, parquet_sql, staging, write_block
from features.hashing import quick_hashes
from lurker.engine import map_in_order
from lurker.workspace import sql_string

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
    texts: Callable[[], Iterable[pl.DataFrame]], likeness: Likeness, means: Means | None = None
) -> pl.DataFrame:
    """Texts that are nearly the same as another: columns id and copy_group (the lowest id of the group), by id.

    texts: gives parts with columns id (String) and text; called twice, in any order of rows and parts. Signatures lie
    on the disk and meet in DuckDB; a few parts, and the ids of what shares a band, are all that memory holds.
    """
    means = means or Means()
    with staging(means) as folder, connect(means) as connection:
        signed = [
            _write_batch(folder, "keys", n, keys) for n, keys in enumerate(_map(_signatures, texts(), likeness, means))
        ]
        if not signed:
            return pl.DataFrame(schema={"id": pl.String, "copy_group": pl.String})
        pairs = folder / "pairs.parquet"
        connection.execute(f"COPY ({_candidates_sql(signed)}) TO {sql_string(str(pairs))} (FORMAT parquet)")
        met = connection.sql(
            f"SELECT a AS id FROM {parquet_sql([pairs])} UNION SELECT b FROM {parquet_sql([pairs])}"
        ).pl()
        again = (part.join(met, on="id", how="semi") for part in texts())
        runs = [_write_batch(folder, "runs", n, sets) for n, sets in enumerate(_map(_run_sets, again, likeness, means))]
        alike = (
            connection.sql(_alike_sql(pairs, runs, likeness)).pl()
            if runs
            else pl.DataFrame(schema={"a": pl.String, "b": pl.String})
        )
    return group_links(alike["a"], alike["b"])


def _map(
    function: Callable[..., pl.DataFrame], parts: Iterable[pl.DataFrame], likeness: Likeness, means: Means
) -> Iterator[pl.DataFrame]:
    tasks = ({"part": part} for part in parts)
    return map_in_order(function, tasks, engine=means.engine, shared={"likeness": likeness})


def _write_batch(folder: Path, name: str, number: int, rows: pl.DataFrame) -> Path:
    return write_block(rows, folder / f"{name}-{number:06}.parquet")


def _signatures(part: pl.DataFrame, likeness: Likeness) -> pl.DataFrame:
    """id and a key a band, of the texts that have runs."""
    keys = _band_keys(*_runs(part["text"], likeness))
    named = {f"key_{band}": keys[:, band] for band in range(N_BANDS)}
    return pl.DataFrame({"id": part["id"]} | named).filter(pl.col("key_0") != 0)


def _candidates_sql(signed: Sequence[Path]) -> str:
    """Pairs a < b that share a band's key: each text with the first and with the one before of its bucket."""
    met = [
        f"SELECT id, first_value(id) OVER bucket AS first, lag(id) OVER bucket AS before FROM {parquet_sql(signed)} "
        f"WINDOW bucket AS (PARTITION BY key_{band} ORDER BY id) QUALIFY before IS NOT NULL"
        for band in range(N_BANDS)
    ]
    both = " UNION ALL ".join(f"SELECT {place} AS a, id AS b FROM met" for place in ("first", "before"))
    return f"WITH met AS ({' UNION ALL '.join(met)}) SELECT DISTINCT a, b FROM ({both}) WHERE a <> b"


def _run_sets(part: pl.DataFrame, likeness: Likeness) -> pl.DataFrame:
    """id and the different runs of each text."""
    runs, text_of, _ = _runs(part["text"], likeness)
    flat = pl.DataFrame({"place": text_of, "runs": runs}, schema={"place": pl.Int64, "runs": pl.UInt64})
    sets = flat.group_by("place").agg(pl.col("runs").unique())
    return part.select("id", place=pl.int_range(pl.len())).join(sets, on="place").select("id", "runs")


def _alike_sql(pairs: Path, runs: Sequence[Path], likeness: Likeness) -> str:
    """The pairs whose exact Jaccard similarity is high enough; of two texts with one id the smaller set counts."""
    return (
        f"WITH sets AS (SELECT id, arg_min(runs, len(runs)) AS runs FROM {parquet_sql(runs)} GROUP BY id), "
        "judged AS (SELECT a, b, len(list_intersect(x.runs, y.runs)) AS shared, len(x.runs) + len(y.runs) AS total "
        f"FROM {parquet_sql([pairs])} pairs JOIN sets x ON a = x.id JOIN sets y ON b = y.id) "
        f"SELECT a, b FROM judged WHERE shared / (total - shared) >= {likeness.min_similarity} ORDER BY a, b"
    )


def group_links(left: pl.Series, right: pl.Series) -> pl.DataFrame:
    """Chains of linked ids as groups: id, copy_group (its lowest id), by id. left, right: [k]; linked to itself too."""
    ids = pl.concat([left, right]).unique().sort().alias("id")
    places = [ids.search_sorted(side).to_numpy().astype(np.int64) for side in (left, right)]
    graph = coo_array((np.ones(len(left), dtype=np.int8), tuple(places)), shape=(len(ids), len(ids)))
    labels = connected_components(graph, directed=False)[1]
    grouped = pl.DataFrame({"id": ids, "copy_group": pl.Series(labels)})
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
    numbers = quick_hashes(vocabulary, "word").cast(pl.UInt64)
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
