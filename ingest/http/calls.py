"""One bounded HTTP call, shared by Reddit's API and Arctic Shift's: a total deadline, and failures in plain words."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests

T = TypeVar("T")


class FaultError(Exception):
    """One call failed and may succeed when repeated.

    asked_s: how long the server asked to wait. is_suspect: the answer was well formed, yet too empty to be believed.
    """

    def __init__(self, reason: str, *, asked_s: float | None = None, is_suspect: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.asked_s = asked_s
        self.is_suspect = is_suspect


def in_time(action: Callable[[], T], limit_s: float) -> T:
    """What `action` returns, if it does within so many seconds; else it is left to itself.

    A socket's timeout bounds each silence, not the whole: a server that drips a byte at a time would never end.
    Errors: FaultError when the time is over; what `action` raises.
    """
    outcome: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((True, action()))
        except Exception as error:  # noqa: BLE001 - handed to the caller
            outcome.put((False, error))

    threading.Thread(target=work, daemon=True, name="reddit-call").start()
    try:
        is_done, result = outcome.get(timeout=limit_s)
    except queue.Empty:
        is_done, result = False, FaultError(f"no whole answer within {limit_s:g} s")
    if is_done:
        return result  # type: ignore[no-any-return]
    raise result


def exchange(session: requests.Session, method: str, url: str, **options: Any) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of one call.

    Raises:
        FaultError: the call failed; the reason holds neither address nor headers.
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
        reason = "the answer was cut"
    except (requests.exceptions.RequestException, OSError):
        reason = "the connection failed"
    raise FaultError(reason)
