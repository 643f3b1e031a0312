"""Live Reddit into the workspace: whole threads, whatever the server does, and a stop costs one thread."""

import polars as pl
import pytest

from ingest.live_reddit.live import LiveConfig, check_subreddit, ingest_reddit
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from tests.ingest import reddit_double as double
from tests.ingest import reddit_faults as faults
from tests.ingest.little_reddit import TWO_SUBREDDITS as WORLD
from tests.ingest.little_reddit import comments_of, little_reddit

SMALL = little_reddit(n_posts=2, n_comments=24)


def tables(workspace):
    return [check(workspace.scan(t).collect(), t).sort(t.key) for t in (POSTS, COMMENTS, OBSERVATIONS)]


def ids(workspace, table):
    return set(workspace.scan(table).collect()[table.key[0]])


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
    "429": faults.status(429, retry_after="2"),
    "429 with nonsense": faults.status(429, retry_after="soon"),
    "500": faults.status(500),
    "502": faults.status(502),
    "503": faults.status(503),
    "504": faults.status(504),
    "reset": faults.reset,
    "short body": faults.short_body,
    "cut JSON": faults.cut_json,
    "HTML with 200": faults.html,
    "bad gzip": faults.bad_gzip,
    "empty 200": faults.empty,
    "null": faults.null,
    "no children": faults.no_children,
    "401 once": faults.status(401),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_transient_fault_loses_no_row(read, workspace, fault):
    """The first answer of each kind has it: the listing, a tree, its stubs and what stands deeper."""
    (report,), server = read(faults.first(1, fault), world=SMALL, names=["college"])
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
    spoil = faults.fields(lambda _, data: change(data))
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
    reports, server = read(faults.at_random([*PASSING.values()][:-1], share=0.33, seed=seed))
    assert (ids(workspace, POSTS), ids(workspace, COMMENTS)) == (
        set(WORLD.posts),
        set(comments_of(WORLD)),
    )
    assert all(not one.failed and one.n_missing == one.n_short == one.n_orphans == 0 for one in reports)
    assert tables(workspace)[1]["comment_id"].is_unique().all()
    assert server.counts.total() > 60


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
    assert (ids(workspace, POSTS), ids(workspace, COMMENTS)) == (
        set(WORLD.posts),
        set(comments_of(WORLD)),
    )
    assert sum(one.n_posts for one in reports) == 12
    assert list((workspace.root / "staging").iterdir()) == []


def kind_is(entry, kind):
    return double.kind_of(entry[2]) == kind


def test_an_old_stopped_run_is_merged_and_its_listing_read_again(read, workspace, fake_clock):
    victim = WORLD.listings["college"][2]

    def fault(request, reply):
        if request.path == f"/comments/{victim}":
            faults.html(request, reply)

    read(fault, names=["college"])
    fake_clock.now_utc += 7 * 3600
    (report,), server = read(names=["college"])
    assert (report.n_resumed, server.counts["listing"], server.counts["tree"]) == (0, 1, 6)
    assert tables(workspace)[2].filter(pl.col("kind") == "post").height == 5 + 6


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
    spoil = faults.fields(lambda kind, data: change(data) if kind == "t1" else None)
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


def test_no_author_is_in_any_file_of_a_failed_run(read, workspace):
    world = little_reddit(n_posts=2, n_comments=40)
    authors = {one["author"] + "_with_a_long_name" for one in comments_of(world).values()}
    for one in comments_of(world).values():
        one |= {"author": one["author"] + "_with_a_long_name", "body": one["body"] + " in more than twelve bytes"}
    victim = world.listings["college"][0]
    read(lambda q, r: faults.html(q, r) if q.path == f"/comments/{victim}" else None, world=world, names=["college"])
    files = [path for path in (workspace.root / "staging").rglob("*") if path.is_file()]
    assert any(path.suffix == ".arrow" for path in files)
    assert not [(path.name, name) for path in files for name in authors if name.encode() in path.read_bytes()]
