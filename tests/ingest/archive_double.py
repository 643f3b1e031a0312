"""Arctic Shift on localhost: searches by date and look-ups by id, in the real shapes, misbehaving on demand."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

DAY_S = 86_400


class Archive:
    """What the service holds and how it behaves.

    faults: names of FAULTS for the next calls, first one next. auto_rows: rows that `limit=auto` gives.
    has_edges: whether `after` and `before` include their own second. heavy_over_s: spans that time out.
    """

    def __init__(self):
        self.posts, self.comments, self.faults, self.calls = [], [], [], []
        self.auto_rows, self.has_edges, self.heavy_over_s, self.heavy_over_rows = 100, False, None, None
        self.headers = {}
        self.url = ""

    def search(self, kind, asked):
        """Rows of `/api/KIND/search`; a string where the call is refused."""
        limit = asked.get("limit", "25")
        if (limit == "auto" and not self.auto_rows) or (limit != "auto" and not 1 <= int(limit) <= 100):
            return 400, "'limit' must be between 1 and 100"
        if not asked.get("subreddit", "").replace("_", "").isalnum():
            return 400, "'subreddit' is no name"
        n_rows = self.auto_rows if limit == "auto" else int(limit)
        after, before = int(asked.get("after", 0)), int(asked.get("before", 1 << 40))
        too_long = self.heavy_over_s is not None and before - after > self.heavy_over_s
        if too_long or (self.heavy_over_rows is not None and n_rows > self.heavy_over_rows):
            return 422, "Timeout. Maybe slow down a bit"
        edge = 1 if self.has_edges else 0
        rows = [
            row
            for row in getattr(self, kind)
            if row["subreddit"].lower() == asked["subreddit"].lower()
            and after - edge < int(float(row["created_utc"])) < before + edge
        ]
        rows.sort(key=lambda row: (int(float(row["created_utc"])), row["id"]), reverse=asked.get("sort") != "asc")
        return 200, rows[:n_rows]

    def by_ids(self, kind, asked):
        """Rows of `/api/KIND/ids`."""
        ids = asked["ids"].split(",")
        if len(ids) > 500:
            return 400, "too many ids"
        return 200, [row for row in getattr(self, kind) if row["id"] in ids]

    def answer(self, path, asked):
        """Status and data or error of one call."""
        parts = path.strip("/").split("/")
        if len(parts) != 3 or parts[0] != "api" or parts[1] not in ("posts", "comments"):
            return 404, "Not found"
        return (self.by_ids if parts[2] == "ids" else self.search)(parts[1], asked)


def _stale(rows):
    return [{**row, "created_utc": row["created_utc"] - DAY_S} for row in rows]


FAULTS = {
    "429": lambda rows: (429, b'{"error": "Too many requests"}', {"Retry-After": "0"}),
    "429 odd header": lambda rows: (429, b"", {"Retry-After": "soon"}),
    "500": lambda rows: (500, b"Internal Server Error", {}),
    "503 html": lambda rows: (503, b"<html>maintenance</html>", {}),
    "422 busy": lambda rows: (422, b'{"data": null, "error": "Timeout. Maybe slow down a bit"}', {}),
    "200 busy": lambda rows: (200, b'{"data": null, "error": "Query timed out"}', {}),
    "200 error": lambda rows: (200, b'{"data": null, "error": "Under maintenance"}', {}),
    "html": lambda rows: (200, b"<!doctype html><p>hello", {}),
    "cut json": lambda rows: (200, json.dumps({"data": rows}).encode()[:-9], {}),
    "nothing": lambda rows: (200, b"", {}),
    "null data": lambda rows: (200, b'{"data": null}', {}),
    "no objects": lambda rows: (200, b'{"data": [1, "x"]}', {}),
    "empty": lambda rows: (200, b'{"data": []}', {}),
    "reversed": lambda rows: (200, json.dumps({"data": rows[::-1]}).encode(), {}),
    "stale": lambda rows: (200, json.dumps({"data": _stale(rows)}).encode(), {}),
    "bad gzip": lambda rows: (200, b"no gzip", {"Content-Encoding": "gzip"}),
    "short body": lambda rows: (200, b'{"data": [', {"Content-Length": "5000"}),
    "reset": None,
    "drip": None,
}
"""What a call may meet: rows -> status, body, headers. `reset` drops the connection, `drip` sends a byte at a time."""


@contextmanager
def served():
    """The service, while the block runs; its address in `.url`."""
    archive = Archive()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked = {name: values[0] for name, values in parse_qs(self.path.partition("?")[2]).items()}
            path = urlsplit(self.path).path
            archive.calls.append(SimpleNamespace(path=path, asked=asked, at=time.monotonic()))
            fault = archive.faults.pop(0) if archive.faults else None
            status, found = archive.answer(path, asked)
            if fault in ("reset", "drip"):
                self._break_off(drip=fault == "drip")
            elif fault:
                self._send(*FAULTS[fault](found))
            else:
                body = {"data": found} if status == 200 else {"data": None, "error": found}
                self._send(status, json.dumps(body).encode(), archive.headers)

        def _break_off(self, *, drip):
            self.close_connection = True
            if drip:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(40):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.05)

        def _send(self, status, body, headers):
            self.send_response(status)
            length = headers.get("Content-Length", str(len(body)))
            for name, value in {**headers, "Content-Length": length}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = self.close_connection or length != str(len(body))

        def log_message(self, *_):
            """The tests read `archive.calls` instead."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    archive.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
