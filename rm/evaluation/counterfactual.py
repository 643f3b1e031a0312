"""How far does the reward move when a response changes in a way that taste should not, or should, mind?"""

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
    """The text with sentences that say nothing: a reward that rises likes length."""
    return text.rstrip() + FILLER


def cut_in_half(text: str) -> str:
    """The first half of the words: a reward that does not fall has not read to the end."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def as_list(text: str) -> str:
    """The same sentences as a list in Markdown: a reward that moves likes formatting."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part]
    return "\n".join(f"- {sentence}" for sentence in sentences)


CHANGES: dict[str, Callable[[str], str]] = {
    "filler appended": append_filler,
    "cut in half": cut_in_half,
    "written as a list": as_list,
}


def counterfactuals(
    answered: pl.DataFrame, score: Callable[[list[str], list[str]], list[float]], seed: int = 0
) -> list[dict[str, Any]]:
    """For each change: the mean change of the reward in its standard deviations within posts, clustered by post.

    answered: response_id, post_id, prompt, text, reward; of more than MAX_RESPONSES the first by hash. score: rewards
    of (prompts, responses). is_up: share of responses whose reward rises.
    """
    rank = pl.Series([stable_hash(seed, name) for name in answered["response_id"]], dtype=pl.Int64)
    kept = answered.with_columns(rank=rank).sort("rank", "response_id").head(MAX_RESPONSES)
    deviation = float((answered["reward"] - answered.select(pl.col("reward").mean().over("post_id"))["reward"]).std())  # type: ignore[arg-type]
    if not deviation > 0:
        return []
    rows = []
    for name, change in CHANGES.items():
        changed = score(kept["prompt"].to_list(), [change(text) for text in kept["text"]])
        moved = (np.array(changed) - kept["reward"].to_numpy()) / deviation
        estimate = mean_interval(moved, kept["post_id"].to_numpy())
        rows.append(
            {
                "change": name,
                "n_responses": estimate.n,
                "mean_change": estimate.value,
                "mean_change_low": estimate.low,
                "mean_change_high": estimate.high,
                "mean_absolute_change": float(np.abs(moved).mean()),
                "is_up": float((moved > 0).mean()),
            }
        )
    return rows
