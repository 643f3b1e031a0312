"""Balanced pairs: confounders do not predict the outcome; adjusted pairs: their prediction is published."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.build_context import BuildOptions
from features.confounders.design import is_earlier_chosen
from features.pairing.caps import apply_pair_rules
from features.pairing.deconfound import CAPS, CAPS_ON_EXPECTED, _thin
from features.recipes.presets import preset
from features.recipes.recipe import Recipe
from features.sets.build import build_pairs
from features.sets.store import effective_size
from lurker.config import override
from lurker.engine import Engine
from lurker.pair_sets import read_pairs
from lurker.stats import accuracy_interval
from lurker.workspace import Workspace, open_workspace

WIDE = ["max_log_delay_difference=none", "n_neighbours=23"]
"""Simulated delays range over five nats: a caliper of one would leave too few pairs."""


@pytest.fixture(scope="module")
def adjusted(frozen_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The simulated workspace with the pair set `adjusted`; read-only."""
    workspace = open_workspace(Path(shutil.copytree(frozen_workspace, tmp_path_factory.mktemp("adjusted") / "copy")))
    build_pairs(workspace, "adjusted", preset("adjusted"))
    return workspace


@pytest.fixture
def workspace(frozen_workspace: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(frozen_workspace, tmp_path / "copy")))


def earlier_wins(pairs: pl.DataFrame) -> Any:
    return accuracy_interval(is_earlier_chosen(pairs), pairs["post_id"], pairs["weight"])


def test_the_time_shortcut_is_removed_and_taste_is_kept(workspace: Workspace) -> None:
    build_pairs(workspace, "naive", override(preset("naive"), ["min_chars=20"]))
    manifest = build_pairs(workspace, "ours", override(preset("balanced"), WIDE))
    naive, ours = read_pairs(workspace, "naive"), read_pairs(workspace, "ours")
    assert earlier_wins(naive).low > 0.7
    estimate = earlier_wins(ours)
    assert estimate.low < 0.5 < estimate.high and estimate.high - estimate.low < 0.1
    assert ours["post_id"].value_counts()["count"].max() <= 10
    sides = pl.concat([ours["chosen_id"], ours["rejected_id"]])
    assert sides.value_counts()["count"].max() <= 3
    assert manifest["n_effective"] == pytest.approx(effective_size(ours["weight"]))
    assert manifest["n_effective"] > 1_500

    def true_share(pairs: pl.DataFrame) -> float:
        truth = pl.read_parquet(workspace.root / "truth/*/*.parquet").select("comment_id", "quality")
        for side in ("chosen", "rejected"):
            named = truth.rename({"comment_id": f"{side}_id", "quality": f"{side}_quality"})
            pairs = pairs.join(named, on=f"{side}_id")
        return float((pairs["chosen_quality"] > pairs["rejected_quality"]).mean())

    assert true_share(ours) > true_share(naive) + 0.03  # time decides less, so taste decides more


def test_caps_on_expected_pairs_do_not_bring_the_shortcut_back() -> None:
    """Posts differ in how often the earlier response wins, p on average; the others keep more pairs after thinning."""
    rng, n_posts, n_each = np.random.default_rng(0), 2_000, 40
    log_odds = np.repeat(rng.normal(1.2, 1.2, n_posts), n_each)
    is_earlier = rng.random(log_odds.size) < 1 / (1 + np.exp(-log_odds))
    p = np.full(log_odds.size, is_earlier.mean())
    pairs = pl.DataFrame(
        {
            "pair_id": [f"{n:06}" for n in range(p.size)],
            "pair_hash": rng.permutation(p.size),
            "post_id": np.arange(p.size) // n_each,
            "subreddit": "alpha",
            "chosen_id": [f"c{n}" for n in range(p.size)],
            "rejected_id": [f"r{n}" for n in range(p.size)],
            "chosen_delay_s": np.where(is_earlier, 1, 2),
            "rejected_delay_s": np.where(is_earlier, 2, 1),
            "_p": p,
        }
    )

    def earlier_wins_after(recipe: Recipe) -> tuple[float, int]:
        kept = apply_pair_rules(CAPS_ON_EXPECTED, pairs, recipe, Counter())
        kept = _thin(kept, kept["_p"].to_numpy(), "thin", Counter())
        kept = apply_pair_rules(CAPS, kept, recipe, Counter())
        return float(is_earlier_chosen(kept).mean()), kept["post_id"].value_counts()["count"].max()

    ours = earlier_wins_after(preset("balanced"))
    before = earlier_wins_after(override(preset("balanced"), ["max_expected_pairs_per_post=none"]))
    assert ours[1] <= 10 and before[1] <= 10
    assert before[0] > 0.535 and abs(ours[0] - 0.5) < 0.015, (before, ours)


def test_another_seed_draws_other_pairs_with_the_same_splits_and_winners(workspace: Workspace) -> None:
    sets = []
    for seed in ("0", "1"):
        build_pairs(workspace, f"draw-{seed}", override(preset("balanced"), [f"seed={seed}", "n_balance_rounds=0"]))
        sets.append(read_pairs(workspace, f"draw-{seed}"))
    both = sets[0].join(sets[1], on="pair_id")
    assert 0.3 < both.height / sets[0].height < 0.8
    assert both["split"].equals(both["split_right"]) and both["chosen_id"].equals(both["chosen_id_right"])


@pytest.mark.slow
def test_the_ledgers_of_both_recipes_add_up(workspace: Workspace) -> None:
    for recipe in ("balanced", "adjusted"):
        manifest = build_pairs(workspace, recipe, preset(recipe))
        for ledger in manifest["ledger"].values():
            assert ledger["input"] == ledger["kept"] + sum(line["n"] for line in ledger["dropped"])
        stages = [stage for stage in manifest["ledger"] if stage != "responses"]
        assert sum(manifest["ledger"][stage]["kept"] for stage in stages) == manifest["n_pairs"]


def test_adjusted_publishes_calibrated_log_odds_and_holds_out_balanced_pairs(
    adjusted: Workspace, workspace: Workspace
) -> None:
    build_pairs(workspace, "balanced", preset("balanced"))
    pairs, balanced = read_pairs(adjusted, "adjusted"), read_pairs(workspace, "balanced")
    train, held_out = pairs.filter(split="train"), pairs.filter(pl.col("split") != "train")
    assert (held_out["confounder_log_odds"] == 0).all()
    same = balanced.filter(pl.col("split") != "train")
    assert held_out["pair_id"].to_list() == same["pair_id"].to_list()
    # Calibrated: of pairs predicted with probability p, a share p is right.
    p_right = 1 / (1 + np.exp(-train["confounder_log_odds"].abs().to_numpy()))
    named = (train["confounder_log_odds"] > 0).to_numpy()
    assert named.mean() == pytest.approx(p_right.mean(), abs=0.02) and named.mean() > 0.7


def test_the_log_odds_remove_a_planted_confounder_from_a_model(adjusted: Workspace) -> None:
    """Logistic regression of the winner on the difference of log delay, without and with the offset."""
    from scipy.optimize import minimize_scalar

    train = read_pairs(adjusted, "adjusted").filter(split="train")
    difference = (train["chosen_delay_s"].log1p() - train["rejected_delay_s"].log1p()).to_numpy()

    def coefficient(offset: np.ndarray) -> float:
        # The label is always "chosen", so the log-likelihood is that of margin > 0.
        return float(minimize_scalar(lambda b: np.logaddexp(0, -(b * difference + offset)).sum(), (-2, 2)).x)

    plain = coefficient(np.zeros(train.height))
    with_offset = coefficient(train["confounder_log_odds"].to_numpy())
    assert plain < -0.5
    assert abs(with_offset) < 0.1 * abs(plain)


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_order_of_rows_files_memory_limit_and_engine_change_no_byte(
    write_workspace: Callable[..., Workspace], simulate: Callable[..., Any], engine: Engine
) -> None:
    posts, comments, _ = simulate(n_posts=40, n_comments=12, subreddits=("alpha", "beta"))
    contents = []
    for n_files, options in ((1, BuildOptions()), (3, BuildOptions(memory_limit="100MB", engine=engine))):
        workspace = write_workspace(posts, comments, n_files=n_files)
        # Its held-out pairs are those of `balanced`.
        build_pairs(workspace, "adjusted", override(preset("adjusted"), ["min_chars=1"]), options=options)
        contents.append((workspace.root / "pairs/adjusted/pairs.parquet").read_bytes())
        random.Random(n_files).shuffle(comments)
        random.Random(n_files).shuffle(posts)
    assert contents[0] == contents[1]
