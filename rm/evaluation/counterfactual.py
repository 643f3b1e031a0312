"""How far the reward moves when a response changes in ways that taste should, or should not, care about."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from lurker.stats import mean_interval
from rm.pairs.subsets import stable_hash

FILLER = " That is just my opinion, and I hope it helps. Let me know if you have any questions."
MAX_RESPONSES = 1000


def append_filler(text: str) -> str:
    """The text plus sentences without content: a reward that rises follows length."""
    return text.rstrip() + FILLER


def cut_in_half(text: str) -> str:
    """The first half of the words: a reward that does not fall ignores the end of the text."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def as_list(text: str) -> str:
    """The same sentences as a Markdown list: a reward that moves follows formatting."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part]
    return "\n".join(f"- {sentence}" for sentence in sentences)


CHANGES: dict[str, Callable[[str], str]] = {
    "filler appended": append_filler,
    "cut in half": cut_in_half,
    "written as a list": as_list,
}


def counterfactuals(
    responses: pl.DataFrame, score: Callable[[list[str], list[str]], list[float]], seed: int = 0
) -> list[dict[str, Any]]:
    """The mean change of the reward for each kind of edit, with an interval clustered by post.

    Args:
        responses: response_id, post_id, prompt, text, reward; of more than MAX_RESPONSES a sample by hash.
        score: (prompts, responses) -> rewards.
        seed: of the sample.

    Returns:
        One row per edit. Changes are in standard deviations of the reward within posts; is_up is the share of
        responses whose reward rises. Empty when the reward is constant within posts.
    """
    rank = pl.Series([stable_hash(seed, name) for name in responses["response_id"]], dtype=pl.Int64)
    sample = responses.with_columns(rank=rank).sort("rank", "response_id").head(MAX_RESPONSES)
    deviation = float((responses["reward"] - responses.select(pl.col("reward").mean().over("post_id"))["reward"]).std())  # type: ignore[arg-type]
    if not deviation > 0:
        return []
    rows = []
    for name, change in CHANGES.items():
        rewards = score(sample["prompt"].to_list(), [change(text) for text in sample["text"]])
        changes = (np.array(rewards) - sample["reward"].to_numpy()) / deviation
        estimate = mean_interval(changes, sample["post_id"].to_numpy())
        rows.append(
            {
                "change": name,
                "n_responses": estimate.n,
                "mean_change": estimate.value,
                "mean_change_low": estimate.low,
                "mean_change_high": estimate.high,
                "mean_absolute_change": float(np.abs(changes).mean()),
                "is_up": float((changes > 0).mean()),
            }
        )
    return rows
