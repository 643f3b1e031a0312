"""Arctic Shift's API: every call is paced and retried, and every answer is checked.

It is a free service without guarantees. It answers `{"data": [...]}`; when busy, it answers 422 (sometimes 200) with
`{"data": null, "error": "Timeout. Maybe slow down a bit"}`, and a smaller request often succeeds.
Source: https://github.com/ArthurHeitmann/arctic_shift/blob/master/api/README.md and its issues 12 and 66.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from ingest.http.calls import BARE_429_WAIT_S, FaultError, run_with_deadline, send
from ingest.http.rate_limit import Budget, Clock, RateLimitConfig, retry_after_s, seconds, shared_budget
from lurker import __version__
from lurker.errors import CallError, LurkerError

PUBLIC_URL = "https://arctic-shift.photon-reddit.com"
_TOO_HEAVY = re.compile(r"timed? ?out|slow down", re.IGNORECASE)
_TRANSIENT = frozenset({408, 425, 429})
"""Statuses below 500 after which a retry may succeed."""
_MIN_TIMESTAMP_S = 1e9
"""A larger X-RateLimit-Reset is a time since 1970, not a duration: the service does not document which it sends."""

Row = dict[str, Any]
AnswerCheck = Callable[[list[Row]], str | None]
"""Returns why an answer's rows cannot be right, or None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveConfig:
    """How the archive is called."""

    url: str = PUBLIC_URL
    """URL of the service, without /api."""
    call_timeout_s: float = 90.0
    """Longest duration of a call, seconds."""
    silence_timeout_s: float = 60.0
    """Longest silence within a call, seconds."""
    max_tries: int = 7
    """Attempts per call before giving up on transient faults."""
    limits: RateLimitConfig = field(default_factory=lambda: RateLimitConfig(gap_s=0.5))
    """Pace and backoff: the service requests at most a couple of calls per second."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a URL without http:// or https://, or a limit that is too low."""
        if not re.match(r"https?://[^/\s]+", self.url):
            raise ValueError(f"the archive's URL must start with http:// or https://, got {self.url!r}")
        if self.max_tries < 1:
            raise ValueError(f"max_tries must be at least 1, got {self.max_tries}")
        for name in ("call_timeout_s", "silence_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class QueryTooHeavyError(LurkerError):
    """The archive's database timed out on the request; a smaller one may succeed."""


class RefusedError(LurkerError):
    """The archive refused the request."""


class ArchiveClient:
    """Calls to the archive with one rate limit and one connection."""

    def __init__(self, config: ArchiveConfig, budget: Budget) -> None:
        """Makes no call yet."""
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
        check: AnswerCheck | None = None,
        heavy_tries: int | None = None,
    ) -> list[Row]:
        """The rows of one answer.

        Args:
            path: path below /api, such as posts/search.
            parameters: the query.
            check: says why the rows cannot be right; the call is then repeated.
            heavy_tries: attempts before giving up on a request that is too heavy; the config's max_tries if None.

        Raises:
            QueryTooHeavyError: the request stays too heavy.
            RefusedError: the archive refuses the request.
            LurkerError: the service keeps failing, or its answers keep failing the check.
        """
        n_heavy = 0
        for n_faults in range(1, self.config.max_tries + 1):
            try:
                rows = self._call(path, parameters)
                if check is None or (reason := check(rows)) is None:
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
                self.budget.back_off(n_faults, fault.server_wait_s, fault.first_wait_s)
        raise LurkerError(
            f"The archive at {self.config.url} failed {n_faults} times in a row at {path}: {fault.reason}.",
            "Check https://status.arctic-shift.photon-reddit.com, then run the same command again to resume.",
        )

    def _call(self, path: str, parameters: Mapping[str, str | int]) -> list[Row]:
        self.budget.acquire()
        self.n_calls += 1
        url = f"{self.config.url.rstrip('/')}/api/{path}"
        status, headers, body = run_with_deadline(
            lambda: send(self._session, "GET", url, params=parameters, timeout=self.config.silence_timeout_s),
            self.config.call_timeout_s,
        )
        self._apply_rate_limit(headers)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        reason = answer.get("error") if isinstance(answer, dict) else None
        if reason and _TOO_HEAVY.search(str(reason)):
            raise QueryTooHeavyError(
                f"The archive timed out on the request ({reason}).",
                "Choose a shorter span: `lurker ingest archive SUBREDDIT --since D --until D`.",
            )
        if status in _TRANSIENT or status >= 500:
            wait_s = retry_after_s(headers.get("Retry-After"), self.budget.clock.now())
            first_wait_s = BARE_429_WAIT_S if status == 429 else 0.0
            raise FaultError(f"status {status}", server_wait_s=wait_s, first_wait_s=first_wait_s)
        if status >= 400:
            raise RefusedError(
                f"The archive refused {path} with status {status}: {reason or _excerpt(body)}.",
                "Check the name and the dates; status 403 means that the archive denies you access for now.",
            )
        rows = answer.get("data") if isinstance(answer, dict) and not reason else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FaultError(f"status {status} without data ({reason or _excerpt(body)})")
        return rows

    def _apply_rate_limit(self, headers: Mapping[str, str]) -> None:
        """After the last call of a window, block calls until the next window."""
        remaining, reset_s = seconds(headers.get("X-RateLimit-Remaining")), seconds(headers.get("X-RateLimit-Reset"))
        if remaining is None or remaining >= 1 or reset_s is None:
            return
        if reset_s > _MIN_TIMESTAMP_S * 1000:
            reset_s /= 1000
        if reset_s > _MIN_TIMESTAMP_S:
            reset_s -= self.budget.clock.now()
        self.budget.hold(max(0.0, reset_s))


def open_archive(url: str | None) -> ArchiveClient:
    """Arctic Shift's API, or a server that answers like it; no call is made yet.

    Raises:
        CallError: the URL is invalid.
    """
    try:
        config = ArchiveConfig(url=url or PUBLIC_URL)
    except ValueError as error:
        raise CallError(f"{error}.", "Check the option --archive-url or LURKER_ARCHIVE_URL.") from error
    return ArchiveClient(config, shared_budget(config.url, config.limits, Clock(), random.Random()))


def unrequested_rows(ids: Sequence[str], rows: Sequence[Row]) -> str | None:
    """Why an answer to a query by ids cannot be right, or None."""
    return None if {row.get("id") for row in rows} <= set(ids) else "rows that were not requested"


def _excerpt(body: bytes) -> str:
    """The start of an unexpected body, on one line."""
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return repr(text[:80]) if text else "an empty body"
