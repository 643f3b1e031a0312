"""One attempt at one call to Reddit: paced by the budget, within a deadline; returns JSON or raises a plain reason.

It replaces the layer below PRAW, whose session would sleep on its own, fail on odd headers, or pass HTML on. Errors
contain neither URLs nor headers nor their causes, because these hold tokens and passwords.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import prawcore
from prawcore.const import ACCESS_TOKEN_PATH

from ingest.http.calls import BARE_429_WAIT_S, FaultError, run_with_deadline, send
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
    """How Reddit is called."""

    url: str | None = None
    """URL to use instead of Reddit's, for tokens and data; None means Reddit."""
    call_timeout_s: float = 60.0
    """Longest duration of a call, seconds."""
    silence_timeout_s: float = 16.0
    """Longest silence within a call, seconds."""
    max_tries: int = 7
    """Attempts per call before giving up on transient faults."""
    max_suspect_tries: int = 3
    """Attempts per call before a well-formed but empty answer is accepted as final."""
    limits: RateLimitConfig = field(default_factory=RateLimitConfig)
    """Pace and backoff."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a URL without http:// or https://, or a limit that is too low."""
        if self.url is not None and not re.match(r"https?://[^/\s]+", self.url):
            raise ValueError(f"Reddit's URL must start with http:// or https://, got {self.url!r}")
        for name in ("max_tries", "max_suspect_tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("call_timeout_s", "silence_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class UnreadableError(Exception):
    """A subreddit or thread cannot be read.

    Attributes:
        reason: what went wrong, in plain words.
        is_transient: the server failed, and another run may succeed; otherwise Reddit refuses it.
        is_suspect: every answer was well formed, but empty.
    """

    def __init__(self, reason: str, *, is_transient: bool, is_suspect: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_transient = is_transient
        self.is_suspect = is_suspect


class UnauthorizedError(Exception):
    """The token, or the credentials used to request it, were refused.

    Attributes:
        is_credentials: the credentials were refused, rather than a token for one call.
    """

    def __init__(self, *, is_credentials: bool) -> None:
        super().__init__("unauthorized")
        self.is_credentials = is_credentials


@dataclass(frozen=True, slots=True)
class _Answer:
    """The parts of a response that prawcore uses; pacing and retries are ours, so it gets no headers."""

    status_code: int
    value: Any
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return self.value


class BoundedRequestor(prawcore.Requestor):  # type: ignore[misc]
    """The requestor through which PRAW makes its calls."""

    def __init__(self, *, api_config: ApiConfig, budget: Budget, **options: Any) -> None:
        super().__init__(**options)
        self._config = api_config
        self._budget = budget

    def request(self, method: str, url: str, **options: Any) -> _Answer:
        """Make one call; raises FaultError, UnreadableError or UnauthorizedError."""
        self._budget.acquire()
        options |= {"timeout": self._config.silence_timeout_s, "allow_redirects": False}
        status, headers, body = run_with_deadline(
            lambda: send(self._http, method, url, **options), self._config.call_timeout_s
        )
        self._budget.update(headers)
        is_token = url.endswith(ACCESS_TOKEN_PATH)
        if is_token and status in (400, 403):
            status = 401  # OAuth 2's refusal of credentials: RFC 6749, section 5.2
        if is_token and status in (301, 302, 404):
            raise FaultError(f"this URL issues no tokens (status {status})")
        self._raise_for_status(status, headers, body, is_token)
        value = _json(body)
        return _Answer(status, _token(value) if is_token else value)

    def _raise_for_status(self, status: int, headers: Mapping[str, str], body: bytes, is_token: bool) -> None:
        """Raise the error for a status outside 200–299."""
        if 200 <= status < 300:
            return
        wait_s = retry_after_s(headers.get("retry-after"), self._budget.clock.now())
        if status == 429:
            wait_s = seconds(headers.get("x-ratelimit-reset")) if wait_s is None else wait_s
            self._budget.hold(wait_s or 0.0)
            first_wait_s = 0.0 if wait_s else BARE_429_WAIT_S
            raise FaultError("too many requests (status 429)", server_wait_s=0.0, first_wait_s=first_wait_s)
        if status in (408, 425) or status >= 500:
            raise FaultError(f"status {status}", server_wait_s=wait_s)
        lacks_scope = "insufficient_scope" in headers.get("www-authenticate", "")
        if status == 401 or lacks_scope:
            raise UnauthorizedError(is_credentials=is_token or lacks_scope)
        raise UnreadableError(_refusal(status, body), is_transient=False)


def _json(body: bytes) -> Any:
    """Parse a body; raises FaultError when it is not JSON."""
    if not body.strip():
        raise FaultError("an empty answer", is_suspect=True)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        reason = "HTML instead of JSON" if body.lstrip().startswith(b"<") else "truncated or damaged JSON"
    raise FaultError(reason)


def _token(value: Any) -> dict[str, Any]:
    """The answer of the token endpoint in the form that prawcore expects."""
    if not isinstance(value, dict):
        raise FaultError("no token in the answer")
    if value.get("error") in _BAD_CREDENTIALS:
        raise UnauthorizedError(is_credentials=True)
    life_s = value.get("expires_in")
    if (
        not isinstance(value.get("access_token"), str)
        or isinstance(life_s, bool)
        or not isinstance(life_s, int | float)
        or not math.isfinite(life_s)
    ):
        raise FaultError("no token in the answer")
    return {"access_token": value["access_token"], "expires_in": int(life_s), "scope": str(value.get("scope", "*"))}


def _refusal(status: int, body: bytes) -> str:
    """Why Reddit does not show something: the reason it states (private, quarantined, banned ...), else the status."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    reason = answer.get("reason") if isinstance(answer, dict) else None
    if isinstance(reason, str) and re.fullmatch(r"[a-z_ ]{2,40}", reason):
        return f"{reason.replace('_', ' ')} (status {status})"
    return f"{_REFUSALS.get(status, 'refused')} (status {status})"
