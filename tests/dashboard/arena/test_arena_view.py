"""The researcher's arena page: without votes, with votes, after the figures are computed, and while voting."""

import re
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

import features
from dashboard.arena.ballots import cast, position
from dashboard.arena.design import pool_of
from dashboard.arena.make import Source, make_arena
from lurker.files import write_json, write_parquet
from lurker.schema import FEW_SHOT_DIFFERENCES, check, with_newer_columns
from lurker.votes.arenas import ArenaConfig, invite, rater_of
from lurker.votes.store import append_remark, mark_rater
from lurker.workspace import Workspace, open_workspace
from tests.dashboard.conftest import build_workspace
from tests.dashboard.pages import APP, charts_on, texts


def write_worth(workspace: Workspace) -> None:
    """A few-shot experiment on a set made from votes of the arena, and one on a set that is not."""
    rows = [
        {"start": start, "n_target_pairs": n, "n_validation_pairs": 20, "is_baseline": False, "n_seeds": 1}
        | {
            "n_test_pairs": 60,
            "n_test_posts": 30,
            "accuracy": 0.6,
            "accuracy_low": 0.5,
            "accuracy_high": 0.7,
            "effect": 0.02,
        }
        for start in ("nothing", "reddit")
        for n in (100, 300)
    ]
    frame = with_newer_columns(pl.DataFrame(rows), FEW_SHOT_DIFFERENCES)
    missing = [name for name in FEW_SHOT_DIFFERENCES.columns if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, FEW_SHOT_DIFFERENCES.columns[name].dtype).alias(name) for name in missing)
    for pairs, recipe in (("tea-votes", {"name": "votes", "arena": "tea"}), ("other", {"name": "votes", "arena": "x"})):
        raters = {"held_out": False, "n": 7, "n_votes": 70}
        write_json({"recipe": recipe, "raters": raters}, workspace.folder("pairs", pairs) / "manifest.json")
        folder = workspace.folder("experiments", f"worth-of-{pairs}")
        for table in ("few-shot", "few-shot-differences"):
            write_parquet(check(frame, FEW_SHOT_DIFFERENCES), folder / f"{table}.parquet")
        write_json({"sentence": "Reddit's votes are worth 12 votes."}, folder / "findings.json")
        write_json({"kind": "few-shot", "pairs": pairs, "test_pairs": pairs}, folder / "manifest.json")


def test_a_researcher_may_reveal_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, file = open_workspace(tmp_path / "workspace", create=True), tmp_path / "responses.jsonl"
    lines = (f'{{"prompt": "p{p}", "response": "r{p}{s}", "source": "wrote-{s}"}}' for p in range(3) for s in "xy")
    file.write_text("\n".join(lines))
    arena = make_arena(workspace, "tea", Source(responses=file), ArenaConfig(n_qualifying=0, reveal="source"))
    for name, value in (("WORKSPACE", str(workspace.root)), ("ARENA", "tea"), ("BEHIND_PROXY", "0")):
        monkeypatch.setenv(f"LURKER_{name}", value)
    token = invite(arena, token="a rater")
    mark_rater(workspace, rater_of(token), "instructed")
    monkeypatch.setattr("dashboard.arena.page.MIN_DWELL_MS", 0)
    app = AppTest.from_file(str(APP.parent / "arena_app.py"), default_timeout=60)
    app.query_params["rater"] = token
    app = app.run()
    assert not app.exception
    assert "wrote-" not in texts(app)
    assert [one.label for one in app.button] == ["A is better", "Level", "Both bad", "B is better", "Skip", "Send"]
    app = app.button[0].click().run()
    assert {"wrote-x", "wrote-y"} <= set(re.findall(r"wrote-.", texts(app)))
    assert "Your vote: A is better" in texts(app)
    assert [one.label for one in app.button] == ["Next"]
    app = app.button[0].click().run()
    assert "wrote-" not in texts(app)
    assert "1 of about 3 votes" in texts(app)
    assert "learned after each vote" in features.arena_results(workspace, "tea").report["summary"]


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
    assert "No experiment has tuned models" not in texts(before)
    after = before.button(key="compute").click().run()
    assert not after.exception
    assert charts_on(after) == 1  # raters on gold; votes over time need more than one hour
    assert "No experiment has tuned models" in texts(after)
    assert "Provisional" in after.title[0].value
    assert any("12 votes written by 1 of 1 raters; 0 since" in one.value.replace("\\", "") for one in after.caption)
    write_worth(workspace)
    worth = page()
    assert charts_on(worth) == 2
    assert "Accuracy against votes bought" in texts(worth)
    assert "tuned on tea-votes (70 votes of 7 raters)" in texts(worth)
    (workspace.folder("votes", "tea") / "results.json").write_text("{")
    assert any("results.json" in one.value.replace("\\", "") for one in page().warning)
    shown = after.segmented_control(key="arena_view").set_value("Vote").run()
    shown = shown.button(key="enter").click().run()
    assert not shown.exception
    assert any(button.label == "Begin" for button in shown.button)
