"""The budget of calls: pace, holds, backoff, and headers that make no sense."""

import itertools
import random
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.http.rate_limit import Budget, Clock, RateLimitConfig, retry_after_s, seconds, shared_budget


def budget(fake_clock, **config):
    return Budget(RateLimitConfig(**config), fake_clock.clock(), random.Random(0))


def limits(remaining, reset):
    return {"x-ratelimit-remaining": str(remaining), "x-ratelimit-used": "1", "x-ratelimit-reset": str(reset)}


def test_calls_are_spread_over_the_window_minus_the_margin(fake_clock):
    calls = budget(fake_clock, margin_calls=10)
    calls.acquire()
    calls.update(limits(110.0, 600))
    times = []
    for _ in range(4):
        calls.acquire()
        times.append(fake_clock.time_s)
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([6.0] * 3)


def test_a_pause_is_not_followed_by_a_burst(fake_clock):
    calls = budget(fake_clock, gap_s=1.0)
    calls.acquire()
    fake_clock.time_s += 100
    calls.acquire()
    start = fake_clock.time_s
    calls.acquire()
    calls.acquire()
    assert fake_clock.time_s - start == pytest.approx(2.0)


def test_an_exhausted_account_waits_for_the_next_window(fake_clock):
    calls = budget(fake_clock, margin_calls=10)
    calls.update(limits(10, 240))
    calls.acquire()
    assert fake_clock.time_s == pytest.approx(240)


def test_a_hold_also_blocks_a_waiting_worker():
    now = [0.0]
    calls = None

    def sleep(wait_s):
        if now[0] == 0.0:
            calls.hold(50.0)
        now[0] += wait_s

    calls = Budget(RateLimitConfig(gap_s=5.0), Clock(lambda: now[0], lambda: 0.0, sleep), random.Random(0))
    calls.acquire()
    calls.acquire()
    assert now[0] == pytest.approx(50.0)


def test_workers_share_one_pace():
    calls = Budget(RateLimitConfig(gap_s=0.01), Clock(), random.Random(0))
    started = time.monotonic()
    workers = [threading.Thread(target=lambda: [calls.acquire() for _ in range(5)]) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert time.monotonic() - started >= 19 * 0.01


def test_invalid_headers_change_nothing(fake_clock):
    calls = budget(fake_clock, gap_s=2.0)
    for remaining, reset in (("soon", "600"), ("nan", "1"), ("5", "inf"), ("", ""), ("9", "Wed")):
        calls.update(limits(remaining, reset))
    calls.update({})
    calls.acquire()
    calls.acquire()
    assert fake_clock.time_s == pytest.approx(2.0)


def test_no_header_causes_a_longer_wait_than_the_limit(fake_clock):
    calls = budget(fake_clock, longest_wait_s=900.0, backoff_cap_s=60.0)
    calls.update(limits(0, 10**9))
    calls.hold(10.0**9)
    calls.acquire()
    assert fake_clock.time_s == pytest.approx(900)
    calls.back_off(50, 10.0**9)
    assert fake_clock.time_s <= 900 + 960


def test_backoff_grows_with_full_jitter_up_to_the_cap(fake_clock):
    calls = budget(fake_clock, backoff_base_s=1.0, backoff_cap_s=60.0)
    for n_faults, ceiling_s in ((1, 1), (2, 2), (5, 16), (20, 60)):
        for _ in range(200):
            calls.back_off(n_faults, None)
        waits, fake_clock.slept = fake_clock.slept, []
        assert 0 <= min(waits) < 0.1 * ceiling_s
        assert 0.9 * ceiling_s < max(waits) <= ceiling_s


def test_the_wait_requested_by_the_server_is_kept(fake_clock):
    budget(fake_clock).back_off(1, 30.0)
    assert 30.0 <= fake_clock.time_s <= 31.0


def test_retry_after_takes_seconds_and_dates():
    date = format_datetime(datetime.fromtimestamp(1_000_120, UTC), usegmt=True)
    assert retry_after_s(date, 1_000_000.0) == 120.0
    assert retry_after_s(date, 2_000_000.0) == 0.0
    assert retry_after_s("7", 0.0) == 7.0
    assert retry_after_s("0.5", 0.0) == 0.5
    assert [retry_after_s(text, 0.0) for text in (None, "", "soon", "nan", "inf", "Wed, 99 Foo 2099")] == [None] * 6


@given(st.text() | st.none(), st.floats(0, 4e9))
def test_any_header_can_be_parsed(text, now_utc):
    for value in (retry_after_s(text, now_utc), seconds(text)):
        assert value is None or 0 <= value < float("inf")


def test_a_config_rejects_negative_values():
    with pytest.raises(ValueError, match="gap_s must be at least 0, got -1"):
        RateLimitConfig(gap_s=-1)


def test_all_callers_of_a_server_share_its_budget(fake_clock):
    """Two clients of a process with a worker each make no more calls than one; another server has its own pace."""
    clock, rng, config = fake_clock.clock(), random.Random(0), RateLimitConfig(gap_s=1.0)
    one, other = (shared_budget("http://reddit", config, clock, rng) for _ in range(2))
    elsewhere = shared_budget("http://archive", config, clock, rng)
    for _ in range(3):
        one.acquire()
        other.acquire()
    assert fake_clock.time_s == 5.0
    one.update(limits(0, 60))
    elsewhere.acquire()
    assert fake_clock.time_s == 5.0
    other.acquire()
    assert fake_clock.time_s == 65.0
