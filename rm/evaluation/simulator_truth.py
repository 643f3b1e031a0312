"""Rewards against the simulator's truth: do they rank what the community likes, and what else do they follow?

The truth is read for evaluation only, for responses to test posts. It holds each response's quality, which depends on
its words and on neither its length nor its delay; a reward that follows length or delay at fixed quality uses a
shortcut.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.schema import TRUTH
from lurker.workspace import Workspace
from rm.pairs.subsets import stable_hash

N_NEIGHBOURS = 4
"""Each response is paired with this many others of its post: the next ones by hash."""
N_RESAMPLES = 2_000
TRAITS = ("quality", "length", "delay")
"""Traits of a response that a reward is correlated with."""


@dataclass(frozen=True, slots=True)
class TruePairs:
    """Pairs of responses to one post, ordered by true quality."""

    better: NDArray[np.int64]
    """index of the better response, [n]"""
    worse: NDArray[np.int64]
    """index of the worse response, [n]"""
    posts: NDArray[np.str_]
    """post of each pair, [n]"""
    parts: dict[str, NDArray[np.bool_]]
    """name of a part -> which pairs are in it, [n]"""


@dataclass(frozen=True, slots=True)
class RewardCorrelations:
    """Correlations of a reward within posts, in the order of TRAITS."""

    values: NDArray[np.float64]
    """[3]"""
    draws: NDArray[np.float64]
    """from resampled posts, [N_RESAMPLES, 3]; a draw resamples the same posts for every reward"""


def with_quality(workspace: Workspace, responses: pl.DataFrame) -> pl.DataFrame | None:
    """The responses whose true quality is known, with a column `quality`.

    Args:
        workspace: holds the TRUTH table of a simulated Reddit.
        responses: with response_id.

    Returns:
        None when no quality is known, as on a real Reddit.
    """
    quality = workspace.scan(TRUTH).select(pl.col("comment_id").alias("response_id"), "quality").collect()
    known = responses.join(quality, on="response_id", how="inner", maintain_order="left")
    return None if known.is_empty() else known


def true_pairs(responses: pl.DataFrame) -> TruePairs:
    """Pairs of each response with its next N_NEIGHBOURS in its post; responses of equal quality form no pair.

    Args:
        responses: response_id, post_id, quality, n_chars, delay_s.
    """
    numbered = responses.select("post_id", "quality", "n_chars", "delay_s", index=pl.int_range(pl.len()))
    order = pl.Series([stable_hash(0, response) for response in responses["response_id"]], dtype=pl.Int64)
    ordered = numbered.with_columns(_order=order).sort("post_id", "_order", "index")
    columns = ("quality", "n_chars", "delay_s", "index")
    neighbours = [
        ordered.with_columns(pl.col(columns).shift(-k).over("post_id").name.suffix("_next")).drop_nulls()
        for k in range(1, N_NEIGHBOURS + 1)
    ]
    pairs = pl.concat(neighbours).filter(pl.col("quality") != pl.col("quality_next"))
    is_first = (pairs["quality"] > pairs["quality_next"]).to_numpy()
    sign = np.where(is_first, 1, -1)
    indices = pairs.select("index", "index_next").to_numpy()
    gains = {name: sign * (pairs[name] - pairs[f"{name}_next"]).to_numpy() for name in ("n_chars", "delay_s")}
    return TruePairs(
        better=np.where(is_first, indices[:, 0], indices[:, 1]),
        worse=np.where(is_first, indices[:, 1], indices[:, 0]),
        posts=pairs["post_id"].to_numpy(),
        parts={
            "all": np.ones(pairs.height, dtype=bool),
            "better is shorter": gains["n_chars"] < 0,
            "better is later": gains["delay_s"] > 0,
        },
    )


def reward_correlations(
    responses: pl.DataFrame, rewards: NDArray[np.float64], seed: int = 0
) -> RewardCorrelations | None:
    """Spearman's correlation of a reward with quality, and its partial correlations with log length and log delay.

    Each value is centred on its post's mean before ranking, because rewards are comparable within a post only. The
    partial correlations hold the other two traits fixed. Draws resample posts with replacement.

    Args:
        responses: as returned by `with_quality`, [n].
        rewards: [n].
        seed: of the draws.

    Returns:
        None when the reward or a trait is constant within posts.

    Source:
        The reward-length correlation of Chen et al. 2024 (ODIN), section 3; partial correlations from the inverse of
        the correlation matrix, Whittaker 1990, section 5.8; Cameron, Gelbach & Miller 2008 for the draws.
    """
    from scipy.stats import rankdata  # slow to import, and no training needs it

    columns = responses.select(
        "post_id",
        "quality",
        reward=pl.Series(rewards),
        length=pl.col("n_chars").log1p(),
        delay=pl.col("delay_s").log1p(),
    )
    names = ("reward", *TRAITS)
    within = columns.select((pl.col(name) - pl.col(name).mean().over("post_id")).round(9) for name in names).to_numpy()
    if np.ptp(within, axis=0).min() == 0:
        return None
    ranks = rankdata(within, axis=0)
    ranks -= ranks.mean(axis=0)
    posts = np.unique(responses["post_id"].to_numpy(), return_inverse=True)[1]
    products = np.zeros((posts.max() + 1, len(names), len(names)))
    np.add.at(products, posts, ranks[:, :, None] * ranks[:, None, :])
    n_posts = len(products)
    counts = np.random.default_rng(seed).multinomial(n_posts, np.full(n_posts, 1 / n_posts), size=N_RESAMPLES)
    draws = np.tensordot(counts.astype(np.float64), products, axes=1)
    return RewardCorrelations(values=_correlations(products.sum(axis=0)[None])[0], draws=_correlations(draws))


def _correlations(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations [m, 3] from sums of products [m, 4, 4] (reward first): plain for quality, partial for the rest."""
    scale = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    inverse = np.linalg.inv(products / (scale[:, :, None] * scale[:, None, :]) + 1e-9 * np.eye(products.shape[1]))
    partial = -inverse[:, 0, 1:] / np.sqrt(inverse[:, :1, 0] * np.diagonal(inverse, axis1=1, axis2=2)[:, 1:])
    partial[:, 0] = products[:, 0, 1] / (scale[:, 0] * scale[:, 1])
    return np.asarray(partial)
