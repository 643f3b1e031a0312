"""Calls to a Reddit that misbehaves: what heals is retried, what does not is said in a few plain words."""

import json
import logging
import traceback

import pytest

from ingest.http.calls import FaultError
from ingest.live_reddit.api import RedditApi, dump_line, user_agent
from ingest.live_reddit.call import ApiConfig, UnreadableError
from lurker.errors import CallError, LurkerError
from tests.ingest import reddit_double as double
from tests.ingest import reddit_faults as faults
from tests.ingest.little_reddit import little_reddit
from tests.ingest.reddit_double import Server

WORLD = little_reddit(n_posts=2, n_comments=3)
NEW = "/r/college/new"


def names(answer):
    if not isinstance(answer, dict) or not answer["data"]["children"]:
        raise FaultError("nothing", is_suspect=True)
    return [one["data"]["id"] for one in answer["data"]["children"]]


HEALS = {
    "429": faults.status(429),
    "429 with Retry-After": faults.status(429, retry_after="17"),
    "429 with a date": faults.status(429, retry_after="Sun, 15 Jun 2025 15:07:00 GMT"),
    "429 with nonsense": faults.status(429, retry_after="a while"),
    "500": faults.status(500),
    "502": faults.status(502),
    "503": faults.status(503, retry_after="3.5"),
    "504": faults.status(504),
    "408": faults.status(408),
    "520": faults.status(520),
    "reset": faults.reset,
    "short body": faults.short_body,
    "read timeout": faults.hang,
    "dripping body": faults.drip,
    "cut JSON": faults.cut_json,
    "HTML with 200": faults.html,
    "bad gzip": faults.bad_gzip,
    "empty 200": faults.empty,
    "null": faults.null,
    "no children": faults.no_children,
    "401 once": faults.status(401),
    "401 with a header": faults.status(401, www_authenticate='Bearer realm="reddit", error="invalid_token"'),
}


@pytest.mark.parametrize("fault", HEALS.values(), ids=HEALS.keys())
def test_a_transient_fault_costs_only_a_retry(fault, make_api):
    impatience = {faults.drip: {"call_timeout_s": 0.4}, faults.hang: {"silence_timeout_s": 0.4}}
    with Server(WORLD, faults.first(1, fault)) as server:
        api = make_api(server, **impatience.get(fault, {}))
        assert api.call(NEW, names) == WORLD.listings["college"]
        assert server.counts["listing"] == 2
        assert api.n_faults == 1


LASTING = {
    "429": (faults.status(429), "too many requests (status 429), 7 tries"),
    "503": (faults.status(503), "status 503, 7 tries"),
    "reset": (faults.reset, "the connection failed, 7 tries"),
    "short body": (faults.short_body, "the answer was cut short, 7 tries"),
    "cut JSON": (faults.cut_json, "truncated or damaged JSON, 7 tries"),
    "HTML with 200": (faults.html, "HTML instead of JSON, 7 tries"),
    "bad gzip": (faults.bad_gzip, "the answer could not be decompressed, 7 tries"),
    "empty 200": (faults.empty, "an empty answer, 3 tries"),
    "no children": (faults.no_children, "nothing, 3 tries"),
}


@pytest.mark.parametrize(("fault", "reason"), LASTING.values(), ids=LASTING.keys())
def test_a_permanent_fault_is_given_up_and_named(fault, reason, make_api, fake_clock):
    with Server(WORLD, faults.always(fault, "listing")) as server:
        with pytest.raises(UnreadableError) as caught:
            make_api(server).call(NEW, names)
        assert (caught.value.reason, caught.value.is_transient) == (reason, True)
        assert sum(fake_clock.slept) < 150


def test_a_slow_body_cannot_exceed_the_deadline(make_api):
    api_config = {"call_timeout_s": 0.2, "max_tries": 2}
    reason = "no complete answer within .* s, 2 tries"
    with Server(WORLD, faults.always(faults.drip, "listing")) as server, pytest.raises(UnreadableError, match=reason):
        make_api(server, **api_config).call(NEW, names)


def test_retry_after_is_respected(make_api, fake_clock):
    with Server(WORLD, faults.first(1, faults.status(429, retry_after="17"))) as server:
        make_api(server).call(NEW, names)
    assert 17.0 <= sum(fake_clock.slept) < 20.0


def test_headers_that_are_not_numbers_are_ignored(make_api):
    with Server(WORLD) as server:
        server.headers = {"x-ratelimit-remaining": "many", "x-ratelimit-used": "x", "x-ratelimit-reset": "59.9s"}
        assert make_api(server).call(NEW, names)


def test_calls_are_paced_by_the_headers(make_api, fake_clock):
    with Server(WORLD) as server:
        server.headers = {"x-ratelimit-remaining": "70.0", "x-ratelimit-used": "30", "x-ratelimit-reset": "300"}
        api = make_api(server)
        for _ in range(5):  # and a token before the first
            api.call(NEW, names)
    assert fake_clock.time_s == pytest.approx(4 * 5.0 + 0.6, abs=5.0)


REFUSED = {
    "private": "private (status 403)",
    "quarantined": "quarantined (status 403)",
    "banned": "banned (status 404)",
    "unknown": "there is no such subreddit (status 302)",
    "451": "unavailable for legal reasons (status 451)",
    "missing": "not found (status 404)",
}


@pytest.mark.parametrize(("how", "reason"), REFUSED.items())
def test_a_refusal_is_reported_without_retries(how, reason, make_api):
    world = little_reddit(n_posts=1)
    world.closed["college"] = how
    with Server(world) as server:
        with pytest.raises(UnreadableError) as caught:
            make_api(server).call(NEW, names)
        assert (caught.value.reason, caught.value.is_transient) == (reason, False)
        assert server.counts["listing"] == 1


TOKEN_FAULTS = {name: HEALS[name] for name in ("429", "503", "reset", "cut JSON", "HTML with 200", "empty 200", "null")}


@pytest.mark.parametrize("fault", TOKEN_FAULTS.values(), ids=TOKEN_FAULTS.keys())
def test_faults_of_the_token_endpoint_are_retried(fault, make_api):
    with Server(WORLD, faults.first(2, fault, kind="token")) as server:
        assert make_api(server).call(NEW, names)
        assert server.counts == {"token": 3, "listing": 1}


def test_an_expired_token_is_replaced(make_api):
    with Server(WORLD) as server:
        api = make_api(server)
        api.call(NEW, names)
        server.tokens.clear()
        server.fault = lambda request, _: server.tokens.add(double.TOKEN) if request.kind == "token" else None
        assert api.call(NEW, names)


def oauth_error(_, reply):
    reply.value = {"error": "invalid_grant"}


CREDENTIAL_FAULTS = {
    "401 for the token": faults.always(faults.status(401), "token"),
    "400 for the token": faults.always(faults.status(400), "token"),
    "invalid_grant with 200": faults.always(oauth_error, "token"),
    "insufficient scope": faults.always(
        faults.status(403, www_authenticate='Bearer realm="reddit", error="insufficient_scope"'), "listing"
    ),
}


@pytest.mark.parametrize("fault", CREDENTIAL_FAULTS.values(), ids=CREDENTIAL_FAULTS.keys())
def test_refused_credentials_raise_one_clear_error(fault, make_api):
    with Server(WORLD, fault) as server:
        with pytest.raises(LurkerError, match="Reddit refuses the credentials") as caught:
            make_api(server).call(NEW, names)
        assert "praw_client_id" in caught.value.next_step
        assert sum(server.counts.values()) <= 4


FINAL_FAULTS = {
    **{f"{name} for data": faults.always(fault, "listing") for name, (fault, _) in LASTING.items()},
    **{
        f"{name} for the token": faults.always(fault, "token")
        for name, (fault, _) in LASTING.items()
        if name != "no children"
    },
    **CREDENTIAL_FAULTS,
}


@pytest.mark.parametrize("fault", FINAL_FAULTS.values(), ids=FINAL_FAULTS.keys())
def test_no_secret_is_in_an_error_its_causes_or_a_log(fault, make_api, caplog):
    """Every exception down the chain, and every log line of every library."""
    caplog.set_level(logging.DEBUG)
    with Server(WORLD, fault) as server, pytest.raises((UnreadableError, LurkerError)) as caught:
        make_api(server).call(NEW, names)
    error, texts = caught.value, [caplog.text]
    while error is not None:
        texts += [*traceback.format_exception(error), repr(vars(error)), repr(error.args)]
        error = error.__cause__ or error.__context__
    assert "Fetching: GET" in caplog.text
    for text in texts:
        assert double.CLIENT_SECRET not in text
        assert double.TOKEN not in text


def test_missing_credentials_are_reported_with_what_to_set(monkeypatch, credentials, fake_clock):
    for missing in ("client_secret", "client_id"):
        monkeypatch.delenv(f"praw_{missing}")
        with pytest.raises(CallError, match=f"{missing} is not set") as caught:
            RedditApi(ApiConfig(), fake_clock.clock(), None)
        assert "praw.ini" in caught.value.next_step


def test_credentials_come_from_praw_ini(monkeypatch, credentials, tmp_path, make_api):
    for name in ("client_id", "client_secret"):
        monkeypatch.delenv(f"praw_{name}")
    (tmp_path / "praw.ini").write_text("[other]\nclient_id=abc\nclient_secret=def\nusername=someone\n")
    monkeypatch.setenv("praw_site", "other")
    with Server(WORLD) as server:
        make_api(server).call(NEW, names)
        agent = server.log[0][4]["User-Agent"]
    assert ":lurker:v" in agent
    assert "(by u/someone)" in agent
    monkeypatch.setenv("praw_site", "absent")
    with pytest.raises(CallError, match=r"no section \[absent\]"):
        make_api(server)


def test_the_user_agent_is_descriptive():
    assert user_agent(None).count(":") == 2
    assert user_agent("me").endswith("(by u/me)")


def test_an_invalid_url_is_rejected():
    with pytest.raises(ValueError, match="got 'reddit"):
        ApiConfig(url="reddit.test")


def test_info_takes_a_hundred_ids_and_leaves_out_unknown_ones(make_api):
    post = WORLD.listings["college"][0]
    some = next(iter(WORLD.comments[post]))
    with Server(WORLD) as server:
        api = make_api(server)
        found = api.info([f"t3_{post}", f"t1_{some}", "t1_zzzzz"])
        assert set(found) == {f"t3_{post}", f"t1_{some}"}
        with pytest.raises(UnreadableError, match="none of the requested items, 3 tries"):
            api.info(["t1_zzzzz"])
        with pytest.raises(ValueError, match="at most 100 ids, got 101"):
            api.info(["t1_a"] * 101)


def test_a_line_is_escaped_as_in_dumps_and_keeps_known_fields_only():
    line = dump_line({"id": "a", "body": "1 < 2 & &amp;", "odd": 1, "author": "\ud800\x00", "retrieved_on": 5}, 7)
    assert json.loads(line) == {
        "id": "a",
        "body": "1 &lt; 2 &amp; &amp;amp;",
        "author": "\ud800\x00",
        "retrieved_on": None,
        "retrieved_utc": 7,
    }
    assert line.endswith(b"}\n")


def test_a_lasting_401_for_data_is_a_failure_of_that_call_only(make_api):
    """The token endpoint accepts the credentials, so the run continues."""
    with Server(WORLD, faults.always(faults.status(401), "listing")) as server:
        with pytest.raises(UnreadableError, match=r"unauthorized \(status 401\), 3 tries") as caught:
            make_api(server).call(NEW, names)
        assert (caught.value.is_transient, caught.value.is_suspect) == (True, False)
    with Server(WORLD, faults.first(2, faults.status(401), "listing")) as server:
        assert make_api(server).call(NEW, names)


def test_a_bare_429_waits_at_least_two_seconds_doubling(make_api, fake_clock):
    with Server(WORLD, faults.first(3, faults.status(429), "listing")) as server:
        server.headers = {}
        make_api(server).call(NEW, names)
    long = [wait_s for wait_s in fake_clock.slept if wait_s >= 1.0]
    assert [wait_s >= least for wait_s, least in zip(long, (2.0, 4.0, 8.0), strict=True)] == [True] * 3
