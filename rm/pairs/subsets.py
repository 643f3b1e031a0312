"""Nested training subsets of whole posts, and a digest of their content."""

import hashlib

import polars as pl

from lurker.errors import CallError


def subset(frame: pl.DataFrame, n_pairs: int | None, seed: int) -> pl.DataFrame:
    """The first n_pairs with posts in the order of hash(seed, post_id), so that subsets of one seed are nested.

    Args:
        frame: PAIRS.
        n_pairs: Pairs to keep, of complete posts except the last; all when None.
        seed: Seed of the order.

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
    posts = frame["post_id"].unique().sort()
    rank = pl.DataFrame({"post_id": posts, "_rank": [stable_hash(seed, post) for post in posts]})
    ordered = frame.join(rank, on="post_id", how="left").sort("_rank", "post_id", "pair_id")
    return ordered.head(n_pairs).drop("_rank").sort("pair_id")


def stable_hash(seed: int, text: str) -> int:
    """A 63-bit hash of seed and text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()) >> 1


def content_digest(frame: pl.DataFrame) -> str:
    """Digest of the columns that training and evaluation read, independent of the order of rows."""
    texts_and_ids = ("pair_id", "split", "chosen_id", "prompt", "chosen", "rejected")
    columns = (*texts_and_ids, "weight", "label_confidence", "confounder_log_odds")
    digest = hashlib.sha256()
    for row in frame.sort("pair_id").select(columns).iter_rows():
        digest.update("\x1f".join(map(str, row)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def texts(frame: pl.DataFrame) -> list[str]:
    """The distinct texts of the pairs, sorted."""
    return sorted({*frame["prompt"], *frame["chosen"], *frame["rejected"]})
