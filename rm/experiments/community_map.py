"""A map of communities: how alike the models taught by each of them rank the same responses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from rm.experiments.outcomes import Outcomes

MIN_COMMUNITIES = 3
N_RESAMPLES = 400
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CommunityMap:
    """Rank correlations between the models of communities, and where these place them."""

    communities: tuple[str, ...]
    """in the order of a hierarchical clustering, alike ones next to each other"""
    correlations: Floats
    """[k, k] Spearman's, of margins on the same pairs"""
    low: Floats
    """[k, k] lower ends of the 95 % intervals over resampled posts"""
    high: Floats
    """[k, k] upper ends"""
    positions: Floats
    """[k, 2], distances near sqrt(2 - 2 correlation)"""
    shown: float
    """share of the squared distances that two dimensions show, 0-1"""

    def rows(self) -> dict[str, Any]:
        """The map as JSON: correlations by pair of communities, and positions."""
        names = self.communities
        return {
            "correlations": [
                {
                    **{"source": one, "other": other, "correlation": float(self.correlations[i, j])},
                    **{"low": float(self.low[i, j]), "high": float(self.high[i, j])},
                }
                for i, one in enumerate(names)
                for j, other in enumerate(names)
            ],
            "positions": [
                {"community": name, "x": float(x), "y": float(y)}
                for name, (x, y) in zip(names, self.positions, strict=True)
            ],
            "shown": self.shown,
        }


def community_map(outcomes: Outcomes, predictor: str, sources: tuple[str, ...]) -> CommunityMap | None:
    """The map of these communities; None for fewer than three, or a model that tells no pair apart.

    A pair's margin is that of the response whose id comes first, whoever won it, so the labels of the test do not
    enter. Margins are averaged over seeds.
    """
    if len(sources) < MIN_COMMUNITIES:
        return None
    sign = pl.when(pl.col("chosen_id") < pl.col("rejected_id")).then(1.0).otherwise(-1.0)
    rows = outcomes.frame.filter(pl.col("source").is_in(sources), predictor=predictor)
    margins = rows.group_by("pair_id", "post_id", "source").agg((sign * pl.col("margin")).mean().alias("margin"))
    wide = margins.pivot("source", index=["pair_id", "post_id"], values="margin").drop_nulls().sort("pair_id")
    table = wide.select(sources).to_numpy().T  # [k, n_pairs]
    if wide.height < 3 or (table.std(axis=1) == 0).any():
        return None
    ranks = np.stack([rankdata(row) for row in table])
    ranks = (ranks - ranks.mean(axis=1, keepdims=True)) / ranks.std(axis=1, keepdims=True)
    correlations = ranks @ ranks.T / wide.height
    low, high = _interval(ranks, wide["post_id"].to_numpy())
    distances = np.sqrt(np.clip(2 - 2 * correlations, 0.0, None))
    np.fill_diagonal(distances, 0.0)
    order = leaves_list(linkage(squareform(distances, checks=False), "average", optimal_ordering=True))
    positions, shown = classical_scaling(distances[np.ix_(order, order)])
    correlations, low, high = (matrix[np.ix_(order, order)] for matrix in (correlations, low, high))
    return CommunityMap(tuple(sources[place] for place in order), correlations, low, high, positions, shown)


def classical_scaling(distances: Floats) -> tuple[Floats, float]:
    """Positions in the plane whose distances are near these, [k, 2], and the share of squares that they show.

    Source: Torgerson 1952, Psychometrika 17, 401-419.
    """
    centring = np.eye(len(distances)) - 1 / len(distances)
    values, vectors = np.linalg.eigh(-centring @ distances**2 @ centring / 2)
    values = np.clip(values[::-1], 0.0, None)
    vectors = vectors[:, ::-1] * np.where(vectors[0, ::-1] < 0, -1.0, 1.0)  # a sign that does not depend on LAPACK
    shown = float(values[:2].sum() / values.sum()) if values.sum() > 0 else 1.0
    return vectors[:, :2] * np.sqrt(values[:2]), shown


def _interval(ranks: Floats, posts: NDArray[np.str_]) -> tuple[Floats, Floats]:
    """95 % intervals of the correlations of ranks over resampled posts, [k, k] each; ranks are those of all pairs."""
    codes = np.unique(posts, return_inverse=True)[1]
    n_posts, k = int(codes.max()) + 1, len(ranks)
    products = (ranks[:, None] * ranks[None]).reshape(k * k, -1)
    sums = np.stack([np.bincount(codes, weights=row, minlength=n_posts) for row in products])
    sizes = np.bincount(codes, minlength=n_posts)
    draws = np.random.default_rng(0).multinomial(n_posts, np.full(n_posts, 1 / n_posts), size=N_RESAMPLES).T
    means = ((sums @ draws) / (sizes @ draws)).T.reshape(-1, k, k)
    spreads = np.sqrt(np.diagonal(means, axis1=1, axis2=2))
    low, high = np.quantile(means / (spreads[:, :, None] * spreads[:, None, :]), (0.025, 0.975), axis=0)
    return low, high
