"""Serve Streamlit's scripts and styles compressed: it sends them as they are, three times the bytes."""

import asyncio
import gzip
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit
from starlette.responses import Response

FOLDER = Path(streamlit.__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css"}
"""Endings of the files that are compressed; fonts and pictures are already."""
LEVEL = 5
FOREVER = "public, immutable, max-age=31536000"
"""The names of these files hold a digest of their content."""


class PackedFiles:
    """ASGI middleware that answers requests for Streamlit's own files, each compressed once; all else goes on."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        is_read = scope["type"] == "http" and scope["method"] == "GET"
        file = _files().get(scope["path"]) if is_read else None
        if file is None or b"gzip" not in dict(scope["headers"]).get(b"accept-encoding", b""):
            await self.app(scope, receive, send)
            return
        body = await asyncio.to_thread(_packed, file)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding", "Cache-Control": FOREVER}
        await Response(body, headers=headers, media_type=TYPES[file.suffix])(scope, receive, send)


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Path of a request -> file, of all files that are compressed; no other path is ever opened."""
    found = (file for file in (FOLDER / "static").rglob("*") if file.suffix in TYPES)
    return {f"/{file.relative_to(FOLDER).as_posix()}": file for file in found}


@lru_cache(maxsize=1024)
def _packed(file: Path) -> bytes:
    return gzip.compress(file.read_bytes(), LEVEL, mtime=0)
