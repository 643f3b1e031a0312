"""Random draws that the simulator is made of; each takes from the generator what it needs, in the order of calls."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_AUTHORS = 20_000
"""Names that are written under."""


def choose(rng: np.random.Generator, cdf: Floats, row: Ints) -> Ints:
    """For each entry of `row` a column drawn by that row of `cdf` ([rows, columns], rising to 1)."""
    stacked = (cdf + np.arange(len(cdf))[:, None]).ravel()
    found = np.searchsorted(stacked, row + rng.random(len(row)), side="right") - row * cdf.shape[1]
    column: Ints = np.minimum(found, cdf.shape[1] - 1)
    return column


def cumulative(chances: Floats) -> Floats:
    """Chances (over the last axis) as cumulative shares that end at 1."""
    shares: Floats = np.cumsum(chances, axis=-1) / chances.sum(axis=-1, keepdims=True)
    return shares


def log_normal(rng: np.random.Generator, n: int, median: float, sigma: float, low: int, high: int) -> Ints:
    """Whole numbers within [low, high], log-normal before they are rounded. [n]."""
    counts = np.rint(median * np.exp(sigma * rng.standard_normal(n)))
    clipped: Ints = np.clip(counts, low, high).astype(np.int64)
    return clipped


def ramp(sizes: Ints) -> Ints:
    """0 ... size − 1 for each size, one after the other."""
    ramp: Ints = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ramp


def draw_authors(rng: np.random.Generator, n: int) -> pl.Series:
    """Names; a few write much more than the others."""
    numbers = (N_AUTHORS * rng.random(n) ** 2).astype(np.int64)
    return pl.Series("author", numbers).cast(pl.String).str.zfill(5).str.replace("^", "sim_user_")
