"""One budget of calls per server and process: paced by the calls that the server says remain, never in bursts.

Every call first waits for a slot. Slots are spread over the rest of the server's window, minus a margin for other users
of the account; a 429 or a Retry-After blocks all workers. Time is injected, so tests do not wait.

Source: Reddit's x-ratelimit-* headers (https://support.reddithelp.com/hc/en-us/articles/16160319875092);
RFC 9110, section 10.2.3 (Retry-After); "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) for full jitter.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimitConfig:
    """How calls are paced and repeated."""

    gap_s: float = 0.6
    """Seconds between calls while the server does not state its limit: 100 calls per minute."""
    margin_calls: int = 10
    """Calls of each window left to other users of the account."""
    backoff_base_s: float = 1.0
    """Longest wait after the first fault, seconds; doubled after each further one."""
    backoff_cap_s: float = 60.0
    """Longest wait after any fault, seconds, unless the server requests more."""
    longest_wait_s: float = 900.0
    """Longest wait that the server may request, seconds; its windows are 600 s."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a negative value."""
        for name in ("gap_s", "margin_calls", "backoff_base_s", "backoff_cap_s", "longest_wait_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Clock:
    """The source of time."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds since an arbitrary origin."""
    now: Callable[[], float] = time.time
    """Seconds since 1970."""
    sleep: Callable[[float], None] = time.sleep
    """Wait for a number of seconds."""


class Budget:
    """Slots for calls, shared by all threads that call a server."""

    def __init__(self, config: RateLimitConfig, clock: Clock, rng: random.Random) -> None:
        """A budget before the server has stated its limit; `rng` draws the jitter."""
        self.config = config
        self.clock = clock
        self.waited_s = 0.0
        self._rng = rng
        self._lock = threading.Lock()
        self._gap_s = config.gap_s
        self._next_slot = -math.inf
        self._held_until = -math.inf

    def acquire(self) -> None:
        """Wait for a slot. Unused slots do not accumulate, so a pause is not followed by a burst."""
        with self._lock:
            slot = max(self.clock.monotonic(), self._next_slot, self._held_until)
            self._next_slot = slot + self._gap_s
        while (wait_s := max(slot, self._held_until) - self.clock.monotonic()) > 0:  # a hold may be added meanwhile
            self._sleep(wait_s)

    def update(self, headers: Mapping[str, str]) -> None:
        """Set the pace from an answer's headers; absent or invalid ones change nothing."""
        remaining, reset_s = seconds(headers.get("x-ratelimit-remaining")), seconds(headers.get("x-ratelimit-reset"))
        if remaining is None or reset_s is None:
            return
        reset_s = min(reset_s, self.config.longest_wait_s)
        spendable = remaining - self.config.margin_calls
        if spendable < 1:
            self.hold(reset_s)
            return
        with self._lock:
            self._gap_s = reset_s / spendable

    def hold(self, wait_s: float) -> None:
        """Block all calls for `wait_s` seconds, at most `longest_wait_s`."""
        with self._lock:
            self._held_until = max(self._held_until, self.clock.monotonic() + min(wait_s, self.config.longest_wait_s))

    def back_off(self, n_faults: int, server_wait_s: float | None, first_wait_s: float = 0.0) -> None:
        """Wait after a fault: full jitter under an exponential ceiling.

        Args:
            n_faults: faults in a row so far, from 1.
            server_wait_s: wait requested by the server; the jitter is added, so that workers do not all return at once.
            first_wait_s: shortest wait after the first fault, seconds; doubled after each further one.
        """
        ceiling_s = min(self.config.backoff_cap_s, self.config.backoff_base_s * 2.0 ** (n_faults - 1))
        floor_s = min(self.config.backoff_cap_s, first_wait_s * 2.0 ** (n_faults - 1))
        wait_s = max(floor_s, min(server_wait_s or 0.0, self.config.longest_wait_s))
        wait_s += self._rng.uniform(0.0, ceiling_s)
        self._sleep(wait_s)

    def _sleep(self, wait_s: float) -> None:
        with self._lock:
            self.waited_s += wait_s
        self.clock.sleep(wait_s)


_budgets: dict[tuple[str, RateLimitConfig, Clock], Budget] = {}
_budgets_lock = threading.Lock()


def shared_budget(server: str, config: RateLimitConfig, clock: Clock, rng: random.Random) -> Budget:
    """This process's budget for a server: all callers share its pace and its holds.

    Args:
        server: name of the limit.
        config: another config, or another clock, has its own budget.
        clock: source of time.
        rng: draws the jitter of a new budget.
    """
    with _budgets_lock:
        return _budgets.setdefault((server, config, clock), Budget(config, clock, rng))


def seconds(text: str | None) -> float | None:
    """A header's number, at least 0; None if absent or not a finite number."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def retry_after_s(text: str | None, now_utc: float) -> float | None:
    """Retry-After, a number or an HTTP date, in seconds from now; None if absent or invalid."""
    if (number := seconds(text)) is not None:
        return number
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_utc, UTC)).total_seconds())
