"""Random draws of the simulator. Results depend on the order of calls on a generator."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_AUTHORS = 20_000
"""Number of distinct authors."""


def draw_columns(rng: np.random.Generator, cdf: Floats, row: Ints) -> Ints:
    """Draw one column per entry of `row`, from the distribution in that row of `cdf`.

    Args:
        cdf: cumulative probabilities, each row rising to 1, shape [rows, columns].
        row: row indices, shape [n].

    Returns:
        Column indices, shape [n].
    """
    stacked = (cdf + np.arange(len(cdf))[:, None]).ravel()
    drawn = np.searchsorted(stacked, row + rng.random(len(row)), side="right") - row * cdf.shape[1]
    column: Ints = np.minimum(drawn, cdf.shape[1] - 1)
    return column


def cumulative(probabilities: Floats) -> Floats:
    """Cumulative probabilities over the last axis, normalised to end at 1."""
    cdf: Floats = np.cumsum(probabilities, axis=-1) / probabilities.sum(axis=-1, keepdims=True)
    return cdf


def log_normal(rng: np.random.Generator, n: int, median: float, sigma: float, low: int, high: int) -> Ints:
    """Integers in [low, high], shape [n]: log-normal, then rounded and clipped."""
    counts = np.rint(median * np.exp(sigma * rng.standard_normal(n)))
    clipped: Ints = np.clip(counts, low, high).astype(np.int64)
    return clipped


def index_in_group(sizes: Ints) -> Ints:
    """For consecutive groups of these sizes, each member's index in its group: 0 ... size − 1, shape [sum of sizes]."""
    index: Ints = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return index


def draw_authors(rng: np.random.Generator, n: int) -> pl.Series:
    """Author names, shape [n]; a few authors write much more than the others."""
    numbers = (N_AUTHORS * rng.random(n) ** 2).astype(np.int64)
    return pl.Series("author", numbers).cast(pl.String).str.zfill(5).str.replace("^", "sim_user_")
