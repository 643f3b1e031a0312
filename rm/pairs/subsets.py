"""Nested training subsets of whole posts, and a digest of their content."""

import hashlib
from typing import Literal

import polars as pl

from lurker.errors import CallError


def subset(frame: pl.DataFrame, n_pairs: int | None, seed: int, *, of: str = "posts") -> pl.DataFrame:
    """The first n_pairs in the order of hash(seed, post_id or pair_id), so that subsets of one seed are nested.

    Args:
        frame: PAIRS.
        n_pairs: Pairs to keep; all when None.
        seed: Seed of the order.
        of: "posts": complete posts except the last; "pairs": single pairs, so that all posts have a share;
            "communities": complete posts as well, as many pairs of each community as far as it has them.

    Raises:
        CallError: There are fewer pairs.
    """
    if n_pairs is None:
        return frame
    if n_pairs > frame.height:
        raise CallError(
            f"{n_pairs:,} training pairs are requested, and there are {frame.height:,}.",
            f"Request at most {frame.height:,}.",
        )
    key = {"posts": "post_id", "pairs": "pair_id", "communities": "post_id"}[of]
    ids = frame[key].unique().sort()
    rank = pl.DataFrame({key: ids, "_rank": [stable_hash(seed, one) for one in ids]})
    ordered = frame.join(rank, on=key, how="left").sort("_rank", "post_id", "pair_id")
    if of == "communities":
        turn = pl.int_range(pl.len()).over("subreddit")
        ordered = ordered.with_columns(_turn=turn).sort("_turn", "subreddit").drop("_turn")
    return ordered.head(n_pairs).drop("_rank").sort("pair_id")


def half_of_posts(frame: pl.DataFrame, half: Literal["both", "first", "second"]) -> pl.DataFrame:
    """The pairs of all posts, or of one half of them by the hash of their id, whatever the pair set.

    Args:
        frame: PAIRS.
        half: which posts.
    """
    if half == "both":
        return frame
    posts = frame["post_id"].unique().sort()
    is_first = [stable_hash(0, f"half {post}") % 2 == 0 for post in posts]
    chosen = posts.filter(pl.Series(is_first, dtype=pl.Boolean) == (half == "first"))
    return frame.filter(pl.col("post_id").is_in(chosen.implode()))


def stable_hash(seed: int, text: str) -> int:
    """A 63-bit hash of seed and text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()) >> 1


def content_digest(frame: pl.DataFrame) -> str:
    """Digest of the columns that training and evaluation read, independent of the order of rows."""
    texts_and_ids = ("pair_id", "split", "chosen_id", "prompt", "chosen", "rejected")
    numbers = ("weight", "label_confidence", "confounder_log_odds")
    digest = hashlib.sha256()
    for rows in frame.sort("pair_id").select(*texts_and_ids, *numbers).iter_slices(50_000):
        parts = [rows[name].fill_null("None") for name in texts_and_ids]
        parts += [_as_python_writes(rows[name]) for name in numbers]
        lines = pl.select(pl.concat_str(parts, separator="\x1f")).to_series()
        digest.update("".join(lines.to_list()).encode())
    return digest.hexdigest()[:16]


def _as_python_writes(numbers: pl.Series) -> pl.Series:
    """Each number as `str` writes it, so that digests of earlier versions stay valid; distinct ones are few."""
    values = numbers.unique()
    as_text = pl.DataFrame({"value": values, "text": [str(value) for value in values.to_list()]})
    return numbers.to_frame("value").join(as_text, on="value", how="left", nulls_equal=True, maintain_order="left")[
        "text"
    ]


def texts(frame: pl.DataFrame) -> list[str]:
    """The distinct texts of the pairs, sorted."""
    return sorted({*frame["prompt"], *frame["chosen"], *frame["rejected"]})
