"""Pairs as numbers that the probability of their outcome is learned from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.blocks import Blocks
from features.confounders.context import POST_CONTEXT
from features.confounders.measures import Scale, confounder_matrix
from features.hashing import SPAN, hash_ids

MAX_TERM = 4.0
"""Terms of the logistic regression are held within this many standard deviations: no pair decides alone."""
CORE = ("log_delay", "log_rank", "log_chars")
"""Confounders that may tell one thing at one level of the post and another at another."""
MAX_SUBREDDIT_TERMS = 50
"""Subreddits that have a term of their own there, the first by name; the trees know all by number."""
SLICE_PAIRS = 20_000
"""Pairs whose probability is worked out at a time: a pair takes a kilobyte and a half."""


def slices(n: int) -> list[slice]:
    """Of n rows, SLICE_PAIRS at a time."""
    return [slice(start, start + SLICE_PAIRS) for start in range(0, n, SLICE_PAIRS)]


def is_earlier_chosen(pairs: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether the earlier response won, ties in time by id. [n]."""
    delay = pl.col("chosen_delay_s") - pl.col("rejected_delay_s")
    tie = (delay == 0) & (pl.col("chosen_id") < pl.col("rejected_id"))
    return pairs.select((delay < 0) | tie).to_series().to_numpy()


def sample_pairs(pairs: Blocks, n_most: int) -> pl.DataFrame:
    """About n_most of the pairs, those of the posts that come first by a hash, or all; sorted by pair_id."""
    share = n_most / max(pairs.n_rows, 1)
    return pl.concat(block if share >= 1 else _of_first_posts(block, share) for block in pairs).sort("pair_id")


def _of_first_posts(block: pl.DataFrame, share: float) -> pl.DataFrame:
    posts = block.select(pl.col("post_id").unique())
    first = posts.filter(pl.Series(hash_ids(posts["post_id"], "learn")) / SPAN < share)
    return block.join(first, on="post_id", how="semi", maintain_order="left")


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs as the numbers that are learned from: the pairs themselves, which take more memory, may go."""

    scale: Scale
    X: NDArray[np.float64]
    """All confounders, as of `confounder_matrix`. [n, k]."""
    parts: NDArray[np.float64]
    """What the terms are made of besides, as of `pair_parts`. [n, m]."""
    labels: NDArray[np.bool_]
    """Whether the earlier one won. [n]."""
    posts: pl.DataFrame
    """post_id and split of every pair."""
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    """Of the terms. [number of terms]."""

    @classmethod
    def of(cls, pairs: pl.DataFrame, around: pl.DataFrame | None = None) -> "Examples":
        """pairs: as of `add_confounders`, sorted by pair_id. around: other pairs that teach too; what the terms are
        measured by is that of `pairs` alone."""
        scale, n_own = Scale.of(pairs), pairs.height
        if around is not None:
            pairs = pl.concat([pairs, around.select(pairs.columns)])
        labels = is_earlier_chosen(pairs)
        X = confounder_matrix(pairs, "joint", labels, scale)
        parts = pair_parts(pairs, labels, scale)
        centre, spread = _centre_and_spread(X[:n_own], parts[:n_own])
        return cls(scale, X, parts, labels, pairs.select("post_id", "split"), centre, spread)


def pair_parts(pairs: pl.DataFrame, labels: NDArray[np.bool_], scale: Scale) -> NDArray[np.float64]:
    """Difference and order in delay, rank and length; the levels they may turn round at; the subreddits. [n, m]."""
    shown = np.where(labels, 1.0, -1.0)
    core: list[NDArray[np.float64]] = []
    levels = [scale.normal_scores(name, pairs[name].to_numpy().astype(np.float64)) for name in POST_CONTEXT]
    for name in CORE:
        chosen, rejected = (pairs[f"{side}_{name}"].to_numpy().astype(np.float64) for side in ("chosen", "rejected"))
        scores = [scale.normal_scores(name, side) for side in (chosen, rejected)]
        core += [shown * (scores[0] - scores[1]), shown * np.sign(chosen - rejected)]
        levels.append((scores[0] + scores[1]) / 2)
    subreddits = [(pairs["subreddit"] == name).to_numpy() for name in scale.subreddits[:MAX_SUBREDDIT_TERMS]]
    return np.column_stack([*core, *levels, *subreddits])


def pair_terms(X: NDArray[np.float64], parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """All confounders, the levels and subreddits, and delay, rank and length times the levels. [n, number of terms]."""
    n_core = 2 * len(CORE)
    core, levels = parts[:, :n_core].T, parts[:, n_core : n_core + len(POST_CONTEXT) + len(CORE)].T
    return np.column_stack([X, parts[:, n_core:], *(one * level for one in core for level in levels)])


def _centre_and_spread(
    X: NDArray[np.float64], parts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the terms, 1 of those that do not vary; slice by slice. [number of terms]."""
    centre = _sum(pair_terms(X[part], parts[part]) for part in slices(len(X))) / max(len(X), 1)
    squares = _sum((pair_terms(X[part], parts[part]) - centre) ** 2 for part in slices(len(X))) / max(len(X), 1)
    return centre, np.where(squares > 0, np.sqrt(squares), 1)


def _sum(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Of all rows, added in their order however they are cut. [k]."""
    total: NDArray[np.float64] | None = None
    for rows in parts:
        total = np.add.reduce(rows if total is None else np.vstack([total, rows]), axis=0)
    return np.zeros(0) if total is None else total


def standardised(
    terms: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """In standard deviations, held within MAX_TERM; the array itself is changed. [n, number of terms]."""
    terms -= centre
    terms /= spread
    return np.clip(terms, -MAX_TERM, MAX_TERM, out=terms)


def plain_terms(
    X: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The terms that are no products yet, standardised. [n, k]. centre and spread: of all terms, which begin with X."""
    plain = np.empty(X.shape, dtype=np.float32)
    for part in slices(len(X)):
        plain[part] = standardised(X[part].copy(), centre[: X.shape[1]], spread[: X.shape[1]])
    return plain
