"""One HTTP call with a total deadline, for Reddit's API and Arctic Shift's; failures are named in plain words."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests

BARE_429_WAIT_S = 2.0
"""Shortest wait after a 429 that names no time; doubled after each further fault."""
T = TypeVar("T")


class FaultError(Exception):
    """A call failed, and may succeed when repeated.

    Attributes:
        reason: what went wrong, in plain words.
        server_wait_s: seconds to wait as requested by the server; None if it said nothing.
        is_suspect: the answer was well formed, but implausibly empty.
        first_wait_s: shortest wait after a first fault, seconds; doubled after each further one.
    """

    def __init__(
        self, reason: str, *, server_wait_s: float | None = None, is_suspect: bool = False, first_wait_s: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.server_wait_s = server_wait_s
        self.is_suspect = is_suspect
        self.first_wait_s = first_wait_s


def run_with_deadline(action: Callable[[], T], deadline_s: float) -> T:
    """Run `action` in a thread and return its result; after `deadline_s` seconds the thread is abandoned.

    A socket's timeout limits each silence, not the total: a server that sends one byte at a time would never time out.

    Raises:
        FaultError: the deadline has passed.
        Exception: whatever `action` raises.
    """
    outcome: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((True, action()))
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            outcome.put((False, error))

    threading.Thread(target=work, daemon=True, name="http-call").start()
    try:
        is_done, result = outcome.get(timeout=deadline_s)
    except queue.Empty:
        is_done, result = False, FaultError(f"no complete answer within {deadline_s:g} s")
    if is_done:
        return result  # type: ignore[no-any-return]
    raise result


def send(session: requests.Session, method: str, url: str, **options: Any) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request; returns status, headers and body.

    Raises:
        FaultError: the call failed; the reason holds neither URL nor headers, which may carry secrets.
    """
    try:
        response = session.request(method, url, **options)
        return response.status_code, response.headers, response.content
    except requests.exceptions.ContentDecodingError:
        reason = "the answer could not be decompressed"
    except requests.exceptions.ConnectTimeout:
        reason = "no connection in time"
    except requests.exceptions.Timeout:
        reason = "no answer in time"
    except requests.exceptions.ChunkedEncodingError:
        reason = "the answer was cut short"
    except (requests.exceptions.RequestException, OSError):
        reason = "the connection failed"
    raise FaultError(reason)
