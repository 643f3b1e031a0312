"""The simulator's truth as the judge: does a reward rank what the community likes, and what else does it follow?

The truth is read for judging only, of responses to test posts. It knows each response's quality, which its words
determine and neither its length nor its delay does; so a reward that follows length or delay, at fixed quality, leans
on a shortcut.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from lurker.schema import TRUTH
from lurker.workspace import Workspace
from rm.pairs.subsets import stable_hash

N_NEIGHBOURS = 4
"""Each response is paired with this many others of its post, those that follow it in the order of a hash."""
N_RESAMPLES = 2_000
FOLLOWED = ("quality", "length", "delay")
PARTS = ("all", "better is shorter", "better is later")


@dataclass(frozen=True, slots=True)
class TruePairs:
    """Pairs of responses to one post, by true quality.

    better, worse: [n] places in the responses. posts: [n] their posts. parts: name -> [n] which pairs it holds.
    """

    better: NDArray[np.int64]
    worse: NDArray[np.int64]
    posts: NDArray[np.str_]
    parts: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Following:
    """Correlations of a reward within posts, in the order of FOLLOWED.

    values: [3]. draws: [N_RESAMPLES, 3], of resampled posts; the same draw is of the same posts for every reward.
    """

    values: NDArray[np.float64]
    draws: NDArray[np.float64]


def with_quality(workspace: Workspace, responses: pl.DataFrame) -> pl.DataFrame | None:
    """The responses (response_id, post_id, n_chars, delay_s, …) with their true quality; those without one go.

    None when the workspace has no truth of any, as a real Reddit's has not.
    """
    quality = workspace.scan(TRUTH).select(pl.col("comment_id").alias("response_id"), "quality").collect()
    known = responses.join(quality, on="response_id", how="inner", maintain_order="left")
    return None if known.is_empty() else known


def true_pairs(responses: pl.DataFrame) -> TruePairs:
    """Pairs of each response with its next N_NEIGHBOURS in its post; equal quality makes no pair.

    responses: response_id, post_id, quality, n_chars, delay_s.
    """
    numbered = responses.select("post_id", "quality", "n_chars", "delay_s", place=pl.int_range(pl.len()))
    order = pl.Series([stable_hash(0, response) for response in responses["response_id"]], dtype=pl.Int64)
    ordered = numbered.with_columns(_order=order).sort("post_id", "_order", "place")
    columns = ("quality", "n_chars", "delay_s", "place")
    met = [
        ordered.with_columns(pl.col(columns).shift(-k).over("post_id").name.suffix("_next")).drop_nulls()
        for k in range(1, N_NEIGHBOURS + 1)
    ]
    pairs = pl.concat(met).filter(pl.col("quality") != pl.col("quality_next"))
    is_first = (pairs["quality"] > pairs["quality_next"]).to_numpy()
    sign = np.where(is_first, 1, -1)
    places = pairs.select("place", "place_next").to_numpy()
    gains = {name: sign * (pairs[name] - pairs[f"{name}_next"]).to_numpy() for name in ("n_chars", "delay_s")}
    return TruePairs(
        better=np.where(is_first, places[:, 0], places[:, 1]),
        worse=np.where(is_first, places[:, 1], places[:, 0]),
        posts=pairs["post_id"].to_numpy(),
        parts={
            "all": np.ones(pairs.height, dtype=bool),
            "better is shorter": gains["n_chars"] < 0,
            "better is later": gains["delay_s"] > 0,
        },
    )


def following(responses: pl.DataFrame, rewards: NDArray[np.float64], seed: int = 0) -> Following | None:
    """What the reward follows within posts: Spearman's correlation with quality, and with log length and log delay
    each at fixed values of the other two; None where a post's rewards are all the same.

    responses: as `with_quality` gives them, [n]. rewards: [n]. Rewards compare within a post only, so each value is
    less its post's mean before it is ranked. Intervals come from posts drawn with replacement.
    Sources: the reward-length correlation of Chen et al. 2024 (ODIN), section 3; partial correlations from the
    inverse of the correlation matrix, Whittaker 1990, section 5.8; Cameron, Gelbach & Miller 2008 for the draws.
    """
    columns = responses.select(
        "post_id",
        "quality",
        reward=pl.Series(rewards),
        length=pl.col("n_chars").log1p(),
        delay=pl.col("delay_s").log1p(),
    )
    names = ("reward", *FOLLOWED)
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
    return Following(values=_correlations(products.sum(axis=0)[None])[0], draws=_correlations(draws))


def _correlations(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """[m, 3] of [m, 4, 4] sums of products, the reward first: plain with quality, partial with length and delay."""
    scale = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    inverse = np.linalg.inv(products / (scale[:, :, None] * scale[:, None, :]) + 1e-9 * np.eye(products.shape[1]))
    partial = -inverse[:, 0, 1:] / np.sqrt(inverse[:, :1, 0] * np.diagonal(inverse, axis1=1, axis2=2)[:, 1:])
    partial[:, 0] = products[:, 0, 1] / (scale[:, 0] * scale[:, 1])
    return np.asarray(partial)
