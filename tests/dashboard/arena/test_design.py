"""Draws: sides balanced, propensities true, repeats swapped, gold and limits as asked, held-out raters by share."""

import collections
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dashboard.arena import ballots
from dashboard.arena.design import is_swapped, pool_of, propensities
from dashboard.arena.make import Source, make_arena
from lurker.errors import CallError
from lurker.votes.arenas import Arena, ArenaConfig, rater_of
from lurker.votes.store import mark_rater, read_raters, read_votes
from tests.dashboard.arena.conftest import walk


def test_sides_are_balanced_and_repeats_swapped() -> None:
    swaps = [is_swapped(f"i{item}", f"r{rater}", 0) for item in range(40) for rater in range(50)]
    assert abs(np.mean(swaps) - 0.5) < 0.04  # 3.6 standard errors
    assert all(is_swapped(f"i{item}", "r", 1) != is_swapped(f"i{item}", "r", 0) for item in range(20))


def test_propensities_bound_the_weights_and_estimates_are_corrected() -> None:
    rng = np.random.default_rng(0)
    information = rng.exponential(size=200) ** 2
    values = 0.3 + 0.4 * information / information.max()  # what is asked more often differs in value
    chances = propensities(information, 0.5)
    assert chances.sum() == pytest.approx(1)
    assert (1 / (200 * chances)).max() <= 2
    drawn = rng.choice(200, 20_000, p=chances)
    weights = 1 / (200 * chances[drawn])
    error = np.std(weights * values[drawn]) / np.sqrt(20_000)
    assert abs((weights * values[drawn]).mean() - values.mean()) < 4 * error
    assert abs(values[drawn].mean() - values.mean()) > 4 * error
    assert np.allclose(propensities(np.zeros(4), 0.5), 0.25)


def test_a_rater_walks_through_all_phases(arena: Arena) -> None:
    token = walk(arena)
    votes = read_votes(arena.workspace, "tea")
    phases = collections.Counter(votes["phase"])
    assert phases["qualify"] == 2
    assert phases["main"] + phases["gold"] == 40
    assert phases["gold"] >= 2
    again = votes.filter(pl.col("occasion") == 1)
    assert again.height >= 3
    first = votes.filter(pl.col("occasion") == 0).select("item_id", first_a="a_id")
    assert (again.join(first, on="item_id").select(pl.col("a_id") != pl.col("first_a"))).to_series().all()
    assert votes.select("item_id", "occasion").is_unique().all()
    main = votes.filter((pl.col("phase") == "main") & (pl.col("occasion") == 0))
    assert main.select((pl.col("propensity") * pl.col("n_eligible") - 1).abs().max()).item() < 1e-9
    rater = read_raters(arena.workspace, "tea").row(0, named=True)
    assert rater["qualified_utc"] is not None
    items = arena.items()
    texts = {row["item_id"]: row for row in items.to_dicts()}
    assert ballots.position(arena, pool_of(items), texts, token).stage == "done"


def test_who_fails_to_qualify_votes_no_more(arena: Arena) -> None:
    token = walk(arena, choice="level")
    assert read_votes(arena.workspace, "tea").height == 2
    items = arena.items()
    texts = {row["item_id"]: row for row in items.to_dicts()}
    assert ballots.position(arena, pool_of(items), texts, token).stage == "failed"
    assert ballots.position(arena, pool_of(items), texts, "no-such-token").stage == "stranger"
    mark_rater(arena.workspace, rater_of(token), "revoked")
    assert ballots.position(arena, pool_of(items), texts, token).stage == "revoked"


def test_an_undone_vote_comes_again(arena: Arena) -> None:
    token = walk(arena, n=6)
    items = arena.items()
    pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
    before = ballots.position(arena, pool, texts, token)
    assert before.last is not None
    assert before.ballot is not None
    assert ballots.may_take_back(arena, before)
    ballots.take_back(arena, before)
    after = ballots.position(arena, pool, texts, token)
    assert after.ballot is not None
    assert after.ballot.item_id == before.last.item_id
    assert after.ballot.a_id == before.last.a_id
    assert after.ballot.vote_id != before.last.vote_id
    ballots.cast(arena, rater_of(token), after.ballot, "b", 900)
    assert ballots.position(arena, pool, texts, token).ballot == before.ballot


def test_the_active_design_asks_about_disagreements(arena: Arena, tmp_path: Path) -> None:
    runs, workspace = ("scratch-1m-4000-0", "scratch-1m-4000-0"), arena.workspace
    config = ArenaConfig(design="active", n_gold=0, n_qualifying=0)
    one = make_arena(workspace, "one", Source(pairs="matched", runs=runs[:1]), config).items()
    assert one["split"].unique().to_list() == ["test"]
    assert one["information"].is_between(0, 0.25).all()
    assert make_arena(workspace, "two", Source(pairs="matched", runs=runs), config).items()["information"].max() == 0
    with pytest.raises(CallError, match="already"):
        make_arena(workspace, "two", Source(pairs="matched"), ArenaConfig())
    with pytest.raises(CallError, match="active"):
        make_arena(workspace, "three", Source(pairs="matched"), config)
