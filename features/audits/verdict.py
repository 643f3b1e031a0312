"""What an audit concludes from the probes of all confounders."""

from dataclasses import dataclass
from typing import Any

from lurker.decimals import accuracy_text
from lurker.pair_sets import SPLITS


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig:
    """What counts as clean."""

    max_clean_accuracy: float = 0.53
    """The interval of a clean set ends at or below this; a wider one around 0.5 is underpowered, accuracy 0.5-1."""
    min_posts: int = 5
    """A split with fewer posts gets no row, posts."""
    seed: int = 0
    """Seed of the estimate of what the best joint probe reads by chance."""

    def __post_init__(self) -> None:
        if not 0.5 < self.max_clean_accuracy <= 1:
            raise ValueError(f"max_clean_accuracy must be in (0.5, 1], got {self.max_clean_accuracy}")


def verdict(rows: list[dict[str, Any]], config: AuditConfig) -> str:
    """A sentence: whether confounders name the winner over all pairs, and how the splits differ from that.

    Args:
        rows: as returned by `summarise_probes`.
    """
    states = {split: state(rows, split, config) for split in ("all", *SPLITS)}
    joint = _joint(rows, "all")
    worst = (min if states["all"] == "below chance" else max)(joint, key=_accuracy)
    interval = accuracy_text(worst)
    sentence = {
        "clean": f"Clean: the confounders together name the winner {interval} of the time, no better than chance.",
        "underpowered": f"Underpowered: the confounders together reach {interval}; the interval holds 0.5 but is too "
        f"wide to call the pairs clean (it must end at or below {config.max_clean_accuracy:g}).",
        "below chance": f"Not clean: the probe of all confounders falls below chance, {interval}, so the pairs differ "
        "between posts in a way that it can read backwards.",
        "shortcut": f"Not clean: the confounders alone name the winner {interval} of the time, without the text.",
    }[states["all"]]
    others = [f"{split} {states[split]}" for split in SPLITS if states[split] not in (states["all"], "absent")]
    return f"{sentence} By split: {', '.join(others)}." if others else sentence


def state(rows: list[dict[str, Any]], split: str, config: AuditConfig) -> str:
    """clean | underpowered | shortcut | below chance, by the worst of the joint probes; absent without any."""
    joint = _joint(rows, split)
    if not joint:
        return "absent"
    if any(row["accuracy_low"] > 0.5 for row in joint):
        return "shortcut"
    if any(row["accuracy_high"] < 0.5 for row in joint):
        return "below chance"
    return "clean" if all(row["accuracy_high"] <= config.max_clean_accuracy for row in joint) else "underpowered"


def _accuracy(row: dict[str, Any]) -> float:
    return float(row["accuracy"])


def _joint(rows: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    """The rows of the probes of all confounders, over all subreddits."""
    return [row for row in rows if (row["split"], row["subreddit"], row["confounders"]) == (split, "all", "joint")]
