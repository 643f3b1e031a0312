"""Pairs into what a training step needs: unique responses as tokens, pairs as indices, steps of whole posts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.errors import CallError, LurkerError
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace
from rm.tokens import encode

HARD_TEST = "hard-test"
Tokens = NDArray[np.int32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenisedPairs:
    """Pairs as indices into their unique responses.

    sequences: token ids of each distinct (prompt, response), at most max_tokens each.
    chosen, rejected: [n_pairs] index into sequences. post: [n_pairs] code of the post. weight: [n_pairs] > 0.
    is_equal: [n_pairs] the two sides are the same tokens (after cutting): nothing can be learned from the pair.
    n_cut: responses that were longer than max_tokens with their prompt.
    """

    sequences: list[Tokens]
    chosen: Indices
    rejected: Indices
    post: Indices
    weight: NDArray[np.float32]
    is_equal: NDArray[np.bool_]
    n_cut: int


def read_pairs(workspace: Workspace, name: str, subreddits: Sequence[str] = ()) -> pl.DataFrame:
    """The pair set, in the order of pair_id; of the given subreddits only (in any case of letters), if any.

    Errors: CallError when there is no such pair set or subreddit in it.
    """
    folder = workspace.folder("pairs", name)
    if not (folder / "manifest.json").exists():
        have = ", ".join(workspace.names("pairs", "manifest.json")) or "none yet"
        raise CallError(
            f"There is no pair set {name!r} in {workspace.root} (it has: {have}).",
            f"Build it: `lurker pairs build {name}`.",
        )
    frame = check(pl.read_parquet(folder / "pairs.parquet"), PAIRS).sort("pair_id")
    if not subreddits:
        return frame
    known = {str(display).lower(): display for display in frame["subreddit"].unique().sort()}
    wanted = [subreddit.lower().removeprefix("r/") for subreddit in subreddits]
    if unknown := [subreddit for subreddit in wanted if subreddit not in known]:
        raise CallError(
            f"Pair set {name} has no pairs of r/{', r/'.join(unknown)} (it has: {', '.join(known.values())})."
        )
    return frame.filter(pl.col("subreddit").is_in([known[subreddit] for subreddit in wanted]))


def split_of(frame: pl.DataFrame, name: str, split: str) -> pl.DataFrame:
    """The pairs of one split.

    Errors: LurkerError when it has none.
    """
    part = frame.filter(pl.col("split") == split)
    if part.is_empty():
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(frame["split"].value_counts().rows()))
        raise LurkerError(
            f"Pair set {name} has no {split} pairs here (it has: {counts or 'no pairs'}).",
            "Take more posts or subreddits: `lurker pairs build`.",
        )
    return part


def subset(frame: pl.DataFrame, n_pairs: int | None, seed: int) -> pl.DataFrame:
    """The first n_pairs when posts stand in the order of hash(seed, post_id): a smaller subset lies in a larger.

    Posts are whole but for the last. Without n_pairs, all. Errors: CallError when there are fewer pairs than that.
    """
    if n_pairs is None:
        return frame
    if n_pairs > frame.height:
        raise CallError(f"{n_pairs:,} training pairs were asked for, there are {frame.height:,}.", "Ask for fewer.")
    posts = frame["post_id"].unique().sort()
    rank = pl.DataFrame({"post_id": posts, "_rank": [stable_hash(seed, post) for post in posts]})
    ordered = frame.join(rank, on="post_id", how="left").sort("_rank", "post_id", "pair_id")
    return ordered.head(n_pairs).drop("_rank").sort("pair_id")


def stable_hash(seed: int, text: str) -> int:
    """63 bits that depend on the seed and the text only: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()) >> 1


def content_digest(frame: pl.DataFrame) -> str:
    """A digest of what trains and judges: any change of the pair set changes it."""
    columns = ("pair_id", "split", "chosen_id", "prompt", "chosen", "rejected", "weight")
    digest = hashlib.sha256()
    for row in frame.sort("pair_id").select(columns).iter_rows():
        digest.update("\x1f".join(map(str, row)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def texts(frame: pl.DataFrame) -> list[str]:
    """The distinct texts of the pairs, sorted."""
    return sorted({*frame["prompt"], *frame["chosen"], *frame["rejected"]})


def tokenise(frame: pl.DataFrame, tokenizer: Any, max_tokens: int) -> TokenisedPairs:
    """Tokenise each distinct (post, response) once and express the pairs as indices."""
    index: dict[tuple[str, str, str], int] = {}
    sides = []
    for side in ("chosen", "rejected"):
        rows = frame.select("post_id", "prompt", side).iter_rows()
        sides.append(np.array([index.setdefault(row, len(index)) for row in rows], dtype=np.int64))
    chosen, rejected = sides
    sequences, n_cut = encode(tokenizer, [key[1] for key in index], [key[2] for key in index], max_tokens)
    pairs = zip(chosen, rejected, strict=True)
    return TokenisedPairs(
        sequences=sequences,
        chosen=chosen,
        rejected=rejected,
        post=np.unique(frame["post_id"].to_numpy(), return_inverse=True)[1].astype(np.int64),
        weight=frame["weight"].to_numpy().astype(np.float32),
        is_equal=np.array([np.array_equal(sequences[a], sequences[b]) for a, b in pairs], dtype=bool),
        n_cut=n_cut,
    )


def epoch_steps(post: Indices, usable: NDArray[np.bool_], pairs_per_step: int, seed: int, epoch: int) -> list[Indices]:
    """Pair indices of each step of one epoch: posts in random order, whole, up to pairs_per_step pairs a step.

    post: [n_pairs] codes. usable: [n_pairs] pairs to train on. A post with more pairs than a step is spread over
    several. The order depends on seed and epoch only.
    """
    pairs = np.flatnonzero(usable)
    rng = np.random.default_rng([seed, epoch])
    by_post = np.split(pairs[np.argsort(post[pairs], kind="stable")], np.cumsum(np.bincount(post[pairs])))
    groups = [group for group in by_post if group.size]
    steps: list[Indices] = []
    current: list[Indices] = []
    for number in rng.permutation(len(groups)):
        group = rng.permutation(groups[number])
        for chunk in np.split(group, range(pairs_per_step, group.size, pairs_per_step)):
            if current and sum(part.size for part in current) + chunk.size > pairs_per_step:
                steps.append(np.concatenate(current))
                current = []
            current.append(chunk)
    return [*steps, np.concatenate(current)] if current else steps
