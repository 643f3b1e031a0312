"""Pair sets side by side: their audits, and what TF-IDF learns from each, tested on the frozen hard test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.audits.pair_audit import audit_pairs
from features.sets.store import effective_size
from lurker.errors import CallError, LurkerError
from lurker.files import read_json
from lurker.hard_tests import require_one_hard_test
from lurker.pair_sets import AUDIT_FILE, HARD_TEST, PairSet, read_pair_set, read_pairs
from lurker.pairwise import PENALTIES, fit_tfidf
from lurker.progress import advance, progress
from lurker.stats import ACCURACY_GAIN, Estimate, accuracy_interval, mean_interval
from lurker.threads import single_threaded
from lurker.workspace import Workspace

Correct = NDArray[np.float64]
"""1 if a pair's winner was predicted, 0 if not, 0.5 for a tie."""


def compare_sets(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Compare pair sets; those without an audit are audited first.

    Returns:
        hard_test: subreddits that all sets have, and their pairs and posts in the hard test. sets: of each set its
        counts; its audit; `hard_test`, the accuracy on those pairs of TF-IDF trained on its training pairs (offset by
        the confounders' log-odds if it publishes them); `lead`, the difference from the first set on the same pairs.
        Intervals are clustered by post.

    Raises:
        CallError: fewer than two sets are named, or one does not exist.
        LurkerError: a set has no pairs to train on, the sets were built with different hard tests, or the hard test has
            no pairs of a subreddit that all of them have.
    """
    distinct = list(dict.fromkeys(names))
    if len(distinct) < 2:
        raise CallError(f"A comparison needs two pair sets, got {', '.join(distinct) or 'none'}.")
    sets = {name: read_pair_set(workspace, name) for name in distinct}
    require_one_hard_test(workspace, distinct)
    subreddits = sorted(set.intersection(*(set(one.manifest["subreddits"]) for one in sets.values())))
    hard = read_pairs(workspace, HARD_TEST).filter(pl.col("subreddit").is_in(subreddits))
    if hard.is_empty():
        raise LurkerError(
            f"The hard test has no pairs of a subreddit that {', '.join(distinct)} share "
            f"({', '.join(subreddits) or 'they share none'}).",
            "Build them from the same subreddits: `lurker pairs build NAME --recipe RECIPE`.",
        )
    correct: dict[str, Correct | None] = {}
    trained = [name for name in sets if name != HARD_TEST]
    with progress("Training TF-IDF", sum(sets[name].frame.height for name in trained), "pairs"):
        for name, one in sets.items():
            correct[name] = tfidf_correct(one.frame, hard, name) if name in trained else None
    first = next((one for one in correct.values() if one is not None), None)
    rows = [
        _counts(one) | _on_hard_test(correct[name], first, hard) | {"audit": existing_audit(workspace, name)}
        for name, one in sets.items()
    ]
    return {"hard_test": {"subreddits": subreddits, "n_pairs": hard.height, "n_posts": _n_posts(hard)}, "sets": rows}


def _counts(pair_set: PairSet) -> dict[str, Any]:
    pairs = pair_set.frame
    return {
        "pairs": pair_set.name,
        "recipe": pair_set.manifest["recipe"]["name"],
        "n_pairs": pairs.height,
        "n_effective": effective_size(pairs["weight"]),
        "n_train_pairs": pairs.filter(pl.col("split") == "train").height,
        "n_posts": _n_posts(pairs),
    }


def tfidf_correct(pairs: pl.DataFrame, hard: pl.DataFrame, name: str) -> Correct:
    """Whether TF-IDF trained on the set's training pairs predicts the winner of each hard pair. Shape [n].

    Advances the open progress bar by the number of pairs, a part after each fit.

    Raises:
        LurkerError: the set has no training or validation pairs, or they contain a post of the hard test.
    """
    parts = {split: pairs.filter(pl.col("split") == split) for split in ("train", "validation")}
    for split, part in parts.items():
        if part.is_empty():
            raise LurkerError(f"Pair set {name} has no {split} pairs.", "Build it from more posts.")
        if shared := set(part["post_id"]) & set(hard["post_id"]):
            raise LurkerError(
                f"{len(shared):,} posts of the hard test are in {name} ({split}), such as {min(shared)}.",
                "Build it again with a test_fraction no smaller than the default.",
            )
    is_adjusted = bool((parts["train"]["confounder_log_odds"] != 0).any())
    share = pairs.height / len(PENALTIES)
    with single_threaded():  # sums run in one order: the same results on every machine
        reward = fit_tfidf(
            parts["train"], parts["validation"], is_adjusted=is_adjusted, advance=lambda fits: advance(fits * share)
        )
    if reward is None:
        return np.full(hard.height, 0.5)
    margins = reward(hard["chosen"].to_list()) - reward(hard["rejected"].to_list())
    return np.asarray((np.sign(margins) + 1) / 2)


def existing_audit(workspace: Workspace, name: str) -> dict[str, Any]:
    """The audit of a pair set; it is audited now if it has none."""
    path = workspace.folder("pairs", name) / AUDIT_FILE
    audit: dict[str, Any] = read_json(path) if path.exists() else audit_pairs(workspace, name)
    return audit


def _on_hard_test(correct: Correct | None, first: Correct | None, hard: pl.DataFrame) -> dict[str, Any]:
    """hard_test and lead; both null for the hard test itself, which nothing is trained on; no lead for the first."""
    if correct is None:
        return {"hard_test": None, "lead": None}
    accuracy = _interval(accuracy_interval(correct, hard["post_id"], hard["weight"]))
    if correct is first or first is None or _n_posts(hard) < 2:
        return {"hard_test": accuracy, "lead": None}
    return {
        "hard_test": accuracy,
        "lead": _interval(mean_interval(correct - first, hard["post_id"], hard["weight"], bounds=ACCURACY_GAIN)),
    }


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _n_posts(pairs: pl.DataFrame) -> int:
    return pairs["post_id"].n_unique()
