"""Date paging over the archive that neither loses nor doubles rows which share a second.

The archive pages by time alone, in whole seconds, so the last second of a page may be half read. Each page therefore
starts at the last second of the page before: rows known from there are told by their ids, and an answer in which none
of them comes back is not believed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ingest.arctic_shift.api import ArchiveClient, Doubt, QueryTooHeavyError, RefusedError, Row

Kind = Literal["posts", "comments"]

REDDIT_BEGAN_UTC = 1_119_484_800
"""23 June 2005: nothing is older."""
AUTO_LIMIT_LEAST = 100
"""With `limit=auto` the archive answers 100 to 1,000 rows; fewer mean that there are no more."""
DAY_S = 86_400
RUNGS: tuple[tuple[str, int | None], ...] = (
    ("auto", None),
    ("100", None),
    ("50", 30 * DAY_S),
    ("25", 7 * DAY_S),
    ("10", DAY_S),
    ("10", 3_600),
)
"""Rows and seconds asked for at once: a question the archive finds too heavy is asked again one rung lower."""
TRIES_A_RUNG = 2
CALM_ANSWERS = 5
"""After so many answers in a row the next question is one rung higher."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the reading of one kind of rows stands."""

    cursor_utc: int
    """Every row of earlier seconds was read."""
    known: tuple[str, ...] = ()
    """Ids of the rows of the cursor's second that were read."""
    rung: int = 0
    """Index into RUNGS."""
    n_calm: int = 0
    """Answers since a question was too heavy."""
    margin_s: int = 1
    """What is taken off the cursor for `after`: 1 where the archive leaves that second out, 0 where it has it."""
    is_done: bool = False
    """Nothing is left to read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """New rows of one answer, and where the next one starts."""

    rows: list[Row]
    place: Place
    crowded_utc: int | None = None
    """A second with more rows than two answers hold, so that some may be missing."""


def pages(client: ArchiveClient, kind: Kind, subreddit: str, place: Place, until_utc: int) -> Iterator[Page]:
    """Pages from a place to the end of the span, oldest rows first; the last one's place is done.

    until_utc: exclusive.
    Errors: LurkerError when the archive refuses, stays faulty, or keeps giving answers that cannot be true.
    """
    while not place.is_done:
        page = _next_page(client, kind, subreddit, place, until_utc)
        yield page
        place = page.place


def _next_page(client: ArchiveClient, kind: Kind, subreddit: str, place: Place, until_utc: int) -> Page:
    rows, place, before_utc = _ask(client, kind, subreddit, place, until_utc)
    rows = [row for row in rows if place.cursor_utc <= created(row) < until_utc]
    fresh = _unknown(rows, place.known)
    last_utc = max(map(created, rows), default=place.cursor_utc)
    read_at, place = place, _calmer(place)
    if last_utc > place.cursor_utc:
        known = tuple(sorted(row["id"] for row in rows if created(row) == last_utc))
        return Page(rows=fresh, place=replace(place, cursor_utc=last_utc, known=known))
    if len(rows) >= _full(read_at.rung):
        rest, is_whole = _other_end(client, kind, subreddit, read_at, rows)
        return Page(
            rows=fresh + _unknown(rest, [*place.known, *(row["id"] for row in fresh)]),
            place=replace(place, cursor_utc=place.cursor_utc + 1, known=()),
            crowded_utc=None if is_whole else place.cursor_utc,
        )
    if before_utc < until_utc:
        return Page(rows=fresh, place=replace(place, cursor_utc=before_utc, known=()))
    return Page(rows=fresh, place=replace(place, is_done=True))


def _calmer(place: Place) -> Place:
    """The place after one more answer that was not too heavy."""
    if place.rung == 0 or place.n_calm + 1 < CALM_ANSWERS:
        return replace(place, n_calm=place.n_calm + 1)
    return replace(place, rung=place.rung - 1, n_calm=0)


def _ask(
    client: ArchiveClient, kind: Kind, subreddit: str, place: Place, until_utc: int
) -> tuple[list[Row], Place, int]:
    """One believable answer, the place with the rung and the margin that gave it, and the end of what it covers."""
    while True:
        is_last_rung = place.rung + 1 == len(RUNGS)
        limit, span_s = RUNGS[place.rung]
        before_utc = until_utc if span_s is None else min(until_utc, place.cursor_utc + span_s)
        after_utc = place.cursor_utc - place.margin_s
        question: dict[str, str | int] = {
            "subreddit": subreddit,
            "sort": "asc",
            "limit": limit,
            "after": after_utc,
            "before": before_utc,
        }
        try:
            rows = client.get(
                f"{kind}/search",
                question,
                doubt=_doubt(place, before_utc),
                heavy_tries=None if is_last_rung else TRIES_A_RUNG,
            )
        except QueryTooHeavyError:
            if is_last_rung:
                raise
            place = replace(place, rung=place.rung + 1, n_calm=0)
            continue
        except RefusedError:
            if limit != "auto":
                raise
            place = replace(place, rung=place.rung + 1, n_calm=0)  # `auto` came late to the service: ask in numbers
            continue
        if place.margin_s and any(created(row) == after_utc for row in rows):
            place = replace(place, margin_s=0)  # this archive has the second of `after`: a crowded one would fill pages
            continue
        return rows, place, before_utc


def _doubt(place: Place, before_utc: int) -> Doubt:
    """Tells why an answer to the question at a place cannot be the whole truth, if it cannot."""
    n_empty = 0

    def doubt(rows: Sequence[Row]) -> str | None:
        nonlocal n_empty
        if not all(isinstance(row.get("id"), str) and _is_number(row.get("created_utc")) for row in rows):
            return "rows without id or time"
        if not rows:
            n_empty += 1
            if place.known:
                return "an empty answer where there were rows before"
            return "an empty answer" if n_empty == 1 else None  # believed when it is given twice
        times = list(map(created, rows))
        if times != sorted(times):
            return "rows out of order"
        if times[0] < place.cursor_utc - place.margin_s:
            return "rows from before the time asked for"
        if times[-1] > before_utc:
            return "rows from after the time asked for"
        has_margin = place.margin_s > 0 and times[0] == place.cursor_utc - place.margin_s
        if place.known and not has_margin and not {row["id"] for row in rows} & set(place.known):
            return "an answer without the rows it gave before"
        return None

    return doubt


def _other_end(
    client: ArchiveClient, kind: Kind, subreddit: str, place: Place, rows: Sequence[Row]
) -> tuple[list[Row], bool]:
    """The cursor's second read from its other end, and whether both ends meet: then no row is missing between them."""
    answer = client.get(
        f"{kind}/search",
        {
            "subreddit": subreddit,
            "sort": "desc",
            "limit": RUNGS[place.rung][0],
            "after": place.cursor_utc - place.margin_s,
            "before": place.cursor_utc + place.margin_s,
        },
    )
    rest = [row for row in answer if created(row) == place.cursor_utc]
    meet = bool({row["id"] for row in rest} & {row["id"] for row in rows})
    return rest, meet or len(answer) < _full(place.rung)


def created(row: Mapping[str, Any]) -> int:
    """When a row was written, seconds since 1970."""
    return int(float(row["created_utc"]))


def _full(rung: int) -> int:
    """The least rows of an answer after which there may be more."""
    limit = RUNGS[rung][0]
    return AUTO_LIMIT_LEAST if limit == "auto" else int(limit)


def _unknown(rows: Sequence[Row], known: Sequence[str]) -> list[Row]:
    """Each row once, without those that are known."""
    unique = {row["id"]: row for row in rows}
    return [row for name, row in unique.items() if name not in set(known)]


def _is_number(value: Any) -> bool:
    try:
        return float(value) >= 0
    except (TypeError, ValueError):
        return False
