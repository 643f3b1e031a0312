"""Live Reddit into the workspace: whole threads, whatever the server does, and a stop costs one thread."""

import contextlib
import json
import logging

import polars as pl
import pytest

from ingest.live_reddit.live import LiveConfig, check_subreddit, ingest_reddit
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from tests.ingest import reddit_double as double
from tests.ingest.reddit_double import CLIENT_SECRET, TOKEN, Server, little_reddit

WORLD = little_reddit(("college", "Emory"), n_posts=6, n_comments=16)

SMALL = little_reddit(n_posts=2, n_comments=24)


def comments_of(world, subreddit=None):
    wanted = [name for name, post in world.posts.items() if subreddit in (None, post["subreddit"])]
    return {name: one for post in wanted for name, one in world.comments[post].items()}


def tables(workspace):
    return [check(workspace.scan(t).collect(), t).sort(t.key) for t in (POSTS, COMMENTS, OBSERVATIONS)]


def ids(workspace, table):
    return set(workspace.scan(table).collect()[table.key[0]])


@pytest.fixture
def serve():
    """serve(world, fault) is the world's server, always at the same address, with its counts at zero."""
    with contextlib.ExitStack() as stack:
        servers = {}

        def serve(world=WORLD, fault=lambda request, reply: None):
            if id(world) not in servers:
                servers[id(world)] = stack.enter_context(Server(world))
            server = servers[id(world)]
            server.fault = fault
            server.counts.clear()
            server.log.clear()
            return server

        yield serve


@pytest.fixture
def read(workspace, make_api, serve):
    """read(fault) ingests both subreddits from a double; reports, server."""

    def read(fault=lambda request, reply: None, world=WORLD, names=("college", "emory"), **config):
        server = serve(world, fault)
        return ingest_reddit(workspace, names, LiveConfig(**config), make_api(server)), server

    return read


# --- what comes in ---------------------------------------------------------------------------------------------------


def test_posts_and_all_comments_reach_the_tables_as_they_are(read, workspace):
    reports, _ = read()
    posts, comments, observations = tables(workspace)
    assert set(posts["post_id"]) == set(WORLD.posts)
    everything = comments_of(WORLD)
    assert comments.height == len(everything)
    assert observations.height == posts.height + comments.height
    for row in comments.iter_rows(named=True):
        one = everything[row["comment_id"]]
        assert (row["body"], row["score"], row["created_utc"]) == (one["body"], one["score"], int(one["created_utc"]))
        assert row["parent_id"] == one["parent_id"][3:]
        assert row["is_top_level"] == one["parent_id"].startswith("t3_")
        assert row["is_edited"] == (one["edited"] is not False)
        assert row["author_hash"] is not None
    for row in posts.iter_rows(named=True):
        assert row["title"] == WORLD.posts[row["post_id"]]["title"]
        assert row["body"] == "Ask u/[name] & me, &lt;really&gt;?"
    assert set(comments["source"]) == {"reddit"}
    assert [(one.subreddit, one.n_posts, one.n_missing, one.n_short) for one in reports] == [
        ("college", 6, 0, 0),
        ("emory", 6, 0, 0),
    ]
    assert list((workspace.root / "staging").iterdir()) == []


def test_a_second_run_adds_observations_and_no_rows(read, workspace, fake_clock):
    read()
    before = tables(workspace)
    fake_clock.now_utc += 3600
    read()
    after = tables(workspace)
    assert [table.height for table in after] == [before[0].height, before[1].height, 2 * before[2].height]
    assert after[1].drop("retrieved_utc").equals(before[1].drop("retrieved_utc"))


def test_top_level_only(read, workspace):
    read(is_top_level_only=True)
    wanted = {name for name, one in comments_of(WORLD).items() if one["parent_id"].startswith("t3_")}
    assert ids(workspace, COMMENTS) == wanted


@pytest.mark.parametrize(("keep", "n_posts"), [(False, 9), (True, 10)])
def test_nsfw_posts_are_not_read_by_default(read, workspace, keep, n_posts):
    world = little_reddit(n_posts=10, n_comments=4)
    (report,), server = read(world=world, names=["college"], keep_nsfw=keep)
    assert (report.n_listed, report.n_nsfw, report.n_posts) == (10, 0 if keep else 1, n_posts)
    assert server.counts["tree"] == n_posts
    assert {row["post_id"] for row in tables(workspace)[1].iter_rows(named=True)} <= ids(workspace, POSTS)


@pytest.mark.parametrize("keep", [False, True])
def test_bots_are_dropped_by_default(read, workspace, keep):
    world = little_reddit(n_posts=1, n_comments=8)
    bot = next(iter(comments_of(world).values()))
    bot["author"] = "AutoModerator"
    read(world=world, names=["college"], keep_bots=keep)
    assert (bot["id"] in ids(workspace, COMMENTS)) == keep


def test_a_profile_is_read_when_it_is_named(read, workspace):
    world = little_reddit(("u_somebody",), n_posts=2, n_comments=4)
    read(world=world, names=["u_somebody"])
    assert ids(workspace, COMMENTS) == set(comments_of(world))


def test_surrogates_and_nul_are_removed(read, workspace):
    world = little_reddit(n_posts=1, n_comments=4)
    odd, plain = list(comments_of(world).values())[:2]
    odd["body"] = "half a \ud83d smile\x00 and the rest"
    plain["body"] = "a whole \U0001f600 one"
    read(world=world, names=["college"])
    bodies = dict(tables(workspace)[1].select("comment_id", "body").iter_rows())
    assert bodies[odd["id"]].replace("�", "?") == "half a ? smile and the rest"
    assert bodies[plain["id"]] == "a whole \U0001f600 one"
    "".join(bodies.values()).encode()


# --- faults, each alone and all together -----------------------------------------------------------------------------

PASSING = {
    "429": double.status(429, retry_after="2"),
    "429 with nonsense": double.status(429, retry_after="soon"),
    "500": double.status(500),
    "502": double.status(502),
    "503": double.status(503),
    "504": double.status(504),
    "reset": double.reset,
    "short body": double.short_body,
    "cut JSON": double.cut_json,
    "HTML with 200": double.html,
    "bad gzip": double.bad_gzip,
    "empty 200": double.empty,
    "null": double.null,
    "no children": double.no_children,
    "401 once": double.status(401),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_transient_fault_loses_no_row(read, workspace, fault):
    """The first answer of each kind has it: the listing, a tree, its stubs and what stands deeper."""
    (report,), server = read(double.first(1, fault), world=SMALL, names=["college"])
    assert (ids(workspace, POSTS), ids(workspace, COMMENTS)) == (set(SMALL.posts), set(comments_of(SMALL)))
    assert not report.failed and not report.incomplete and report.refused is None
    assert all(server.counts[kind] > 1 for kind in ("listing", "tree", "more", "below"))


ODD_FIELDS = {
    "author null": ("author", lambda data: data.update(author=None)),
    "no author": ("author", lambda data: data.pop("author")),
    "score null": ("score", lambda data: data.update(score=None)),
    "no score": ("score", lambda data: data.pop("score")),
    "no edited": ("edited", lambda data: data.pop("edited")),
}


@pytest.mark.parametrize(("field", "change"), ODD_FIELDS.values(), ids=ODD_FIELDS.keys())
def test_an_irregular_field_loses_only_itself(read, workspace, field, change):
    spoil = double.fields(lambda _, data: change(data))
    (report,), _ = read(lambda *a: spoil(*a) if a[0].kind != "token" else None, world=SMALL, names=["college"])
    posts, comments, _ = tables(workspace)
    assert (set(posts["post_id"]), set(comments["comment_id"])) == (set(SMALL.posts), set(comments_of(SMALL)))
    for table in (posts, comments):
        assert table["author_hash"].is_null().all() == (field == "author")
        assert table["score"].is_null().all() == (field == "score")
    assert report.incomplete == {}


@pytest.mark.parametrize("seed", range(2))
def test_all_faults_together_lose_no_row(read, workspace, seed):
    """A third of all answers, tokens included, is spoiled in one of the ways above."""
    reports, server = read(double.at_random([*PASSING.values()][:-1], share=0.33, seed=seed))
    assert (ids(workspace, POSTS), ids(workspace, COMMENTS)) == (set(WORLD.posts), set(comments_of(WORLD)))
    assert all(not one.failed and one.n_missing == one.n_short == one.n_orphans == 0 for one in reports)
    assert tables(workspace)[1]["comment_id"].is_unique().all()
    assert server.counts.total() > 60


# --- what Reddit refuses ---------------------------------------------------------------------------------------------

CLOSED = {
    "private": "private (status 403)",
    "quarantined": "quarantined (status 403)",
    "banned": "banned (status 404)",
    "unknown": "there is no such subreddit (status 302)",
    "451": "unavailable for legal reasons (status 451)",
}


@pytest.mark.parametrize(("how", "reason"), CLOSED.items())
def test_a_closed_subreddit_is_reported_and_the_others_are_read(read, workspace, how, reason):
    world = little_reddit(("closed", "college"), n_posts=2, n_comments=5)
    world.closed["closed"] = how
    reports, _ = read(world=world, names=["closed", "college"])
    assert [one.refused for one in reports] == [reason, None]
    assert ids(workspace, COMMENTS) == set(comments_of(world, "college"))


def test_a_deleted_thread_is_reported_and_the_others_are_read(read, workspace):
    world = little_reddit(n_posts=4, n_comments=5)
    gone, locked, *others = world.listings["college"]
    world.closed |= {gone: "missing", locked: "private"}
    (report,), _ = read(world=world, names=["college"])
    assert report.skipped == {gone: "not found (status 404)", locked: "private (status 403)"}
    assert ids(workspace, POSTS) == set(others)


def test_a_thread_that_fails_gets_a_second_chance_after_the_others(read, workspace):
    victim = WORLD.listings["college"][1]
    n_calls = 0

    def fault(request, reply):
        nonlocal n_calls
        if request.path == f"/comments/{victim}":
            n_calls += 1
            if n_calls <= 7:  # all tries of the first chance
                double.refuse(reply, 503, {})

    (report, _), _ = read(fault)
    assert report.failed == {}
    assert ids(workspace, POSTS) == set(WORLD.posts)


def test_a_thread_that_stays_broken_is_reported_and_read_by_the_next_run(read, workspace):
    victim = WORLD.listings["college"][1]

    def fault(request, reply):
        if request.path == f"/comments/{victim}":
            double.html(request, reply)

    reports, _ = read(fault)
    assert reports[0].failed == {victim: "HTML instead of JSON, 7 tries"}
    assert ids(workspace, POSTS) == set(WORLD.posts) - {victim}
    reports, server = read(names=["college"])
    assert (reports[0].n_resumed, server.counts["tree"], server.counts["listing"]) == (5, 1, 0)
    assert ids(workspace, POSTS) == set(WORLD.posts)
    assert list((workspace.root / "staging").iterdir()) == []


def test_comments_never_returned_are_counted(read):
    victim = max(comments_of(WORLD))  # the last of a thread has no replies

    def fault(request, reply):
        if request.kind in ("tree", "more", "below", "info"):
            cut = json.dumps(without(reply.value, victim))
            reply.body = cut.encode()

    reports, _ = read(fault)
    assert sum(one.n_short for one in reports) == 1
    assert len(reports[1].incomplete) == 1


def without(value, name):
    """JSON without the comment of that id; stubs still name it."""
    if isinstance(value, dict):
        return {key: without(one, name) for key, one in value.items()}
    if isinstance(value, list):
        return [without(one, name) for one in value if not (isinstance(one, dict) and is_comment(one, name))]
    return value


def is_comment(one, name):
    return one.get("kind") == "t1" and one["data"]["id"] == name


def test_a_server_that_is_down_ends_the_run_with_one_sentence(read):
    with pytest.raises(LurkerError, match="failed 5 times in a row, the last time with: status 503, 7 tries"):
        read(double.always(double.status(503), "tree"))


# --- a stop ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 2, 9, 20, 26])
def test_an_interruption_costs_at_most_one_thread(read, serve, workspace, make_api, stop, monkeypatch):
    server = serve()
    api = make_api(server)
    call = api.call

    def stopping(*arguments, **options):
        if api.n_calls == stop:
            raise KeyboardInterrupt
        return call(*arguments, **options)

    monkeypatch.setattr(api, "call", stopping)
    with pytest.raises(KeyboardInterrupt):
        ingest_reddit(workspace, ["college", "emory"], LiveConfig(), api)
    trees = [entry[2] for entry in server.log if kind_is(entry, "tree")]
    reports, again = read()
    asked_again = [entry[2] for entry in again.log if kind_is(entry, "tree")]
    assert len(set(trees) & set(asked_again)) <= 1
    assert len(set(trees) | set(asked_again)) == 12
    assert (ids(workspace, POSTS), ids(workspace, COMMENTS)) == (set(WORLD.posts), set(comments_of(WORLD)))
    assert sum(one.n_posts for one in reports) == 12
    assert list((workspace.root / "staging").iterdir()) == []


def kind_is(entry, kind):
    return double.kind_of(entry[2]) == kind


def test_an_old_stopped_run_is_merged_and_its_listing_read_again(read, workspace, fake_clock):
    victim = WORLD.listings["college"][2]

    def fault(request, reply):
        if request.path == f"/comments/{victim}":
            double.html(request, reply)

    read(fault, names=["college"])
    fake_clock.now_utc += 7 * 3600
    (report,), server = read(names=["college"])
    assert (report.n_resumed, server.counts["listing"], server.counts["tree"]) == (0, 1, 6)
    assert tables(workspace)[2].filter(pl.col("kind") == "post").height == 5 + 6


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, credentials, fake_clock, monkeypatch):
    """command(server, *arguments) is `lurker ingest reddit` against the double; its exit code."""
    monkeypatch.setattr("ingest.http.rate_limit.Clock", fake_clock.clock)

    def command(server, *arguments):
        monkeypatch.setenv("LURKER_REDDIT_URL", server.url)
        return run(["--workspace", str(tmp_path / "live"), "ingest", "reddit", *arguments])

    return command


def test_fetched_threads_become_pairs(command, tmp_path, capsys):
    world = little_reddit(n_posts=20, n_comments=16)
    with Server(world) as server:
        assert command(server, "r/college", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["subreddits"][0]["n_posts"] == 18
    assert found["next"].startswith("lurker pairs build")
    assert run(["--workspace", str(tmp_path / "live"), "pairs", "build", "first", "--recipe", "naive"]) == 0
    pairs = pl.read_parquet(tmp_path / "live" / "pairs" / "first" / "pairs.parquet")
    everything = comments_of(world)
    assert pairs.height > 20
    for row in pairs.iter_rows(named=True):
        chosen, rejected = everything[row["chosen_id"]], everything[row["rejected_id"]]
        assert chosen["score"] > rejected["score"]
        assert row["chosen"] == chosen["body"]
        assert row["prompt"].startswith(world.posts[row["post_id"]]["title"])


@pytest.mark.parametrize(
    ("listing", "options", "span"),
    [("new", [], None), ("hot", [], None), ("rising", [], None), ("top", ["--time", "week"], "week")],
)
def test_every_listing(command, listing, options, span):
    with Server(WORLD) as server:
        assert command(server, "college", "--listing", listing, *options, "--limit", "2", "--top-level-only") == 0
        (page,) = [entry for entry in server.log if kind_is(entry, "listing")]
        assert (page[2], page[3].get("t")) == (f"/r/college/{listing}", span)
        assert server.counts["tree"] == 2


def test_failures_are_printed_and_exit_1(command, capsys):
    world = little_reddit(("college", "closed"), n_posts=3, n_comments=5)
    world.closed |= {"closed": "private", world.listings["college"][0]: "missing"}
    with Server(world) as server:
        assert command(server, "college", "closed") == 1
    printed = capsys.readouterr()
    assert "not found (status 404)" in printed.out
    assert "Not read: r/closed (private (status 403)). Kept from the others: 2 posts" in printed.err
    with Server(world) as server:
        assert command(server, "college") == 0  # a deleted thread is no failure


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a/b"], "'a/b' is not a valid subreddit name"),
        (["college", "--limit", "0"], "greater than or equal to 1"),
        (["college", "--listing", "best"], "best"),
        (["college", "--reddit-url", "nowhere"], "http://"),
        ([], "SUBREDDIT"),
    ],
)
def test_a_wrong_call_is_reported_before_any_request(command, tmp_path, capsys, arguments, said):
    with Server(WORLD) as server:
        assert command(server, *arguments) == 2
        assert server.log == []
    assert said in capsys.readouterr().err
    assert not (tmp_path / "live").exists()


def test_missing_credentials_exit_2_and_say_what_to_set(command, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("praw_client_secret")
    with Server(WORLD) as server:
        assert command(server, "college") == 2
    assert "praw_client_id and praw_client_secret" in capsys.readouterr().err
    assert not (tmp_path / "live").exists()


def texts_of(root):
    """All that is written below a folder, Parquet read as rows."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        yield str(pl.read_parquet(path).to_dicts()) if path.suffix == ".parquet" else path.read_bytes().decode()


@pytest.mark.parametrize("kind", [None, "tree", "token"])
@pytest.mark.parametrize("fault", [double.status(401), double.html])
def test_no_secret_is_printed_logged_or_written(command, tmp_path, capsys, caplog, monkeypatch, fault, kind):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("praw_username", "someone_responsible")
    monkeypatch.setenv("praw_password", "pa55word-of-tests")
    with Server(WORLD, double.first(10**9 if kind else 1, fault, kind)) as server:
        code = command(server, "college")
        agents = {entry[4]["User-Agent"] for entry in server.log}
    printed = capsys.readouterr()
    said = [printed.out, printed.err, caplog.text, *texts_of(tmp_path / "live")]
    assert code in (0, 1)
    assert len(said) > 4
    for secret in (CLIENT_SECRET, TOKEN, "pa55word-of-tests"):
        assert not any(secret in text for text in said)
    assert all(":lurker:v" in agent and "someone_responsible" in agent for agent in agents)


@pytest.mark.parametrize("name", ["college", "r/college", "/r/college/", "u_someone", "ab+c_d"])
def test_valid_subreddit_names(name):
    assert "/" not in check_subreddit(name)


LOST = {
    "subreddit null": lambda data: data.update(subreddit=None),
    "id of a subreddit": lambda data: data.update(subreddit="not a name!"),
    "time before 1970": lambda data: data.update(created_utc=-5),
    "time is text": lambda data: data.update(created_utc="yesterday"),
}


@pytest.mark.parametrize("change", LOST.values(), ids=LOST.keys())
def test_a_row_is_stored_or_counted(read, workspace, change):
    spoil = double.fields(lambda kind, data: change(data) if kind == "t1" else None)
    (report,), _ = read(lambda *a: spoil(*a) if a[0].kind != "token" else None, world=SMALL, names=["college"])
    n_stored = workspace.scan(COMMENTS).collect().height if report.n_comments else 0
    n_lost = sum(report.not_stored.values())
    assert n_stored + n_lost == len(comments_of(SMALL))
    assert report.n_short == n_lost
    assert bool(report.incomplete) == bool(n_lost)


def test_hidden_scores_are_no_observations(read, workspace):
    world = little_reddit(n_posts=1, n_comments=8)
    hidden = next(iter(comments_of(world).values()))
    hidden |= {"score": 1, "score_hidden": True}
    read(world=world, names=["college"])
    assert hidden["id"] in ids(workspace, COMMENTS)
    assert hidden["id"] not in set(tables(workspace)[2]["item_id"])


def test_an_incomplete_thread_is_read_again_with_the_failed_one(read, workspace):
    broken, cut = WORLD.listings["college"][:2]

    def fault(request, reply):
        if request.path == f"/comments/{broken}":
            double.html(request, reply)
        if request.query.get("link_id") == f"t3_{cut}":
            double.refuse(reply, 403, {})

    (report,), _ = read(fault, names=["college"])
    assert (set(report.failed), set(report.incomplete)) == ({broken}, {cut})
    (report,), server = read(names=["college"])
    assert (report.n_resumed, server.counts["tree"], report.incomplete) == (4, 2, {})
    assert ids(workspace, COMMENTS) == set(comments_of(WORLD, "college"))


def test_no_author_is_in_any_file_of_a_failed_run(read, workspace):
    world = little_reddit(n_posts=2, n_comments=40)
    authors = {one["author"] + "_with_a_long_name" for one in comments_of(world).values()}
    for one in comments_of(world).values():
        one |= {"author": one["author"] + "_with_a_long_name", "body": one["body"] + " in more than twelve bytes"}
    victim = world.listings["college"][0]
    read(lambda q, r: double.html(q, r) if q.path == f"/comments/{victim}" else None, world=world, names=["college"])
    files = [path for path in (workspace.root / "staging").rglob("*") if path.is_file()]
    assert any(path.suffix == ".arrow" for path in files)
    assert not [(path.name, name) for path in files for name in authors if name.encode() in path.read_bytes()]
