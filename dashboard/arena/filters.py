"""Which items may be shown now: the tables may have learned since that a post or comment was deleted or is over 18."""

from collections.abc import Mapping

import polars as pl

from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

MOST = 0.5
"""A filter that blocks more than this share of the items is reported as an alarm: it may be the filter that fails."""


def blocked_items(workspace: Workspace, items: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Why items are not shown: reason -> their ids.

    Args:
        items: ITEMS.
    """
    is_erased = pl.any_horizontal(pl.col("prompt", "chosen", "rejected") == "")
    posts = _facts(workspace, items["post_id"], "post_id", "is_nsfw", "is_deleted")
    is_nsfw = pl.col("post_id").is_in(posts["is_nsfw"])
    gone = _facts(workspace, pl.concat([items["chosen_id"], items["rejected_id"]]), "comment_id", "is_deleted")
    is_gone = pl.any_horizontal(pl.col("chosen_id", "rejected_id").is_in(gone["is_deleted"]))
    is_gone = is_gone | pl.col("post_id").is_in(posts["is_deleted"])
    reasons = {"a text was purged": is_erased, "deleted since": is_gone, "marked over 18": is_nsfw}
    found = {reason: frozenset(items.filter(rule)["item_id"]) for reason, rule in reasons.items()}
    return {reason: ids for reason, ids in found.items() if ids}


def all_blocked(reasons: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The ids of the items that any filter blocks."""
    return frozenset().union(*reasons.values())


def alarms(reasons: Mapping[str, frozenset[str]], n_items: int) -> list[str]:
    """A sentence for each filter that blocks most items."""
    return [
        f"The filter '{reason}' blocks {len(ids):,} of {n_items:,} items: look whether the tables are right."
        for reason, ids in reasons.items()
        if len(ids) > MOST * n_items
    ]


def _facts(workspace: Workspace, ids: pl.Series, key: str, *facts: str) -> dict[str, list[str]]:
    """Fact -> those of the ids for which it is true."""
    table = POSTS if key == "post_id" else COMMENTS
    wanted = ids.unique().to_list()
    rows = workspace.scan(table).filter(pl.col(key).is_in(wanted)).select(key, *facts).collect(engine="streaming")
    return {fact: rows.filter(fact)[key].to_list() for fact in facts}
