"""What the second opinion knows of pairs: figures of both responses and their post, from the Parquet by SQL alone."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lurker.schema import COMMENTS, POSTS
from lurker.workspace import Workspace, sql_string

Floats = NDArray[np.float64]
COUNTED = {
    "n_lines": r"\n",
    "n_stops": r"[.!?]+",
    "n_stars": r"\*",
    "n_quotes": r"(^|\n)\s*>",
    "n_items": r"(^|\n)\s*([-+*]|\d+[.)])\s",
    "n_links": r"https?:",
}
"""What is counted of a text's form, as regular expressions."""
STYLE = {"n_capitals": "[A-Z]", "n_digits": "[0-9]", "n_question_marks": r"\?", "n_exclamation_marks": "!"}
"""What lies between form and words: told of beside the verdict, which it does not enter."""
PLAIN = ("hour", "weekday", "mean_written", "worst_written")
"""What is looked at on its own scale only."""


def read_sides(
    workspace: Workspace, pairs_path: Path, max_pairs: int
) -> tuple[pd.DataFrame, tuple[pd.DataFrame, pd.DataFrame]]:
    """The pairs with what is known of their post, sorted by pair_id; and what is known of chosen and of rejected.

    Of a set of more than max_pairs whole posts are drawn, by a hash of their id. What is unknown is -1.
    """
    counts = ", ".join(
        f"len(regexp_extract_all(text, {sql_string(pattern)})) AS {name}" for name, pattern in (COUNTED | STYLE).items()
    )
    with duckdb.connect() as connection:
        for table in (POSTS, COMMENTS):
            files = ", ".join(sql_string(str(path)) for path in workspace.files(table))
            connection.execute(f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet([{files}])")
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
        of_side = responses.drop(columns="created_utc").reindex(pairs[f"{side}_id"]).reset_index(drop=True)
        of_side["delay_s"] = pairs[f"{side}_delay_s"]
        sides.append(of_side.fillna(-1.0).astype(np.float64))
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
), placed AS (
    SELECT comment_id, post_id, subreddit, author_hash, created_utc,
        row_number() OVER thread - 1 AS rank,
        created_utc - lag(created_utc) OVER thread AS gap_before_s,
        lead(created_utc) OVER thread - created_utc AS gap_after_s
    FROM comments WHERE is_top_level WINDOW thread AS (PARTITION BY post_id ORDER BY created_utc, comment_id)
), records AS (
    SELECT comment_id, count(*) AS n_written, count(*) FILTER (c.subreddit = asked.subreddit) AS n_written_here,
        avg(c.score) AS mean_written, max(c.score) AS best_written, min(c.score) AS worst_written
    FROM (
        SELECT comment_id, placed.author_hash, placed.subreddit, posts.created_utc AS post_utc
        FROM placed JOIN texts USING (comment_id) JOIN posts USING (post_id)
    ) AS asked JOIN (SELECT author_hash, subreddit, created_utc, score FROM comments) AS c
        ON c.author_hash = asked.author_hash AND c.created_utc < asked.post_utc
    GROUP BY comment_id
)
SELECT comment_id, created_utc, rank, gap_before_s, gap_after_s,
    coalesce(n_written, 0) AS n_written, coalesce(n_written_here, 0) AS n_written_here,
    coalesce(mean_written, 0) AS mean_written, coalesce(best_written, 0) AS best_written,
    coalesce(worst_written, 0) AS worst_written,
    length(text) AS n_chars, len(string_split_regex(trim(text), '\\s+')) AS n_words, {counts}
FROM texts LEFT JOIN placed USING (comment_id) LEFT JOIN records USING (comment_id) ORDER BY comment_id
"""


def shown(
    pairs: pd.DataFrame, sides: tuple[pd.DataFrame, pd.DataFrame], is_turned: NDArray[np.bool_], *, style: bool
) -> Floats:
    """What a model sees of the pairs as shown: [n, k]. is_turned: [n], whether the rejected one is shown first.

    Of each figure both sides, their difference and its sign, and the difference of the logs of those that have them;
    and the post's. style: those of STYLE alone.
    """
    names = list(STYLE) if style else [name for name in sides[0] if name not in STYLE]
    chosen, rejected = (side[names].to_numpy() for side in sides)
    first, second = (np.where(is_turned[:, None], *both) for both in ((rejected, chosen), (chosen, rejected)))
    has_log = [name not in PLAIN for name in names]
    logs = np.log1p(np.clip(first[:, has_log], 0, None)) - np.log1p(np.clip(second[:, has_log], 0, None))
    columns = [first, second, first - second, np.sign(first - second), logs]
    if not style:
        post = pairs[["post_utc", "post_score", "title_chars", "body_chars", "n_top_level"]]
        columns += [post.fillna(-1.0).to_numpy(np.float64), pd.factorize(pairs["subreddit"], sort=True)[0][:, None]]
    return np.hstack(columns)
