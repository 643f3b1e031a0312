"""What may be shown and who may vote now: content filters, limits per minute and day, and what may be taken back."""

import dataclasses
from types import SimpleNamespace

import polars as pl
import pytest

from dashboard.arena import ballots, serving
from dashboard.arena.design import pool_of
from dashboard.arena.filters import alarms, all_blocked, blocked_items
from ingest.revisit.purge import purge_texts
from ingest.revisit.purge_pairs import pair_files
from lurker.schema import COMMENTS, POSTS, Table
from lurker.votes.arenas import Arena, ArenaConfig, invite, rater_of
from lurker.votes.store import Choice, append_remark, mark_rater, read_raters, read_remarks


def tell(arena: Arena, table: Table, item: str, **facts: bool) -> None:
    """Let the tables learn something about a post or a comment."""
    rows = arena.workspace.scan(table).collect()
    row = rows.head(1).with_columns(pl.lit(item).alias(table.key[0]), *(pl.lit(v).alias(k) for k, v in facts.items()))
    name = rows["subreddit"][0]
    arena.workspace.replace_partition(table, name, [pl.concat([rows.filter(subreddit=name), row])])


def test_filters_act_on_what_the_tables_know_now(arena: Arena) -> None:
    items = arena.items()
    assert blocked_items(arena.workspace, items) == {}
    assert arena.workspace.folder("votes", "tea") / "items.parquet" in pair_files(
        arena.workspace
    )  # a purge erases there
    gone = items["chosen_id"][0]
    tell(arena, COMMENTS, gone, is_deleted=True)
    adult = items.filter(pl.col("post_id") != items["post_id"][0])["post_id"][-1]
    tell(arena, POSTS, adult, is_nsfw=True)
    erased = items.with_columns(prompt=pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("")).otherwise("prompt"))
    reasons = blocked_items(arena.workspace, erased)
    assert set(reasons) == {"a text was purged", "deleted since", "marked over 18"}
    assert reasons["deleted since"] == set(items.filter(chosen_id=gone)["item_id"])
    assert reasons["marked over 18"] == set(items.filter(post_id=adult)["item_id"])
    pool = pool_of(items, all_blocked(reasons))
    shown = {*pool.main, *pool.gold, *pool.qualify}
    assert shown == set(items["item_id"]) - all_blocked(reasons)
    assert alarms(reasons, items.height) == []
    assert len(alarms({"deleted since": frozenset("abc")}, 4)) == 1


def test_the_server_looks_again_when_the_tables_change(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    class AtOnce:
        def __init__(self, target, args, daemon) -> None:  # type: ignore[no-untyped-def]
            self.start = lambda: target(*args)

    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(serving.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(serving.threading, "Thread", AtOnce)
    root, looks = arena.workspace.root, []
    monkeypatch.setattr(serving, "blocked_items", lambda *given: looks.append(1) or blocked_items(*given))
    before = serving.served(root, "tea")
    gone = arena.items()["rejected_id"][3]
    tell(arena, COMMENTS, gone, is_deleted=True)
    clock.now += serving.FRESH_S / 2
    assert serving.served(root, "tea") is before
    clock.now += serving.FRESH_S
    serving.served(root, "tea")  # raters do not wait: this one still gets what was found before
    after = serving.served(root, "tea")
    blocked = set(arena.items().filter(rejected_id=gone)["item_id"])
    assert blocked and not blocked & {*after.pool.main, *after.pool.gold, *after.pool.qualify}
    clock.now += 2 * serving.FRESH_S
    serving.served(root, "tea")
    assert len(looks) == 2  # no file has changed since


def test_a_purge_erases_what_raters_wrote_about_a_text(arena: Arena) -> None:
    items = arena.items()
    gone, kept = items["item_id"][0], items.filter(pl.col("post_id") != items["post_id"][0])["item_id"][0]
    for item in (gone, kept):
        append_remark(arena.workspace, f"on {item}", "tea", "r1", item, "it says: cook for them")
    tell(arena, POSTS, items["post_id"][0], is_deleted=True)
    assert purge_texts(arena.workspace).n_remarks == 1
    remarks = dict(read_remarks(arena.workspace, "tea").select("item_id", "text").rows())
    assert remarks == {gone: "", kept: "it says: cook for them"}


def test_limits_per_address_hold(arena: Arena) -> None:
    config = dataclasses.replace(arena.config, raters="open", max_raters_per_address=2, max_votes_per_address=3)
    open_to_all = dataclasses.replace(arena, config=config)
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


def test_limits_of_a_minute_hold_per_rater_and_per_address(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ballots.time, "time", lambda: 1_000_000.0)
    config = dataclasses.replace(
        arena.config, max_votes_per_minute=3, max_votes_per_minute_and_address=4, n_qualifying=0
    )
    slow, items = dataclasses.replace(arena, config=config), arena.items()
    pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}

    def vote(token: str, n: int) -> None:
        for _ in range(n):
            now = ballots.position(slow, pool, texts, token, "somewhere")
            assert now.ballot is not None
            ballots.cast(slow, rater_of(token), now.ballot, "a", 900, "somewhere")

    ada, bob = (invite(slow, token=name) for name in ("ada", "bob"))
    for token in (ada, bob):
        mark_rater(slow.workspace, rater_of(token), "instructed")
    vote(ada, 3)
    assert ballots.position(slow, pool, texts, ada, "somewhere").stage == "pause"
    assert ballots.position(slow, pool, texts, ada, has_pace_limit=False).stage == "voting"
    vote(bob, 1)
    assert ballots.position(slow, pool, texts, bob, "somewhere").stage == "pause"
    assert ballots.position(slow, pool, texts, bob, "elsewhere").stage == "voting"
    monkeypatch.setattr(ballots.time, "time", lambda: 1_000_061.0)
    assert ballots.position(slow, pool, texts, ada, "somewhere").stage == "voting"


def test_the_share_of_held_out_raters_holds_for_few_raters_too(arena: Arena) -> None:
    for number in range(15):
        invite(arena, token=f"token-{number}")
    held_out = read_raters(arena.workspace, "tea")["is_held_out"]
    assert [held_out[first : first + 5].sum() for first in (0, 5, 10)] == [1, 1, 1]


def test_limits_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="max_votes_per_minute must be at least 1"):
        ArenaConfig(max_votes_per_minute=0)
