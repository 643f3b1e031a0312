"""The audit of a pair set: how well confounders alone name the winner, with intervals clustered by post.

Of a large set whole posts are judged, as many as `ProbeConfig.max_split_pairs` asks for; the audit says how many.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from features.audits.probes import ProbeConfig, forward_probabilities, n_probes, sample_posts
from features.confounders.context import read_context
from features.confounders.measures import add_confounders, orientation, standardised_mean_differences
from features.sets.store import effective_size
from lurker.errors import LurkerError
from lurker.pair_sets import SPLITS, read_pair_set
from lurker.progress import progress
from lurker.schema import SCHEMA_VERSION, TRUTH
from lurker.stats import Estimate, accuracy_interval, auc_interval, average_estimate, worst_by_chance
from lurker.workspace import Workspace, write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig:
    """What counts as clean."""

    max_clean_accuracy: float = 0.53
    """A clean set's interval ends at or below this; a wider one around 0.5 is underpowered, accuracy 0.5-1."""
    min_posts: int = 5
    """Fewer posts than this in a split carry no interval worth a line, posts."""
    seed: int = 0
    """Seed of what the worst of the joint probes reads by chance."""

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
    pair_set = read_pair_set(workspace, name)
    whole = add_confounders(pair_set.frame, read_context(workspace, pair_set.manifest["subreddits"]))
    pairs = sample_posts(whole, probes)
    try:
        with progress(f"Auditing {name}", n_probes(), "probes") as advance:
            judged = forward_probabilities(pairs, probes, advance)
    except ValueError as error:
        raise LurkerError(
            f"Pair set {name!r} cannot be audited: {error}.", "Build it from more posts, then audit it again."
        ) from error
    rows = summarise_probes(pairs, judged, config)
    audit = {
        "schema_version": SCHEMA_VERSION,
        "pairs": name,
        "recipe": pair_set.manifest["recipe"]["name"],
        "n_pairs": whole.height,
        "n_posts": whole["post_id"].n_unique(),
        "n_effective": effective_size(whole["weight"]),
        "n_judged_pairs": pairs.height,
        "n_judged_posts": pairs["post_id"].n_unique(),
        "pairs_sha256": pair_set.manifest["pairs_sha256"],
        "probes": rows,
        "worst_by_chance": _worst_by_chance(pairs, judged, config),
        "text_margin": text_margin(pairs, judged),
        "differences": standardised_mean_differences(whole),
        "differences_before": pair_set.manifest.get("differences_before", []),
        "earlier_wins": _share(whole, pl.col("rejected_delay_s") - pl.col("chosen_delay_s")),
        "longer_wins": _share(whole, pl.col("chosen_chars") - pl.col("rejected_chars")),
        "label_confidence_mean": float(np.average(whole["label_confidence"], weights=whole["weight"])),
        "verdict": _of_sample(whole, pairs) + verdict(rows, config),
        "is_clean": _state(rows, "all", config) == "clean",
    }
    if (truth := true_accuracy(workspace, whole)) is not None:
        audit["truth"] = truth
    write_json(audit, workspace.folder("pairs", name) / "audit.json")
    return audit


def summarise_probes(pairs: pl.DataFrame, judged: pl.DataFrame, config: AuditConfig) -> list[dict[str, Any]]:
    """A row for every probe, over all pairs and in each split with enough posts; then the joint and the text probes in
    every subreddit. Rows of all subreddits come first."""
    shown = _labelled(pairs)
    parts = [(split, "all") for split in ("all", *SPLITS)]
    parts += [(split, name) for name in sorted(pairs["subreddit"].unique()) for split in ("all", *SPLITS)]
    by_probe = [(names, _scored(group, shown)) for names, group in _by_probe(judged)]
    rows = []
    for split, subreddit in parts:
        mine = pl.lit(True) if split == "all" else pl.col("split") == split
        mine &= pl.lit(True) if subreddit == "all" else pl.col("subreddit") == subreddit
        for (confounders, probe), scored in by_probe:
            part = scored.filter(mine)
            is_asked = subreddit == "all" or confounders in ("joint", "text")
            if is_asked and ((split, subreddit) == ("all", "all") or part["post_id"].n_unique() >= config.min_posts):
                names = {"split": split, "subreddit": subreddit, "confounders": confounders, "probe": probe}
                rows.append(names | _score(part))
    return rows


def _labelled(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.select("post_id", "subreddit", "split", "weight").with_columns(
        label=pl.Series(orientation(pairs["pair_id"])), row=pl.int_range(pl.len())
    )


def _by_probe(judged: pl.DataFrame) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    groups = judged.group_by("confounders", "probe", maintain_order=True)
    return [((str(confounders), str(probe)), group) for (confounders, probe), group in groups]


def _scored(group: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """What one probe said of the pairs it judged, and whether it was right: 1, 0, or 0.5 where it did not say."""
    scored = group.join(shown, on="row", how="left", maintain_order="left")
    right = pl.when(pl.col("p_first") == 0.5).then(0.5).otherwise((pl.col("p_first") > 0.5) == pl.col("label"))
    return scored.with_columns(is_correct=right.cast(pl.Float64))


def _score(part: pl.DataFrame) -> dict[str, Any]:
    """Accuracy and AUC with their intervals, averaged over the cuts. part: as of `_scored`.

    The AUC is null where only one label occurs.
    """
    cuts = [cut for _, cut in part.group_by("cut", maintain_order=True)]
    accuracy = average_estimate([accuracy_interval(cut["is_correct"], cut["post_id"], cut["weight"]) for cut in cuts])
    auc: dict[str, float | None] = {"auc": None, "auc_low": None, "auc_high": None}
    if cuts := [cut for cut in cuts if cut["label"].n_unique() == 2]:
        areas = [auc_interval(cut["label"], cut["p_first"], cut["post_id"], cut["weight"]) for cut in cuts]
        area = average_estimate(areas)
        auc = {"auc": area.value, "auc_low": area.low, "auc_high": area.high}
    n_pairs, n_posts = part["row"].n_unique(), part["post_id"].n_unique()
    return {"n_pairs": n_pairs, "n_posts": n_posts, **_accuracy(accuracy), **auc}


def _worst_by_chance(pairs: pl.DataFrame, judged: pl.DataFrame, config: AuditConfig) -> dict[str, float]:
    """What the more accurate of the joint probes would read if neither knew anything: mean and 95th percentile."""
    joint = _scored(judged.filter(pl.col("confounders") == "joint"), _labelled(pairs))
    rng = np.random.default_rng(config.seed)
    found = []
    for _, cut in joint.group_by("cut", maintain_order=True):
        probes = [of_probe for _, of_probe in cut.group_by("probe", maintain_order=True)]  # of the same rows
        is_correct, first = np.stack([of_probe["is_correct"] for of_probe in probes]), probes[0]
        found.append(worst_by_chance(is_correct, first["post_id"], first["weight"].to_numpy(), rng))
    mean, high = np.mean(found, axis=0).tolist()
    return {"mean": mean, "high": high}


def text_margin(pairs: pl.DataFrame, judged: pl.DataFrame) -> dict[str, Any]:
    """The text baseline's accuracy, as it is and where the confounders say nothing, with intervals; and the share of
    its margin over one half that goes, null where the baseline is not above one half.

    Where they say nothing: weighted by min(p, 1-p) over the p that the boosted joint probe, of earlier posts, gave the
    outcome that occurred. Source: overlap weights, Li, Morgan & Zaslavsky 2018, JASA 113(521).
    """
    probes = dict(_by_probe(judged))
    joint = probes["joint", "boosting"].select("cut", "row", p_joint="p_first")
    text = _scored(probes["text", "tfidf"], _labelled(pairs)).join(joint, on=("cut", "row"), maintain_order="left")
    p = text["p_joint"].to_numpy()
    overlap = np.minimum(p, 1 - p) / np.clip(np.where(text["label"].to_numpy(), p, 1 - p), 1e-9, None)
    plain = accuracy_interval(text["is_correct"], text["post_id"], text["weight"])
    weight = text["weight"].to_numpy() * np.clip(overlap, 1e-9, 1)
    balanced = accuracy_interval(text["is_correct"], text["post_id"], weight)
    explained = 1 - (balanced.value - 0.5) / (plain.value - 0.5) if plain.low > 0.5 else None
    return {"plain": _accuracy(plain), "balanced": _accuracy(balanced), "explained": explained}


def _of_sample(whole: pl.DataFrame, judged: pl.DataFrame) -> str:
    if judged.height == whole.height:
        return ""
    return f"Of a sample, {judged.height:,} of {whole.height:,} pairs: "


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
        split: (min if state == "below chance" else max)(_joint(rows, split), key=_accuracy_key)
        for split, state in states.items()
        if state != "absent"
    }
    interval = "{accuracy:.3f} [{accuracy_low:.3f}, {accuracy_high:.3f}]".format(**worst["all"])
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


def _state(rows: list[dict[str, Any]], split: str, config: AuditConfig) -> str:
    """clean | underpowered | shortcut | below chance, by the worst of the joint probes; absent without one."""
    joint = _joint(rows, split)
    if not joint:
        return "absent"
    if any(row["accuracy_low"] > 0.5 for row in joint):
        return "shortcut"
    if any(row["accuracy_high"] < 0.5 for row in joint):
        return "below chance"
    return "clean" if all(row["accuracy_high"] <= config.max_clean_accuracy for row in joint) else "underpowered"


def _joint(rows: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    """The rows of the probes of all confounders, over all subreddits."""
    return [row for row in rows if (row["split"], row["subreddit"], row["confounders"]) == (split, "all", "joint")]


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
