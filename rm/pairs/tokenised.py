"""Pairs into what a training step needs: unique responses as tokens, pairs as indices, steps of whole posts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rm.pairs.tokens import Indices, Sequences, encode, encode_both

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
