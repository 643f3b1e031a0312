"""Features of the second opinion: numbers about both responses and their post, computed from Parquet by SQL only."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lurker.files import sql_string
from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace

Floats = NDArray[np.float64]
FORMATTING = {
    "n_lines": r"\n",
    "n_stops": r"[.!?]+",
    "n_stars": r"\*",
    "n_quotes": r"(^|\n)\s*>",
    "n_items": r"(^|\n)\s*([-+*]|\d+[.)])\s",
    "n_links": r"https?:",
}
"""Counts of a text's formatting, as regular expressions."""
STYLE = {"n_capitals": "[A-Z]", "n_digits": "[0-9]", "n_question_marks": r"\?", "n_exclamation_marks": "!"}
"""Counts between formatting and wording: reported, but not part of the verdict."""
WITHOUT_LOG = ("hour", "weekday", "mean_written", "worst_written")
"""Features used on their own scale only."""


def read_sides(
    workspace: Workspace, pairs_path: Path, max_pairs: int
) -> tuple[pd.DataFrame, tuple[pd.DataFrame, pd.DataFrame]]:
    """The pairs with features of their post, sorted by pair_id; and the features of chosen and of rejected.

    A set of more than max_pairs is sampled: complete posts by a hash of their id. Unknown features are -1.
    """
    counts = ", ".join(
        f"len(regexp_extract_all(text, {sql_string(pattern)})) AS {name}"
        for name, pattern in (FORMATTING | STYLE).items()
    )
    with duckdb.connect() as connection:
        for table in (POSTS, COMMENTS):
            connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM {workspace.sql(table)}")
        connection.execute(
            f"CREATE TABLE pairs AS SELECT * FROM read_parquet({sql_string(str(pairs_path))}) "
            "WHERE prompt <> '' AND chosen <> '' AND rejected <> '' "  # a purge leaves empty texts
            f"QUALIFY sum(1) OVER (ORDER BY md5('second-opinion' || post_id), post_id) <= {max_pairs}"
        )
        pairs = connection.sql(_PAIRS).df()
        responses = connection.sql(_RESPONSES.format(counts=counts)).df().set_index("comment_id")
    responses["hour"] = responses["created_utc"] % 86_400 / 3_600
    responses["weekday"] = responses["created_utc"] // 86_400 % 7
    sides = []
    for side in ("chosen", "rejected"):
        features = responses.drop(columns="created_utc").reindex(pairs[f"{side}_id"]).reset_index(drop=True)
        features["delay_s"] = pairs[f"{side}_delay_s"]
        sides.append(features.fillna(-1.0).astype(np.float64))
    return pairs, (sides[0], sides[1])


_PAIRS = """
SELECT pair_id, pairs.post_id, pairs.subreddit, split, chosen_id, rejected_id, chosen_delay_s, rejected_delay_s, weight,
    posts.created_utc AS post_utc, posts.score AS post_score, length(posts.title) AS title_chars,
    length(posts.body) AS body_chars, count(comment_id) AS n_top_level
FROM pairs LEFT JOIN posts USING (post_id)
LEFT JOIN (SELECT post_id, comment_id FROM comments WHERE is_top_level) USING (post_id)
GROUP BY ALL ORDER BY pair_id
"""
_RESPONSES = """
WITH texts AS (
    SELECT comment_id, any_value(text) AS text FROM (
        SELECT chosen_id AS comment_id, chosen AS text FROM pairs
        UNION ALL SELECT rejected_id, rejected FROM pairs
    ) GROUP BY comment_id
), threads AS (
    SELECT comment_id, post_id, subreddit, author_hash, created_utc,
        row_number() OVER thread - 1 AS rank,
        created_utc - lag(created_utc) OVER thread AS gap_before_s,
        lead(created_utc) OVER thread - created_utc AS gap_after_s
    FROM comments WHERE is_top_level WINDOW thread AS (PARTITION BY post_id ORDER BY created_utc, comment_id)
), records AS (
    SELECT comment_id, count(*) AS n_written, count(*) FILTER (c.subreddit = responses.subreddit) AS n_written_here,
        avg(c.score) AS mean_written, max(c.score) AS best_written, min(c.score) AS worst_written
    FROM (
        SELECT comment_id, threads.author_hash, threads.subreddit, posts.created_utc AS post_utc
        FROM threads JOIN texts USING (comment_id) JOIN posts USING (post_id)
    ) AS responses JOIN (SELECT author_hash, subreddit, created_utc, score FROM comments) AS c
        ON c.author_hash = responses.author_hash AND c.created_utc < responses.post_utc
    GROUP BY comment_id
)
SELECT comment_id, created_utc, rank, gap_before_s, gap_after_s,
    coalesce(n_written, 0) AS n_written, coalesce(n_written_here, 0) AS n_written_here,
    coalesce(mean_written, 0) AS mean_written, coalesce(best_written, 0) AS best_written,
    coalesce(worst_written, 0) AS worst_written,
    length(text) AS n_chars, len(string_split_regex(trim(text), '\\s+')) AS n_words, {counts}
FROM texts LEFT JOIN threads USING (comment_id) LEFT JOIN records USING (comment_id) ORDER BY comment_id
"""


def pair_features(
    pairs: pd.DataFrame, sides: tuple[pd.DataFrame, pd.DataFrame], is_rejected_first: NDArray[np.bool_], *, style: bool
) -> Floats:
    """What a model sees of the pairs: of each feature both sides, their difference, its sign and the difference of
    logs; and the features of the post.

    Args:
        is_rejected_first: whether the rejected response is presented first, shape [n].
        style: use the counts of STYLE only, without the post.

    Returns:
        Shape [n, k].
    """
    names = list(STYLE) if style else [name for name in sides[0] if name not in STYLE]
    chosen, rejected = (side[names].to_numpy() for side in sides)
    first, second = (np.where(is_rejected_first[:, None], *both) for both in ((rejected, chosen), (chosen, rejected)))
    has_log = [name not in WITHOUT_LOG for name in names]
    logs = np.log1p(np.clip(first[:, has_log], 0, None)) - np.log1p(np.clip(second[:, has_log], 0, None))
    columns = [first, second, first - second, np.sign(first - second), logs]
    if not style:
        post = pairs[["post_utc", "post_score", "title_chars", "body_chars", "n_top_level"]]
        columns += [post.fillna(-1.0).to_numpy(np.float64), pd.factorize(pairs["subreddit"], sort=True)[0][:, None]]
    return np.hstack(columns)
