"""Pairs into what a training step needs: unique responses as tokens, pairs as indices, steps of whole posts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.errors import CallError, LurkerError
from lurker.purged import with_texts
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace
from rm.tokens import Indices, Sequences, encode, encode_both

HARD_TEST = "hard-test"
CONFOUNDERS = "confounder_log_odds"
TOLD = ("chars", "delay_s")


@dataclass(frozen=True, slots=True)
class TokenisedPairs:
    """Pairs as indices into their unique responses.

    sequences: each distinct response to a post as tokens, at most max_tokens with its prompt.
    chosen, rejected: [n_pairs] index into sequences. post: [n_pairs] code of the post, its place in post_ids.
    weight: [n_pairs] > 0. confidence: [n_pairs] P(chosen is truly liked more). score_gap: [n_pairs] chosen minus
    rejected. confounder_log_odds: [n_pairs] log-odds that chosen wins given confounders only, 0 where not
    estimated. nuisance: [n_pairs, 3] what confounders say: those log-odds, the difference of log lengths and of log
    delays, chosen minus rejected. is_equal: [n_pairs] the two sides are the same tokens (after cutting): nothing can be
    learned from it.
    """

    sequences: Sequences
    chosen: Indices
    rejected: Indices
    post: Indices
    post_ids: list[str]
    weight: NDArray[np.float32]
    confidence: NDArray[np.float32]
    score_gap: NDArray[np.float32]
    confounder_log_odds: NDArray[np.float32]
    is_equal: NDArray[np.bool_]
    nuisance: NDArray[np.float32]


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
    stored = pl.read_parquet(folder / "pairs.parquet")
    extra = [] if CONFOUNDERS in PAIRS.columns or CONFOUNDERS not in stored.columns else [stored[CONFOUNDERS]]
    frame = with_texts(check(stored, PAIRS).with_columns(extra), name).sort("pair_id")
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
    texts_and_ids = ("pair_id", "split", "chosen_id", "prompt", "chosen", "rejected")
    columns = (*texts_and_ids, "weight", "label_confidence", "confounder_log_odds")
    digest = hashlib.sha256()
    for row in frame.sort("pair_id").select(columns).iter_rows():
        digest.update("\x1f".join(map(str, row)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def texts(frame: pl.DataFrame) -> list[str]:
    """The distinct texts of the pairs, sorted."""
    return sorted({*frame["prompt"], *frame["chosen"], *frame["rejected"]})


def tokenise(
    frame: pl.DataFrame, tokenizer: Any, max_tokens: int, max_prompt_tokens: int | None = None, reads: str = "one"
) -> TokenisedPairs:
    """Tokenise each distinct (post, response) once and express the pairs as indices.

    reads: both, for a pairwise model: `chosen` is then the sequence in which chosen stands first, `rejected` the one in
    which it stands second, so the difference of their scores changes its sign when the sides are exchanged.
    """
    index: dict[tuple[str, ...], int] = {}
    places = []
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        rows = frame.select("post_id", "prompt", side, *([other] if reads == "both" else [])).iter_rows()
        places.append(np.array([index.setdefault(row, len(index)) for row in rows], dtype=np.int64))
    chosen, rejected = places
    texts = [[key[part] for key in index] for part in range(1, 4 if reads == "both" else 3)]
    if reads == "both":
        sequences = encode_both(tokenizer, texts[0], texts[1], texts[2], max_tokens, max_prompt_tokens)
    else:
        sequences = encode(tokenizer, texts[0], texts[1], max_tokens, max_prompt_tokens)
    post_ids, post = np.unique(frame["post_id"].to_numpy(), return_inverse=True)
    same = (np.array_equal(sequences.tokens[a], sequences.tokens[b]) for a, b in zip(chosen, rejected, strict=True))
    return TokenisedPairs(
        sequences=sequences,
        chosen=chosen,
        rejected=rejected,
        post=post.astype(np.int64),
        post_ids=[str(post_id) for post_id in post_ids],
        weight=_column(frame, "weight"),
        confidence=_column(frame, "label_confidence"),
        score_gap=_column(frame, "chosen_score") - _column(frame, "rejected_score"),
        confounder_log_odds=_known_log_odds(frame),
        is_equal=np.fromiter(same, dtype=bool, count=chosen.size),
        nuisance=_nuisance(frame),
    )


def _nuisance(frame: pl.DataFrame) -> NDArray[np.float32]:
    """[n_pairs, 3] as TokenisedPairs has it."""
    logs = [np.log1p(_column(frame, f"chosen_{name}")) - np.log1p(_column(frame, f"rejected_{name}")) for name in TOLD]
    return np.column_stack([_known_log_odds(frame), *logs]).astype(np.float32)


def _known_log_odds(frame: pl.DataFrame) -> NDArray[np.float32]:
    """[n_pairs] confounder_log_odds, 0 where nothing was estimated."""
    if CONFOUNDERS not in frame.columns:
        return np.zeros(frame.height, dtype=np.float32)
    return _column(frame.with_columns(pl.col(CONFOUNDERS).fill_null(0.0)), CONFOUNDERS)


def _column(frame: pl.DataFrame, name: str) -> NDArray[np.float32]:
    return frame[name].to_numpy().astype(np.float32)


def both_sides(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Chosen and rejected responses of PAIRS, [n_pairs] each: response_id, post_id, prompt, text, n_chars, delay_s."""
    chosen, rejected = (
        frame.select(
            "post_id",
            "prompt",
            response_id=f"{side}_id",
            text=side,
            n_chars=f"{side}_chars",
            delay_s=f"{side}_delay_s",
        )
        for side in ("chosen", "rejected")
    )
    return chosen, rejected


def with_delays(frame: pl.DataFrame) -> pl.DataFrame:
    """PAIRS whose responses tell their delay."""
    return frame.with_columns(
        tell_delay(frame[side], frame[f"{side}_delay_s"]).alias(side) for side in ("chosen", "rejected")
    )


def tell_delay(responses: pl.Series, delay_s: pl.Series) -> pl.Series:
    """Each response with its delay written before it, in the largest whole unit: `[3 hours] text`.

    Source: the ablation of Ward 2021, whose models grew better when told the delay.
    """
    delay = pl.col("delay_s")
    words = pl.lit(None, dtype=pl.String)
    for unit, seconds in (("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86_400)):
        words = pl.when(delay >= seconds).then(pl.format("[{} " + unit + "] ", delay // seconds)).otherwise(words)
    told = pl.DataFrame({"response": responses, "delay_s": delay_s})
    return told.select(words.fill_null("[0 seconds] ") + pl.col("response")).to_series()


def shuffled_steps(pairs: TokenisedPairs, pairs_per_step: int, seed: int, epoch: int) -> list[Indices]:
    """Pair indices of each step of one epoch, single pairs in random order: what `epoch_steps` is compared with."""
    usable = np.random.default_rng([seed, epoch]).permutation(np.flatnonzero(~pairs.is_equal))
    return np.split(usable, range(pairs_per_step, usable.size, pairs_per_step)) if usable.size else []


def epoch_steps(pairs: TokenisedPairs, pairs_per_step: int, seed: int, epoch: int, min_posts: int = 1) -> list[Indices]:
    """Pair indices of each step of one epoch: posts in random order, whole, up to pairs_per_step pairs a step.

    A post with more than pairs_per_step / min_posts pairs is spread over several steps, so cut that a part holds few
    responses. Pairs whose sides are equal are left out. The order depends on seed and epoch only.
    """
    usable = np.flatnonzero(~pairs.is_equal)
    rng = np.random.default_rng([seed, epoch])
    rank = rng.permutation(len(pairs.sequences))
    last = np.maximum(rank[pairs.chosen], rank[pairs.rejected])
    ordered = usable[np.lexsort((last[usable], pairs.post[usable]))]
    share = max(1, pairs_per_step // min_posts)
    chunks = []
    for group in np.split(ordered, np.flatnonzero(np.diff(pairs.post[ordered])) + 1) if ordered.size else []:
        chunks += np.split(group, range(share, group.size, share))
    steps: list[Indices] = []
    current: list[Indices] = []
    n_pairs = 0
    for number in rng.permutation(len(chunks)):
        if n_pairs + chunks[number].size > pairs_per_step:
            steps.append(np.concatenate(current))
            current, n_pairs = [], 0
        current.append(chunks[number])
        n_pairs += chunks[number].size
    return [*steps, np.concatenate(current)] if current else steps
