"""Texts join last: only those of the pairs that stayed are read."""

import polars as pl

from features.clean import prompt_text, response_text
from features.recipes import Recipe
from features.responses import newest
from lurker.schema import COMMENTS, PAIRS, POSTS, check
from lurker.workspace import Workspace


def attach_texts(workspace: Workspace, matched: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The table `pairs` from matched pairs: prompt and both texts joined by id, cleaned; the order is kept."""
    pairs = join_texts(workspace, matched)
    weight = pl.col("weight") if "weight" in pairs.columns else pl.lit(1.0)
    return check(pairs.with_columns(weight=weight, recipe=pl.lit(recipe.name)), PAIRS)


def join_texts(workspace: Workspace, pairs: pl.DataFrame) -> pl.DataFrame:
    """The rows with prompt, chosen and rejected, cleaned, in their order; null where the workspace lacks the text.

    pairs: post_id, subreddit, chosen_id, rejected_id.
    """
    wanted = pl.LazyFrame({"comment_id": pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique()})
    known = {name.lower() for name in workspace.subreddits(COMMENTS)}
    subreddits = [name for name in pairs["subreddit"].unique().sort() if name.lower() in known]
    found = workspace.scan(COMMENTS, subreddits).join(wanted, on="comment_id", how="semi")
    texts = newest(found, "comment_id").select("comment_id", text=response_text(pl.col("body")))
    posts = workspace.scan(POSTS).join(pairs.lazy().select("post_id").unique(), on="post_id", how="semi")
    prompts = newest(posts, "post_id").select("post_id", prompt=prompt_text(pl.col("title"), pl.col("body")))
    chosen = texts.rename({"comment_id": "chosen_id", "text": "chosen"})
    rejected = texts.rename({"comment_id": "rejected_id", "text": "rejected"})
    joined = pairs.lazy().join(chosen, on="chosen_id", how="left", maintain_order="left")
    joined = joined.join(rejected, on="rejected_id", how="left", maintain_order="left")
    return joined.join(prompts, on="post_id", how="left", maintain_order="left").collect()
