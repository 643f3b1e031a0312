"""Listings that move, repeat, skip and loop: each post once, in order, and reading ends."""

import pytest

from ingest.live_reddit.call import UnreadableError
from ingest.live_reddit.listings import PAGE_POSTS, read_listing
from tests.ingest import reddit_faults as faults
from tests.ingest.little_reddit import little_reddit
from tests.ingest.reddit_double import Server, listing, thing

WORLD = little_reddit(n_posts=420, n_comments=0)
ORDER = WORLD.listings["college"]


def walk(make_api, fault=lambda request, reply: None, limit=1000, name="new", **config):
    with Server(WORLD, fault) as server:
        return read_listing(make_api(server, **config), "college", name, "week", limit), server


def page(ids, after="t3_zzz"):
    return listing([thing("t3", WORLD.posts[name]) for name in ids], after)


def test_every_post_is_listed_once_and_in_order(make_api):
    found, server = walk(make_api)
    assert list(found.posts) == ORDER
    assert found.notes == []
    assert server.counts["listing"] == 5


def test_the_limit_counts_posts(make_api):
    found, server = walk(make_api, limit=7)
    assert list(found.posts) == ORDER[:7]
    assert server.counts["listing"] == 1


def test_only_top_has_a_span_of_time(make_api):
    for name, span in (("top", "week"), ("hot", None)):
        _, server = walk(make_api, limit=5, name=name)
        assert server.log[-1][2] == f"/r/college/{name}"
        assert server.log[-1][3].get("t") == span


@pytest.mark.parametrize("shift", [-40, -3, 3, 12, 50])
def test_a_shifted_page_loses_nothing(shift, make_api):
    """Posts come or go between two pages, so a page starts elsewhere than it should."""

    def shifted(request, reply):
        if request.kind == "listing" and request.number == 2:
            start = ORDER.index(request.query["after"][3:]) + 1 + shift
            reply.value = page(ORDER[start : start + PAGE_POSTS])

    found, _ = walk(make_api, shifted)
    assert sorted(found.posts) == sorted(ORDER)
    assert found.notes == []


def test_pages_that_never_overlap_are_reported(make_api):
    def skipping(request, reply):
        if request.kind == "listing" and "after" in request.query:
            start = min(ORDER.index(request.query["after"][3:]) + 150, len(ORDER) - 20)
            reply.value = page(ORDER[start : start + PAGE_POSTS], after="t3_zzz" if start < 300 else None)

    found, _ = walk(make_api, skipping)
    assert len(found.posts) < len(ORDER)
    assert any("pages do not overlap" in note for note in found.notes)


def test_duplicated_pages_and_posts_are_listed_once(make_api):
    def doubled(request, reply):
        if request.kind == "listing":
            value = reply.value
            value["data"]["children"] = [one for one in value["data"]["children"] for _ in range(2)]
            reply.value = value

    found, _ = walk(make_api, doubled)
    assert list(found.posts) == ORDER


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_looping_listing_ends_with_a_note(turn, make_api):
    def circle(request, reply):
        if request.kind == "listing" and request.number >= turn:
            reply.value = page(ORDER[:PAGE_POSTS])

    found, server = walk(make_api, circle)
    assert set(ORDER[:PAGE_POSTS]) <= set(found.posts) <= set(ORDER)
    assert any("repeats itself" in note for note in found.notes)
    assert server.counts["listing"] <= turn + 4


def test_a_short_listing_that_claims_to_continue_ends(make_api):
    def claims(request, reply):
        if request.kind == "listing":
            start = ORDER.index(request.query["after"][3:]) + 1 if "after" in request.query else 0
            reply.value = page(ORDER[start:12])

    found, server = walk(make_api, claims)
    assert list(found.posts) == ORDER[:12]
    assert server.counts["listing"] <= 8


@pytest.mark.parametrize("fault", [faults.status(503), faults.html, faults.null, faults.no_children])
def test_a_page_that_fails_once_is_read_again(fault, make_api):
    found, _ = walk(make_api, faults.first(1, lambda *a: fault(*a) if a[0].number else None, "listing"))
    assert list(found.posts) == ORDER

    def third(request, reply):
        if request.kind == "listing" and request.number == 2:
            fault(request, reply)

    found, server = walk(make_api, third)
    assert list(found.posts) == ORDER
    assert server.counts["listing"] == 6


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (faults.html, "failed after 195 posts: HTML"),
        (faults.no_children, "with an empty page after 195 posts"),
    ],
)
def test_a_later_page_that_stays_broken_ends_the_listing_with_a_note(fault, note, make_api):
    def from_third(request, reply):
        if request.kind == "listing" and request.number >= 2:
            fault(request, reply)

    found, _ = walk(make_api, from_third)
    assert list(found.posts) == ORDER[:195]
    assert note in found.notes[0]


@pytest.mark.parametrize("fault", [faults.no_children, faults.null])
def test_an_empty_listing_is_requested_again_and_rejected(fault, make_api):
    with Server(WORLD, faults.always(fault, "listing")) as server:
        with pytest.raises(UnreadableError) as caught:
            read_listing(make_api(server), "college", "new", "all", 10)
        assert caught.value.is_transient
        assert server.counts["listing"] == 3


def test_posts_without_an_id_are_left_out(make_api):
    found, _ = walk(make_api, faults.fields(lambda _, data: data.update(id=None) if data["id"] == ORDER[3] else None))
    assert list(found.posts) == ORDER[:3] + ORDER[4:]


def test_an_end_on_a_full_page_is_checked(make_api):
    def claims(request, reply):
        value = reply.value
        if request.kind == "listing" and request.number == 1:
            value["data"]["after"] = None
            reply.value = value

    assert list(walk(make_api, claims)[0].posts) == ORDER

    def cut(request, reply):
        if request.kind == "listing":
            start = ORDER.index(request.query["after"][3:]) + 1 if "after" in request.query else 0
            reply.value = page(ORDER[start:PAGE_POSTS], None)

    found, _ = walk(make_api, cut)
    assert list(found.posts) == ORDER[:PAGE_POSTS]
    assert found.notes == ["Reddit ended the listing on a full page after 100 posts: more may exist"]
