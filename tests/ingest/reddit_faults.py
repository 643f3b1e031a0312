"""What a Reddit of tests does wrong: each fault takes (request, reply) and may change the reply."""

import gzip
import random
from collections import Counter

from tests.ingest.reddit_double import refuse


def status(code, **headers):
    def fault(_, reply):
        reply.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        refuse(reply, code, {"message": "no", "error": code})

    return fault


def reset(_, reply):
    reply.is_reset = True


def short_body(_, reply):
    reply.declared = len(reply.body) + 100


def cut_json(_, reply):
    reply.body = reply.body[: len(reply.body) // 2]


def html(_, reply):
    reply.body = b"<!doctype html><html><body>Our CDN was unable to reach our servers</body></html>"
    reply.headers["content-type"] = "text/html"


def bad_gzip(_, reply):
    reply.headers["content-encoding"] = "gzip"
    reply.body = gzip.compress(reply.body)[:-8][::-1]


def empty(_, reply):
    reply.body = b""


def null(_, reply):
    reply.value = None


def no_children(request, reply):
    """A well-formed answer with nothing in it."""
    value = reply.value
    if request.kind == "more":
        value["json"]["data"]["things"] = []
    elif request.kind in ("tree", "below"):
        value[1]["data"]["children"] = []
    elif "data" in value:
        value["data"]["children"] = []
    reply.value = value


def drip(_, reply):
    reply.drip_s = 0.05


def hang(_, reply):
    reply.delay_s = 1.0


def fields(change):
    """Apply `change(kind, data)` to every thing of an answer."""

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("data"), dict) and value.get("kind") in ("t1", "t3"):
                change(value["kind"], value["data"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    def fault(_, reply):
        value = reply.value
        walk(value)
        reply.value = value

    return fault


def first(times, fault, kind=None):
    """Only the first requests of a kind (or of any) meet the fault."""
    counts = Counter()

    def limited(request, reply):
        if (kind is None and request.kind != "token") or request.kind == kind:
            counts[request.kind] += 1
            if counts[request.kind] <= times:
                fault(request, reply)

    return limited


def always(fault, kind):
    return first(10**9, fault, kind)


def at_random(faults, share, seed):
    """A fault of the list at a share of all requests, never twice in a row for one path."""
    rng = random.Random(seed)
    spoiled = set()

    def chaos(request, reply):
        key = (request.path, str(sorted(request.query.items())))
        if key in spoiled:
            spoiled.discard(key)
        elif rng.random() < share:
            spoiled.add(key)
            rng.choice(faults)(request, reply)

    return chaos
