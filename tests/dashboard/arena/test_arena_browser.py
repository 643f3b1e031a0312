"""The arena in a real browser: onboarding, votes by key and click, undo, a reload; hostile texts stay text."""

import json
import os
import time
from pathlib import Path

import polars as pl
import pytest

from dashboard.arena.make import Source, make_arena
from lurker.votes.arenas import ArenaConfig, invite, open_arena, rater_of
from lurker.votes.store import mark_rater, read_remarks, read_votes
from lurker.workspace import Workspace, open_workspace
from tests.dashboard.browser import ARGUMENTS, CHROMIUM, PATIENCE_MS, needs_chromium, served
from tests.dashboard.made_tables import HOSTILE

pytestmark = needs_chromium
IMITATION = "A is better  B is better  [Vote A](javascript:window.hacked=1) <button>A is better</button>"
TEXTS = (HOSTILE, IMITATION, "مرحبا \u202e reversed", "$$x^2$$ `code` 🙂 :smile:", "word " * 200_000, "A plain answer.")
INSTRUCTIONS = "Say which **response** is better. ![pixel](https://tracker.example/p.png) <img src=x onerror=hacked>"
ONBOARDING = (
    {"role": "example", "prompt": "How do I thank a friend?", "better": "Cook for them.", "worse": "Don't."},
    {
        "role": "qualify",
        "prompt": "Is it late?",
        "better": "No, there is time.",
        "worse": "Who cares.",
        "reason": "kind",
    },
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An arena of hostile texts: every pair of the six, to one hostile prompt."""
    workspace = open_workspace(tmp_path / "workspace", create=True)
    responses, onboarding, consent = (tmp_path / name for name in ("r.jsonl", "o.jsonl", "c.md"))
    rows = [{"prompt": HOSTILE, "response": text, "source": f"s{index}"} for index, text in enumerate(TEXTS)]
    responses.write_text("\n".join(json.dumps(row) for row in rows))
    onboarding.write_text("\n".join(json.dumps(row) for row in ONBOARDING))
    consent.write_text("Your votes are stored under a random name.")
    (tmp_path / "i.md").write_text(INSTRUCTIONS)
    source = Source(responses=responses, onboarding=onboarding, consent=consent, instructions=tmp_path / "i.md")
    make_arena(workspace, "hostile", source, ArenaConfig(repeat_share=0.0))
    return workspace


def wait_for_votes(workspace: Workspace, n: int) -> pl.DataFrame:
    """The rater's votes that are not practice, once there are n, undone ones counted."""
    for _ in range(300):
        votes = read_votes(workspace, "hostile").filter(pl.col("phase") == "main")
        if votes.height >= n:
            return votes
        time.sleep(0.1)
    raise AssertionError(f"{votes.height} votes were written, {n} expected")


def test_a_rater_walks_through_the_arena(workspace: Workspace, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    token = invite(open_arena(workspace, "hostile"), "ada")
    outside: list[str] = []
    complaints: list[str] = []
    pictures = os.environ.get("ARENA_PICTURES")
    with (
        served(workspace.root, tmp_path, ["arena", "serve", "hostile"]) as (address, process),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: outside.append(request.url) if address not in request.url else None)
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))

        page.goto(address)
        page.get_by_text("This page needs the whole link").wait_for()
        page.goto(f"{address}/?rater={token}")
        page.get_by_text("stored under a random name").wait_for()
        page.get_by_role("button", name="I agree").click()
        page.get_by_text("Example 1").wait_for()
        assert page.locator("[data-testid='stMain'] img").count() == 0
        page.get_by_role("button", name="Begin").click()
        page.get_by_text("Practice", exact=True).wait_for()
        side = page.locator(".arena-card", has_text="No, there is time.").get_attribute("aria-label")
        settle(page)
        page.keyboard.press(str(side)[-1].lower())
        page.get_by_text("Right:").wait_for()
        page.get_by_role("button", name="Next").click()

        page.get_by_text("0 of 15 votes").wait_for()
        source = page.content()
        assert not any(f">{name}<" in source or f'"{name}"' in source for name in ("s0", "s1", "chosen", "rejected"))
        for number, key in enumerate("abtxs", 1):
            settle(page)
            page.keyboard.press(key)
            page.get_by_text(f"{number} of 15 votes").wait_for()
        votes = wait_for_votes(workspace, 5)
        assert votes["choice"].to_list() == ["a", "b", "level", "both_bad", "skip"]
        assert votes["dwell_ms"].min() >= 250  # type: ignore[operator]

        settle(page)
        shown = page.locator(".arena-cards").inner_text()
        page.keyboard.press("z")
        page.get_by_text("4 of 15 votes").wait_for()
        assert wait_for_votes(workspace, 5)["undone_utc"].is_not_null().sum() == 1
        settle(page)
        page.get_by_role("button", name="Skip").dblclick()
        page.get_by_text("5 of 15 votes").wait_for()
        page.reload()
        page.get_by_text("5 of 15 votes").wait_for()
        assert page.locator(".arena-cards").inner_text() == shown

        page.get_by_role("button", name="Tell the researcher").click()
        box = page.get_by_label("About this pair")
        box.click()
        page.keyboard.type("bat axes")  # no key of it may vote
        page.get_by_role("button", name="Send").click()
        page.get_by_text("Sent to the researcher.").wait_for()
        assert read_remarks(workspace, "hostile")["text"].to_list() == ["bat axes"]
        assert wait_for_votes(workspace, 6).height == 6

        page.keyboard.press("Escape")
        for number in range(6, 16):
            settle(page)
            page.get_by_role("button", name="Level").click()
            if number < 15:
                page.get_by_text(f"{number} of 15 votes").wait_for()
            if pictures and number in (6, 9, 12):
                _picture(page, Path(pictures), str(number))
            assert page.evaluate("window.hacked") is None
            assert page.locator("[data-testid='stMain'] :is(img, script, iframe, a, .katex)").count() == 0
        page.get_by_text("you have judged everything").wait_for()

        mark_rater(workspace, rater_of(token), "revoked")
        page.reload()
        page.get_by_text("This invitation was withdrawn").wait_for()
        assert page.locator("[data-testid='stException']").count() == 0
        browser.close()

    assert not [url for url in outside if url.startswith("http")]
    assert not complaints
    printed, errors = process.communicate()
    assert token not in printed + errors
    assert "Traceback" not in errors


def settle(page) -> None:  # type: ignore[no-untyped-def]
    """Wait until the page is drawn, then for longer than a double click takes."""
    page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']")
    time.sleep(0.5)


def _picture(page, folder: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    """Pictures at three widths, light and dark, for people to look at."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (900, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_timeout(300)
            page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 800})
