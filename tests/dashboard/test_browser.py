"""The dashboard in a real browser: every page opens by its address, draws its charts and keeps hostile text inert."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium as chromium on the PATH")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(root: Path, home: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run `lurker dashboard` on the workspace with an empty home folder; stop it by Ctrl-C."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "lurker", "--workspace", str(root), "dashboard", "--port", str(port)],
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    break
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        yield address, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


def test_every_page_in_a_browser(full_root: Path, tmp_path: Path) -> None:
    from playwright.sync_api import Page, sync_playwright

    outside: list[str] = []

    def visit(page: Page, address: str) -> None:
        page.goto(address)
        page.wait_for_selector("[data-testid='stApp'] h1", timeout=PATIENCE_MS)
        page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=PATIENCE_MS)
        assert page.locator("[data-testid='stException']").count() == 0
        assert page.locator("[role='dialog']").count() == 0  # Streamlit's "Page not found"

    with served(full_root, tmp_path) as (address, process), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        page.on("request", lambda request: outside.append(request.url) if address not in request.url else None)

        visit(page, f"{address}/")
        page.wait_for_selector(".stVegaLiteChart svg, .stVegaLiteChart canvas", timeout=PATIENCE_MS)
        for path, n_charts in (("scaling", 2), ("transfer", 1), ("recipes", 2), ("audit", 4)):
            visit(page, f"{address}/{path}")
            drawn = page.locator(".stVegaLiteChart svg, .stVegaLiteChart canvas")
            drawn.nth(n_charts - 1).wait_for(timeout=PATIENCE_MS)
            assert drawn.count() == n_charts
            assert all(chart.bounding_box()["height"] > 100 for chart in drawn.all())  # type: ignore[index]

        visit(page, f"{address}/scaling")
        page.get_by_role("button", name="scratch-1m").click()
        page.wait_for_url("**/scaling?*scaling_models=*", timeout=PATIENCE_MS)
        assert "scratch-1m" not in page.url  # the click deselects it

        visit(page, f"{address}/reader?pairs=matched&pair=c000-r000")
        page.get_by_text("onerror=").first.wait_for(timeout=PATIENCE_MS)
        assert page.evaluate("window.hacked") is None
        assert page.locator("[data-testid='stMain'] img").count() == 0
        assert (
            page.locator("[data-testid='stMain'] a[href*='tracker'], [data-testid='stMain'] a[href^='java']").count()
            == 0
        )
        assert page.get_by_text("<h1>escaped?</h1>").count() == 3
        browser.close()

    assert not [url for url in outside if url.startswith("http")]
    assert process.returncode == 0
    printed, complaints = process.communicate()
    assert address in printed
    assert "Traceback" not in complaints
    assert not (tmp_path / ".streamlit").exists()
