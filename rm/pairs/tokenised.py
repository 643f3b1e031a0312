"""Pairs as a training step needs them: distinct responses as tokens, pairs as indices into them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rm.pairs.tokens import Indices, Sequences, encode, encode_both

CONFOUNDERS = "confounder_log_odds"
NUISANCE_COLUMNS = ("chars", "delay_s")
"""Columns of each side whose log difference a nuisance head sees."""


@dataclass(frozen=True, slots=True)
class TokenisedPairs:
    """Pairs as indices into their distinct responses."""

    sequences: Sequences
    """each distinct response to a post, with its prompt"""
    chosen: Indices
    """[n_pairs] index into sequences"""
    rejected: Indices
    """[n_pairs] index into sequences"""
    post: Indices
    """[n_pairs] index into post_ids"""
    post_ids: list[str]
    """distinct posts"""
    weight: NDArray[np.float32]
    """[n_pairs] > 0"""
    confidence: NDArray[np.float32]
    """[n_pairs] P(chosen is truly liked more)"""
    score_gap: NDArray[np.float32]
    """[n_pairs] score of chosen minus score of rejected, in votes"""
    confounder_log_odds: NDArray[np.float32]
    """[n_pairs] log-odds that chosen wins given confounders only, 0 where not estimated"""
    is_equal: NDArray[np.bool_]
    """[n_pairs] the two sides have the same tokens, so nothing can be learned from the pair"""
    nuisance: NDArray[np.float32]
    """[n_pairs, 3] confounders, chosen minus rejected: confounder_log_odds, log length, log delay"""


def tokenise(
    frame: pl.DataFrame,
    tokenizer: Any,
    max_tokens: int,
    max_prompt_tokens: int | None = None,
    *,
    reads: str = "one",
    with_delay: bool = False,
) -> TokenisedPairs:
    """Tokenise each distinct (post, response) once.

    Args:
        frame: PAIRS with their texts.
        tokenizer: A transformers tokenizer.
        max_tokens: Maximum tokens of a sequence.
        max_prompt_tokens: Maximum tokens of the prompt; no limit when None.
        reads: "one" response per sequence, or "both" for a pairwise model. With "both", `chosen` indexes the sequence
            with chosen first and `rejected` the one with rejected first, so that swapping the sides negates the
            difference of their scores.
        with_delay: Write each response's delay before its text.
    """
    if with_delay:
        frame = with_delays(frame)
    index: dict[tuple[str, ...], int] = {}
    sides = []
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        rows = frame.select("post_id", "prompt", side, *([other] if reads == "both" else [])).iter_rows()
        sides.append(np.array([index.setdefault(row, len(index)) for row in rows], dtype=np.int64))
    chosen, rejected = sides
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
        confounder_log_odds=_confounder_log_odds(frame),
        is_equal=np.fromiter(same, dtype=bool, count=chosen.size),
        nuisance=_nuisance(frame),
    )


def _nuisance(frame: pl.DataFrame) -> NDArray[np.float32]:
    """[n_pairs, 3] as in TokenisedPairs."""
    differences = [
        np.log1p(_column(frame, f"chosen_{name}")) - np.log1p(_column(frame, f"rejected_{name}"))
        for name in NUISANCE_COLUMNS
    ]
    return np.column_stack([_confounder_log_odds(frame), *differences]).astype(np.float32)


def _confounder_log_odds(frame: pl.DataFrame) -> NDArray[np.float32]:
    """[n_pairs] confounder_log_odds, 0 where not estimated."""
    if CONFOUNDERS not in frame.columns:
        return np.zeros(frame.height, dtype=np.float32)
    return _column(frame.with_columns(pl.col(CONFOUNDERS).fill_null(0.0)), CONFOUNDERS)


def _column(frame: pl.DataFrame, name: str) -> NDArray[np.float32]:
    return frame[name].to_numpy().astype(np.float32)


def both_sides(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Chosen and rejected responses of PAIRS, with columns response_id, post_id, prompt, text, n_chars, delay_s."""
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
    """PAIRS with each response's delay before its text."""
    return frame.with_columns(
        prefix_delay(frame[side], frame[f"{side}_delay_s"]).alias(side) for side in ("chosen", "rejected")
    )


def prefix_delay(responses: pl.Series, delay_s: pl.Series) -> pl.Series:
    """Write each response's delay before its text, in the largest unit of at least 1: `[3 hours] text`.

    Source: the ablation of Ward 2021, whose models improved when given the delay.
    """
    delay = pl.col("delay_s")
    words = pl.lit(None, dtype=pl.String)
    for unit, seconds in (("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86_400)):
        words = pl.when(delay >= seconds).then(pl.format("[{} " + unit + "] ", delay // seconds)).otherwise(words)
    frame = pl.DataFrame({"response": responses, "delay_s": delay_s})
    return frame.select(words.fill_null("[0 seconds] ") + pl.col("response")).to_series()
