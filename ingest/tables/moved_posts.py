"""Posts that archives hold in two subreddits, as after a community was renamed: the newest retrieval is kept."""

import polars as pl

from lurker.progress import say
from lurker.schema import POSTS
from lurker.workspace import Workspace


def keep_newest_of_moved_posts(workspace: Workspace) -> None:
    """Drop every post that was retrieved later, or at the same time, in a subreddit that comes first by name.

    A post keeps one row, whatever the order in which dumps are ingested. Comments stay where they were written.
    """
    if len(workspace.subreddits(POSTS)) < 2:
        return
    rows = workspace.scan(POSTS).select("post_id", "subreddit", "retrieved_utc")
    doubles = rows.filter(pl.col("post_id").is_duplicated()).collect()
    if doubles.is_empty():
        return
    ordered = doubles.sort("post_id", "retrieved_utc", "subreddit", descending=[False, True, False], nulls_last=True)
    newest = ordered.unique("post_id", keep="first", maintain_order=True)
    older = ordered.join(newest, on=("post_id", "subreddit"), how="anti")
    for (subreddit,), group in older.group_by("subreddit", maintain_order=True):
        name = str(subreddit)
        kept = workspace.scan(POSTS, [name]).collect().join(group, on="post_id", how="anti", maintain_order="left")
        workspace.replace_partition(POSTS, name, [kept])
    say(f"{newest.height:,} posts were in several subreddits: the newest retrieval of each is kept.")
