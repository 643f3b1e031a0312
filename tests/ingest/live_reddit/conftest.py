import contextlib

import pytest

from ingest.live_reddit.live import LiveConfig, ingest_reddit
from tests.ingest.little_reddit import TWO_SUBREDDITS
from tests.ingest.reddit_double import Server


@pytest.fixture
def serve():
    """serve(world, fault) is the world's server, always at the same address, with its counts at zero."""
    with contextlib.ExitStack() as stack:
        servers = {}

        def serve(world=TWO_SUBREDDITS, fault=lambda request, reply: None):
            if id(world) not in servers:
                servers[id(world)] = stack.enter_context(Server(world))
            server = servers[id(world)]
            server.fault = fault
            server.counts.clear()
            server.log.clear()
            return server

        yield serve


@pytest.fixture
def read(workspace, make_api, serve):
    """read(fault) ingests both subreddits from a double; reports, server."""

    def read(fault=lambda request, reply: None, world=TWO_SUBREDDITS, names=("college", "emory"), **config):
        server = serve(world, fault)
        return ingest_reddit(workspace, names, LiveConfig(**config), make_api(server)), server

    return read
