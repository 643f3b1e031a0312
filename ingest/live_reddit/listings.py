"""A subreddit's listing, page by page: without duplicates, always ending, with overlapping pages.

A listing changes while it is read: pages repeat or skip posts, and a faulty server may loop. So each page is requested
from a few posts before the end of the known ones, and must show these again. If it does not, the listing has a gap
there, and the page is read again from further back.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from ingest.http.calls import FaultError
from ingest.live_reddit.api import RedditApi, fullname, things
from ingest.live_reddit.call import UnreadableError

PAGE_POSTS = 100
"""Largest number of posts in one page."""
OVERLAP_POSTS = 5
"""Known posts that the next page must show again."""
LARGE_OVERLAP_POSTS = 60
"""The same for the second attempt, after a page that showed none of them."""

ListingName = Literal["new", "top", "hot", "rising"]
TimeSpan = Literal["all", "year", "month", "week", "day", "hour"]


@dataclass(kw_only=True, slots=True)
class Listing:
    """Posts by id, in the listing's order, and notes on what went wrong."""

    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_listing(api: RedditApi, subreddit: str, listing: ListingName, time: TimeSpan, limit: int) -> Listing:
    """The first `limit` posts of a listing, or as many as Reddit returns.

    A failure on a later page ends the listing with a note.

    Args:
        time: span of the listing `top`; ignored for others.

    Raises:
        UnreadableError: the first page cannot be read or stays empty.
        LurkerError: as `RedditApi.call`.
    """
    result = Listing()
    overlap = 0
    ends_on_full_page = False
    while len(result.posts) < limit:
        known = list(result.posts)
        start = known[-overlap - 1] if len(known) > overlap else None
        try:
            page, after_is_set = _read_page(api, subreddit, listing, time, start)
        except UnreadableError as error:
            if not known:
                raise
            result.notes.append(f"the listing failed after {len(known)} posts: {error.reason}")
            break
        has_gap = overlap > 0 and len(page) > 0 and not set(known[-overlap:]) & page.keys()
        if has_gap and overlap < LARGE_OVERLAP_POSTS:
            overlap = LARGE_OVERLAP_POSTS
            continue
        if has_gap:
            result.notes.append(f"pages do not overlap after {len(known)} posts: some may be missing there")
        has_new_posts = bool(page.keys() - result.posts.keys())
        result.posts = {**page, **result.posts} if start is None else {**result.posts, **page}
        if not page and overlap:
            result.notes.append(f"the listing ended with an empty page after {len(known)} posts")
        if has_new_posts:
            ends_on_full_page = not after_is_set and len(page) >= PAGE_POSTS
        if not after_is_set and not (has_new_posts and ends_on_full_page):  # an end on a full page is checked once
            break
        if not has_new_posts and overlap in (0, LARGE_OVERLAP_POSTS):
            result.notes.append(f"the listing repeats itself after {len(known)} posts")
            break
        overlap = OVERLAP_POSTS if has_new_posts else 0  # nothing new after the overlap: try once without one
    if ends_on_full_page and len(result.posts) < limit:
        result.notes.append(f"Reddit ended the listing on a full page after {len(result.posts)} posts: more may exist")
    if not result.posts:
        raise UnreadableError("the listing is empty", is_transient=True)
    result.posts = dict(list(result.posts.items())[:limit])
    return result


def _read_page(
    api: RedditApi, subreddit: str, listing: ListingName, time: TimeSpan, start: str | None
) -> tuple[dict[str, dict[str, Any]], bool]:
    """The posts after `start` (None: from the top), and whether the server says that more follow."""
    n_empty = 0

    def accept(answer: Any) -> tuple[dict[str, dict[str, Any]], bool]:
        nonlocal n_empty
        posts = {data["id"]: data for kind, data in things(answer) if kind == "t3" and fullname(kind, data)}
        if not posts:
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError("an empty page", is_suspect=True)
        return posts, bool(posts) and answer["data"].get("after") is not None

    params: dict[str, str | int] = {"limit": PAGE_POSTS}
    params |= {"t": time} if listing == "top" else {}
    params |= {"after": f"t3_{start}"} if start else {}
    return api.call(f"/r/{subreddit}/{listing}", accept, params=params)
