import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.audits.pair_audit import audit_pairs, true_accuracy
from features.audits.probe_scores import summarise_probes
from features.audits.probes import ProbeConfig, _logistic, forward_probabilities, predict_forward
from features.audits.verdict import AuditConfig, verdict
from features.confounders.context import POST_CONTEXT
from features.confounders.measures import (
    ALL_CONFOUNDERS,
    add_confounders,
    confounder_matrix,
    is_chosen_first,
    standardised_mean_differences,
)
from features.recipes.presets import preset
from features.sets.store import describe_blocks, write_pairs
from lurker.digest import frame_sha256
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.pair_sets import read_pairs
from lurker.schema import PAIRS, check
from lurker.stats import accuracy_interval
from lurker.workspace import Workspace, open_workspace

FAST = ProbeConfig(n_folds=3, n_repeats=1, n_boosting_rounds=15, max_text_pairs=1_500)


@pytest.fixture
def workspace(naive_workspace: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(naive_workspace, tmp_path / "copy")))


def random_pairs(n: int = 3_000, n_posts: int = 300, seed: int = 0) -> pl.DataFrame:
    """Pairs whose winner nothing predicts."""
    rng = np.random.default_rng(seed)
    chars, delays = rng.integers(20, 800, (n, 2)), rng.integers(1, 90_000, (n, 2))
    post = rng.integers(0, n_posts, n)
    frame = pl.DataFrame(
        {
            "pair_id": [f"a{k}-b{k}" for k in range(n)],
            "post_id": [f"p{k}" for k in post],
            "subreddit": "alpha",
            "split": np.where(post % 10 == 0, "test", "train"),
            "prompt": "Which?",
            "chosen": [" ".join(rng.choice(["one", "two", "three", "four"], 6)) for _ in range(n)],
            "rejected": [" ".join(rng.choice(["one", "two", "three", "four"], 6)) for _ in range(n)],
            "chosen_id": [f"a{k}" for k in range(n)],
            "rejected_id": [f"b{k}" for k in range(n)],
            "chosen_score": 2,
            "rejected_score": 1,
            "chosen_delay_s": delays[:, 0],
            "rejected_delay_s": delays[:, 1],
            "chosen_chars": chars[:, 0],
            "rejected_chars": chars[:, 1],
            "label_confidence": 0.7,
            "weight": 1.0,
            "confounder_log_odds": 0.0,
            "recipe": "test",
        }
    )
    return check(frame.cast(dict(PAIRS.schema)), PAIRS)


def swap(pairs: pl.DataFrame, rows: pl.Expr) -> pl.DataFrame:
    """The pairs with winner and loser swapped in some rows."""
    columns = ("delay_s", "chars")
    return pairs.with_columns(
        *(pl.when(rows).then(f"rejected_{c}").otherwise(f"chosen_{c}").alias(f"chosen_{c}") for c in columns),
        *(pl.when(rows).then(f"chosen_{c}").otherwise(f"rejected_{c}").alias(f"rejected_{c}") for c in columns),
    )


def in_context(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with their confounders, without any context of their threads."""
    columns = dict.fromkeys((*ALL_CONFOUNDERS, *POST_CONTEXT), pl.Float64)
    context = pl.DataFrame(schema={"comment_id": pl.String, "post_id": pl.String, **columns})
    return add_confounders(pairs, context)


def probe(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    table = in_context(pairs)
    return summarise_probes(table, forward_probabilities(table, FAST), AuditConfig().min_posts)


def pick(rows: list[dict[str, Any]], confounders: str, split: str = "all") -> list[dict[str, Any]]:
    return [row for row in rows if (row["confounders"], row["split"], row["subreddit"]) == (confounders, split, "all")]


def test_random_labels_give_an_accuracy_of_one_half() -> None:
    rows = probe(random_pairs())
    all_splits = [row for row in rows if row["split"] == "all"]
    missed = [row for row in all_splits if not row["accuracy_low"] <= 0.5 <= row["accuracy_high"]]
    assert len(missed) <= 2  # of 15 intervals of 95 %
    for row in all_splits:
        assert row["accuracy"] == pytest.approx(0.5, abs=0.03) and row["auc"] == pytest.approx(0.5, abs=0.04), row
    assert verdict(rows, AuditConfig()).startswith("Clean")
    assert "test underpowered" in verdict(rows, AuditConfig())


def test_intervals_have_their_nominal_coverage_on_noise() -> None:
    """Cross-validation, which predicts each fold from all others, misses one half three times as often."""
    rng, n, missed = np.random.default_rng(0), 200, {"forward": 0, "all others": 0}
    order, trials = np.arange(n), 100
    for _ in range(trials):
        X, labels, folds = rng.normal(size=(n, 1)), rng.random(n) < 0.5, rng.integers(0, 5, n)
        forward = predict_forward(_logistic(), X, labels, np.ones(n), folds, order)
        others = np.full(n, np.nan)
        for fold in range(5):
            parts = (folds == fold).astype(np.int64)
            others[folds == fold] = predict_forward(_logistic(), X, labels, np.ones(n), parts, order)[folds == fold]
        for way, p in (("forward", forward), ("all others", others)):
            judged = ~np.isnan(p)
            found = accuracy_interval(((p > 0.5) == labels)[judged], order[judged])
            missed[way] += not found.low <= 0.5 <= found.high
    assert missed["forward"] <= 0.09 * trials and missed["all others"] > 0.12 * trials


def test_a_planted_time_shortcut_is_found_and_not_attributed_to_length() -> None:
    pairs = random_pairs()
    earlier_lost = pl.col("chosen_delay_s") > pl.col("rejected_delay_s")
    rows = probe(swap(pairs, earlier_lost & (pl.col("pair_id").hash() % 5 != 0)))  # earlier wins 90 %
    for group in ("time", "joint"):
        for row in pick(rows, group):
            assert row["accuracy"] == pytest.approx(0.9, abs=0.03), row
    for row in pick(rows, "length"):
        assert row["accuracy_low"] <= 0.5 <= row["accuracy_high"], row
    assert verdict(rows, AuditConfig()).startswith("Not clean")


def test_a_shortcut_that_reverses_with_the_level_is_found() -> None:
    pairs = random_pairs()
    level = (pl.col("chosen_chars").log() + pl.col("rejected_chars").log()) / 2
    longer_lost = pl.col("chosen_chars") < pl.col("rejected_chars")
    should_swap = pl.when(level > level.median()).then(longer_lost).otherwise(~longer_lost)
    swapped = swap(pairs, should_swap)
    assert (swapped["chosen_chars"] > swapped["rejected_chars"]).mean() == pytest.approx(0.5, abs=0.05)
    assert all(row["accuracy_low"] > 0.9 for row in pick(probe(swapped), "length"))


def test_features_change_sign_with_the_side_presented_first() -> None:
    pairs = in_context(random_pairs(50))
    # Of the first confounder difference, level, normal scores and which is larger, of its plain scale the first two.
    for group in ("time", "length"):
        first = confounder_matrix(pairs, group, np.ones(50, dtype=bool))
        second = confounder_matrix(pairs, group, np.zeros(50, dtype=bool))
        np.testing.assert_allclose(first, second * np.array([-1, 1, -1, -1, -1, 1]))
    assert is_chosen_first(pairs["pair_id"]).mean() == pytest.approx(0.5, abs=0.25)


def test_standardised_difference_checked_by_hand() -> None:
    pairs = random_pairs(2).with_columns(
        chosen_chars=pl.Series([10, 14]), rejected_chars=pl.Series([6, 10]), chosen_delay_s=5, rejected_delay_s=5
    )
    rows = {row["confounder"]: row["smd"] for row in standardised_mean_differences(in_context(pairs))}
    assert rows["chars"] == pytest.approx(2.0)  # means 12 and 8, both variances 4
    assert "delay_s" not in rows  # it varies on neither side


def test_an_audit_of_simulated_pairs_finds_time_and_reports_the_truth(workspace: Workspace) -> None:
    audit = audit_pairs(workspace, "naive", probes=FAST)
    assert read_json(workspace.root / "pairs/naive/audit.json") == audit
    assert audit["earlier_wins"]["low"] > 0.7
    assert not audit["is_clean"] and audit["verdict"].startswith("Not clean")
    few = audit_pairs(workspace, "naive", probes=dataclasses.replace(FAST, max_split_pairs=300))
    assert few["verdict"].partition(":")[0] == "Not clean"  # what tables show of it
    assert f"Audited on a sample, {few['n_judged_pairs']:,} of {few['n_pairs']:,} pairs." in few["verdict"]
    time, text = pick(audit["probes"], "time")[0], pick(audit["probes"], "text")[0]
    assert time["accuracy_low"] > 0.7 and text["accuracy_low"] > 0.5
    assert 0.5 < audit["truth"]["accuracy_low"] < audit["truth"]["accuracy"] < audit["label_confidence_mean"]
    assert {row["split"] for row in audit["probes"]} == {"all", "train", "validation", "test"}


def test_truth_is_absent_if_one_response_has_none(workspace: Workspace) -> None:
    pairs = read_pairs(workspace, "naive")
    assert true_accuracy(workspace, pairs) is not None
    assert true_accuracy(workspace, pairs.with_columns(chosen_id=pl.lit("unknown"))) is None


def test_the_hard_test_is_audited_like_any_set(workspace: Workspace) -> None:
    audit = audit_pairs(workspace, "hard-test", probes=FAST)
    assert audit["earlier_wins"]["value"] == audit["longer_wins"]["value"] == 0.5


def test_weights_count(workspace: Workspace) -> None:
    pairs = random_pairs(600)
    earlier = pl.col("chosen_delay_s") < pl.col("rejected_delay_s")
    weighted = pairs.with_columns(weight=pl.when(earlier).then(9.0).otherwise(1.0))
    write_pairs(
        workspace,
        "weighted",
        weighted,
        describe_blocks([weighted], frame_sha256(weighted), "weighted", preset("naive"), ["alpha"]),
    )
    assert audit_pairs(workspace, "weighted", probes=FAST)["earlier_wins"]["value"] == pytest.approx(0.9, abs=0.02)


def test_an_unknown_set_lists_the_existing_ones(workspace: Workspace) -> None:
    with pytest.raises(LurkerError, match=r"'other'.*it has: hard-test, naive"):
        audit_pairs(workspace, "other")


def test_one_post_cannot_be_audited(workspace: Workspace) -> None:
    pairs = random_pairs(20, n_posts=1)
    write_pairs(
        workspace, "single", pairs, describe_blocks([pairs], frame_sha256(pairs), "single", preset("naive"), ["alpha"])
    )
    with pytest.raises(LurkerError, match="all 1 posts fall into one fold"):
        audit_pairs(workspace, "single", probes=FAST)
