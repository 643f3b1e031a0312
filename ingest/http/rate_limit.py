"""One budget of calls for the whole process: paced by what the server says is left, never in bursts.

Every call waits for a slot here first. Slots are spread over what is left of the server's window, short of a margin for
whoever shares the account; a 429 or a Retry-After holds all workers. Time is injected, so tests do not wait.

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
    """Time between calls while the server says nothing of its limit, seconds: 100 calls a minute."""
    margin_calls: int = 10
    """Calls of each window that are left to others on the same account."""
    backoff_base_s: float = 1.0
    """Longest wait after the first fault, seconds; doubled after each further one."""
    backoff_cap_s: float = 60.0
    """Longest wait after any fault, unless the server asks for more, seconds."""
    longest_wait_s: float = 900.0
    """Longest wait the server may ask for, seconds: its windows are 600 s."""

    def __post_init__(self) -> None:
        """Errors: ValueError for a negative value."""
        for name in ("gap_s", "margin_calls", "backoff_base_s", "backoff_cap_s", "longest_wait_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from.

    monotonic, now: seconds, of no certain origin and since 1970. sleep: waits so many seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class Budget:
    """Slots for calls, shared by all threads that call one server."""

    def __init__(self, config: RateLimitConfig, clock: Clock, rng: random.Random) -> None:
        """A budget that knows nothing of the server's limit yet; `rng` draws the jitter."""
        self.config = config
        self.clock = clock
        self.waited_s = 0.0
        self._rng = rng
        self._lock = threading.Lock()
        self._gap_s = config.gap_s
        self._next_slot = -math.inf
        self._held_until = -math.inf

    def acquire(self) -> None:
        """Wait for a slot. Unused slots do not add up, so a pause is not followed by a burst."""
        with self._lock:
            slot = max(self.clock.monotonic(), self._next_slot, self._held_until)
            self._next_slot = slot + self._gap_s
        while (wait_s := max(slot, self._held_until) - self.clock.monotonic()) > 0:  # a hold may come while we wait
            self._sleep(wait_s)

    def update(self, headers: Mapping[str, str]) -> None:
        """Set the pace by an answer's headers; those that are absent or nonsense change nothing."""
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
        """Let nobody call for so many seconds."""
        with self._lock:
            self._held_until = max(self._held_until, self.clock.monotonic() + min(wait_s, self.config.longest_wait_s))

    def back_off(self, n_faults: int, asked_s: float | None) -> None:
        """Wait after the n-th fault in a row (from 1): full jitter under an exponential ceiling.

        asked_s: what the server asked for; then the jitter comes on top of it, so that workers do not return as one.
        """
        ceiling_s = min(self.config.backoff_cap_s, self.config.backoff_base_s * 2.0 ** (n_faults - 1))
        wait_s = min(asked_s or 0.0, self.config.longest_wait_s) + self._rng.uniform(0.0, ceiling_s)
        self._sleep(wait_s)

    def _sleep(self, wait_s: float) -> None:
        with self._lock:
            self.waited_s += wait_s
        self.clock.sleep(wait_s)


_budgets: dict[tuple[str, RateLimitConfig, Clock], Budget] = {}
_budgets_lock = threading.Lock()


def shared_budget(server: str, config: RateLimitConfig, clock: Clock, rng: random.Random) -> Budget:
    """The one budget of this process for a server's limit: whoever calls it shares the pace and every hold.

    server: names the limit. Another pace or clock makes a budget of its own. rng: draws the jitter of a new one.
    """
    with _budgets_lock:
        return _budgets.setdefault((server, config, clock), Budget(config, clock, rng))


def seconds(text: str | None) -> float | None:
    """A header's number, not negative; None where it is absent or no finite number."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def retry_after_s(text: str | None, now_utc: float) -> float | None:
    """Retry-After as seconds from now: a number, or an HTTP date; None where it is absent or nonsense."""
    if (number := seconds(text)) is not None:
        return number
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_utc, UTC)).total_seconds())
