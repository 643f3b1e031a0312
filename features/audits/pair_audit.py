"""The audit of pairs: how well confounders alone name the winner, with intervals clustered by post.

A large set is judged on a sample of complete posts of about `ProbeConfig.max_split_pairs` pairs per split; the audit
reports its size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from features.audits.probe_scores import accuracy_fields, joint_by_chance, summarise_probes, text_margin, win_rate
from features.audits.probes import ProbeConfig, forward_probabilities, n_probes, sample_posts
from features.audits.verdict import AuditConfig, state, verdict
from features.confounders.context import context_from_pairs, read_context
from features.confounders.measures import (
    CONFOUNDERS,
    GROUPS,
    Group,
    add_confounders,
    standardised_mean_differences,
)
from features.sets.store import effective_size
from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.pair_sets import AUDIT_FILE, SPLITS, PairSet, read_pair_set
from lurker.progress import progress
from lurker.schema import PAIRS, POSTS, SCHEMA_VERSION, TRUTH, Column, column_faults
from lurker.stats import Estimate
from lurker.workspace import Workspace

FRAME_COLUMNS = (
    *("pair_id", "post_id", "subreddit", "split", "chosen", "rejected", "chosen_id", "rejected_id"),
    *("chosen_delay_s", "rejected_delay_s", "chosen_chars", "rejected_chars"),
)
"""PAIRS columns that the audit of a frame needs."""
OPTIONAL_COLUMNS = ("weight", "label_confidence")
"""PAIRS columns that it uses if they are there."""
TIMES = ("chosen_delay_s", "rejected_delay_s")
MAX_WEIGHT = 1e9
"""Squares of larger weights, or of those below its inverse, would not sum up."""


def audit_pairs(
    workspace: Workspace, name: str, config: AuditConfig | None = None, probes: ProbeConfig | None = None
) -> dict[str, Any]:
    """Audit the pair set `name`: see `audit_pair_set`.

    Raises:
        CallError: there is no such set.
    """
    return audit_pair_set(read_pair_set(workspace, name), config, probes)


def audit_pair_set(
    pair_set: PairSet, config: AuditConfig | None = None, probes: ProbeConfig | None = None
) -> dict[str, Any]:
    """Audit a pair set and write its audit.json.

    Returns:
        The content of audit.json.

    Raises:
        LurkerError: it has too few posts to test a probe on posts it has not seen.
    """
    workspace, name, manifest = pair_set.workspace, pair_set.name, pair_set.manifest
    pairs = add_confounders(pair_set.frame, read_context(workspace, manifest["subreddits"], pair_set.frame))
    source = {
        "pairs": name,
        "recipe": manifest["recipe"]["name"],
        "pairs_sha256": manifest["pairs_sha256"],
        "differences_before": manifest.get("differences_before", []),
    }
    audit = _audit(pairs, source, GROUPS, config or AuditConfig(), probes or ProbeConfig())
    if (truth := true_accuracy(workspace, pairs)) is not None:
        audit["truth"] = truth
    write_json(audit, workspace.folder("pairs", name) / AUDIT_FILE)
    return audit


def audit_frame(
    frame: pl.DataFrame, config: AuditConfig | None = None, probes: ProbeConfig | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Audit a frame of pairs without a workspace, by the confounders that its columns give; nothing is written.

    Args:
        frame: the PAIRS columns; weight and label_confidence are optional. A column post_created_utc (seconds since
            1970) adds the clock.

    Returns:
        The content that audit.json would have, and confounder -> why it is not available or limited.

    Raises:
        CallError: the frame lacks a column, or one has nulls, another type or values that no pair has.
        LurkerError: it has too few posts to test a probe on posts it has not seen.
    """
    if missing := [name for name in FRAME_COLUMNS if name not in frame.columns]:
        raise CallError(
            f"The frame has no column {', '.join(missing)} (it has: {', '.join(frame.columns)}).",
            "An audit needs the columns of a pair set: see `features.load(ws, NAME).frame`.",
        )
    frame = _checked(frame if "weight" in frame.columns else frame.with_columns(weight=pl.lit(1.0)))
    limits = {
        "order": "known among the responses of the frame only",
        "author": "needs a workspace",
        "post score": "needs a workspace",
        "thread size": "needs a workspace",
    }
    if "post_created_utc" not in frame.columns:
        limits["calendar"] = "needs a column post_created_utc or a workspace"
    groups = [group for group in GROUPS if group in ("joint", "order") or group not in limits]
    pairs = frame.drop("post_created_utc", strict=False)
    stale = [name for name in pairs.columns if name.partition("_")[2] in _context_columns()]
    pairs = add_confounders(pairs.drop(stale), context_from_pairs(frame))
    source: dict[str, Any] = {"pairs": None, "recipe": None, "pairs_sha256": None, "differences_before": []}
    return _audit(pairs, source, groups, config or AuditConfig(), probes or ProbeConfig()), limits


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the types of PAIRS; whole numbers of any width will do.

    Raises:
        CallError: a column has nulls, another type, or values that no pair has.
    """
    columns = {name: PAIRS.columns[name] for name in (*FRAME_COLUMNS, *OPTIONAL_COLUMNS) if name in frame.columns}
    if "post_created_utc" in frame.columns:
        columns["post_created_utc"] = POSTS.columns["created_utc"]
    frame = frame.with_columns(
        pl.col(name).cast(column.dtype) for name, column in columns.items() if _is_narrower(frame.schema[name], column)
    )
    faults = column_faults(frame, columns)
    rules = {
        "split is none of " + ", ".join(SPLITS): ~pl.col("split").is_in(SPLITS),
        "a delay is below 0": pl.min_horizontal(TIMES) < 0,
        "a length is below 1": pl.min_horizontal("chosen_chars", "rejected_chars") < 1,
        "pair_id is not unique": pl.col("pair_id").is_duplicated(),
        f"weight is not from {1 / MAX_WEIGHT:g} to {MAX_WEIGHT:g}": ~pl.col("weight").is_between(
            1 / MAX_WEIGHT, MAX_WEIGHT
        ),
        "a time is beyond 2^53 s": pl.max_horizontal(
            pl.col(name).abs() for name in (*TIMES, "post_created_utc") if name in columns
        )
        > 2**53,
    }
    if "label_confidence" in columns:
        rules["label_confidence is not from 0 to 1"] = ~pl.col("label_confidence").is_between(0, 1)
    if not faults:
        counts = frame.select(pl.when(is_wrong).then(1).sum().alias(rule) for rule, is_wrong in rules.items())
        faults = [f"{rule} in {n:,} rows" for rule, n in counts.row(0, named=True).items() if n]
    if faults:
        raise CallError(
            f"The frame cannot be audited: {'; '.join(faults)}.", "Drop or repair these rows and columns first."
        )
    return frame


def _is_narrower(dtype: pl.DataType, column: Column) -> bool:
    return dtype.is_integer() if column.dtype == pl.Int64 else column.dtype == pl.Float64 and dtype.is_numeric()


def _context_columns() -> set[str]:
    return {name for group in ("order", "calendar", "author") for name in CONFOUNDERS[group]}


def _audit(
    pairs: pl.DataFrame, source: dict[str, Any], groups: Sequence[Group], config: AuditConfig, probes: ProbeConfig
) -> dict[str, Any]:
    """The audit of pairs with their confounders.

    Args:
        source: pairs, recipe, pairs_sha256 and differences_before of the set.
    """
    sample = sample_posts(pairs, probes)
    try:
        with progress(f"Auditing {source['pairs'] or 'a frame'}", n_probes(groups), "probes"):
            predictions = forward_probabilities(sample, probes, groups)
    except ValueError as error:
        subject = f"Pair set {source['pairs']!r}" if source["pairs"] else "The frame"
        raise LurkerError(
            f"{subject} cannot be audited: {error}.", "Build it from more posts, then audit it again."
        ) from error
    rows = summarise_probes(sample, predictions, config.min_posts)
    confidence = None
    if "label_confidence" in pairs.columns:
        confidence = float(np.average(pairs["label_confidence"], weights=pairs["weight"]))
    return {
        "schema_version": SCHEMA_VERSION,
        "pairs": source["pairs"],
        "recipe": source["recipe"],
        "n_pairs": pairs.height,
        "n_posts": pairs["post_id"].n_unique(),
        "n_effective": effective_size(pairs["weight"]),
        "n_judged_pairs": sample.height,
        "n_judged_posts": sample["post_id"].n_unique(),
        "pairs_sha256": source["pairs_sha256"],
        "probes": rows,
        "worst_by_chance": joint_by_chance(sample, predictions, config.seed),
        "text_margin": text_margin(sample, predictions),
        "differences": standardised_mean_differences(pairs),
        "differences_before": source["differences_before"],
        "earlier_wins": _interval(win_rate(pairs, pl.col("rejected_delay_s") - pl.col("chosen_delay_s"))),
        "longer_wins": _interval(win_rate(pairs, pl.col("chosen_chars") - pl.col("rejected_chars"))),
        "label_confidence_mean": confidence,
        "verdict": verdict(rows, config) + _sample_note(pairs, sample),
        "is_clean": state(rows, "all", config) == "clean",
    }


def _sample_note(pairs: pl.DataFrame, sample: pl.DataFrame) -> str:
    """Comes last: a table shows what a verdict says before its first colon."""
    if sample.height == pairs.height:
        return ""
    return f" Audited on a sample, {sample.height:,} of {pairs.height:,} pairs."


def true_accuracy(workspace: Workspace, pairs: pl.DataFrame) -> dict[str, float] | None:
    """Share of pairs whose chosen response has the higher true quality: what a perfect reader could reach.

    None unless the workspace has the truth of every response, as after `lurker ingest simulate`.
    """
    quality = workspace.scan(TRUTH).select("comment_id", "quality").collect()
    known = pairs
    for side in ("chosen", "rejected"):
        renamed = quality.rename({"comment_id": f"{side}_id", "quality": f"{side}_quality"})
        known = known.join(renamed, on=f"{side}_id", how="inner", maintain_order="left")
    if known.height < pairs.height:
        return None
    return accuracy_fields(win_rate(known, pl.col("chosen_quality") - pl.col("rejected_quality")))


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
