"""Texts join last: only those of the pairs that stayed are read."""

import polars as pl

from features.clean import prompt_text, response_text
from features.recipes import Recipe
from lurker.schema import COMMENTS, PAIRS, POSTS, check
from lurker.workspace import Workspace


def attach_texts(workspace: Workspace, matched: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The table `pairs` from matched pairs: prompt and both texts joined by id, cleaned; the order is kept."""
    subreddits = matched["subreddit"].unique().sort().to_list()
    wanted_ids = pl.concat([matched["chosen_id"], matched["rejected_id"]]).unique()
    wanted = pl.LazyFrame({"comment_id": wanted_ids})
    texts = (
        workspace.scan(COMMENTS, subreddits)
        .join(wanted, on="comment_id", how="semi")
        .select("comment_id", text=response_text(pl.col("body")))
    )
    prompts = (
        workspace.scan(POSTS)
        .join(matched.lazy().select("post_id").unique(), on="post_id", how="semi")
        .select("post_id", prompt=prompt_text(pl.col("title"), pl.col("body")))
    )
    chosen = texts.rename({"comment_id": "chosen_id", "text": "chosen"})
    rejected = texts.rename({"comment_id": "rejected_id", "text": "rejected"})
    pairs = matched.lazy().join(chosen, on="chosen_id", how="left", maintain_order="left")
    pairs = pairs.join(rejected, on="rejected_id", how="left", maintain_order="left")
    pairs = pairs.join(prompts, on="post_id", how="left", maintain_order="left")
    return check(pairs.with_columns(weight=pl.lit(1.0), recipe=pl.lit(recipe.name)).collect(), PAIRS)
