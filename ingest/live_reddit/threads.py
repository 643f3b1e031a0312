"""One post with all its comments: the tree, the comments hidden behind "more" stubs, and a count of missing ones.

Reddit returns part of a large thread, with stubs for the rest: lists of ids (fetched in batches through morechildren),
and "continue this thread" below deep comments (fetched from that comment). Comments that an answer leaves out are
requested again, then by id through info. Those that Reddit never returns are counted, against the ids and against the
post's own count.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ingest.http.calls import FaultError
from ingest.live_reddit.api import BATCH_IDS, RedditApi, dump_line, fullname, is_subreddit, only_things, things
from ingest.live_reddit.call import UnreadableError

TREE_COMMENTS = 500
"""Largest number of comments in one answer."""
REREAD_SHORTFALL = 0.05
"""The tree is read a second time, in another order, if more than this share of the post's count is missing. A small
shortfall is normal, because Reddit counts removed comments too."""

MAX_VAIN_REQUESTS = 2
"""Requests for an id through morechildren whose answers hold hardly any comment of the batch."""
MAX_VAIN_PROBES = 50
"""Reads in a row, below comments that may have no replies, that bring nothing."""
MIN_SHARE_RETURNED = 0.1
"""Share of a batch below which an answer holds hardly any of it."""


@dataclass(kw_only=True, slots=True)
class Thread:
    """A post and the comments read so far."""

    post_id: str
    is_top_level_only: bool
    subreddit: str | None = None
    """The subreddit that was read, for a thread that names none."""
    post: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Comments by id, as returned by the API, with retrieved_utc."""
    n_requests: dict[str, int] = field(default_factory=dict)
    """Ids that stubs or replies refer to, with the number of morechildren requests for each."""
    n_vain_requests: dict[str, int] = field(default_factory=dict)
    """The same ids, with the number of requests whose answers held hardly any of the requested comments."""
    continuations: dict[str, bool] = field(default_factory=dict)
    """Comments below which the thread continues, and whether the continuation was read."""
    may_be_leaves: set[str] = field(default_factory=set)
    """Comments of `continuations` that may have no replies: they came without replies, or in an incomplete answer."""
    n_vain_probes: int = 0
    """Reads below such comments in a row that brought nothing."""
    tried_by_id: set[str] = field(default_factory=set)
    """Ids that were requested through info."""
    n_duplicates: int = 0
    """Comments returned again without a request."""
    n_foreign: int = 0
    """Comments of another post."""
    faults: list[str] = field(default_factory=list)
    """Why parts could not be read."""

    @property
    def missing(self) -> list[str]:
        """Ids of known comments that were not returned."""
        return [name for name in self.n_requests if name not in self.comments]

    @property
    def n_expected(self) -> int | None:
        """Comments counted by the post; None if it has no count, or if replies are skipped."""
        count = self.post.get("num_comments")
        return count if isinstance(count, int) and not self.is_top_level_only else None

    @property
    def n_short(self) -> int:
        """Comments counted by the post beyond those returned."""
        return max(0, (self.n_expected or 0) - len(self.comments))

    @property
    def n_orphans(self) -> int:
        """Comments whose parent is missing."""
        return sum(1 for _ in self.absent_parents())

    def absent_parents(self) -> Iterator[str]:
        """For each comment whose parent comment is missing, the parent's id."""
        if not self.is_top_level_only:
            for comment in self.comments.values():
                kind, _, parent = comment["parent_id"].partition("_")
                if kind == "t1" and parent not in self.comments:
                    yield parent

    def expect(self, ids: Iterable[str]) -> None:
        """Note ids of comments that must exist."""
        for name in ids:
            self.n_requests.setdefault(name, 0)
            self.n_vain_requests.setdefault(name, 0)

    def note(self, reason: str) -> None:
        """Note once why parts could not be read."""
        if reason not in self.faults:
            self.faults.append(reason)

    def probe_below(self, names: list[str]) -> None:
        """Read below comments later, if the thread is short of comments then."""
        for name in names:
            if not self.is_top_level_only and name not in self.continuations:
                self.continuations[name] = False
                self.may_be_leaves.add(name)

    def is_worth_reading_below(self, name: str) -> bool:
        """Whether a continuation is known, or likely enough in a thread that is short of comments."""
        is_likely = name in self.tried_by_id or self.n_vain_probes < MAX_VAIN_PROBES
        return name not in self.may_be_leaves or (self.n_short > 0 and is_likely)

    def next_batch(self) -> list[str]:
        """Missing ids for one call of morechildren, the least requested first."""
        names = [name for name in self.missing if self.n_vain_requests[name] < MAX_VAIN_REQUESTS]
        return sorted(names, key=self.n_requests.__getitem__)[:BATCH_IDS]

    def count_requests(self, batch: list[str]) -> None:
        """Count a request for ids, after its answer was added."""
        n_returned = sum(name in self.comments for name in batch)
        for name in batch:
            self.n_requests[name] += 1
            self.n_vain_requests[name] += n_returned < MIN_SHARE_RETURNED * len(batch)

    def add(self, items: list[Any], now_utc: int, parent: str | None, *, is_reread: bool = False) -> None:
        """Add a listing's children with all their nested replies.

        Args:
            parent: fullname of what they reply to, if known from their position in the tree.
            is_reread: known comments do not count as duplicates.
        """
        waiting = [(kind, data, parent) for kind, data in reversed(only_things(items))]
        while waiting:
            kind, data, above = waiting.pop()
            if kind == "more":
                self._add_stub(data, above)
            elif kind == "t1":
                self._add_comment(data, above, now_utc, is_reread)
                replies = data.get("replies")
                below = replies.get("data") if isinstance(replies, dict) else None
                children = below.get("children") if isinstance(below, dict) else None
                if isinstance(children, list):
                    waiting += [(k, d, fullname("t1", data)) for k, d in reversed(only_things(children))]

    def _add_stub(self, data: dict[str, Any], above: str | None) -> None:
        parent = data.get("parent_id") or above or ""
        if self.is_top_level_only and not str(parent).startswith("t3_"):
            return
        ids = data.get("children")
        names = [name for name in ids if fullname("t1", {"id": name})] if isinstance(ids, list) else []
        if names:
            self.expect(names)
        elif isinstance(parent, str) and parent.startswith("t1_"):
            self.continuations.setdefault(parent[3:], False)

    def _add_comment(self, data: dict[str, Any], above: str | None, now_utc: int, is_reread: bool) -> None:
        if fullname("t1", data) is None:
            self.faults.append("a comment without an id")
            return
        parent = data.get("parent_id") or above
        link = data.get("link_id") or f"t3_{self.post_id}"
        if link != f"t3_{self.post_id}":
            self.n_foreign += 1
            return
        if self.is_top_level_only and parent != link:
            return
        has_body = isinstance(data.get("body"), str)
        is_complete = has_body and isinstance(parent, str) and data.get("created_utc") is not None
        if not is_complete:
            self.expect([data["id"]])  # it may be complete when requested by id
        elif data["id"] in self.comments:
            self.n_duplicates += not is_reread
        else:
            links = {"link_id": link, "parent_id": parent, "retrieved_utc": now_utc}
            self.comments[data["id"]] = {**data, **links, "replies": None}

    def lines(self) -> bytes:
        """The post and its comments as lines of a dump; a row without a subreddit has that of the others."""
        rows = [self.post, *self.comments.values()]
        names = [name for row in rows if is_subreddit(name := row.get("subreddit"))]
        known = {"subreddit": names[0] if names else self.subreddit}
        lacking = [row | known if not is_subreddit(row.get("subreddit")) else row for row in rows]
        return b"".join(dump_line(row, row["retrieved_utc"]) for row in lacking)


def read_thread(
    api: RedditApi, post_id: str, *, is_top_level_only: bool, accept_partial: bool, subreddit: str | None = None
) -> Thread:
    """A post and its comments, as far as Reddit returns them.

    Args:
        is_top_level_only: skip replies to comments.
        accept_partial: note a stub that stays unreadable instead of raising.
        subreddit: the subreddit of the post, for answers that do not name it.

    Raises:
        UnreadableError: the post cannot be read.
        LurkerError: as `RedditApi.call`.
    """
    thread = Thread(post_id=post_id, is_top_level_only=is_top_level_only, subreddit=subreddit)

    def attempt(step: Callable[[], None]) -> None:
        try:
            step()
        except UnreadableError as error:
            if error.is_transient and not accept_partial:
                raise
            thread.note(error.reason)

    _read_tree(api, thread, sort="old")
    attempt(lambda: _read_stubs(api, thread))
    if thread.n_expected and thread.n_short > REREAD_SHORTFALL * thread.n_expected:
        attempt(lambda: _read_tree(api, thread, sort="new"))
        attempt(lambda: _read_stubs(api, thread))
    attempt(lambda: _read_by_id(api, thread))
    while thread.n_short and any(not is_read for is_read in thread.continuations.values()):
        attempt(lambda: _read_stubs(api, thread))
        attempt(lambda: _read_by_id(api, thread))
    return thread


def _read_tree(api: RedditApi, thread: Thread, sort: str) -> None:
    """Read the part of the thread that Reddit returns at once."""
    n_empty = 0
    is_reread = bool(thread.post)

    def accept(answer: Any) -> None:
        nonlocal n_empty
        post_things, items = _two_listings(answer)
        post = next((data for kind, data in post_things if fullname(kind, data) == f"t3_{thread.post_id}"), None)
        if post is None or not isinstance(post.get("title"), str) or post.get("created_utc") is None:
            raise FaultError("another thread than the requested one", is_suspect=True)
        if not only_things(items) and post.get("num_comments") != 0:
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError(f"none of {post.get('num_comments')} comments", is_suspect=True)
        now_utc = api.now_utc()
        thread.post = {**post, "retrieved_utc": now_utc}
        thread.add(items, now_utc, f"t3_{thread.post_id}", is_reread=is_reread)

    params: dict[str, str | int] = {"limit": TREE_COMMENTS, "sort": sort}
    params |= {"depth": 1} if thread.is_top_level_only else {}
    api.call(f"/comments/{thread.post_id}", accept, params=params)


def _two_listings(answer: Any) -> tuple[list[tuple[str, dict[str, Any]]], list[Any]]:
    if not isinstance(answer, list) or len(answer) != 2:
        raise FaultError("no thread in the answer", is_suspect=True)
    things(answer[1])
    return things(answer[0]), answer[1]["data"]["children"]


def _read_stubs(api: RedditApi, thread: Thread) -> None:
    """Read the comments behind stubs until no new stub appears.

    An answer may leave out many ids. They are requested again as long as answers bring comments: an id is given up
    after MAX_VAIN_REQUESTS whose answers brought hardly any. What Reddit refuses is noted, and the rest is read.
    """
    while True:
        batch = thread.next_batch()
        continued = next((name for name, is_read in thread.continuations.items() if not is_read), None)
        try:
            if batch:
                _read_more(api, thread, batch)
            elif continued is not None:
                thread.continuations[continued] = True
                if thread.is_worth_reading_below(continued):
                    n_before = len(thread.comments)
                    _read_below(api, thread, continued)
                    thread.n_vain_probes = 0 if len(thread.comments) > n_before else thread.n_vain_probes + 1
            else:
                return
        except UnreadableError as error:
            if error.is_transient:
                raise
            thread.note(error.reason)
        finally:
            thread.count_requests(batch)


def _read_more(api: RedditApi, thread: Thread, ids: list[str]) -> None:
    n_empty = 0

    def accept(answer: Any) -> None:
        nonlocal n_empty
        envelope = answer.get("json") if isinstance(answer, dict) else None
        data = envelope.get("data") if isinstance(envelope, dict) else None
        items = data.get("things") if isinstance(data, dict) else None
        if not isinstance(items, list) or not only_things(items):
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError(f"none of {len(ids)} requested comments", is_suspect=True)
            items = []
        thread.add(items, api.now_utc(), None)
        came = [name for name in ids if name in thread.comments]
        if len(came) < len(ids):  # the answer may be cut, and stubs of replies lost with it
            thread.probe_below(came)

    data = {"link_id": f"t3_{thread.post_id}", "children": ",".join(ids), "sort": "old", "limit_children": "false"}
    api.call("/api/morechildren", accept, data=data)


def _read_below(api: RedditApi, thread: Thread, comment_id: str) -> None:
    """Read the continuation below one comment."""
    n_empty = 0

    def accept(answer: Any) -> None:
        nonlocal n_empty
        items = _two_listings(answer)[1]
        roots = [data for kind, data in only_things(items) if fullname(kind, data) == f"t1_{comment_id}"]
        is_leaf = bool(roots) and comment_id in thread.may_be_leaves
        if not is_leaf and (not roots or not isinstance(roots[0].get("replies"), dict)):
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError("no comments where the thread continues", is_suspect=True)
        for root in roots:
            replies = things(root["replies"]) if isinstance(root.get("replies"), dict) else []
            children = [{"kind": kind, "data": data} for kind, data in replies]
            is_reread = comment_id in thread.may_be_leaves
            thread.add(children, api.now_utc(), f"t1_{comment_id}", is_reread=is_reread)

    api.call(f"/comments/{thread.post_id}/_/{comment_id}", accept, params={"limit": TREE_COMMENTS, "sort": "old"})


def _read_by_id(api: RedditApi, thread: Thread) -> None:
    """Request each comment that is still missing once by its id, and missing parents too.

    Such answers hold no replies: in a thread that is short of comments, these are read from the comment down later.
    """
    while True:
        thread.expect(thread.absent_parents())
        batch = list(islice((name for name in thread.missing if name not in thread.tried_by_id), BATCH_IDS))
        if not batch:
            return
        thread.tried_by_id |= set(batch)
        try:
            comments = api.info([f"t1_{name}" for name in batch])
        except UnreadableError as error:
            if not error.is_suspect:  # else Reddit knows none of them: they stay missing
                thread.note(error.reason)
            continue
        thread.probe_below([name for name in batch if f"t1_{name}" in comments])
        thread.add([{"kind": "t1", "data": data} for data in comments.values()], api.now_utc(), None)
