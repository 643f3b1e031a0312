"""The dashboard in a real browser: every page opens by its address, draws its charts and keeps hostile text inert."""

from pathlib import Path

from tests.dashboard.browser import ARGUMENTS, CHROMIUM, PATIENCE_MS, needs_chromium, served

pytestmark = needs_chromium
PAGES = {"": 2, "scaling": 1, "compare": 2, "compare?part=transfer": 1, "compare?part=two+runs": 0, "runs": 2}
PAGES |= {"policy": 4, "read?pairs=matched": 0, "score": 0, "data?set=naive": 2}
"""Address -> charts that are seen without opening anything."""
DRAWN = ".stVegaLiteChart svg.marks, .stVegaLiteChart canvas.marks"
WIDTHS = (900, 1280, 1920)


def is_complaint(kind: str, text: str) -> bool:
    return kind == "error" and "404" not in text


def test_every_page_in_a_browser_at_three_widths(full_root: Path, tmp_path: Path) -> None:
    from playwright.sync_api import Page, sync_playwright

    outside: list[str] = []
    complaints: list[str] = []

    def visit(page: Page, address: str) -> None:
        page.goto(address)
        page.wait_for_selector("[data-testid='stApp'] h1", timeout=PATIENCE_MS)
        page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=PATIENCE_MS)
        assert page.locator("[data-testid='stException']").count() == 0
        assert page.locator("[role='dialog']").count() == 0  # Streamlit's "Page not found"

    def listen(page: Page) -> None:
        page.on("request", lambda request: outside.append(request.url) if address not in request.url else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        # Streamlit asks for its health below the page's path first, gets 404, and finds it at the root.
        page.on("console", lambda said: complaints.append(said.text) if is_complaint(said.type, said.text) else None)

    with served(full_root, tmp_path, ["dashboard"]) as (address, process), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 1000})
            listen(page)
            for path, n_charts in PAGES.items():
                visit(page, f"{address}/{path}")
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
        listen(page)
        visit(page, f"{address}/scaling")
        page.get_by_role("radio", name="model size").click()
        page.wait_for_url("**/scaling?*scaling_axis=model*", timeout=PATIENCE_MS)
        page.get_by_text("Accuracy against model size").first.wait_for(timeout=PATIENCE_MS)
        page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=PATIENCE_MS)
        with page.expect_download(timeout=PATIENCE_MS) as download:
            page.get_by_role("button", name="SVG").click()
        assert download.value.suggested_filename == "ladder-by-size-hard-test.svg"
        assert download.value.path().read_bytes().startswith(b"<svg")

        visit(page, f"{address}/read?pairs=matched&pair=c000-r000&split=any")
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
        browser.close()

    assert not complaints
    assert not [url for url in outside if url.startswith("http")]
    assert process.returncode == 0
    printed, logged = process.communicate()
    assert address in printed
    assert "Traceback" not in logged
    assert not (tmp_path / ".streamlit").exists()
