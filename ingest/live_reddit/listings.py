"""A subreddit's listing, page by page: without duplicates, with an end, and with its seams checked.

A listing moves while it is read: pages repeat posts or skip them, and a faulty server sends one in circles. So each
page is asked for from a few posts before the end of what is known: these must come again. Where they do not, the seam
is torn and is read again from further back.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from ingest.http.calls import FaultError
from ingest.live_reddit.api import RedditApi, fullname, things
from ingest.live_reddit.call import UnreadableError

PAGE_POSTS = 100
"""Most posts that Reddit puts into one page."""
SEAM_POSTS = 5
"""Posts at the end of what is known that the next page must show again."""
TORN_SEAM_POSTS = 60
"""The same, where the few did not come."""

ListingName = Literal["new", "top", "hot", "rising"]
TimeSpan = Literal["all", "year", "month", "week", "day", "hour"]


@dataclass(kw_only=True, slots=True)
class Listing:
    """Posts in the listing's order, by id, and what was odd about it."""

    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def walk_listing(api: RedditApi, subreddit: str, listing: ListingName, time: TimeSpan, limit: int) -> Listing:
    """The first `limit` posts of a listing, or as many as Reddit gives.

    time: counts for `top` only. Errors: UnreadableError when the first page cannot be read or stays empty; LurkerError
    as `RedditApi.call`. What goes wrong on later pages ends the listing with a note.
    """
    found = Listing()
    overlap = 0
    while len(found.posts) < limit:
        known = list(found.posts)
        start = known[-overlap - 1] if len(known) > overlap else None
        try:
            page, has_next = _read_page(api, subreddit, listing, time, start)
        except UnreadableError as error:
            if not known:
                raise
            found.notes.append(f"the listing broke off after {len(known)} posts: {error.reason}")
            break
        is_torn = overlap > 0 and len(page) > 0 and not set(known[-overlap:]) & page.keys()
        if is_torn and overlap < TORN_SEAM_POSTS:
            overlap = TORN_SEAM_POSTS
            continue
        if is_torn:
            found.notes.append(f"pages do not meet after {len(known)} posts: some may be missing there")
        has_news = bool(page.keys() - found.posts.keys())
        found.posts = {**page, **found.posts} if start is None else {**found.posts, **page}
        if not page and overlap:
            found.notes.append(f"the listing ended with an empty page after {len(known)} posts")
        if not has_next:
            break
        if not has_news and overlap in (0, TORN_SEAM_POSTS):
            found.notes.append(f"the listing goes in circles after {len(known)} posts")
            break
        overlap = SEAM_POSTS if has_news else 0  # nothing new behind an overlap: once more without one
    if not found.posts:
        raise UnreadableError("the listing is empty", may_heal=True)
    found.posts = dict(list(found.posts.items())[:limit])
    return found


def _read_page(
    api: RedditApi, subreddit: str, listing: ListingName, time: TimeSpan, start: str | None
) -> tuple[dict[str, dict[str, Any]], bool]:
    """The posts after `start` (from the top without one), and whether the server says that more follow."""
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
