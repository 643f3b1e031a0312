"""The arena under stress in a real browser: what it sends tells nothing, a kill loses no vote, many use it at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from dashboard.arena.make import Source, make_arena
from lurker.votes.arenas import Arena, ArenaConfig, invite, rater_of
from lurker.votes.store import mark_rater, read_votes
from lurker.workspace import open_workspace
from tests.dashboard.arena.test_arena_browser import settle
from tests.dashboard.browser import ARGUMENTS, CHROMIUM, PATIENCE_MS, needs_chromium, served

pytestmark = needs_chromium
CHECKOUT = Path(__file__).resolve().parents[3]
SOURCES, REWARD = ("SOURCE-ALPHA", "SOURCE-BETA", "SOURCE-GAMMA"), 98765.4321


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    """Six prompts with responses of three sources, with rewards and ids that no rater may see."""
    rows = [
        {
            "prompt": f"Question {number}?",
            "prompt_id": f"PROMPT-ID-{number}",
            "source": source,
            "reward": REWARD + place,
        }
        | {"response": f"Answer {number} of kind {place}."}
        for number in range(6)
        for place, source in enumerate(SOURCES)
    ]
    file = tmp_path / "responses.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    workspace = open_workspace(tmp_path / "workspace", create=True)
    config = ArenaConfig(repeat_share=0.0, n_qualifying=0, max_votes_per_minute=1_000)
    return make_arena(workspace, "tea", Source(responses=file), config)


def rater(arena: Arena, name: str) -> str:
    """A rater who has read the instructions; the token."""
    token = invite(arena, f"NAME-OF-{name}", token=f"token-of-{name}")
    mark_rater(arena.workspace, rater_of(token), "instructed")
    return token


def open_page(browser: Any, address: str, token: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{address}/?rater={token}")
    page.get_by_text("of 18 votes").wait_for()
    return page


def votes_shown(page: Any, n: int) -> None:
    page.get_by_text(f"{n} of 18 votes").wait_for()


def test_two_raters_and_two_windows_of_one_and_what_the_server_sends(arena: Arena, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    ada, bob = rater(arena, "ADA"), rater(arena, "BOB")
    received: list[bytes] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda payload: received.append(as_bytes(payload)))

    call = ["arena", "serve", "tea"]
    with (
        served(arena.workspace.root, tmp_path, call) as (address, process),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("websocket", listen)
        page.goto(f"{address}/?rater={ada}")
        votes_shown(page, 0)
        second, of_bob = open_page(browser, address, ada), open_page(browser, address, bob)
        for number in range(1, 4):  # ada and bob in turn
            for one in (page, of_bob):
                settle(one)
                one.keyboard.press("a")
                votes_shown(one, number)
        settle(second)
        second.keyboard.press("b")  # on the pair that ada has judged in the other window
        votes_shown(second, 3)
        settle(second)
        second.keyboard.press("t")
        votes_shown(second, 4)

        votes = read_votes(arena.workspace, "tea")
        assert votes.filter(rater=rater_of(ada))["choice"].to_list() == ["a", "a", "a", "level"]
        assert votes.filter(rater=rater_of(bob))["choice"].to_list() == ["a", "a", "a"]

        for path in (arena.workspace.root / "votes").glob("votes.sqlite*"):
            path.unlink()  # with its log, from which SQLite would restore it
        (arena.workspace.root / "votes" / "votes.sqlite").write_bytes(b"not a database, but long enough" * 100)
        page.reload()
        page.get_by_text("cannot be shown at the moment").wait_for()
        assert page.locator("[data-testid='stException']").count() == 0
        page_text = page.content()
        browser.close()

    sent = b"".join(received)
    assert b"Question" in sent, "the frames are not readable, so the test would see nothing"
    told = [*SOURCES, "98765", "PROMPT-ID", "chosen_id", "rejected", "NAME-OF", bob, rater_of(bob), "votes.sqlite"]
    told += [str(arena.workspace.root), str(CHECKOUT), "dashboard/arena"]
    for secret in told:
        assert secret.encode() not in sent, secret
        assert secret not in page_text, secret
    printed, errors = process.communicate()
    assert "votes.sqlite" in errors  # the researcher is told
    for token in (ada, bob):
        assert token not in printed + errors


def test_a_kill_after_the_next_pair_shows_loses_nothing(arena: Arena, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    token, call = rater(arena, "ADA"), ["arena", "serve", "tea"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(arena.workspace.root, tmp_path, call) as (address, process):
            page = open_page(browser, address, token)
            for number, key in enumerate("ab", 1):
                settle(page)
                page.keyboard.press(key)
                votes_shown(page, number)
            process.kill()
            process.wait()
        assert read_votes(arena.workspace, "tea")["choice"].to_list() == ["a", "b"]
        with served(arena.workspace.root, tmp_path, call) as (address, _):
            page = open_page(browser, address, token)
            votes_shown(page, 2)
            settle(page)
            page.keyboard.press("z")
            votes_shown(page, 1)
        browser.close()
    assert read_votes(arena.workspace, "tea")["undone_utc"].is_null().to_list() == [True, False]


def as_bytes(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else str(payload).encode()
