"""The dashboard in a real browser: every page opens by its address, draws its charts and keeps hostile text inert."""

import re
from pathlib import Path

import pytest

from tests.dashboard.browser import ARGUMENTS, CHROMIUM, IDLE, PATIENCE_MS, Watched, needs_chromium, served

pytestmark = needs_chromium
PAGES = {"": 2, "scaling": 1, "compare": 2, "compare?part=transfer": 1, "compare?part=two+runs": 0, "runs": 2}
PAGES |= {"policy": 4, "read?pairs=matched": 0, "score": 0, "data?set=naive": 2, "arena": 0}
"""Address -> charts that are seen without opening anything."""
DRAWN = ".stVegaLiteChart svg.marks, .stVegaLiteChart canvas.marks"
WIDTHS = (900, 1280, 1920)


def test_every_page_in_a_browser_at_three_widths(full_root: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with served(full_root, tmp_path, ["dashboard"]) as (address, process), sync_playwright() as playwright:
        watched = Watched(address)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 1000})
            watched.listen(page)
            for path, n_charts in PAGES.items():
                watched.visit(page, path)
                drawn = page.locator(DRAWN).locator("visible=true")
                if n_charts:
                    drawn.nth(n_charts - 1).wait_for(timeout=PATIENCE_MS)
                assert drawn.count() == n_charts, path
                for chart in drawn.all():
                    box = chart.bounding_box()
                    assert box and box["height"] > 100 and 350 < box["width"] <= 1180, (path, width, box)
                assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
            page.close()

        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        watched.listen(page)
        watched.visit(page, "scaling")
        page.get_by_role("radio", name="model size").click()
        page.wait_for_url("**/scaling?*scaling_axis=model*", timeout=PATIENCE_MS)
        page.get_by_text("Accuracy against model size").first.wait_for(timeout=PATIENCE_MS)
        page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
        with page.expect_download(timeout=PATIENCE_MS) as download:
            page.get_by_role("button", name="SVG").click()
        assert download.value.suggested_filename == "ladder-by-size-hard-test.svg"
        assert download.value.path().read_bytes().startswith(b"<svg")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy link").click()
        page.get_by_role("button", name="Copied").wait_for(timeout=PATIENCE_MS)
        assert page.evaluate("navigator.clipboard.readText()") == page.url

        watched.visit(page, "findings")
        page.get_by_text("What shortcuts know").first.wait_for(timeout=PATIENCE_MS)

        watched.visit(page, "read?pairs=matched&pair=c000-r000&split=any")
        page.locator(".stHtml").get_by_text("onerror=").first.wait_for(timeout=PATIENCE_MS)
        assert page.evaluate("window.hacked") is None
        assert page.locator("[data-testid='stMain'] img").count() == 0
        assert (
            page.locator("[data-testid='stMain'] a[href*='tracker'], [data-testid='stMain'] a[href^='java']").count()
            == 0
        )
        assert page.get_by_text("<h1>escaped?</h1>").count() == 3
        page.keyboard.press("a")
        page.get_by_text("liked more ").first.wait_for(timeout=PATIENCE_MS)
        page.keyboard.press("j")
        page.wait_for_function("!location.search.includes('pair=c000-r000')", timeout=PATIENCE_MS)
        page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
        assert "split=any" in page.url and "pairs=matched" in page.url  # a step keeps what was chosen
        browser.close()

    assert not watched.complaints
    assert not watched.outside
    assert process.returncode == 0
    printed, logged = process.communicate()
    assert address in printed
    assert "Traceback" not in logged
    assert not (tmp_path / ".streamlit").exists()


def test_a_click_on_a_mark_leads_to_what_it_stands_for(full_root: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with served(full_root, tmp_path, ["dashboard"]) as (address, _), sync_playwright() as playwright:
        watched = Watched(address)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        watched.listen(page)
        watched.visit(page, "")
        page.locator(DRAWN).nth(1).wait_for(timeout=PATIENCE_MS)
        marks = page.locator(".stVegaLiteChart").first.locator("path[aria-roledescription='point']")
        marks.first.click(timeout=PATIENCE_MS)
        page.wait_for_url(re.compile(r"/data\?.*set=naive"), timeout=PATIENCE_MS)
        page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
        page.go_back()
        page.get_by_text("What shortcuts know").first.wait_for(timeout=PATIENCE_MS)

        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        watched.listen(page)
        watched.visit(page, "compare?part=transfer")
        heatmap = page.locator(".stVegaLiteChart").first
        page.locator(DRAWN).first.wait_for(timeout=PATIENCE_MS)
        own = page.url
        box = heatmap.bounding_box()
        page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
        page.wait_for_url(re.compile(r"/read\?.*pair="), timeout=PATIENCE_MS)
        for _ in range(3):  # the pair read is a step of its own
            page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
            page.go_back()
            page.wait_for_timeout(1_000)
            if "/compare" in page.url:
                break
        page.wait_for_url(own, timeout=PATIENCE_MS)
        page.get_by_text("Accuracy across communities").first.wait_for(timeout=PATIENCE_MS)
        browser.close()
    assert not watched.complaints


@pytest.mark.parametrize("state", ["empty", "damaged"])
def test_every_page_of_an_empty_and_a_damaged_workspace(
    state: str, empty_root: Path, damaged_root: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    root = {"empty": empty_root, "damaged": damaged_root}[state]
    home = tmp_path / "home"
    home.mkdir()
    with served(root, home, ["dashboard"]) as (address, process), sync_playwright() as playwright:
        watched = Watched(address)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        watched.listen(page)
        for path in PAGES:
            watched.visit(page, path.partition("?set")[0])
            assert page.locator("[data-testid='stMain']").inner_text().strip(), path
        browser.close()
    assert not watched.complaints
    assert "Traceback" not in process.communicate()[1]
