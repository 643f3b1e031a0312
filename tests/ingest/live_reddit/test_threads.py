"""Threads: every comment behind every stub, and an account of what is not there."""

import json

import pytest

from ingest.live_reddit.call import UnreadableError
from ingest.live_reddit.threads import read_thread
from tests.ingest import reddit_double as double
from tests.ingest import reddit_faults as faults
from tests.ingest.little_reddit import little_reddit
from tests.ingest.reddit_double import Server, thing

WORLD = little_reddit(n_posts=1, n_comments=120)
POST = WORLD.listings["college"][0]
COMMENTS = WORLD.comments[POST]
TOP = {name for name, one in COMMENTS.items() if one["parent_id"].startswith("t3_")}


def read(make_api, fault=lambda request, reply: None, world=WORLD, *, top=False, partial=False):
    with Server(world, fault) as server:
        thread = read_thread(make_api(server), POST, is_top_level_only=top, accept_partial=partial)
        return thread, server


def test_both_kinds_of_stubs_complete_the_tree(make_api):
    thread, server = read(make_api)
    assert set(thread.comments) == set(COMMENTS)
    assert (thread.missing, thread.n_short, thread.n_duplicates, thread.n_orphans, thread.faults) == ([], 0, 0, 0, [])
    assert server.counts["more"] > 0
    assert server.counts["below"] > 0
    for name, one in COMMENTS.items():
        assert {key: thread.comments[name][key] for key in one} == one


def test_a_small_thread_needs_one_call(make_api):
    world = little_reddit(n_posts=1, n_comments=3)
    with Server(world) as server:
        name = world.listings["college"][0]
        assert read_thread(make_api(server), name, is_top_level_only=False, accept_partial=False).n_short == 0
        assert server.counts == {"token": 1, "tree": 1}


def test_top_level_only_skips_replies_and_their_stubs(make_api):
    thread, server = read(make_api, top=True)
    assert set(thread.comments) == TOP
    assert (thread.missing, thread.n_expected, thread.n_orphans) == ([], None, 0)
    assert server.counts["more"] == -(-(len(TOP) - double.SHOWN_SIBLINGS) // 100)
    assert server.counts["below"] == 0


FAULTS = {
    "429": faults.status(429),
    "503": faults.status(503),
    "reset": faults.reset,
    "short body": faults.short_body,
    "cut JSON": faults.cut_json,
    "HTML": faults.html,
    "bad gzip": faults.bad_gzip,
    "empty 200": faults.empty,
    "null": faults.null,
    "no children": faults.no_children,
}


@pytest.mark.parametrize("kind", ["tree", "more", "below"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_transient_fault_loses_no_comment(fault, kind, make_api):
    thread, _ = read(make_api, faults.first(2, fault, kind))
    assert set(thread.comments) == set(COMMENTS)
    assert (thread.missing, thread.faults) == ([], [])


@pytest.mark.parametrize("kind", ["more", "below"])
@pytest.mark.parametrize("fault", [faults.html, faults.status(503)])
def test_a_stub_that_stays_broken_fails_the_thread_or_is_counted(fault, kind, make_api):
    with pytest.raises(UnreadableError) as caught:
        read(make_api, faults.always(fault, kind))
    assert caught.value.is_transient
    thread, _ = read(make_api, faults.always(fault, kind), partial=True)
    assert thread.comments
    assert thread.faults
    assert len(thread.comments) + thread.n_short == len(COMMENTS)


@pytest.mark.parametrize("fault", [faults.null, faults.no_children])
def test_comments_behind_empty_stubs_are_read_by_id(fault, make_api):
    thread, server = read(make_api, faults.always(fault, "more"))
    assert server.counts["more"] >= 3
    assert set(thread.comments) >= TOP
    assert thread.missing == []
    assert len(thread.comments) + thread.n_short == len(COMMENTS)


def test_an_empty_thread_with_a_count_is_requested_again_and_reported(make_api):
    def nothing(request, reply):
        if request.kind in ("tree", "more", "below", "info"):
            faults.no_children(request, reply)

    thread, server = read(make_api, nothing)
    assert thread.comments == {}
    assert thread.n_short == len(COMMENTS)
    assert server.counts["tree"] == 6  # three times in each order


def test_a_post_without_comments_is_accepted(make_api):
    world = little_reddit(n_posts=1, n_comments=0)
    name = world.listings["college"][0]
    with Server(world) as server:
        thread = read_thread(make_api(server), name, is_top_level_only=False, accept_partial=False)
        assert (thread.comments, thread.n_short, server.counts["tree"]) == ({}, 0, 1)


def test_incomplete_morechildren_is_completed_through_info(make_api):
    """Each answer holds half of the requested comments, always the same half."""

    def half(request, reply):
        if request.kind == "more":
            value = reply.value
            things = value["json"]["data"]["things"]
            value["json"]["data"]["things"] = [
                one for one in things if one["kind"] == "more" or int(one["data"]["id"], 36) % 2
            ]
            reply.value = value

    thread, server = read(make_api, half)
    assert set(TOP) <= set(thread.comments)
    assert thread.missing == []
    assert server.counts["info"] > 0


def test_ids_that_reddit_does_not_know_are_counted_as_missing(make_api):
    gone = {
        name for name in list(COMMENTS)[::7] if not any(one["parent_id"] == f"t1_{name}" for one in COMMENTS.values())
    }

    def forgets(request, reply):
        if request.kind in ("more", "info"):
            value = reply.value
            data = value["json"]["data"] if request.kind == "more" else value["data"]
            key = "things" if request.kind == "more" else "children"
            data[key] = [one for one in data[key] if one["kind"] == "more" or one["data"]["id"] not in gone]
            reply.value = value

    thread, _ = read(make_api, forgets)
    assert set(thread.missing) <= gone
    assert len(thread.missing) == thread.n_short > 0
    assert set(thread.comments) | set(thread.missing) == set(COMMENTS)


def test_duplicate_orphan_and_foreign_comments_are_counted(make_api):
    """PRAW would stop with DuplicateReplaceException and AssertionError here."""

    def disorder(request, reply):
        if request.kind == "more" and request.number == 0:
            value = reply.value
            things = value["json"]["data"]["things"]
            first = next(one for one in things if one["kind"] == "t1")
            orphan = thing("t1", {**first["data"], "id": "orphan1", "parent_id": "t1_nowhere"})
            stranger = thing("t1", {**first["data"], "id": "stranger", "link_id": "t3_other"})
            value["json"]["data"]["things"] = [first, orphan, stranger, *things]
            reply.value = value

    thread, _ = read(make_api, disorder)
    assert set(thread.comments) == {*COMMENTS, "orphan1"}
    assert (thread.n_duplicates, thread.n_orphans, thread.n_foreign) == (1, 1, 1)
    assert thread.missing == ["nowhere"]


def test_a_missing_parent_is_read_by_its_id(make_api):
    """A comment comes through morechildren while its parent does not, and no stub names the parent."""
    world = little_reddit(n_posts=1, n_comments=12)
    comments = world.comments[POST]
    parent = next(name for name, one in comments.items() if one["parent_id"].startswith("t3_"))
    reply = next(name for name, one in comments.items() if one["parent_id"] == f"t1_{parent}")

    def only_the_reply(request, answer):
        if request.kind == "tree":
            value = answer.value
            value[1]["data"]["children"] = [double.stub(f"t3_{POST}", [reply])]
            answer.value = value

    thread, _ = read(make_api, only_the_reply, world)
    assert {parent, reply} <= set(thread.comments)
    assert thread.n_orphans == 0


ODD_FIELDS = {
    "author null": lambda _, data: data.update(author=None),
    "no author": lambda _, data: data.pop("author", None),
    "no score": lambda _, data: data.pop("score", None),
    "subreddit null": lambda kind, data: data.update(subreddit=None) if kind == "t1" else None,
    "subreddit a number": lambda kind, data: data.update(subreddit=5) if kind == "t1" else None,
    "no subreddit in comments": lambda kind, data: data.pop("subreddit", None) if kind == "t1" else None,
    "no link_id": lambda _, data: data.pop("link_id", None),
    "replies null": lambda _, data: data.update(replies=None) if data.get("replies") == "" else None,
}


@pytest.mark.parametrize("change", ODD_FIELDS.values(), ids=ODD_FIELDS.keys())
def test_an_irregular_field_costs_neither_the_item_nor_a_call(change, make_api):
    _, plain = read(make_api)
    spoil = faults.fields(change)
    thread, server = read(make_api, lambda request, reply: spoil(request, reply) if request.kind != "token" else None)
    assert set(thread.comments) == set(COMMENTS)
    assert all(json.loads(line)["subreddit"] == "college" for line in thread.lines().splitlines())
    assert server.counts == plain.counts


@pytest.mark.parametrize("missing", ["body", "created_utc", "parent_id"])
def test_an_incomplete_comment_is_requested_by_its_id(missing, make_api):
    victim = sorted(TOP)[0]

    def spoil(request, reply):
        if request.kind in ("tree", "more"):
            faults.fields(lambda _, data: data.pop(missing, None) if data["id"] == victim else None)(request, reply)

    thread, _ = read(make_api, spoil)
    assert set(thread.comments) == set(COMMENTS)
    assert thread.comments[victim]["parent_id"] == f"t3_{POST}"


def test_a_deleted_thread_is_refused_and_not_replaced_by_another(make_api):
    with Server(WORLD) as server, pytest.raises(UnreadableError) as caught:
        read_thread(make_api(server), "abc", is_top_level_only=False, accept_partial=True)
    assert (caught.value.reason, caught.value.is_transient) == ("not found (status 404)", False)

    def other(request, reply):
        if request.kind == "tree":
            reply.body = reply.body.replace(f'"{POST}"'.encode(), b'"abc"')

    with pytest.raises(UnreadableError, match="another thread than the requested one, 3 tries"):
        read(make_api, other)


def test_lines_are_the_post_and_its_comments(make_api):
    thread, _ = read(make_api)
    lines = thread.lines()
    assert lines.count(b"\n") == 1 + len(COMMENTS)
    assert lines.endswith(b"\n")


def test_answers_cut_to_a_few_comments_lose_none(make_api):
    """Every answer of morechildren holds a fifth of the requested comments, and no stub for the others."""

    def cut(request, reply):
        if request.kind == "more":
            value = reply.value
            things = value["json"]["data"]["things"]
            value["json"]["data"]["things"] = things[: max(1, len(things) // 5)]
            reply.value = value

    thread, _ = read(make_api, cut)
    assert (set(thread.comments), thread.missing, thread.n_short) == (set(COMMENTS), [], 0)


@pytest.mark.parametrize("envelope", [None, [], {"data": None}, {"data": []}, {"data": {"things": None}}, "x"])
def test_morechildren_of_any_shape_is_an_empty_answer(make_api, envelope):
    """The comments are read by their ids, and their replies from there down."""

    def spoil(request, reply):
        if request.kind == "more":
            reply.value = {"json": envelope}

    thread, _ = read(make_api, spoil)
    assert (set(thread.comments), thread.n_short) == (set(COMMENTS), 0)


@pytest.mark.parametrize("kind", ["more", "info", "below"])
@pytest.mark.parametrize("code", [403, 404])
def test_a_refused_part_keeps_the_tree_and_is_noted(make_api, kind, code):
    def refused(request, reply):
        if request.kind == "more" and kind == "info":
            faults.no_children(request, reply)
        if request.kind == kind:
            double.refuse(reply, code, {})

    thread, _ = read(make_api, refused)
    assert thread.comments
    assert any(f"status {code}" in fault for fault in thread.faults)


def test_a_thread_of_thousands_of_comments_is_complete(make_api):
    world = little_reddit(n_posts=1, n_comments=1_500)
    name = world.listings["college"][0]
    with Server(world) as server:
        thread = read_thread(make_api(server), name, is_top_level_only=False, accept_partial=False)
    assert set(thread.comments) == set(world.comments[name])
    assert (thread.missing, thread.n_short, thread.faults) == ([], 0, [])
