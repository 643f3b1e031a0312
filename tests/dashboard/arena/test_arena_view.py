"""The researcher's arena page: without votes, with votes, after the figures are computed, and while voting."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.arena.ballots import cast, position
from dashboard.arena.design import pool_of
from dashboard.arena.make import Source, make_arena
from lurker.votes.arenas import ArenaConfig, invite, rater_of
from lurker.votes.store import append_remark, mark_rater
from lurker.workspace import open_workspace
from tests.dashboard.conftest import build_workspace
from tests.dashboard.pages import APP, texts


def test_the_page_follows_the_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = open_workspace(build_workspace(tmp_path / "workspace"))
    monkeypatch.setenv("LURKER_WORKSPACE", str(workspace.root))
    arena = make_arena(workspace, "tea", Source(pairs="matched"), ArenaConfig(n_gold=3, n_qualifying=0))

    def page() -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60).switch_page("views/arena.py").run()
        assert not app.exception
        return app

    assert "Nobody has voted yet" in texts(page())
    token, items = invite(arena, token="a rater"), arena.items()
    mark_rater(workspace, rater_of(token), "instructed")
    pool, known = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
    for _ in range(12):
        ballot = position(arena, pool, known, token).ballot
        assert ballot is not None
        cast(arena, rater_of(token), ballot, "a" if known[ballot.item_id]["chosen_id"] == ballot.a_id else "b", 2_000)
    append_remark(workspace, "m", "tea", rater_of(token), "i", "<b>both</b> are fine")
    before = page()
    assert "nothing is computed yet" in texts(before)
    after = before.button(key="compute").click().run()
    assert not after.exception
    assert "Provisional" in after.title[0].value
    assert any("12 votes written by 1 of 1 raters; 0 since" in one.value.replace("\\", "") for one in after.caption)
    shown = after.segmented_control(key="arena_view").set_value("Vote").run()
    shown = shown.button(key="enter").click().run()
    assert not shown.exception
    assert any(button.label == "Begin" for button in shown.button)
