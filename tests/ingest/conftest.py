"""Small dump files, made row by row."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import zstandard
from praw.config import Config

from ingest.http.rate_limit import Clock
from ingest.live_reddit.api import RedditApi
from ingest.live_reddit.call import ApiConfig
from lurker.files import read_json, write_json
from lurker.schema import WORKSPACE_TABLES
from lurker.workspace import MARKER, open_workspace
from tests.ingest.reddit_double import CLIENT_ID, CLIENT_SECRET


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(tmp_path / "ws", create=True)


@pytest.fixture
def college():
    """The folder of real Reddit threads next to the project, if there is one."""
    folder = Path(__file__).parents[2].parent / "shared/data/reddit"
    if not folder.exists():
        pytest.skip(f"needs the real dumps in {folder}")
    return folder


def comment_row(number, post="p1", **fields):
    row = {"id": f"c{number}", "link_id": f"t3_{post}", "parent_id": f"t3_{post}", "subreddit": "college"}
    row |= {"body": f"answer {number}", "author": f"user_{number % 7}", "score": number % 5}
    return {**row, "created_utc": 1_500_000_000 + number, "retrieved_on": 1_600_000_000, **fields}


def post_row(name="p1", **fields):
    row = {"id": name, "subreddit": "college", "title": f"Question {name}", "selftext": "Well?", "author": "user_0"}
    return {**row, "score": 9, "created_utc": 1_499_999_000, "retrieved_on": 1_600_000_000, **fields}


def write_lines(path, lines, *, compress=None):
    """Write lines (dicts as JSON, bytes as they are); `compress` turns the content into what is stored."""
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(compress(data) if compress else data)
    return path


def long_window_zstd(data):
    """zstd with a declared window of 2 GiB, as the monthly dumps have (`zstd --long=31`)."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, hash_log=6, chain_log=6)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # of unknown size: window kept
    return compressor.compress(data) + compressor.flush()


@pytest.fixture
def make():
    return row_maker()


def row_maker():
    """How tests make dumps: make.comment(1), make.post(), make.file(path, rows), make.long_window_zstd(data)."""
    return SimpleNamespace(comment=comment_row, post=post_row, file=write_lines, long_window_zstd=long_window_zstd)


def newer_columns(table, version):
    """Names of the table's columns that a workspace of that version lacks."""
    return [name for name, column in table.columns.items() if column.since > version]


def make_older(root, version):
    """Rewrite a workspace's tables as an older version had them."""
    for table in WORKSPACE_TABLES:
        for path in (root / table.name).glob("*/*.parquet"):
            pl.read_parquet(path).drop(newer_columns(table, version)).write_parquet(path)
        for path in (root / table.name).glob("*/manifest.json"):
            write_json(read_json(path) | {"schema_version": version}, path)
    write_json({"schema_version": version}, root / MARKER)


class FakeClock:
    """Time that passes only by sleeping; `slept` has each sleep. The date stands still, so tables can be compared."""

    def __init__(self, now_utc=1_750_000_000):
        self.time_s = 0.0
        self.now_utc = now_utc
        self.slept = []

    def sleep(self, wait_s):
        self.slept.append(wait_s)
        self.time_s += wait_s

    def clock(self):
        return Clock(monotonic=lambda: self.time_s, now=lambda: self.now_utc, sleep=self.sleep)

    def replace_clocks(self, monkeypatch):
        """Commands that call a server use this clock: patched where it is made, as both modules import the name."""
        for module in ("ingest.live_reddit.api", "ingest.arctic_shift.api"):
            monkeypatch.setattr(f"{module}.Clock", self.clock)


@pytest.fixture
def fake_clock():
    return FakeClock()


@pytest.fixture
def credentials(monkeypatch, tmp_path):
    """The double's credentials in the environment, and no praw.ini in reach."""
    monkeypatch.setenv("praw_client_id", CLIENT_ID)
    monkeypatch.setenv("praw_client_secret", CLIENT_SECRET)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, "CONFIG", None)


@pytest.fixture
def make_api(credentials, fake_clock):
    """make_api(server) gives an api that talks to the double and waits in fake time."""

    def make(server, **config):
        return RedditApi(ApiConfig(url=server.url, **config), fake_clock.clock(), random.Random(0))

    return make
