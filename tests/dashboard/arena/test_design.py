"""Draws: sides balanced, propensities true, repeats swapped, gold and limits as asked, held-out raters by share."""

import collections
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dashboard.arena import ballots
from dashboard.arena.design import is_swapped, pool_of, propensities
from dashboard.arena.filters import alarms, all_blocked, blocked_items
from dashboard.arena.make import Source, make_arena
from ingest.revisit.purge_pairs import pair_files
from lurker.errors import CallError
from lurker.schema import COMMENTS
from lurker.votes.arenas import Arena, ArenaConfig, invite, rater_of, with_settings
from lurker.votes.store import Choice, mark_rater, read_raters, read_votes
from lurker.workspace import open_workspace
from tests.dashboard.conftest import build_workspace


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    workspace = open_workspace(build_workspace(tmp_path / "workspace"))
    config = ArenaConfig(n_gold=4, n_qualifying=2, gold_share=0.15, repeat_share=0.2, max_votes_per_rater=40)
    return make_arena(workspace, "tea", Source(pairs="matched"), config)


def walk(arena: Arena, n: int = 80, choice: Choice | None = None) -> str:
    """A rater who votes until the end: the longer response, or always the same."""
    token = invite(arena, token="the-same-in-every-run")
    rater, items = rater_of(token), arena.items()
    pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
    mark_rater(arena.workspace, rater, "instructed")
    for _ in range(n):
        ballot = ballots.position(arena, pool, texts, token).ballot
        if ballot is None:
            break
        known = "a" if texts[ballot.item_id]["chosen_id"] == ballot.a_id else "b"
        assert ballots.cast(arena, rater, ballot, choice or known, 900)
        assert not ballots.cast(arena, rater, ballot, "level", 900)
    return token


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
    assert before.undoable is not None
    assert before.ballot is not None
    ballots.take_back(arena, before)
    after = ballots.position(arena, pool, texts, token)
    assert after.ballot is not None
    assert after.ballot.item_id == before.undoable.item_id
    assert after.ballot.a_id == before.undoable.a_id
    assert after.ballot.vote_id != before.undoable.vote_id
    ballots.cast(arena, rater_of(token), after.ballot, "b", 900)
    assert ballots.position(arena, pool, texts, token).ballot == before.ballot


def test_filters_act_on_what_the_tables_know_now(arena: Arena) -> None:
    items = arena.items()
    assert blocked_items(arena.workspace, items) == {}
    assert arena.workspace.folder("votes", "tea") / "items.parquet" in pair_files(
        arena.workspace
    )  # a purge erases there
    gone = items["chosen_id"][0]
    comments = arena.workspace.scan(COMMENTS).head(1).collect()
    row = comments.with_columns(comment_id=pl.lit(gone), is_deleted=pl.lit(True))
    arena.workspace.replace_partition(COMMENTS, comments["subreddit"][0], [row])
    erased = items.with_columns(prompt=pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("")).otherwise("prompt"))
    reasons = blocked_items(arena.workspace, erased)
    assert {reason: len(ids) for reason, ids in reasons.items()} == {"a text was purged": 1, "deleted since": 1}
    pool = pool_of(items, all_blocked(reasons))
    assert len(pool.main) + len(pool.gold) + len(pool.qualify) == items.height - 2
    assert alarms(reasons, items.height) == []
    assert len(alarms({"deleted since": frozenset("abc")}, 4)) == 1


def test_limits_per_address_hold(arena: Arena) -> None:
    open_to_all = Arena(
        **{
            **{name: getattr(arena, name) for name in Arena.__slots__},
            "config": with_settings(arena.config, raters="open", max_raters_per_address=2, max_votes_per_address=3),
        }
    )
    tokens = [ballots.join(open_to_all, "somewhere") for _ in range(3)]
    assert [token is not None for token in tokens] == [True, True, False]
    assert ballots.join(arena, "somewhere") is None
    items = arena.items()
    pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
    rater = rater_of(str(tokens[0]))
    mark_rater(arena.workspace, rater, "instructed")
    for _ in range(3):
        ballot = ballots.position(open_to_all, pool, texts, tokens[0], "somewhere").ballot
        assert ballot is not None
        known: Choice = "a" if texts[ballot.item_id]["chosen_id"] == ballot.a_id else "b"
        ballots.cast(open_to_all, rater, ballot, known, 900, "somewhere")
    assert ballots.position(open_to_all, pool, texts, tokens[0], "somewhere").stage == "limit"
    assert ballots.position(open_to_all, pool, texts, tokens[0], "elsewhere").stage == "voting"


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


def test_responses_and_onboarding_make_items(arena: Arena, tmp_path: Path) -> None:
    responses, onboarding = tmp_path / "responses.jsonl", tmp_path / "onboarding.jsonl"
    responses.write_text(
        "\n".join(f'{{"prompt": "p{p}", "response": "r{p}{s}", "source": "{s}"}}' for p in range(3) for s in "xyz")
    )
    onboarding.write_text(
        '{"role": "qualify", "prompt": "p", "better": "good", "worse": "bad", "reason": "kinder"}\n'
        '{"role": "example", "prompt": "q", "better": "good", "worse": "bad", "reason": "shorter"}\n'
    )
    source = Source(responses=responses, onboarding=onboarding)
    made = make_arena(arena.workspace, "sources", source, ArenaConfig())
    items = made.items()
    assert items["role"].value_counts().sort("role").rows() == [("main", 9), ("qualify", 1)]
    assert made.examples[0].reason == "shorter"
    main = items.filter(pl.col("role") == "main")
    assert main["reference"].is_null().all()
    assert (main["chosen_id"] < main["rejected_id"]).all()
    assert items.filter(pl.col("role") == "qualify")["chosen"].to_list() == ["good"]
