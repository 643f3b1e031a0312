"""An arena on pairs, and a rater who walks through it."""

from pathlib import Path

import pytest

from dashboard.arena import ballots
from dashboard.arena.design import pool_of
from dashboard.arena.make import Source, make_arena
from lurker.votes.arenas import Arena, ArenaConfig, invite, rater_of
from lurker.votes.store import Choice, mark_rater
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
        ballot = ballots.position(arena, pool, texts, token, has_pace_limit=False).ballot
        if ballot is None:
            break
        known = "a" if texts[ballot.item_id]["chosen_id"] == ballot.a_id else "b"
        assert ballots.cast(arena, rater, ballot, choice or known, 900)
        assert not ballots.cast(arena, rater, ballot, "level", 900)
    return token
