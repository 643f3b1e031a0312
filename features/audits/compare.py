"""Pair sets side by side: their audits, and what words alone learn from each, judged on the one frozen hard test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.audits.pair_audit import audit_pairs
from features.sets.store import effective_size
from lurker.errors import CallError, LurkerError
from lurker.hard_tests import require_one_hard_test
from lurker.pair_sets import HARD_TEST, read_pair_set, read_pairs
from lurker.pairwise import fit_tfidf
from lurker.progress import progress
from lurker.stats import Estimate, accuracy_interval, mean_interval
from lurker.workspace import Workspace, read_json

Correct = NDArray[np.float64]


def compare_sets(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """Compare the pair sets; those without an audit are audited first.

    Of each: counts, its audit, and `hard_test`: the accuracy of TF-IDF trained on its training pairs (log-odds of
    confounders taken off where it publishes them) on the hard test of the subreddits that all sets have, and `lead`:
    its difference from the first set on the same pairs. Intervals are clustered by post.
    Errors: CallError for fewer than two sets; LurkerError for a set that is not there or has no pairs to train on, sets
    built with different hard tests, or a hard test that shares no subreddit with all of them.
    """
    distinct = list(dict.fromkeys(names))
    if len(distinct) < 2:
        raise CallError(f"Two pair sets are needed to compare, got {', '.join(distinct) or 'none'}.")
    sets = {name: read_pair_set(workspace, name) for name in distinct}
    require_one_hard_test(workspace, distinct)
    subreddits = sorted(set.intersection(*(set(one.manifest["subreddits"]) for one in sets.values())))
    hard = read_pairs(workspace, HARD_TEST).filter(pl.col("subreddit").is_in(subreddits))
    if hard.is_empty():
        raise LurkerError(
            f"No pair of the hard test lies in a subreddit that {', '.join(distinct)} share: "
            f"{', '.join(subreddits) or 'they share none'}.",
            "Build them from the same subreddits: `lurker pairs build NAME --recipe RECIPE`.",
        )
    answers: dict[str, Correct | None] = {}
    with progress("Words alone", sum(one.frame.height for one in sets.values()), "pairs") as advance:
        for name, one in sets.items():
            answers[name] = None if name == HARD_TEST else text_answers(one.frame, hard, name)
            advance(one.frame.height)
    first = next((answer for answer in answers.values() if answer is not None), None)
    rows = []
    for name, one in sets.items():
        pairs, manifest = one.frame, one.manifest
        row = {
            "pairs": name,
            "recipe": manifest["recipe"]["name"],
            "n_pairs": pairs.height,
            "n_effective": effective_size(pairs["weight"]),
            "n_train_pairs": pairs.filter(pl.col("split") == "train").height,
            "n_posts": pairs["post_id"].n_unique(),
        }
        rows.append(row | _on_hard_test(answers[name], first, hard) | {"audit": existing_audit(workspace, name)})
    return {"hard_test": {"subreddits": subreddits, "n_pairs": hard.height, "n_posts": _n_posts(hard)}, "sets": rows}


def text_answers(pairs: pl.DataFrame, hard: pl.DataFrame, name: str) -> Correct:
    """Whether TF-IDF of the set's training pairs names the winner of each hard pair: 1, 0, or 0.5 for a tie. [n].

    Errors: LurkerError when the set has no training or validation pairs, or was trained on a post of the hard test.
    """
    parts = {split: pairs.filter(pl.col("split") == split) for split in ("train", "validation")}
    for split, part in parts.items():
        if part.is_empty():
            raise LurkerError(f"Pair set {name} has no {split} pairs.", "Build it from more posts.")
        if shared := set(part["post_id"]) & set(hard["post_id"]):
            raise LurkerError(
                f"{len(shared):,} posts of the hard test are in {name} ({split}), {min(shared)} among them.",
                "Build it again with a test_fraction no smaller than the default.",
            )
    is_adjusted = bool((parts["train"]["confounder_log_odds"] != 0).any())
    with threadpool_limits(1):  # sums in one order: the same figures on every machine
        reward = fit_tfidf(parts["train"], parts["validation"], is_adjusted=is_adjusted)
    if reward is None:
        return np.full(hard.height, 0.5)
    margins = reward(hard["chosen"].to_list()) - reward(hard["rejected"].to_list())
    return np.asarray((np.sign(margins) + 1) / 2)


def existing_audit(workspace: Workspace, name: str) -> dict[str, Any]:
    """The audit of a pair set, made now where there is none."""
    path = workspace.folder("pairs", name) / "audit.json"
    found: dict[str, Any] = read_json(path) if path.exists() else audit_pairs(workspace, name)
    return found


def _on_hard_test(answer: Correct | None, first: Correct | None, hard: pl.DataFrame) -> dict[str, Any]:
    """hard_test and lead; null for the hard test itself, which nothing is trained on, and the lead of the first."""
    if answer is None:
        return {"hard_test": None, "lead": None}
    accuracy = _interval(accuracy_interval(answer, hard["post_id"], hard["weight"]))
    if answer is first or first is None or _n_posts(hard) < 2:
        return {"hard_test": accuracy, "lead": None}
    return {"hard_test": accuracy, "lead": _interval(mean_interval(answer - first, hard["post_id"], hard["weight"]))}


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _n_posts(pairs: pl.DataFrame) -> int:
    return pairs["post_id"].n_unique()
