"""How well time predicts the winner where Reddit drew the order of comments at random, and where it did not.

In contest mode comments stand in random order with hidden scores, so readers are spread by lot. Threads that suggest
the sorting "random" or "new" are weaker contrasts. If a recipe removes what time does to scores, its pairs of ordinary
threads look like plain pairs of contest threads: being earlier predicts nothing more in one than in the other.

A comment that was written earlier is read longer even when the order is random, so contest threads bound the effect of
ranking, not of presence.

Where moderators ask for it, Reddit hides scores for some minutes. Threads in which a comment was seen with a hidden
score are ranked as usual, but voters cannot follow what they do not see. Nothing is drawn by lot there, so the pair
set's pairs of such threads are compared with its own pairs of ordinary threads: the difference is what following
visible scores adds to being earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lurker import decimals
from lurker.files import write_json
from lurker.pair_sets import PairSet, read_manifest, read_pairs
from lurker.schema import COMMENTS, POSTS
from lurker.stats import Estimate, accuracy_interval
from lurker.workspace import Workspace

NATURAL = "natural.json"
KINDS = ("contest", "random", "new", "hidden", "ordinary")
"""Kinds of threads: contest mode; suggested sorting random or new; scores hidden at first; all others."""
IN_OTHER_ORDER = KINDS[:3]
"""Kinds in which being earlier brings no better place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NaturalConfig:
    """When a comparison says something."""

    max_half_width: float = 0.03
    """Half-width of an interval around 0 above which a comparison is called underpowered, share of pairs."""


def natural_experiments(
    workspace: Workspace, name: str, naive: str, config: NaturalConfig | None = None
) -> dict[str, Any]:
    """Compare a pair set's ordinary threads with plain pairs of contest threads, and write its natural.json.

    Args:
        name: pair set, such as one of the recipe balanced.
        naive: pair set by the recipe naive, whose pairs nothing deconfounded.
    """
    config = config or NaturalConfig()
    subreddits = read_manifest(workspace, name)["subreddits"]
    rows = {one: _by_kind(workspace, one, subreddits) for one in dict.fromkeys((name, naive))}
    table = [
        {"pairs": one, "threads": kind} | _shown(frame)
        for one, by_kind in rows.items()
        for kind, frame in by_kind.items()
    ]
    ordinary = f"{name}, ordinary threads", rows[name].get("ordinary")
    contrasts = [
        *(_contrast(*ordinary, kind, naive, rows[naive].get(kind), config) for kind in IN_OTHER_ORDER),
        _contrast(*ordinary, "hidden", name, rows[name].get("hidden"), config),
    ]
    report = {"pairs": name, "naive": naive, "threads": table, "contrasts": contrasts}
    report |= {"verdict": _verdict(contrasts)}
    write_json(report, workspace.folder("pairs", name) / NATURAL)
    return report


def _verdict(contrasts: list[dict[str, Any]]) -> str:
    """The contrasts in words; what cannot be compared is named once per pair set."""
    said = [str(one["sentence"]) for one in contrasts if one["difference"] is not None]
    missing = [one for one in contrasts if one["difference"] is None]
    for pairs in dict.fromkeys(one["pairs"] for one in missing):
        kinds = [str(one["threads"]) for one in missing if one["pairs"] == pairs]
        listed = " or ".join(kinds) if len(kinds) < 3 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
        said.append(f"Too few pairs of {pairs} are of {listed} threads to compare with.")
    return " ".join(said)


def naive_set(pairs: PairSet) -> str | None:
    """The pair set of the workspace by the recipe naive, if there is one."""
    names = (row["name"] for row in pairs.workspace.pairs() if row["recipe"] == "naive")
    return next(iter(names), None)


def _by_kind(workspace: Workspace, name: str, subreddits: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The pairs of each kind of thread: post_id, weight, is_earlier (1 if chosen is earlier, 0.5 for a draw)."""
    comments = workspace.scan(COMMENTS, subreddits).filter("was_score_hidden")
    hidden = comments.select("post_id").unique().collect()["post_id"]
    kind = (
        pl.when(pl.col("is_contest").fill_null(False))
        .then(pl.lit("contest"))
        .when(pl.col("suggested_sort").is_in(["random", "new"]))
        .then("suggested_sort")
        .when(pl.col("post_id").is_in(hidden.implode()))
        .then(pl.lit("hidden"))
        .otherwise(pl.lit("ordinary"))
    )
    posts = workspace.scan(POSTS, subreddits).select("post_id", kind=kind).collect().unique("post_id")
    pairs = read_pairs(workspace, name)
    sign = (pl.col("rejected_delay_s") - pl.col("chosen_delay_s")).sign()
    rows = pairs.select("post_id", "weight", is_earlier=(sign.cast(pl.Float64) + 1) / 2).join(posts, on="post_id")
    return {kind: part for kind in KINDS if not (part := rows.filter(pl.col("kind") == kind)).is_empty()}


def _shown(rows: pl.DataFrame) -> dict[str, Any]:
    one = _earlier_wins(rows)
    counts = {"n_pairs": one.n, "n_posts": one.n_clusters}
    return counts | {"earlier_wins": one.value, "low": one.low, "high": one.high}


def _earlier_wins(rows: pl.DataFrame) -> Estimate:
    return accuracy_interval(rows["is_earlier"], rows["post_id"], rows["weight"])


def _contrast(
    label: str,
    ordinary: pl.DataFrame | None,
    kind: str,
    name: str,
    contrasted: pl.DataFrame | None,
    config: NaturalConfig,
) -> dict[str, Any]:
    """The difference in how often the earlier response wins, in words; `contrasted` is of the pair set `name`."""
    other, named = f"{name} pairs of {kind} threads", {"threads": kind, "pairs": name}
    for which, part in ((f"pairs of {label}", ordinary), (other, contrasted)):
        if (n := 0 if part is None else part["post_id"].n_unique()) < 2:
            sentence = f"There are no {which} to compare." if not n else f"The {which} are all of one thread."
            return named | {"difference": None, "sentence": sentence}
    assert ordinary is not None and contrasted is not None
    first, second = _earlier_wins(ordinary), _earlier_wins(contrasted)
    difference = first.value - second.value
    half = float(np.hypot(first.high - first.value, second.high - second.value))  # other posts, so independent
    low, high = difference - half, difference + half
    interval = decimals.difference(difference, low, high)
    if not low <= 0 <= high:
        said = f"they differ: {interval}"
    elif half > config.max_half_width:
        said = f"underpowered: {interval} is wider than ±{config.max_half_width:g}"
    else:
        said = f"no difference found: {interval}"
    sentence = f"How often the earlier response wins, {label} less {other}: {said}."
    return named | {"difference": difference, "low": low, "high": high, "sentence": sentence}
