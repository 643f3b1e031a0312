"""One call to the archive: each fault heals, or is named."""

import random
import time

import pytest

from ingest.arctic_shift.api import ArchiveClient, ArchiveConfig, QueryTooHeavyError
from ingest.http.rate_limit import Budget, Clock, RateLimitConfig
from lurker.errors import LurkerError
from tests.ingest.archive_double import FAULTS, served
from tests.ingest.conftest import FakeClock


@pytest.fixture
def archive():
    with served() as double:
        double.posts = [{"id": f"p{n}", "subreddit": "college", "created_utc": 1000 + n} for n in range(5)]
        yield double


def client_of(url, *, clock=None, **settings):
    limits = RateLimitConfig(gap_s=0.0, backoff_base_s=0.001)
    config = ArchiveConfig(url=url, limits=limits, call_timeout_s=0.3, **settings)
    return ArchiveClient(config, Budget(limits, clock or FakeClock().clock(), random.Random(0)))


QUESTION = {"subreddit": "college", "sort": "asc", "limit": 3}
WELL_FORMED = {"empty", "reversed", "stale"}  # only paging can detect these


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - WELL_FORMED))
def test_each_fault_is_retried(archive, fault):
    archive.faults = [fault] * 2
    client = client_of(archive.url)
    assert [row["id"] for row in client.get("posts/search", QUESTION)] == ["p0", "p1", "p2"]
    assert client.n_calls == 3


def test_all_faults_together_are_retried(archive):
    archive.faults = random.Random(0).sample(sorted(FAULTS.keys() - WELL_FORMED), k=10)
    assert len(client_of(archive.url, max_tries=11).get("posts/search", QUESTION)) == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "status 500"),
        ("429", "status 429"),
        ("html", "'<!doctype html><p>hello'"),
        ("nothing", "an empty body"),
        ("200 error", "Under maintenance"),
        ("short body", "the answer was cut short"),
        ("bad gzip", "decompressed"),
        ("drip", "no complete answer within 0.3 s"),
        ("reset", "the connection failed"),
    ],
)
def test_a_permanent_fault_is_named(archive, fault, reason):
    archive.faults = [fault] * 3
    with pytest.raises(LurkerError, match="3 times in a row at posts/search") as caught:
        client_of(archive.url, max_tries=3).get("posts/search", QUESTION)
    assert reason in caught.value.message
    assert len(archive.calls) == 3


def test_a_refused_connection_is_named():
    with pytest.raises(LurkerError, match="the connection failed"):
        client_of("http://127.0.0.1:9", max_tries=2).get("posts/search", QUESTION)


def test_a_refusal_is_not_repeated(archive):
    with pytest.raises(LurkerError, match="status 400: 'limit' must be between 1 and 100"):
        client_of(archive.url).get("posts/search", {**QUESTION, "limit": 1000})
    with pytest.raises(LurkerError, match="status 404"):
        client_of(archive.url).get("users/search", QUESTION)
    assert len(archive.calls) == 2


def test_a_request_that_stays_too_heavy_is_given_up(archive):
    archive.heavy_over_rows = 2
    with pytest.raises(QueryTooHeavyError, match="slow down"):
        client_of(archive.url).get("posts/search", QUESTION, heavy_tries=2)
    assert len(archive.calls) == 2


def test_an_answer_that_fails_its_check_is_requested_again(archive):
    archive.faults = ["empty"]
    rows = client_of(archive.url).get("posts/search", QUESTION, check=lambda rows: None if rows else "empty")
    assert len(rows) == 3
    with pytest.raises(LurkerError, match="never good"):
        client_of(archive.url, max_tries=2).get("posts/search", QUESTION, check=lambda _: "never good")


@pytest.mark.parametrize(
    ("reset", "waits_s"),
    [("40", 40), (str(1_700_000_000 + 50), 50), (str((1_700_000_000 + 60) * 1000), 60), ("soon", 0)],
)
def test_the_rate_limit_of_the_service_is_respected(archive, reset, waits_s):
    waited = []

    def sleep(wait_s):
        waited.append(wait_s)
        clock_s[0] += wait_s

    clock_s = [0.0]
    clock = Clock(monotonic=lambda: clock_s[0], now=lambda: 1_700_000_000.0 + clock_s[0], sleep=sleep)
    archive.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    client = client_of(archive.url, clock=clock)
    client.get("posts/search", QUESTION)
    assert waited == []
    client.get("posts/search", QUESTION)
    assert sum(waited) == pytest.approx(waits_s)


def test_calls_are_spaced(archive):
    limits = RateLimitConfig(gap_s=0.1)
    client = ArchiveClient(ArchiveConfig(url=archive.url, limits=limits), Budget(limits, Clock(), random.Random(0)))
    started = time.monotonic()
    for _ in range(3):
        client.get("posts/search", QUESTION)
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("wrong", [{"url": "localhost:80"}, {"max_tries": 0}, {"call_timeout_s": 0}])
def test_an_invalid_setting_is_named_with_its_value(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        ArchiveConfig(**wrong)
