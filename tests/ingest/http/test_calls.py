"""One HTTP call: a deadline for the whole call, and failures in plain words without secrets."""

import threading

import pytest
import requests

from ingest.http.calls import FaultError, run_with_deadline, send


class FailingSession:
    """A session whose every call raises, or returns a response of a given status."""

    def __init__(self, error=None):
        self.error = error

    def request(self, method, url, **options):
        if self.error:
            raise self.error
        response = requests.Response()
        response.status_code, response._content = 503, f"{method} {url} {options}".encode()
        response.headers["Retry-After"] = "7"
        return response


def test_the_result_of_an_action_is_returned():
    assert run_with_deadline(lambda: 7, 5.0) == 7


def test_an_error_of_the_action_is_raised_in_the_caller():
    with pytest.raises(ZeroDivisionError):
        run_with_deadline(lambda: 1 // 0, 5.0)


def test_an_action_that_misses_its_deadline_is_a_fault():
    finish = threading.Event()
    with pytest.raises(FaultError, match=r"no complete answer within 0\.05 s"):
        run_with_deadline(lambda: finish.wait(60), 0.05)
    finish.set()


def test_an_answer_of_any_status_is_returned():
    status, headers, body = send(FailingSession(), "GET", "http://host/path", timeout=1)
    assert (status, headers["retry-after"]) == (503, "7")
    assert body == b"GET http://host/path {'timeout': 1}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.exceptions.ContentDecodingError, "the answer could not be decompressed"),
        (requests.exceptions.ConnectTimeout, "no connection in time"),
        (requests.exceptions.ReadTimeout, "no answer in time"),
        (requests.exceptions.ChunkedEncodingError, "the answer was cut short"),
        (requests.exceptions.SSLError, "the connection failed"),
        (ConnectionResetError, "the connection failed"),
    ],
)
def test_failures_are_named_without_the_url(error, reason):
    with pytest.raises(FaultError) as caught:
        send(FailingSession(error("http://host/?token=secret")), "GET", "http://host/?token=secret")
    assert caught.value.reason == reason
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert (caught.value.server_wait_s, caught.value.is_suspect) == (None, False)
