"""Pairs as design matrices, from which the probability of their outcome is learned."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.blocks import Blocks
from features.confounders.context import POST_CONTEXT
from features.confounders.measures import SIDES, Scale, confounder_matrix
from features.confounders.regressions import slices
from features.hashing import SPAN, hash_ids

MAX_TERM = 4.0
"""Terms of the logistic regression are clipped at this many standard deviations, so that no single pair dominates."""
CORE = ("log_delay", "log_rank", "log_chars")
"""Confounders whose effect may change with the level of the post."""
MAX_SUBREDDIT_TERMS = 50
"""Subreddits with an indicator of their own, the first by name; the trees see all as a number."""
Floats = NDArray[np.float64]


def is_earlier_chosen(pairs: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether the earlier response won; ties in time are ordered by id. Shape [n]."""
    delay = pl.col("chosen_delay_s") - pl.col("rejected_delay_s")
    tie = (delay == 0) & (pl.col("chosen_id") < pl.col("rejected_id"))
    return pairs.select((delay < 0) | tie).to_series().to_numpy()


def sample_pairs(pairs: Blocks, max_pairs: int) -> pl.DataFrame:
    """About max_pairs pairs, or all if fewer: complete posts, the first by a hash of their id; sorted by pair_id."""
    share = max_pairs / max(pairs.n_rows, 1)
    return pl.concat(block if share >= 1 else _first_posts(block, share) for block in pairs).sort("pair_id")


def _first_posts(block: pl.DataFrame, share: float) -> pl.DataFrame:
    posts = block.select(pl.col("post_id").unique())
    first = posts.filter(pl.Series(hash_ids(posts["post_id"], "learn")) / SPAN < share)
    return block.join(first, on="post_id", how="semi", maintain_order="left")


@dataclass(frozen=True, slots=True)
class Design:
    """What models are fitted to; the pairs themselves, which take more memory, can be freed."""

    scale: Scale
    X: Floats
    """All confounders, as returned by `confounder_matrix`. Shape [n, k]."""
    parts: Floats
    """What the terms are made of besides X, as returned by `pair_parts`. Shape [n, m]."""
    labels: NDArray[np.bool_]
    """Whether the earlier response won. Shape [n]."""
    posts: pl.DataFrame
    """post_id and split of every pair."""
    centre: Floats
    """Mean of each term. Shape [number of terms]."""
    spread: Floats
    """Standard deviation of each term. Shape [number of terms]."""

    @classmethod
    def from_pairs(cls, pairs: pl.DataFrame, extra: pl.DataFrame | None = None) -> "Design":
        """The design of these pairs.

        Args:
            pairs: with the columns of `add_confounders`, sorted by pair_id.
            extra: more pairs to learn from; scale, centre and spread are those of `pairs` alone.
        """
        scale, n_own = Scale.from_pairs(pairs), pairs.height
        if extra is not None:
            pairs = pl.concat([pairs, extra.select(pairs.columns)])
        labels = is_earlier_chosen(pairs)
        X = confounder_matrix(pairs, "joint", labels, scale)
        parts = pair_parts(pairs, labels, scale)
        centre, spread = _centre_and_spread(X[:n_own], parts[:n_own])
        return cls(scale, X, parts, labels, pairs.select("post_id", "split"), centre, spread)


def pair_parts(pairs: pl.DataFrame, labels: NDArray[np.bool_], scale: Scale) -> Floats:
    """Differences and signs of the CORE confounders; the levels they interact with; subreddit indicators.

    Shape [n, m].
    """
    sign = np.where(labels, 1.0, -1.0)
    core: list[Floats] = []
    levels = [scale.normal_scores(name, pairs[name].to_numpy().astype(np.float64)) for name in POST_CONTEXT]
    for name in CORE:
        chosen, rejected = (pairs[f"{side}_{name}"].to_numpy().astype(np.float64) for side in SIDES)
        scores = [scale.normal_scores(name, side) for side in (chosen, rejected)]
        core += [sign * (scores[0] - scores[1]), sign * np.sign(chosen - rejected)]
        levels.append((scores[0] + scores[1]) / 2)
    subreddits = [(pairs["subreddit"] == name).to_numpy() for name in scale.subreddits[:MAX_SUBREDDIT_TERMS]]
    return np.column_stack([*core, *levels, *subreddits])


def pair_terms(X: Floats, parts: Floats) -> Floats:
    """All confounders, the levels and subreddits, and the CORE confounders times the levels.

    Shape [n, number of terms].
    """
    n_core = 2 * len(CORE)
    core, levels = parts[:, :n_core].T, parts[:, n_core : n_core + len(POST_CONTEXT) + len(CORE)].T
    return np.column_stack([X, parts[:, n_core:], *(one * level for one in core for level in levels)])


def _centre_and_spread(X: Floats, parts: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each term, 1 for a constant term; slice by slice. Shape [number of terms] each."""
    centre = _sum(pair_terms(X[part], parts[part]) for part in slices(len(X))) / max(len(X), 1)
    squares = _sum((pair_terms(X[part], parts[part]) - centre) ** 2 for part in slices(len(X))) / max(len(X), 1)
    return centre, np.where(squares > 0, np.sqrt(squares), 1)


def _sum(parts: Iterable[Floats]) -> Floats:
    """Column sums over all rows, added in order whatever the slices. Shape [k]."""
    total: Floats | None = None
    for rows in parts:
        total = np.add.reduce(rows if total is None else np.vstack([total, rows]), axis=0)
    return np.zeros(0) if total is None else total


def standardised(terms: Floats, centre: Floats, spread: Floats) -> Floats:
    """Terms in standard deviations, clipped at MAX_TERM; changes the array in place. Shape [n, number of terms]."""
    terms -= centre
    terms /= spread
    return np.clip(terms, -MAX_TERM, MAX_TERM, out=terms)


def all_terms(X: Floats, parts: Floats, centre: Floats, spread: Floats) -> NDArray[np.float32]:
    """`pair_terms`, standardised, in single precision. Shape [n, number of terms]."""
    terms = np.empty((len(X), centre.size), dtype=np.float32)
    for part in slices(len(X)):
        terms[part] = standardised(pair_terms(X[part], parts[part]), centre, spread)
    return terms


def plain_terms(X: Floats, centre: Floats, spread: Floats) -> NDArray[np.float32]:
    """The confounders without interactions, standardised. Shape [n, k].

    Args:
        centre, spread: of all terms, which begin with the columns of X.
    """
    plain = np.empty(X.shape, dtype=np.float32)
    for part in slices(len(X)):
        plain[part] = standardised(X[part].copy(), centre[: X.shape[1]], spread[: X.shape[1]])
    return plain
