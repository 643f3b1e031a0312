"""Streamlit's own scripts are sent compressed to who takes it, and nothing else is touched."""

import asyncio
import gzip
from typing import Any

import pytest

from dashboard.packed import FOLDER, PackedFiles

SCRIPT = next((FOLDER / "static" / "js").glob("index.*.js"))
PATH = f"/static/js/{SCRIPT.name}"


def ask(path: str, encoding: bytes = b"gzip, br", method: str = "GET") -> tuple[dict[bytes, bytes], bytes]:
    """Headers and body of the answer; an empty one comes from the application behind the middleware."""
    sent: list[dict[str, Any]] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"accept-encoding", encoding)]}
    asyncio.run(PackedFiles(behind)(scope, receive, send))
    return dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])


def test_a_script_is_compressed_and_the_same() -> None:
    headers, body = ask(PATH)
    assert headers[b"content-encoding"] == b"gzip" and headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"content-type"].startswith(b"text/javascript")
    assert gzip.decompress(body) == SCRIPT.read_bytes() and len(body) < SCRIPT.stat().st_size / 2


@pytest.mark.parametrize(
    ("path", "encoding", "method"),
    [
        (PATH, b"identity", "GET"),
        (PATH, b"gzip", "HEAD"),
        ("/static/js/../../index.html", b"gzip", "GET"),
        ("/static/js/no-such.js", b"gzip", "GET"),
        ("/", b"gzip", "GET"),
        ("/media/file.csv", b"gzip", "GET"),
    ],
)
def test_all_else_is_left_to_streamlit(path: str, encoding: bytes, method: str) -> None:
    assert ask(path, encoding, method) == ({}, b"")
