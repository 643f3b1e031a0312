"""The audit of a pair set: how well time and length alone name the winner, with intervals clustered by post."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from features.confounds import add_confounders, orientation, standardised_mean_differences
from features.context import read_context
from features.probes import ProbeConfig, cross_validated_probabilities, n_probes, sample_posts
from features.store import read_pairs
from lurker.errors import LurkerError
from lurker.progress import progress
from lurker.schema import SCHEMA_VERSION, TRUTH
from lurker.stats import Estimate, accuracy_interval
from lurker.workspace import Workspace, write_json

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig:
    """What counts as clean."""

    max_clean_accuracy: float = 0.53
    """A clean set's interval ends at or below this; a wider one around 0.5 is underpowered, accuracy 0.5-1."""
    min_posts: int = 5
    """Fewer posts than this in a split carry no interval worth a line, posts."""

    def __post_init__(self) -> None:
        if not 0.5 < self.max_clean_accuracy <= 1:
            raise ValueError(f"max_clean_accuracy lies in (0.5, 1], got {self.max_clean_accuracy}")


def audit_pairs(
    workspace: Workspace, name: str, config: AuditConfig | None = None, probes: ProbeConfig | None = None
) -> dict[str, Any]:
    """Audit the pair set `name`, write its audit.json and return it.

    Errors: LurkerError when there is no such set or its posts are too few to judge a probe on posts it has not seen.
    """
    config, probes = config or AuditConfig(), probes or ProbeConfig()
    pairs, manifest = read_pairs(workspace, name)
    whole = add_confounders(pairs, read_context(workspace, manifest["subreddits"]))
    pairs = sample_posts(whole, probes)
    try:
        with progress(f"Auditing {name}", n_probes(), "probes") as advance:
            judged = cross_validated_probabilities(pairs, probes, advance)
    except ValueError as error:
        raise LurkerError(
            f"Pair set {name!r} cannot be audited: {error}.", "Build it from more posts, then audit it again."
        ) from error
    rows = summarise_probes(pairs, judged, config)
    audit = {
        "schema_version": SCHEMA_VERSION,
        "pairs": name,
        "recipe": manifest["recipe"]["name"],
        "n_pairs": whole.height,
        "n_posts": whole["post_id"].n_unique(),
        "n_judged_pairs": pairs.height,
        "pairs_sha256": manifest["pairs_sha256"],
        "probes": rows,
        "differences": standardised_mean_differences(whole),
        "earlier_wins": _share(whole, pl.col("rejected_delay_s") - pl.col("chosen_delay_s")),
        "longer_wins": _share(whole, pl.col("chosen_chars") - pl.col("rejected_chars")),
        "label_confidence_mean": float(np.average(whole["label_confidence"], weights=whole["weight"])),
        "verdict": verdict(rows, config),
        "is_clean": _state(rows, "all", config) == "clean",
    }
    if (truth := true_accuracy(workspace, whole)) is not None:
        audit["truth"] = truth
    write_json(audit, workspace.folder("pairs", name) / "audit.json")
    return audit


def summarise_probes(pairs: pl.DataFrame, judged: pl.DataFrame, config: AuditConfig) -> list[dict[str, Any]]:
    """A row for every probe, over all pairs and in each split with enough posts."""
    shown = pairs.select("post_id", "split", "weight").with_columns(
        label=pl.Series(orientation(pairs["pair_id"])), row=pl.int_range(pl.len())
    )
    rows = []
    for (confounders, probe), group in judged.group_by("confounders", "probe", maintain_order=True):
        scored = group.join(shown, on="row", how="left", maintain_order="left")
        for split in ("all", *SPLITS):
            part = scored if split == "all" else scored.filter(pl.col("split") == split)
            if split == "all" or part["post_id"].n_unique() >= config.min_posts:
                names = {"split": split, "subreddit": "all", "confounders": confounders, "probe": probe}
                rows.append(names | _score(part))
    order = {split: n for n, split in enumerate(("all", *SPLITS))}
    return sorted(rows, key=lambda row: order[row["split"]])


def _score(part: pl.DataFrame) -> dict[str, Any]:
    """Accuracy with its interval, and AUC (null where only one label occurs). part: p_first, label, post_id, weight."""
    label, p_first = part["label"].to_numpy(), part["p_first"].to_numpy()
    is_correct = np.where(p_first == 0.5, 0.5, (p_first > 0.5) == label)
    accuracy = accuracy_interval(is_correct, part["post_id"], part["weight"])
    auc = None
    if np.unique(label).size == 2:
        auc = float(roc_auc_score(label, p_first, sample_weight=part["weight"].to_numpy()))
    return {"n_pairs": accuracy.n, "n_posts": accuracy.n_clusters, **_accuracy(accuracy), "auc": auc}


def true_accuracy(workspace: Workspace, pairs: pl.DataFrame) -> dict[str, float] | None:
    """Share of pairs whose chosen has the higher true quality: what a perfect reader of the text could reach.

    None unless the workspace holds the truth of every response, as after `lurker ingest simulate`.
    """
    quality = workspace.scan(TRUTH).select("comment_id", "quality").collect()
    known = pairs
    for side in ("chosen", "rejected"):
        renamed = quality.rename({"comment_id": f"{side}_id", "quality": f"{side}_quality"})
        known = known.join(renamed, on=f"{side}_id", how="inner", maintain_order="left")
    if known.height < pairs.height:
        return None
    return _accuracy_of(known, pl.col("chosen_quality") - pl.col("rejected_quality"))


def verdict(rows: list[dict[str, Any]], config: AuditConfig) -> str:
    """In words: whether the shortcuts name the winner, over all pairs, and what that says of each split."""
    states = {split: _state(rows, split, config) for split in ("all", *SPLITS)}
    worst = {
        split: max((row for row in rows if row["split"] == split and row["confounders"] == "joint"), key=_accuracy_key)
        for split, state in states.items()
        if state != "absent"
    }
    interval = "{accuracy:.3f} [{accuracy_low:.3f}, {accuracy_high:.3f}]".format(**worst["all"])
    sentence = {
        "clean": f"Clean: time and length together name the winner {interval} of the time, no better than chance.",
        "underpowered": f"Underpowered: time and length together reach {interval}; the interval holds 0.5 but is too "
        f"wide to call the pairs clean (it must end at or below {config.max_clean_accuracy:g}).",
        "below chance": f"Not clean: the probe of time and length falls below chance, {interval}, so the pairs differ "
        "between posts in a way that it can read backwards.",
        "shortcut": f"Not clean: time and length alone name the winner {interval} of the time, without the text.",
    }[states["all"]]
    others = [f"{split} {states[split]}" for split in SPLITS if states[split] not in (states["all"], "absent")]
    return f"{sentence} By split: {', '.join(others)}." if others else sentence


def _state(rows: list[dict[str, Any]], split: str, config: AuditConfig) -> str:
    """clean | underpowered | shortcut | below chance, by the worst of the joint probes; absent without one."""
    joint = [row for row in rows if row["split"] == split and row["confounders"] == "joint"]
    if not joint:
        return "absent"
    if any(row["accuracy_low"] > 0.5 for row in joint):
        return "shortcut"
    if any(row["accuracy_high"] < 0.5 for row in joint):
        return "below chance"
    return "clean" if all(row["accuracy_high"] <= config.max_clean_accuracy for row in joint) else "underpowered"


def _accuracy_key(row: dict[str, Any]) -> float:
    return float(row["accuracy"])


def _share(pairs: pl.DataFrame, advantage: pl.Expr) -> dict[str, float]:
    """How often the advantage is positive, a tie counting half: value, low, high."""
    estimate = _wins(pairs, advantage)
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _accuracy_of(pairs: pl.DataFrame, advantage: pl.Expr) -> dict[str, float]:
    return _accuracy(_wins(pairs, advantage))


def _wins(pairs: pl.DataFrame, advantage: pl.Expr) -> Estimate:
    wins = (pairs.select(advantage.sign()).to_series().to_numpy() + 1) / 2
    return accuracy_interval(wins, pairs["post_id"], pairs["weight"])


def _accuracy(estimate: Estimate) -> dict[str, float]:
    return {"accuracy": estimate.value, "accuracy_low": estimate.low, "accuracy_high": estimate.high}
