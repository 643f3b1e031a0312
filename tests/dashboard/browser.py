"""What tests in a real browser share: Chromium, and a server of the command line."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium as chromium on the PATH")
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

LOOKS_FOR_ITSELF = re.compile(r"/[a-z]+/_stcore/(health|host-config)$")
"""Streamlit asks for these below the page's path first, gets 404, and finds them at the root."""
IDLE = "[data-testid='stApp'][data-test-script-state='notRunning']"


@dataclass(slots=True)
class Watched:
    """What went wrong while a browser showed pages of a server."""

    address: str
    complaints: list[str] = field(default_factory=list)
    """errors of the console and of scripts, and answers that are no success"""
    outside: list[str] = field(default_factory=list)
    """requests to any other server"""

    def listen(self, page: Any) -> None:
        """Take down what happens on this page from now on."""
        page.on("request", lambda request: self._note_request(request.url))
        page.on("response", lambda answer: self._note(str(answer.status), answer.url, answer.status >= 400))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._note(said.text, said.location.get("url", ""), said.type == "error"))

    def _note(self, text: str, url: str, is_wrong: bool) -> None:
        is_known = url.startswith(self.address) and LOOKS_FOR_ITSELF.search(url)
        if is_wrong and not is_known:
            self.complaints.append(f"{text} ({url})")

    def _note_request(self, url: str) -> None:
        if url.startswith("http") and not url.startswith(self.address):
            self.outside.append(url)

    def visit(self, page: Any, path: str) -> None:
        """Open a page of the server and wait until it is drawn; it must have no box of an exception."""
        page.goto(f"{self.address}/{path}")
        page.wait_for_selector("[data-testid='stApp'] h1", timeout=PATIENCE_MS)
        page.wait_for_selector(IDLE, timeout=PATIENCE_MS)
        assert page.locator("[data-testid='stException']").count() == 0, path
        assert page.locator("[role='dialog']").count() == 0, path  # Streamlit's "Page not found"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(root: Path, home: Path, call: Sequence[str]) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run a command that serves, `call`, on the workspace with an empty home folder; stop it by Ctrl-C."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "lurker", "--workspace", str(root), *call, "--port", str(port)],
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    break
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        yield address, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
