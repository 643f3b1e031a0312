"""One post with all its comments: the tree, what its "more" stubs hide, and what is missing in the end.

Reddit shows a part of a large thread and leaves stubs: lists of ids (asked for in batches through morechildren), and
"continue this thread" where it is too deep (asked for below that comment). What an answer leaves out is asked for
again, then by its id through info; what never comes is counted, against the ids and against the post's own count.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ingest.http.calls import FaultError
from ingest.live_reddit.api import BATCH_IDS, RedditApi, dump_line, fullname, only_things, things
from ingest.live_reddit.call import UnreadableError

TREE_COMMENTS = 500
"""Most comments that Reddit puts into one answer."""
REREAD_SHORTFALL = 0.05
"""The tree is read once more, in another order, when more than this share of the post's count is missing. Reddit counts
removed comments too, so a small shortfall is usual."""


@dataclass(kw_only=True, slots=True)
class Thread:
    """A post and what was found below it.

    comments: by id, as the API gave them, with retrieved_utc. named: ids that stubs or replies name, with how often
    morechildren was asked for them. to_continue: comments below which the thread goes on, and whether that was read.
    n_duplicates: times that a comment came again unasked. n_foreign: comments of another post. faults: what could not
    be read.
    """

    post_id: str
    is_top_level_only: bool
    post: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, dict[str, Any]] = field(default_factory=dict)
    named: dict[str, int] = field(default_factory=dict)
    to_continue: dict[str, bool] = field(default_factory=dict)
    n_duplicates: int = 0
    n_foreign: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """Ids that were named and never came."""
        return [name for name in self.named if name not in self.comments]

    @property
    def n_expected(self) -> int | None:
        """Comments the post counts; None where it does not say, or where replies were not wanted."""
        count = self.post.get("num_comments")
        return count if isinstance(count, int) and not self.is_top_level_only else None

    @property
    def n_short(self) -> int:
        """Comments that the post counts and that were not found."""
        return max(0, (self.n_expected or 0) - len(self.comments))

    @property
    def n_orphans(self) -> int:
        """Comments whose parent was not found."""
        return sum(1 for _ in self.absent_parents())

    def absent_parents(self) -> Iterator[str]:
        """The parent's id of each comment that answers one we do not have."""
        if not self.is_top_level_only:
            for comment in self.comments.values():
                kind, _, parent = comment["parent_id"].partition("_")
                if kind == "t1" and parent not in self.comments:
                    yield parent

    def name(self, ids: Iterable[str]) -> None:
        """Note ids of comments that there must be."""
        for name in ids:
            self.named.setdefault(name, 0)

    def take(self, items: list[Any], now_utc: int, parent: str | None, *, expected: bool = False) -> None:
        """Take in a listing's children with all replies nested in them.

        parent: fullname of what they answer, where the place in the tree tells it. expected: comments that came before
        are no surprise.
        """
        waiting = [(kind, data, parent) for kind, data in reversed(only_things(items))]
        while waiting:
            kind, data, above = waiting.pop()
            if kind == "more":
                self._take_stub(data, above)
            elif kind == "t1":
                self._take_comment(data, above, now_utc, expected)
                replies = data.get("replies")
                below = replies.get("data") if isinstance(replies, dict) else None
                children = below.get("children") if isinstance(below, dict) else None
                if isinstance(children, list):
                    waiting += [(k, d, fullname("t1", data)) for k, d in reversed(only_things(children))]

    def _take_stub(self, data: dict[str, Any], above: str | None) -> None:
        parent = data.get("parent_id") or above or ""
        if self.is_top_level_only and not str(parent).startswith("t3_"):
            return
        ids = data.get("children")
        names = [name for name in ids if fullname("t1", {"id": name})] if isinstance(ids, list) else []
        if names:
            self.name(names)
        elif isinstance(parent, str) and parent.startswith("t1_"):
            self.to_continue.setdefault(parent[3:], False)

    def _take_comment(self, data: dict[str, Any], above: str | None, now_utc: int, expected: bool) -> None:
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
        is_whole = isinstance(parent, str) and isinstance(data.get("body"), str) and data.get("created_utc") is not None
        if not is_whole:
            self.name([data["id"]])  # asked for by its id, it may come whole
        elif data["id"] in self.comments:
            self.n_duplicates += not expected
        else:
            place = {"link_id": link, "parent_id": parent, "retrieved_utc": now_utc}
            self.comments[data["id"]] = {"subreddit": self.post.get("subreddit"), **data, **place, "replies": None}

    def lines(self) -> bytes:
        """The post and its comments as lines of a dump."""
        rows = [self.post, *self.comments.values()]
        return b"".join(dump_line(row, row["retrieved_utc"]) for row in rows)


def read_thread(api: RedditApi, post_id: str, *, is_top_level_only: bool, is_partial_welcome: bool) -> Thread:
    """A post and its comments, as far as Reddit gives them.

    is_partial_welcome: a stub that stays unreadable is noted, instead of failing the thread.
    Errors: UnreadableError when the post cannot be read; LurkerError as `RedditApi.call`.
    """
    thread = Thread(post_id=post_id, is_top_level_only=is_top_level_only)

    def attempt(step: Callable[[], None]) -> None:
        try:
            step()
        except UnreadableError as error:
            if not is_partial_welcome:
                raise
            thread.faults.append(error.reason)

    _read_tree(api, thread, sort="old")
    attempt(lambda: _read_stubs(api, thread))
    if thread.n_expected and thread.n_short > REREAD_SHORTFALL * thread.n_expected:
        attempt(lambda: _read_tree(api, thread, sort="new"))
        attempt(lambda: _read_stubs(api, thread))
    attempt(lambda: _read_by_id(api, thread))
    return thread


def _read_tree(api: RedditApi, thread: Thread, sort: str) -> None:
    """The part of the thread that Reddit shows at once."""
    n_empty = 0
    is_again = bool(thread.post)

    def accept(answer: Any) -> None:
        nonlocal n_empty
        post_things, items = _two_listings(answer)
        post = next((data for kind, data in post_things if fullname(kind, data) == f"t3_{thread.post_id}"), None)
        if post is None or not isinstance(post.get("title"), str) or post.get("created_utc") is None:
            raise FaultError("not the thread that was asked for", is_suspect=True)
        if not only_things(items) and post.get("num_comments") != 0:
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError(f"none of {post.get('num_comments')} comments", is_suspect=True)
        now_utc = api.now_utc()
        thread.post = {**post, "retrieved_utc": now_utc}
        thread.take(items, now_utc, f"t3_{thread.post_id}", expected=is_again)

    shape: dict[str, str | int] = {"limit": TREE_COMMENTS, "sort": sort}
    api.call(f"/comments/{thread.post_id}", accept, params=shape | ({"depth": 1} if thread.is_top_level_only else {}))


def _two_listings(answer: Any) -> tuple[list[tuple[str, dict[str, Any]]], list[Any]]:
    if not isinstance(answer, list) or len(answer) != 2:
        raise FaultError("no thread in the answer", is_suspect=True)
    things(answer[1])
    return things(answer[0]), answer[1]["data"]["children"]


def _read_stubs(api: RedditApi, thread: Thread) -> None:
    """Ask for what stubs hide until no new one appears; ids that an answer leaves out are asked for twice."""
    while True:
        batch = list(islice((name for name in thread.missing if thread.named[name] < 2), BATCH_IDS))
        deep = next((name for name, is_read in thread.to_continue.items() if not is_read), None)
        if batch:
            for name in batch:
                thread.named[name] += 1
            _read_more(api, thread, batch)
        elif deep is not None:
            thread.to_continue[deep] = True
            _read_below(api, thread, deep)
        else:
            return


def _read_more(api: RedditApi, thread: Thread, ids: list[str]) -> None:
    n_empty = 0

    def accept(answer: Any) -> None:
        nonlocal n_empty
        data = answer.get("json", {}).get("data") if isinstance(answer, dict) else None
        items = data.get("things") if isinstance(data, dict) else None
        if not isinstance(items, list) or not only_things(items):
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError(f"none of {len(ids)} comments asked for", is_suspect=True)
            items = []
        thread.take(items, api.now_utc(), None)

    form = {"link_id": f"t3_{thread.post_id}", "children": ",".join(ids), "sort": "old", "limit_children": "false"}
    api.call("/api/morechildren", accept, data=form)


def _read_below(api: RedditApi, thread: Thread, comment_id: str) -> None:
    """What stands deeper than Reddit shows, below one comment."""
    n_empty = 0

    def accept(answer: Any) -> None:
        nonlocal n_empty
        items = _two_listings(answer)[1]
        roots = [data for kind, data in only_things(items) if fullname(kind, data) == f"t1_{comment_id}"]
        if not roots or not isinstance(roots[0].get("replies"), dict):
            n_empty += 1
            if n_empty < api.config.max_suspect_tries:
                raise FaultError("no comments where the thread goes on", is_suspect=True)
        for root in roots:
            replies = things(root["replies"]) if isinstance(root.get("replies"), dict) else []
            children = [{"kind": kind, "data": data} for kind, data in replies]
            thread.take(children, api.now_utc(), f"t1_{comment_id}")

    api.call(f"/comments/{thread.post_id}/_/{comment_id}", accept, params={"limit": TREE_COMMENTS, "sort": "old"})


def _read_by_id(api: RedditApi, thread: Thread) -> None:
    """Ask once for each comment that is still missing, and for parents that nobody named."""
    tried: set[str] = set()
    while True:
        thread.name(thread.absent_parents())
        batch = list(islice((name for name in thread.missing if name not in tried), BATCH_IDS))
        if not batch:
            return
        tried |= set(batch)
        try:
            found = api.info([f"t1_{name}" for name in batch])
        except UnreadableError as error:
            if not error.may_heal:
                raise
            continue  # none of them is known to Reddit: they stay missing
        thread.take([{"kind": "t1", "data": data} for data in found.values()], api.now_utc(), None)
