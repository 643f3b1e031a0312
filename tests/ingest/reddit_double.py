"""A little Reddit on 127.0.0.1 that speaks the real shapes and misbehaves on demand.

`Server` serves the posts and comment trees of a `Reddit` (`tests.ingest.little_reddit`) as Reddit's API does: tokens,
listings, trees with "more" and "continue this thread" stubs, morechildren, info. A `fault` (`reddit_faults`) sees each
request with its answer, and may spoil the answer or leave it alone.
"""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

CLIENT_ID, CLIENT_SECRET, TOKEN = "app-id-of-tests", "s3cr3t-of-tests", "token-of-tests"
SHOWN_SIBLINGS, SHOWN_DEPTH = 4, 3
"""Children shown below each parent, and levels, before a stub replaces the rest: few, so that small trees have some."""


@dataclass
class Request:
    """One request as a fault sees it. `number`: how many of its kind came before it."""

    kind: str
    path: str
    query: dict
    number: int


@dataclass
class Reply:
    """An answer: faults change it. `delay_s`: silence before it; `drip_s`: pause after each byte; `declared`: a
    Content-Length that is not true."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0
    declared: int | None = None
    is_reset: bool = False

    @property
    def value(self):
        return json.loads(self.body)

    @value.setter
    def value(self, value):
        self.body = json.dumps(value).encode()


class Server:
    """Serves a Reddit; `with Server(world) as server:` gives `server.url`, `server.counts` and `server.log`."""

    def __init__(self, world, fault: Callable = lambda request, reply: None):
        self.world = world
        self.fault = fault
        self.counts = Counter()
        self.log = []
        self.errors = []
        self.tokens = {TOKEN}
        self.headers = {"x-ratelimit-remaining": "9000.0", "x-ratelimit-used": "1", "x-ratelimit-reset": "9"}
        self._lock = threading.Lock()

    def __enter__(self):
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

            def log_message(self, *_):
                pass

            def do_GET(self):
                double.serve(self)

            do_POST = do_GET  # noqa: N815

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        if self.errors:  # a fault that is itself at fault
            raise self.errors[0]

    def serve(self, handler):
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        if length := int(handler.headers.get("content-length") or 0):
            query |= dict(parse_qsl(handler.rfile.read(length).decode()))
        kind = kind_of(parts.path)
        with self._lock:
            request = Request(kind, parts.path, query, self.counts[kind])
            self.counts[kind] += 1
            self.log.append((time.monotonic(), handler.command, parts.path, query, dict(handler.headers)))
        reply = Reply(headers=dict(self.headers))
        self.answer(request, handler, reply)
        try:
            with self._lock:
                self.fault(request, reply)
        except Exception as error:
            self.errors.append(error)
            raise
        send(handler, reply)

    def answer(self, request, handler, reply):
        if request.kind == "token":
            reply.value = {"access_token": TOKEN, "token_type": "bearer", "expires_in": 86400, "scope": "*"}
        elif handler.headers.get("authorization", "").split()[-1] not in self.tokens:
            refuse(reply, 401, {"message": "Unauthorized", "error": 401})
        else:
            self.answer_data(request, reply)

    def answer_data(self, request, reply):
        words, query, world = request.path.strip("/").split("/"), request.query, self.world
        if request.kind == "listing":
            closed = world.closed.get(words[1].lower())
            if closed or words[1].lower() not in world.listings:
                close(reply, closed or "unknown")
                return
            order = world.listings[words[1].lower()]
            after = query.get("after", "").removeprefix("t3_")
            start = order.index(after) + 1 if after in order else 0
            page = order[start : start + int(query.get("limit", 25))]
            more = f"t3_{page[-1]}" if page and start + len(page) < len(order) else None
            reply.value = listing([thing("t3", world.posts[name]) for name in page], after=more)
        elif request.kind in ("tree", "below"):
            post = world.posts.get(words[1])
            if post is None or world.closed.get(words[1]):
                close(reply, world.closed.get(words[1], "missing"))
                return
            root = words[3] if request.kind == "below" else None
            depth = int(query.get("depth", SHOWN_DEPTH))
            reply.value = [listing([thing("t3", post)]), listing(tree(world.comments[words[1]], words[1], root, depth))]
        elif request.kind == "more":
            reply.value = {"json": {"errors": [], "data": {"things": self.more(query)}}}
        elif request.kind == "info":
            found = [self.find(name) for name in query["id"].split(",")]
            reply.value = listing([one for one in found if one])

    def more(self, query):
        comments = self.world.comments[query["link_id"][3:]]
        things, replies_to = [], replies_by_parent(comments)
        for name in query["children"].split(","):
            if name in comments:
                things.append(thing("t1", {**comments[name], "replies": ""}))
                if below := replies_to.get(f"t1_{name}"):
                    things.append(stub(f"t1_{name}", [] if self.depth(comments, name) > SHOWN_DEPTH else below))
        return things

    def depth(self, comments, name):
        parent = comments[name]["parent_id"]
        return 1 + (self.depth(comments, parent[3:]) if parent.startswith("t1_") else 0)

    def find(self, name):
        kind, _, key = name.partition("_")
        if kind == "t3" and key in self.world.posts:
            return thing("t3", self.world.posts[key])
        return next((thing("t1", tree[key]) for tree in self.world.comments.values() if key in tree), None)


def kind_of(path):
    for kind, pattern in (
        ("token", r"/api/v1/access_token"),
        ("more", r"/api/morechildren"),
        ("info", r"/api/info"),
        ("below", r"/comments/\w+/_/\w+"),
        ("tree", r"/comments/\w+"),
        ("listing", r"/r/[\w+-]+/(new|top|hot|rising)"),
    ):
        if re.fullmatch(pattern, path.rstrip("/")):
            return kind
    return "other"


def listing(children, after=None):
    return {"kind": "Listing", "data": {"after": after, "before": None, "children": children}}


def thing(kind, data):
    return {"kind": kind, "data": dict(data)}


def stub(parent_id, ids):
    if not ids:
        return {"kind": "more", "data": {"count": 0, "id": "_", "name": "t1__", "parent_id": parent_id, "children": []}}
    data = {"count": len(ids), "id": ids[0], "name": f"t1_{ids[0]}", "parent_id": parent_id, "children": list(ids)}
    return {"kind": "more", "data": data}


def replies_by_parent(comments):
    """The ids of the comments directly below each comment or post, by its full name."""
    found = {}
    for name, one in comments.items():
        found.setdefault(one["parent_id"], []).append(name)
    return found


def tree(comments, post_id, root, depth):
    """The children Reddit shows at once, below the post or (one item) from a comment down."""

    replies_to = replies_by_parent(comments)

    def below(fullname, level):
        names = replies_to.get(fullname, [])
        if names and level > depth:
            return [stub(fullname, [] if level > SHOWN_DEPTH else names)]
        shown = [nested(name, level) for name in names[:SHOWN_SIBLINGS]]
        return shown + ([stub(fullname, names[SHOWN_SIBLINGS:])] if names[SHOWN_SIBLINGS:] else [])

    def nested(name, level):
        replies = below(f"t1_{name}", level + 1)
        return thing("t1", {**comments[name], "replies": listing(replies) if replies else ""})

    return [nested(root, 1)] if root else below(f"t3_{post_id}", 1)


def close(reply, how):
    if how == "unknown":
        reply.status, reply.body = 302, b""
        reply.headers["location"] = "/subreddits/search?q=nowhere"
    elif how in ("private", "quarantined"):
        refuse(reply, 403, {"reason": how, "message": "Forbidden", "error": 403})
    elif how == "banned":
        refuse(reply, 404, {"reason": "banned", "message": "Not Found", "error": 404})
    elif how == "451":
        refuse(reply, 451, {"message": "Unavailable For Legal Reasons", "error": 451})
    else:
        refuse(reply, 404, {"message": "Not Found", "error": 404})


def refuse(reply, status, value):
    reply.status = status
    reply.value = value


def send(handler, reply):
    if reply.is_reset:  # a RST instead of an answer
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
        return
    time.sleep(reply.delay_s)
    with contextlib.suppress(OSError):  # a client that gave up
        handler.send_response_only(reply.status)
        reply.headers.setdefault("content-type", "application/json; charset=UTF-8")
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if handler.close_connection:  # as the token's client asks
            handler.send_header("connection", "close")
        handler.send_header("content-length", str(len(reply.body) if reply.declared is None else reply.declared))
        handler.end_headers()
        for start in range(len(reply.body) if reply.drip_s else 0):
            handler.wfile.write(reply.body[start : start + 1])
            handler.wfile.flush()
            time.sleep(reply.drip_s)
        if not reply.drip_s:
            handler.wfile.write(reply.body)
        if reply.declared is not None:
            handler.close_connection = True
