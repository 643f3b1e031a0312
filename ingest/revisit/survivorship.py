"""The share of posts and comments that survive deletion: by kind, subreddit and score band."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from lurker.schema import COMMENTS, POSTS
from lurker.subreddits import plain_name
from lurker.workspace import Workspace

BANDS = ((0, "below 0"), (2, "0–1"), (5, "2–4"), (20, "5–19"), (100, "20–99"))
"""Upper ends (exclusive) and names of the score bands."""
ABOVE, UNKNOWN = "100 and more", "unknown"
BAND_NAMES = (*(name for _, name in BANDS), ABOVE, UNKNOWN)
GROUP = ("kind", "subreddit", "score_band")


def score_band(score: pl.Expr) -> pl.Expr:
    """The name of the band of a score."""
    band = pl.lit(ABOVE)
    for upper, name in reversed(BANDS):
        band = pl.when(score < upper).then(pl.lit(name)).otherwise(band)
    return pl.when(score.is_null()).then(pl.lit(UNKNOWN)).otherwise(band)


def count_present(
    workspace: Workspace, subreddits: Sequence[str] = (), before: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Number of items, and of those not deleted: kind, subreddit, score_band, n_items, n_present.

    Args:
        subreddits: empty means all.
        before: earlier states of some items (kind, item_id, score, is_deleted), used instead of their current ones.
    """
    wanted = [plain_name(name).lower() for name in subreddits]
    frames = [
        workspace.scan(table)
        .filter(pl.col("subreddit").str.to_lowercase().is_in(wanted) if wanted else pl.lit(True))
        .select("subreddit", "score", "is_deleted", kind=pl.lit(table.name), item_id=table.key[0])
        for table in (POSTS, COMMENTS)
    ]
    items = pl.concat(frames)
    if before is not None:
        then = before.lazy().select("kind", "item_id", "score", "is_deleted", was_known=pl.lit(True))
        items = items.join(then, on=["kind", "item_id"], how="left", suffix="_then").with_columns(
            pl.when("was_known").then(f"{name}_then").otherwise(name).alias(name) for name in ("score", "is_deleted")
        )
    return (
        items.group_by("kind", "subreddit", score_band=score_band(pl.col("score")))
        .agg(n_items=pl.len().cast(pl.Int64), n_present=(~pl.col("is_deleted")).sum().cast(pl.Int64))
        .collect()
    )


def survivorship(before: pl.DataFrame, gone: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of the report: items per band before, and the number and share that are left.

    Args:
        before: as returned by `count_present`.
        gone: one row per newly deleted item: kind, subreddit and the score before.
    """
    lost = gone.group_by("kind", "subreddit", score_band=score_band(pl.col("score"))).agg(n_gone=pl.len())
    order = {name: index for index, name in enumerate(BAND_NAMES)}
    table = (
        before.join(lost, on=GROUP, how="left")
        .with_columns(n_left=pl.col("n_present") - pl.col("n_gone").fill_null(0).cast(pl.Int64))
        .with_columns(share_left=pl.col("n_left") / pl.col("n_items"))
        .sort("kind", "subreddit", pl.col("score_band").replace_strict(order, return_dtype=pl.Int64))
    )
    return table.select(*GROUP, "n_items", before="n_present", after="n_left", share_left="share_left").to_dicts()
