"""Live Reddit refuses or fails: what is read all the same, what is reported, and what the next run reads."""

import json

import pytest

from lurker.errors import LurkerError
from lurker.schema import COMMENTS, POSTS
from tests.ingest import reddit_double as double
from tests.ingest import reddit_faults as faults
from tests.ingest.little_reddit import TWO_SUBREDDITS, comments_of, little_reddit

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
    assert set(workspace.scan(COMMENTS).collect()["comment_id"]) == set(comments_of(world, "college"))


def test_a_deleted_thread_is_reported_and_the_others_are_read(read, workspace):
    world = little_reddit(n_posts=4, n_comments=5)
    gone, locked, *others = world.listings["college"]
    world.closed |= {gone: "missing", locked: "private"}
    (report,), _ = read(world=world, names=["college"])
    assert report.skipped == {gone: "not found (status 404)", locked: "private (status 403)"}
    assert set(workspace.scan(POSTS).collect()["post_id"]) == set(others)


def test_a_thread_that_fails_gets_a_second_chance_after_the_others(read, workspace):
    victim = TWO_SUBREDDITS.listings["college"][1]
    n_calls = 0

    def fault(request, reply):
        nonlocal n_calls
        if request.path == f"/comments/{victim}":
            n_calls += 1
            if n_calls <= 7:  # all tries of the first chance
                double.refuse(reply, 503, {})

    (report, _), _ = read(fault)
    assert report.failed == {}
    assert set(workspace.scan(POSTS).collect()["post_id"]) == set(TWO_SUBREDDITS.posts)


def test_a_thread_that_stays_broken_is_reported_and_read_by_the_next_run(read, workspace):
    victim = TWO_SUBREDDITS.listings["college"][1]

    def fault(request, reply):
        if request.path == f"/comments/{victim}":
            faults.html(request, reply)

    reports, _ = read(fault)
    assert reports[0].failed == {victim: "HTML instead of JSON, 7 tries"}
    assert set(workspace.scan(POSTS).collect()["post_id"]) == set(TWO_SUBREDDITS.posts) - {victim}
    reports, server = read(names=["college"])
    assert (reports[0].n_resumed, server.counts["tree"], server.counts["listing"]) == (5, 1, 0)
    assert set(workspace.scan(POSTS).collect()["post_id"]) == set(TWO_SUBREDDITS.posts)
    assert list((workspace.root / "staging").iterdir()) == []


def test_comments_never_returned_are_counted(read):
    victim = max(comments_of(TWO_SUBREDDITS))  # the last of a thread has no replies

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
        read(faults.always(faults.status(503), "tree"))


def test_an_incomplete_thread_is_read_again_with_the_failed_one(read, workspace):
    broken, cut = TWO_SUBREDDITS.listings["college"][:2]

    def fault(request, reply):
        if request.path == f"/comments/{broken}":
            faults.html(request, reply)
        if request.query.get("link_id") == f"t3_{cut}":
            double.refuse(reply, 403, {})

    (report,), _ = read(fault, names=["college"])
    assert (set(report.failed), set(report.incomplete)) == ({broken}, {cut})
    (report,), server = read(names=["college"])
    assert (report.n_resumed, server.counts["tree"], report.incomplete) == (4, 2, {})
    assert set(workspace.scan(COMMENTS).collect()["comment_id"]) == set(comments_of(TWO_SUBREDDITS, "college"))
