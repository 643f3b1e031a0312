"""What a rater does step by step: consent, instructions, qualifying, votes; each step is on the disk before the next.

The page draws what these functions return and calls them on each click; nothing here knows Streamlit.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dashboard.arena.design import Draw, Pool, is_swapped, next_draw
from lurker.votes.arenas import Arena, digest, invite, rater_of
from lurker.votes.store import (
    Choice,
    Rater,
    Vote,
    append_vote,
    find_rater,
    mark_rater,
    raters_from_address,
    undo_vote,
    votes_from_address,
    votes_of,
)

Stage = Literal[
    "stranger", "revoked", "consent", "instructions", "qualifying", "failed", "voting", "pause", "limit", "done"
]
MIN_DWELL_MS = 250
"""A click sooner after a pair shows is the second half of a double click on the pair before."""
DAY_S, MINUTE_S = 86_400, 60
Texts = dict[str, dict[str, Any]]
"""item_id -> row of ITEMS"""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One pair as a rater sees it, blind."""

    vote_id: str
    item_id: str
    prompt: str
    a: str
    b: str
    a_id: str
    b_id: str
    draw: Draw


@dataclass(frozen=True, slots=True)
class Position:
    """Where a rater stands."""

    stage: Stage
    rater: Rater | None = None
    votes: tuple[Vote, ...] = ()
    ballot: Ballot | None = None

    @property
    def n_cast(self) -> int:
        """Votes that count towards the limit."""
        return sum(vote.is_standing and vote.phase != "qualify" for vote in self.votes)

    @property
    def last(self) -> Vote | None:
        """The last vote that the rater did not take back."""
        return next((vote for vote in reversed(self.votes) if vote.is_standing), None)


def position(
    arena: Arena,
    pool: Pool,
    texts: Texts,
    token: str | None,
    address: str | None = None,
    *,
    has_pace_limit: bool = True,
) -> Position:
    """Where the owner of a token stands, and what to show.

    Args:
        texts: the items by id.
        address: salted hash of the network address.
        has_pace_limit: whether votes within a minute are limited; not for simulated raters, who take no time.
    """
    rater = find_rater(arena.workspace, arena.name, rater_of(token)) if token else None
    if rater is None:
        return Position("stranger")
    if rater.revoked_utc is not None:
        return Position("revoked", rater)
    if arena.consent and rater.consented_utc is None:
        return Position("consent", rater)
    if rater.instructed_utc is None:
        return Position("instructions", rater)
    votes = tuple(votes_of(arena.workspace, arena.name, rater.rater))
    if rater.failed_utc is not None or (rater.qualified_utc is None and settle(arena, pool, texts, votes) is False):
        return Position("failed", rater, votes)
    drawn = next_draw(arena, rater.rater, pool, votes)
    if drawn is None:
        return Position("done", rater, votes)
    if (reached := _limit(arena, votes if has_pace_limit else (), address)) is not None:
        return Position(reached, rater, votes)
    stage: Stage = "qualifying" if drawn.phase == "qualify" else "voting"
    return Position(stage, rater, votes, _ballot(arena, rater.rater, texts[drawn.item_id], drawn, votes))


def join(arena: Arena, address: str | None) -> str | None:
    """A token for somebody who reaches an open arena; None if the arena or the address takes no more raters."""
    if arena.config.raters != "open":
        return None
    since, most = int(time.time()) - DAY_S, arena.config.max_raters_per_address
    if address and raters_from_address(arena.workspace, arena.name, address, since) >= most:
        return None
    return invite(arena, address=address)


def cast(arena: Arena, rater: str, ballot: Ballot, choice: Choice, dwell_ms: int, address: str | None = None) -> bool:
    """Write a vote to the disk; False if this ballot was voted on before."""
    now, drawn = int(time.time()), ballot.draw
    vote = Vote(
        vote_id=ballot.vote_id,
        arena=arena.name,
        rater=rater,
        item_id=ballot.item_id,
        a_id=ballot.a_id,
        b_id=ballot.b_id,
        choice=choice,
        phase=drawn.phase,
        occasion=drawn.occasion,
        mode=arena.config.mode,
        design=arena.design,
        propensity=drawn.propensity,
        n_eligible=drawn.n_eligible,
        dwell_ms=dwell_ms,
        address=address,
        shown_utc=now - dwell_ms // 1000,
        voted_utc=now,
    )
    return append_vote(arena.workspace, vote)


def may_take_back(arena: Arena, now: Position) -> bool:
    """Whether the last vote may be undone: nothing was shown after it that could change the rater's mind."""
    last = now.last
    return last is not None and last.phase != "qualify" and arena.config.reveal == "nothing"


def take_back(arena: Arena, now: Position) -> None:
    """Undo the rater's last vote; its item comes again."""
    if now.last is not None and may_take_back(arena, now):
        undo_vote(arena.workspace, now.last.vote_id)


def sources(ballot: Ballot, texts: Texts) -> tuple[str, str]:
    """Which source wrote A and B."""
    item = texts[ballot.item_id]
    by_id = {item["chosen_id"]: str(item["chosen_source"]), item["rejected_id"]: str(item["rejected_source"])}
    return by_id[ballot.a_id], by_id[ballot.b_id]


def is_right(ballot: Ballot, choice: Choice, texts: Texts) -> bool:
    """Whether a vote on an item with a known answer names it."""
    winner = {"a": ballot.a_id, "b": ballot.b_id}.get(choice)
    return bool(winner == texts[ballot.item_id]["chosen_id"])


def settle(arena: Arena, pool: Pool, texts: Texts, votes: Sequence[Vote]) -> bool | None:
    """Write down whether a rater who has judged all qualifying items passes; None while some are left.

    Args:
        votes: all votes of the rater.
    """
    judged = [vote for vote in votes if vote.phase == "qualify" and vote.item_id in texts]
    n_needed = min(arena.config.n_qualifying, len(pool.qualify))
    if n_needed == 0 or len(judged) < n_needed:
        return None
    n_right = sum({"a": one.a_id, "b": one.b_id}.get(one.choice) == texts[one.item_id]["chosen_id"] for one in judged)
    has_passed = bool(n_right >= arena.config.qualify_threshold * n_needed)
    mark_rater(arena.workspace, judged[0].rater, "qualified" if has_passed else "failed")
    return has_passed


def _limit(arena: Arena, votes: Sequence[Vote], address: str | None) -> Literal["pause", "limit"] | None:
    """The limit that the rater or the address has reached: of a minute, or of the day."""
    now, config = int(time.time()), arena.config
    if sum(vote.voted_utc > now - MINUTE_S for vote in votes[-config.max_votes_per_minute :]) >= (
        config.max_votes_per_minute
    ):
        return "pause"
    if address is None:
        return None
    limits: tuple[tuple[Literal["pause", "limit"], int, int], ...] = (
        ("limit", DAY_S, config.max_votes_per_address),
        ("pause", MINUTE_S, config.max_votes_per_minute_and_address),
    )
    for reached, span, most in limits:
        if votes_from_address(arena.workspace, arena.name, address, now - span) >= most:
            return reached
    return None


def _ballot(arena: Arena, rater: str, item: dict[str, Any], drawn: Draw, votes: tuple[Vote, ...]) -> Ballot:
    # Which side Reddit chose must not show in the order: the ids decide it, then the hash of item and rater.
    first, second = sorted(("chosen", "rejected"), key=lambda side: str(item[f"{side}_id"]))
    if is_swapped(drawn.item_id, rater, drawn.occasion):
        first, second = second, first
    attempt = sum(vote.item_id == drawn.item_id and vote.occasion == drawn.occasion for vote in votes)
    return Ballot(
        vote_id=digest(arena.name, rater, drawn.item_id, drawn.occasion, attempt),
        item_id=drawn.item_id,
        prompt=str(item["prompt"]),
        a=str(item[first]),
        b=str(item[second]),
        a_id=str(item[f"{first}_id"]),
        b_id=str(item[f"{second}_id"]),
        draw=drawn,
    )
