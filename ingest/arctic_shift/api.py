"""Arctic Shift's API, one call at a time: paced, retried, and never believed blindly.

A free service without guarantees: it answers `{"data": [...]}`, and when it is busy 422 (sometimes 200) with
`{"data": null, "error": "Timeout. Maybe slow down a bit"}`, where a smaller question often helps.
Source: https://github.com/ArthurHeitmann/arctic_shift/blob/master/api/README.md and its issues 12 and 66.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from ingest.http.calls import FaultError, exchange, in_time
from ingest.http.rate_limit import Budget, RateLimitConfig, retry_after_s, seconds
from lurker import __version__
from lurker.errors import LurkerError

PUBLIC_URL = "https://arctic-shift.photon-reddit.com"
_TOO_HEAVY = re.compile(r"timed? ?out|slow down", re.IGNORECASE)
_HEALS = frozenset({408, 425, 429})
"""Statuses below 500 that may pass."""
_TIME_NOT_SPAN_S = 1e9
"""A reset of more seconds than this is a time since 1970: the service does not document which it gives."""

Row = dict[str, Any]
Doubt = Callable[[list[Row]], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveConfig:
    """How the archive is asked."""

    url: str = PUBLIC_URL
    """Address of the service, without /api."""
    call_timeout_s: float = 90.0
    """Longest time a whole call may take, seconds."""
    silence_timeout_s: float = 60.0
    """Longest silence within a call, seconds."""
    max_tries: int = 7
    """Calls before a fault that may heal is given up."""
    limits: RateLimitConfig = field(default_factory=lambda: RateLimitConfig(gap_s=0.5))
    """Pace and backoff: the service asks for no more than a couple of calls a second."""

    def __post_init__(self) -> None:
        """Errors: ValueError for an address that is no http address, or a limit below its least value."""
        if not re.match(r"https?://[^/\s]+", self.url):
            raise ValueError(f"the archive's address must start with http:// or https://, got {self.url!r}")
        if self.max_tries < 1:
            raise ValueError(f"max_tries must be at least 1, got {self.max_tries}")
        for name in ("call_timeout_s", "silence_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class QueryTooHeavyError(LurkerError):
    """The archive's database gave the question up: ask for less at once."""


class RefusedError(LurkerError):
    """The archive refused the call as it was asked."""


class ArchiveClient:
    """Calls to the archive that share one pace and one connection."""

    def __init__(self, config: ArchiveConfig, budget: Budget) -> None:
        """No call is made yet."""
        self.config = config
        self.budget = budget
        self.n_calls = 0
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"lurker/{__version__} (research on votes)"

    def get(
        self,
        path: str,
        parameters: Mapping[str, str | int],
        *,
        doubt: Doubt | None = None,
        heavy_tries: int | None = None,
    ) -> list[Row]:
        """The rows of one answer.

        path: below /api, as posts/search. doubt: why the rows cannot be true, or None; such an answer is asked for
        again. heavy_tries: calls after which a question that is too heavy is given up; the config's max_tries if None.
        Errors: QueryTooHeavyError; RefusedError; LurkerError when the service stays faulty, or stays doubtful.
        """
        n_heavy = 0
        for n_faults in range(1, self.config.max_tries + 1):
            try:
                rows = self._ask(path, parameters)
                if doubt is None or (reason := doubt(rows)) is None:
                    return rows
                fault = FaultError(reason)
            except FaultError as caught:
                fault = caught
            except QueryTooHeavyError as heavy:
                n_heavy += 1
                if n_heavy >= (heavy_tries or self.config.max_tries):
                    raise
                fault = FaultError(heavy.message)
            if n_faults < self.config.max_tries:
                self.budget.back_off(n_faults, fault.asked_s)
        raise LurkerError(
            f"The archive at {self.config.url} failed {n_faults} times in a row at {path}: {fault.reason}.",
            "Look at https://status.arctic-shift.photon-reddit.com, then run the same command: it goes on from here.",
        )

    def _ask(self, path: str, parameters: Mapping[str, str | int]) -> list[Row]:
        self.budget.acquire()
        self.n_calls += 1
        address = f"{self.config.url.rstrip('/')}/api/{path}"
        status, headers, body = in_time(
            lambda: exchange(self._session, "GET", address, params=parameters, timeout=self.config.silence_timeout_s),
            self.config.call_timeout_s,
        )
        self._heed_limits(headers)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        reason = answer.get("error") if isinstance(answer, dict) else None
        if reason and _TOO_HEAVY.search(str(reason)):
            raise QueryTooHeavyError(
                f"The archive found the question too heavy ({reason}).",
                "Ask for a shorter span: `lurker ingest archive SUBREDDIT --since D --until D`.",
            )
        if status in _HEALS or status >= 500:
            raise FaultError(
                f"status {status}", asked_s=retry_after_s(headers.get("Retry-After"), self.budget.clock.now())
            )
        if status >= 400:
            raise RefusedError(
                f"The archive refused {path} with status {status}: {reason or _excerpt(body)}.",
                "Check the name and the dates; with status 403 it does not serve you now.",
            )
        rows = answer.get("data") if isinstance(answer, dict) and not reason else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FaultError(f"status {status} without data ({reason or _excerpt(body)})")
        return rows

    def _heed_limits(self, headers: Mapping[str, str]) -> None:
        """Where the last call of a window was made, the next one waits for the new window."""
        remaining, reset_s = seconds(headers.get("X-RateLimit-Remaining")), seconds(headers.get("X-RateLimit-Reset"))
        if remaining is None or remaining >= 1 or reset_s is None:
            return
        if reset_s > _TIME_NOT_SPAN_S * 1000:
            reset_s /= 1000
        if reset_s > _TIME_NOT_SPAN_S:
            reset_s -= self.budget.clock.now()
        self.budget.hold(max(0.0, reset_s))


def _excerpt(body: bytes) -> str:
    """The start of a body that is no answer, in one line."""
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return repr(text[:80]) if text else "an empty body"
