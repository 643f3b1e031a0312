"""One attempt at one call to Reddit: paced by the budget, bounded as a whole, JSON or a plain word of what is wrong.

This stands below PRAW, where its session would sleep by itself, stumble over odd headers, or pass HTML on. Errors carry
neither addresses nor headers nor what caused them: tokens and passwords travel in these.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import prawcore
from prawcore.const import ACCESS_TOKEN_PATH

from ingest.http.calls import FaultError, exchange, in_time
from ingest.http.rate_limit import Budget, RateLimitConfig, retry_after_s, seconds

_REFUSALS = {
    302: "there is no such subreddit",
    403: "forbidden",
    404: "not found",
    451: "unavailable for legal reasons",
}
_BAD_CREDENTIALS = ("invalid_grant", "invalid_client", "unauthorized_client", "access_denied", "unsupported_grant_type")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiConfig:
    """How Reddit is asked."""

    url: str | None = None
    """Address instead of Reddit's own, for tokens and data; None means Reddit."""
    call_timeout_s: float = 60.0
    """Longest time a whole call may take, seconds."""
    silence_timeout_s: float = 16.0
    """Longest silence within a call, seconds."""
    max_tries: int = 7
    """Calls before a fault that may heal is given up."""
    max_suspect_tries: int = 3
    """Calls before an answer that is well formed but empty is believed to stay so."""
    limits: RateLimitConfig = field(default_factory=RateLimitConfig)
    """Pace and backoff."""

    def __post_init__(self) -> None:
        """Errors: ValueError for an address that is no http address, or a limit below its least value."""
        if self.url is not None and not re.match(r"https?://[^/\s]+", self.url):
            raise ValueError(f"Reddit's address must start with http:// or https://, got {self.url!r}")
        for name in ("max_tries", "max_suspect_tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("call_timeout_s", "silence_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class UnreadableError(Exception):
    """A subreddit or thread that cannot be read.

    may_heal: the server failed and another run may succeed; else Reddit refuses it. is_suspect: every answer was well
    formed, yet empty.
    """

    def __init__(self, reason: str, *, may_heal: bool, is_suspect: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_heal = may_heal
        self.is_suspect = is_suspect


class UnauthorizedError(Exception):
    """The token, or what it is asked for with, was refused."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What prawcore reads of a response; its pace and its retries are ours, so the headers stay here."""

    status_code: int
    value: Any
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return self.value


class BoundedRequestor(prawcore.Requestor):  # type: ignore[misc]
    """What PRAW sends its calls through."""

    def __init__(self, *, api_config: ApiConfig, budget: Budget, **options: Any) -> None:
        super().__init__(**options)
        self._config = api_config
        self._budget = budget

    def request(self, method: str, url: str, **options: Any) -> _Answer:
        """Errors: FaultError, UnreadableError, UnauthorizedError."""
        self._budget.acquire()
        options |= {"timeout": self._config.silence_timeout_s, "allow_redirects": False}
        status, headers, body = in_time(
            lambda: exchange(self._http, method, url, **options), self._config.call_timeout_s
        )
        self._budget.update(headers)
        is_token = url.endswith(ACCESS_TOKEN_PATH)
        if is_token and status in (400, 403):
            status = 401  # how OAuth 2 refuses credentials: RFC 6749, section 5.2
        if is_token and status in (301, 302, 404):
            raise FaultError(f"no tokens are given at this address (status {status})")
        self._refuse(status, headers, body)
        value = _json(body)
        return _Answer(status, _token(value) if is_token else value)

    def _refuse(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Errors: the one that a status outside 200–299 stands for."""
        if 200 <= status < 300:
            return
        asked_s = retry_after_s(headers.get("retry-after"), self._budget.clock.now())
        if status == 429:
            asked_s = seconds(headers.get("x-ratelimit-reset")) if asked_s is None else asked_s
            self._budget.hold(asked_s or 0.0)
            raise FaultError("too many requests (status 429)", asked_s=0.0)  # the hold is the wait
        if status in (408, 425) or status >= 500:
            raise FaultError(f"status {status}", asked_s=asked_s)
        if status == 401 or "insufficient_scope" in headers.get("www-authenticate", ""):
            raise UnauthorizedError
        raise UnreadableError(_refusal(status, body), may_heal=False)


def _json(body: bytes) -> Any:
    """Errors: FaultError where the body is no JSON."""
    if not body.strip():
        raise FaultError("an empty answer", is_suspect=True)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        reason = "HTML instead of JSON" if body.lstrip().startswith(b"<") else "cut or damaged JSON"
    raise FaultError(reason)


def _token(value: Any) -> dict[str, Any]:
    """The answer of the token endpoint as prawcore needs it."""
    if not isinstance(value, dict):
        raise FaultError("no token in the answer")
    if value.get("error") in _BAD_CREDENTIALS:
        raise UnauthorizedError
    life_s = value.get("expires_in")
    if (
        not isinstance(value.get("access_token"), str)
        or isinstance(life_s, bool)
        or not isinstance(life_s, int | float)
    ):
        raise FaultError("no token in the answer")
    return {"access_token": value["access_token"], "expires_in": int(life_s), "scope": str(value.get("scope", "*"))}


def _refusal(status: int, body: bytes) -> str:
    """Why Reddit does not show something, in its own word (private, quarantined, banned ...) where it gives one."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    reason = answer.get("reason") if isinstance(answer, dict) else None
    if isinstance(reason, str) and re.fullmatch(r"[a-z_ ]{2,40}", reason):
        return f"{reason.replace('_', ' ')} (status {status})"
    return f"{_REFUSALS.get(status, 'refused')} (status {status})"
