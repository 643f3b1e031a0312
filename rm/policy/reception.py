"""How well a response was received: its score above what its time, thread and length foretell.

A raw score says when a response was written and how many people read the thread as much as what it says. So log scores
are predicted from these alone, by a regression that never saw the response's post, and a response is ranked by what is
left, in units of how much scores vary at that exposure.
"""

from itertools import combinations_with_replacement

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.pair_sets import PairSet
from lurker.schema import COMMENTS, POSTS
from rm.pairs.subsets import stable_hash

Floats = NDArray[np.float64]
N_FOLDS = 5
"""Groups of posts; the responses of each are predicted from the others."""
MIN_RESPONSES = 400
"""Training responses of a community with a regression of its own; smaller communities share one."""
MIN_SPREAD = 0.1
"""Smallest standard deviation of log scores that a residual is divided by."""
HELD_OUT = -1
"""Fold of responses to validation and test posts."""
CONFOUNDERS = ("log_delay", "log_rank", "log_chars", "log_thread_size", "log_post_score")
"""What the prediction reads of a response."""
DEGREE = 3
"""Largest degree of the products of confounders."""
MAX_DEVIATION = 3.0
RIDGE = 1.0
"""Penalty of squared coefficients: as much as one response at one standard deviation counts."""


def responses_of(pairs: PairSet) -> pl.DataFrame:
    """Every response in the pairs once, with what is known of its thread.

    Returns:
        response_id, post_id, subreddit, split, prompt, response, score, delay_s, n_chars, is_nsfw, and the CONFOUNDERS;
        sorted by response_id. Rank, thread size and post score are missing where the workspace no longer has the
        thread. Responses that were deleted since the pairs were built are left out.
    """
    sides = [
        pairs.frame.select(
            "post_id",
            "subreddit",
            "split",
            "prompt",
            response_id=f"{side}_id",
            response=side,
            score=f"{side}_score",
            delay_s=f"{side}_delay_s",
            n_chars=f"{side}_chars",
        )
        for side in ("chosen", "rejected")
    ]
    rows = pl.concat(sides).unique("response_id", keep="first", maintain_order=True).sort("response_id")
    joined = rows.join(_thread_context(pairs, rows), on="response_id", how="left", maintain_order="left").join(
        _post_context(pairs, rows), on="post_id", how="left", maintain_order="left"
    )
    return joined.filter(~pl.col("is_deleted").fill_null(False)).with_columns(
        is_nsfw=pl.col("is_nsfw").fill_null(False),
        log_delay=pl.col("delay_s").clip(0).cast(pl.Float64).log1p(),
        log_chars=pl.col("n_chars").clip(1).cast(pl.Float64).log(),
    )


def _thread_context(pairs: PairSet, rows: pl.DataFrame) -> pl.DataFrame:
    """response_id, log_rank, log_thread_size and is_deleted of the responses that the workspace still has."""
    comments = pairs.workspace.scan(COMMENTS).filter(
        "is_top_level", pl.col("post_id").is_in(rows["post_id"].unique().implode())
    )
    threads = comments.select("comment_id", "post_id", "created_utc", "is_deleted").collect()
    ordered = threads.unique("comment_id", keep="first").sort("post_id", "created_utc", "comment_id")
    return ordered.select(
        "is_deleted",
        response_id="comment_id",
        log_rank=pl.int_range(pl.len()).over("post_id").cast(pl.Float64).log1p(),
        log_thread_size=pl.len().over("post_id").cast(pl.Float64).log(),
    )


def _post_context(pairs: PairSet, rows: pl.DataFrame) -> pl.DataFrame:
    """post_id, log_post_score and is_nsfw of the posts that the workspace still has."""
    posts = pairs.workspace.scan(POSTS).filter(pl.col("post_id").is_in(rows["post_id"].unique().implode()))
    return (
        posts.select(
            "post_id",
            "is_nsfw",
            log_post_score=pl.col("score").clip(0).fill_null(0).cast(pl.Float64).log1p(),
        )
        .collect()
        .unique("post_id", keep="first")
    )


def add_reception(responses: pl.DataFrame) -> pl.DataFrame:
    """Add what the confounders foretell of each response's score, and how far the score is above it.

    Regressions learn from training posts only. Responses of a training post are predicted by one that did not see the
    post, those of other posts by one fitted on all training posts.

    Args:
        responses: as returned by `responses_of`.

    Returns:
        The responses with log_score, expected (log score) and reception (standard deviations); the order is kept.
    """
    score = pl.col("score").cast(pl.Float64)
    frame = responses.with_columns(log_score=score.sign() * score.abs().log1p(), _row=pl.int_range(pl.len()))
    sizes = frame.filter(split="train").group_by("subreddit").len()
    large = sizes.filter(pl.col("len") >= MIN_RESPONSES)["subreddit"].implode()
    group = pl.when(pl.col("subreddit").is_in(large)).then("subreddit").otherwise(pl.lit(""))
    parts = [_with_reception(part) for _, part in frame.with_columns(_group=group).group_by("_group")]
    return pl.concat(parts).sort("_row").drop("_row", "_group")


def _with_reception(part: pl.DataFrame) -> pl.DataFrame:
    """`add_reception` for the responses of one community, or of several small ones."""
    y = part["log_score"].to_numpy()
    is_training = (part["split"] == "train").to_numpy()
    posts = part["post_id"].unique()
    folds = pl.DataFrame({"post_id": posts, "fold": [stable_hash(0, post) % N_FOLDS for post in posts]})
    fold = part.select("post_id").join(folds, on="post_id", how="left", maintain_order="left")["fold"].to_numpy()
    fold = np.where(is_training, fold, HELD_OUT)
    terms = polynomial(part, is_training)
    expected = out_of_fold(terms, y, fold)
    spread = np.sqrt(np.maximum(out_of_fold(terms, (y - expected) ** 2, fold), MIN_SPREAD**2))
    return part.with_columns(expected=expected, reception=(y - expected) / spread)


def polynomial(frame: pl.DataFrame, is_training: NDArray[np.bool_]) -> Floats:
    """A constant, the CONFOUNDERS and their products up to DEGREE; and whether the thread is missing. [n, n_terms].

    Each confounder is in standard deviations of the training responses from their mean, clipped at MAX_DEVIATION; one
    that is missing is at the mean.
    """
    columns = []
    for name in CONFOUNDERS:
        values = frame[name].cast(pl.Float64).to_numpy(allow_copy=True)
        known = values[is_training & ~np.isnan(values)]
        centre, spread = (known.mean(), known.std()) if known.size else (0.0, 0.0)
        columns.append(np.nan_to_num((values - centre) / (spread or 1.0)).clip(-MAX_DEVIATION, MAX_DEVIATION))
    X, terms = np.column_stack(columns), [np.ones(frame.height), frame["log_rank"].is_null().to_numpy().astype(float)]
    for degree in range(1, DEGREE + 1):
        terms += [X[:, list(of)].prod(axis=1) for of in combinations_with_replacement(range(X.shape[1]), degree)]
    return np.column_stack(terms)


def out_of_fold(terms: Floats, y: Floats, fold: NDArray[np.int64]) -> Floats:
    """Predictions of y by ridge regressions that did not see the row's fold.

    Args:
        terms: [n, n_terms].
        y: [n].
        fold: [n] 0 ... N_FOLDS - 1; rows of HELD_OUT are predicted from all folds and never learned from.

    Returns:
        [n]; 0 where there is nothing to learn from.
    """
    grams = [terms[fold == one].T @ terms[fold == one] for one in range(N_FOLDS)]
    moments = [terms[fold == one].T @ y[fold == one] for one in range(N_FOLDS)]
    ridge = RIDGE * np.eye(terms.shape[1])
    predicted = np.zeros(y.size)
    for held_out in np.unique(fold):
        gram = sum((one for number, one in enumerate(grams) if number != held_out), ridge)
        moment = sum((one for number, one in enumerate(moments) if number != held_out), np.zeros(terms.shape[1]))
        rows = fold == held_out
        predicted[rows] = terms[rows] @ np.linalg.solve(gram, moment)
    return predicted
