"""Reddit's API through PRAW: transient faults are retried, and every answer is checked before it is used.

PRAW handles credentials, tokens and the session; `ingest.live_reddit.call` handles each attempt, token requests
included. PRAW's objects are not used: they fetch missing fields with hidden calls, reject duplicates, and take an empty
answer for no data.

Source: https://www.reddit.com/dev/api and https://praw.readthedocs.io.
"""

import configparser
import html
import json
import os
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import praw
from praw.config import Config

from ingest.http.calls import FaultError
from ingest.http.rate_limit import Clock, shared_budget
from ingest.live_reddit.call import ApiConfig, BoundedRequestor, UnauthorizedError, UnreadableError
from ingest.tables.parse import RAW_TYPES
from lurker import __version__
from lurker.errors import CallError, LurkerError

BATCH_IDS = 100
"""Largest number of ids that morechildren and info accept per call."""
_SETUP = (
    "Register a script app at https://www.reddit.com/prefs/apps, then set praw_client_id and praw_client_secret "
    "in the environment, or client_id and client_secret in praw.ini."
)
T = TypeVar("T")


class RedditApi:
    """Calls that are paced and retried, and whose answers are checked."""

    def __init__(self, config: ApiConfig, clock: Clock, rng: random.Random) -> None:
        """Makes no call yet; `rng` draws the jitter of the backoff.

        Raises:
            CallError: no credentials are set.
        """
        self.config = config
        self.clock = clock
        self.budget = shared_budget(config.url or "reddit.com", config.limits, clock, rng)
        self.n_calls = 0
        self.n_faults = 0
        self._reddit = self._connect()

    def call(
        self,
        path: str,
        accept: Callable[[Any], T],
        *,
        params: Mapping[str, str | int] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> T:
        """One answer, with retries: GET, or POST if there are `data`.

        Args:
            path: path of the call, such as /api/info.
            accept: converts the JSON into the result, or raises FaultError if it cannot be the answer to this call.
            params: query parameters.
            data: form data.

        Raises:
            UnreadableError: Reddit refuses, or failed too often.
            LurkerError: Reddit refuses the credentials.
        """
        n_faults = n_suspect = n_unauthorized = 0
        while True:
            self.n_calls += 1
            try:
                method = "POST" if data else "GET"
                answer = self._reddit.request(method=method, path=path, params=dict(params or {}), data=data)
                return accept(answer)
            except FaultError as caught:
                fault = caught
            except UnauthorizedError as caught:
                n_unauthorized += 1
                fault = FaultError("unauthorized (status 401)")
                if caught.is_credentials and n_unauthorized > 1:
                    problem = "Reddit refuses the credentials in praw.ini or the environment (status 401)."
                    raise LurkerError(problem, _SETUP) from None
                self._reddit = self._connect()  # the token may have expired: request another one
            self.n_faults += 1
            n_faults, n_suspect = n_faults + 1, n_suspect + fault.is_suspect
            n_most = max(n_suspect, n_unauthorized)
            if n_faults >= self.config.max_tries or n_most >= self.config.max_suspect_tries:
                is_suspect = n_suspect >= self.config.max_suspect_tries
                raise UnreadableError(f"{fault.reason}, {n_faults} tries", is_transient=True, is_suspect=is_suspect)
            self.budget.back_off(n_faults, fault.server_wait_s, fault.first_wait_s)

    def now_utc(self) -> int:
        """The time, seconds since 1970."""
        return int(self.clock.now())

    def info(self, fullnames: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Posts (`t3_`) and comments (`t1_`) by fullname; those that Reddit does not know are absent.

        An answer without any of them is requested again before it is accepted; raises as `call`.

        Args:
            fullnames: at most BATCH_IDS.
        """
        if len(fullnames) > BATCH_IDS:
            raise ValueError(f"info takes at most {BATCH_IDS} ids, got {len(fullnames)}")

        def accept(answer: Any) -> dict[str, dict[str, Any]]:
            items = {name: data for kind, data in things(answer) if (name := fullname(kind, data)) in wanted}
            if not items:
                raise FaultError("none of the requested items", is_suspect=True)
            return items

        wanted = frozenset(fullnames)
        return self.call("/api/info", accept, params={"id": ",".join(fullnames)})

    def _connect(self) -> praw.Reddit:
        settings: dict[str, Any] = {"check_for_updates": False, "check_for_async": False}
        if self.config.url:
            settings |= dict.fromkeys(("reddit_url", "oauth_url"), self.config.url.rstrip("/"))
        problem = ""
        try:
            config = Config(os.getenv("praw_site") or "DEFAULT")  # noqa: SIM112 - PRAW's own name
            settings["user_agent"] = config.user_agent or user_agent(config.username)
            return praw.Reddit(
                requestor_class=BoundedRequestor,
                requestor_kwargs={"api_config": self.config, "budget": self.budget},
                **settings,
            )
        except praw.exceptions.MissingRequiredAttributeException as error:
            missing = "client_secret" if "client_secret" in str(error) else "client_id"
            problem = f"Reddit requires credentials, and {missing} is not set."
        except configparser.NoSectionError as error:
            problem = f"praw.ini has no section [{error.section}], the value of praw_site."
        except configparser.Error:  # its text may quote secrets from the file
            problem = "praw.ini cannot be read."
        raise CallError(problem, _SETUP)


def open_reddit(url: str | None) -> RedditApi:
    """Reddit's API, or a server that answers like it; credentials are looked up, and no call is made yet.

    Raises:
        CallError: the URL is invalid, or no credentials are set.
    """
    try:
        return RedditApi(ApiConfig(url=url or None), Clock(), random.Random())
    except ValueError as error:
        raise CallError(f"{error}.", "Check the option --reddit-url or LURKER_REDDIT_URL.") from error


def user_agent(username: str | None) -> str:
    """The user agent in the form that Reddit requests: platform, app, version and the user responsible."""
    by = f" (by u/{username})" if username else ""
    return f"{sys.platform}:lurker:v{__version__}{by}"


def things(listing: Any) -> list[tuple[str, dict[str, Any]]]:
    """(kind, data) of each child of a listing that is one of Reddit's things.

    Raises:
        FaultError: the answer is not a listing.
    """
    data = listing.get("data") if isinstance(listing, dict) else None
    children = data.get("children") if isinstance(data, dict) else None
    if not isinstance(children, list):
        raise FaultError("no listing in the answer", is_suspect=True)
    return only_things(children)


def only_things(items: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """(kind, data) of each item that is one of Reddit's things."""
    return [
        (item["kind"], item["data"])
        for item in items
        if isinstance(item, dict) and isinstance(item.get("kind"), str) and isinstance(item.get("data"), dict)
    ]


def dump_line(data: Mapping[str, Any], retrieved_utc: int) -> bytes:
    """One of the API's things as a line of a dump, so that both take the same path.

    Dumps hold texts with Reddit's escapes (&amp; &lt; &gt;), and PRAW requests them raw: they are escaped again here.
    """
    row = {name: data[name] for name in RAW_TYPES if name in data}
    for name in ("title", "selftext", "body", "link_flair_text"):
        if isinstance(text := row.get(name), str):
            row[name] = html.escape(text, quote=False)
    return json.dumps({**row, "retrieved_on": None, "retrieved_utc": retrieved_utc}).encode() + b"\n"


def is_subreddit(name: Any) -> bool:
    """Whether a value can be the name of one subreddit, as rows of tables must have it."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name) is not None


def fullname(kind: str, data: Mapping[str, Any]) -> str | None:
    """The fullname of a thing, such as t3_abc; None if its id is invalid."""
    name = data.get("id")
    return f"{kind}_{name}" if isinstance(name, str) and re.fullmatch(r"[0-9a-z]{1,13}", name) else None
