"""Pictures of the dashboard for the README and the guides; `make screenshots` runs this on the demo's workspace."""

import argparse
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import sync_playwright

PORT = 8598
PICTURES = {"": "overview.png", "scaling": "scaling.png", "read": "read.png"}
"""Page -> its picture in docs/."""
WIDTH_PX, HEIGHT_PX = 1280, 800
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    """Serve the workspace and write each page's picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    workspace = parser.parse_args().workspace
    line = [sys.executable, "-m", "lurker", "--workspace", str(workspace), "dashboard", "--port", str(PORT)]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{PORT}"
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                break
            time.sleep(0.1)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
            page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX}, color_scheme="light")
            for path, name in PICTURES.items():
                page.goto(f"{address}/{path}")
                page.wait_for_selector("[data-testid='stApp'] h1", timeout=60_000)
                page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=60_000)
                page.wait_for_timeout(2_000)  # charts are drawn after the page
                page.screenshot(path=Path(__file__).with_name(name))
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=30)


if __name__ == "__main__":
    main()
