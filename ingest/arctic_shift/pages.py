"""Paging the archive by date without losing or doubling rows that share a second.

The archive pages by time in whole seconds, so a page may end in the middle of a second. Each page therefore starts at
the last second of the page before: rows already read are recognised by their ids, and an answer that contains none of
them is rejected.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ingest.arctic_shift.api import AnswerCheck, ArchiveClient, QueryTooHeavyError, RefusedError, Row

Kind = Literal["posts", "comments"]

REDDIT_BEGAN_UTC = 1_119_484_800
"""23 June 2005: no post is older."""
MIN_AUTO_ROWS = 100
"""With `limit=auto` the archive returns 100 to 1,000 rows; fewer mean that there are no more."""
DAY_S = 86_400
RUNGS: tuple[tuple[str, int | None], ...] = (
    ("auto", None),
    ("100", None),
    ("50", 30 * DAY_S),
    ("25", 7 * DAY_S),
    ("10", DAY_S),
    ("10", 3_600),
)
"""Rows and seconds per request, in decreasing order: a request that is too heavy is repeated one rung lower."""
TRIES_PER_RUNG = 2
ANSWERS_PER_RUNG = 5
"""After this many answers in a row, the next request is one rung larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far one kind of rows was read."""

    cursor_utc: int
    """All rows of earlier seconds were read."""
    known: tuple[str, ...] = ()
    """Ids of the rows of the cursor's second that were read."""
    rung: int = 0
    """Index into RUNGS."""
    n_calm: int = 0
    """Answers since the last request that was too heavy."""
    margin_s: int = 1
    """Subtracted from the cursor for `after`: 1 if the archive excludes that second, 0 if it includes it."""
    is_done: bool = False
    """Everything was read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """New rows of one answer, and the position of the next one."""

    rows: list[Row]
    position: Position
    crowded_utc: int | None = None
    """A second with more rows than two answers hold: some may be missing."""


def pages(client: ArchiveClient, kind: Kind, subreddit: str, position: Position, until_utc: int) -> Iterator[Page]:
    """Yield pages from a position to the end of the span (`until_utc`, exclusive), oldest rows first.

    Raises:
        LurkerError: the archive refuses, keeps failing, or keeps returning answers that cannot be right.
    """
    while not position.is_done:
        page = _next_page(client, kind, subreddit, position, until_utc)
        yield page
        position = page.position


def _next_page(client: ArchiveClient, kind: Kind, subreddit: str, position: Position, until_utc: int) -> Page:
    rows, position, before_utc = _request(client, kind, subreddit, position, until_utc)
    rows = [row for row in rows if position.cursor_utc <= created(row) < until_utc]
    new = _new_rows(rows, position.known)
    last_utc = max(map(created, rows), default=position.cursor_utc)
    read_at, position = position, _after_answer(position)
    if last_utc > position.cursor_utc:
        known = tuple(sorted(row["id"] for row in rows if created(row) == last_utc))
        return Page(rows=new, position=replace(position, cursor_utc=last_utc, known=known))
    if len(rows) >= _full_page(read_at.rung):
        rest, is_complete = _read_backwards(client, kind, subreddit, read_at, rows)
        return Page(
            rows=new + _new_rows(rest, [*position.known, *(row["id"] for row in new)]),
            position=replace(position, cursor_utc=position.cursor_utc + 1, known=()),
            crowded_utc=None if is_complete else position.cursor_utc,
        )
    if before_utc < until_utc:
        return Page(rows=new, position=replace(position, cursor_utc=before_utc, known=()))
    return Page(rows=new, position=replace(position, is_done=True))


def _after_answer(position: Position) -> Position:
    """The position after one more answer; after enough of them, requests are one rung larger."""
    if position.rung == 0 or position.n_calm + 1 < ANSWERS_PER_RUNG:
        return replace(position, n_calm=position.n_calm + 1)
    return replace(position, rung=position.rung - 1, n_calm=0)


def _request(
    client: ArchiveClient, kind: Kind, subreddit: str, position: Position, until_utc: int
) -> tuple[list[Row], Position, int]:
    """One answer that passed its check.

    Returns:
        Its rows, the position with the rung and margin that worked, and the end of the span that it covers.
    """
    while True:
        is_last_rung = position.rung + 1 == len(RUNGS)
        limit, span_s = RUNGS[position.rung]
        before_utc = until_utc if span_s is None else min(until_utc, position.cursor_utc + span_s)
        after_utc = position.cursor_utc - position.margin_s
        query: dict[str, str | int] = {
            "subreddit": subreddit,
            "sort": "asc",
            "limit": limit,
            "after": after_utc,
            "before": before_utc,
        }
        try:
            rows = client.get(
                f"{kind}/search",
                query,
                check=_answer_check(position, before_utc),
                heavy_tries=None if is_last_rung else TRIES_PER_RUNG,
            )
        except QueryTooHeavyError:
            if is_last_rung:
                raise
            position = replace(position, rung=position.rung + 1, n_calm=0)
            continue
        except RefusedError:
            if limit != "auto":
                raise
            position = replace(position, rung=position.rung + 1, n_calm=0)  # older versions lack `auto`
            continue
        if position.margin_s and any(created(row) == after_utc for row in rows):
            position = replace(
                position, margin_s=0
            )  # this archive includes the second of `after`, which may fill pages
            continue
        return rows, position, before_utc


def _answer_check(position: Position, before_utc: int) -> AnswerCheck:
    """A check that an answer is consistent with its query and with the rows already read."""
    n_empty = 0

    def check(rows: Sequence[Row]) -> str | None:
        nonlocal n_empty
        if not all(isinstance(row.get("id"), str) and _is_number(row.get("created_utc")) for row in rows):
            return "rows without id or time"
        if not rows:
            n_empty += 1
            if position.known:
                return "an empty answer instead of known rows"
            return "an empty answer" if n_empty == 1 else None  # accepted the second time
        times = list(map(created, rows))
        if times != sorted(times):
            return "rows out of order"
        if times[0] < position.cursor_utc - position.margin_s:
            return "rows from before the requested span"
        if times[-1] > before_utc:
            return "rows from after the requested span"
        has_margin = position.margin_s > 0 and times[0] == position.cursor_utc - position.margin_s
        if position.known and not has_margin and not {row["id"] for row in rows} & set(position.known):
            return "an answer without the known rows"
        return None

    return check


def _read_backwards(
    client: ArchiveClient, kind: Kind, subreddit: str, position: Position, rows: Sequence[Row]
) -> tuple[list[Row], bool]:
    """Read the cursor's second from its end.

    Returns:
        Its rows, and whether they meet `rows`, those read from its start: then none is missing in between.
    """
    answer = client.get(
        f"{kind}/search",
        {
            "subreddit": subreddit,
            "sort": "desc",
            "limit": RUNGS[position.rung][0],
            "after": position.cursor_utc - position.margin_s,
            "before": position.cursor_utc + position.margin_s,
        },
    )
    rest = [row for row in answer if created(row) == position.cursor_utc]
    meets = bool({row["id"] for row in rest} & {row["id"] for row in rows})
    return rest, meets or len(answer) < _full_page(position.rung)


def created(row: Mapping[str, Any]) -> int:
    """Time at which a row was written, seconds since 1970."""
    return int(float(row["created_utc"]))


def _full_page(rung: int) -> int:
    """Number of rows from which on an answer may have been cut off by its limit."""
    limit = RUNGS[rung][0]
    return MIN_AUTO_ROWS if limit == "auto" else int(limit)


def _new_rows(rows: Sequence[Row], known: Sequence[str]) -> list[Row]:
    """The rows without those already known, each once."""
    unique = {row["id"]: row for row in rows}
    return [row for name, row in unique.items() if name not in set(known)]


def _is_number(value: Any) -> bool:
    try:
        return float(value) >= 0
    except (TypeError, ValueError):
        return False
