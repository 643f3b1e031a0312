"""The rater's page: consent, instructions, qualifying with feedback, blind votes by click or key.

All of it is one fragment: a vote draws only itself again. Widgets are named by hashes, so that the page's source says
nothing of the pair, and so that the second half of a double click finds its button gone.
"""

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard.arena import cards
from dashboard.arena.ballots import (
    MIN_DWELL_MS,
    Ballot,
    Position,
    cast,
    is_right,
    join,
    may_take_back,
    position,
    sources,
    take_back,
)
from dashboard.arena.serving import Served, served
from lurker.errors import LurkerError
from lurker.progress import say
from lurker.votes.arenas import Arena, address_hash
from lurker.votes.store import MAX_REMARK_CHARS, MAX_REMARKS, Choice, append_remark, mark_rater
from lurker.workspace import Workspace

TOO_MANY_REMARKS = f"Not sent: you have sent {MAX_REMARKS} comments, the most that one person may."
QUESTIONS = {"better": "Which response is better?", "reddit": "Which response did Reddit's readers prefer?"}
ENDINGS = {
    "revoked": "This invitation was withdrawn. Your earlier votes are kept; write to whoever invited you.",
    "failed": "Thank you. Your answers differ too often from those agreed on, so the study goes on without you.",
    "pause": "You vote faster than one can read. Wait a minute, then load this page again.",
    "limit": "Your network has reached today's number of votes. Come back tomorrow.",
    "done": "Thank you: you have judged everything there is for you. You may close this page.",
}


def client_address(workspace: Workspace, *, is_behind_proxy: bool) -> str | None:
    """The rater's network address, hashed; behind a proxy the last one of X-Forwarded-For, which the proxy wrote."""
    if is_behind_proxy:
        forwarded = st.context.headers.get("X-Forwarded-For", "")
        return address_hash(workspace, forwarded.rpartition(",")[2].strip())
    return address_hash(workspace, st.context.ip_address)


@st.fragment
def render(root: Path, name: str, *, is_behind_proxy: bool = False) -> None:
    """Draw where the rater of this page's link stands."""
    st.html(cards.STYLE)
    try:
        _render(root, name, is_behind_proxy=is_behind_proxy)
    except LurkerError as error:  # it names files, so it is for the researcher only
        say(str(error))
        st.subheader("Not now")
        st.write("This page cannot be shown at the moment. Your earlier votes are kept; try again later.")


def _render(root: Path, name: str, *, is_behind_proxy: bool) -> None:
    ready = served(root, name)
    arena, address = ready.arena, client_address(ready.arena.workspace, is_behind_proxy=is_behind_proxy)
    now = position(arena, ready.pool, ready.texts, st.query_params.get("rater"), address)
    if st.session_state.pop("is_lost", False):
        st.warning("Your last click could not be stored. Please try again.")
    if shown := st.session_state.get("after"):
        (_feedback if shown[0].draw.phase == "qualify" else _reveal)(ready, *shown)
    elif now.stage == "stranger":
        _stranger(arena, address)
    elif now.stage == "consent":
        _consent(arena, now)
    elif now.stage == "instructions":
        _instructions(ready, now)
    elif now.ballot is None:
        st.subheader({"done": "The end", "pause": "A short break"}.get(now.stage, "No votes here"))
        st.write(ENDINGS[now.stage])
    else:
        _vote(ready, now, now.ballot, address)


def _store(act: Callable[..., object], *args: object) -> None:
    """Write what a click said; if that cannot be stored, the page says so and the terminal why."""
    try:
        act(*args)
    except LurkerError as error:
        say(str(error))
        st.session_state["is_lost"] = True


def _stranger(arena: Arena, address: str | None) -> None:
    def start() -> None:
        token = join(arena, address)
        if token is None:
            st.session_state["is_full"] = True
        else:
            st.query_params["rater"] = token

    st.subheader("Compare responses")
    if st.session_state.get("is_full"):
        st.write("Too many people joined from your network today. Come back tomorrow.")
    elif arena.config.raters == "open":
        st.write("You see two responses at a time and say which you prefer. Keep this page's address to come back.")
        st.button("Start", on_click=_store, args=(start,), key="start")
    else:
        st.write("This page needs the whole link of your invitation. Ask whoever invited you.")


def _consent(arena: Arena, now: Position) -> None:
    assert now.rater is not None, "only a rater is asked"
    st.subheader("Before you start")
    st.markdown(cards.without_images(arena.consent))
    args = (mark_rater, arena.workspace, now.rater.rater, "consented")
    st.button("I agree", on_click=_store, args=args, key="agree")


def _instructions(ready: Served, now: Position) -> None:
    arena, rater = ready.arena, now.rater
    assert rater is not None, "only a rater is instructed"
    st.subheader("What to do")
    st.markdown(cards.without_images(arena.instructions))
    undo = ", Z to undo" if arena.config.reveal == "nothing" else ""
    st.caption(f"Keys: A or B for the better one, T if they are level, X if both are bad, S to skip{undo}.")
    for number, one in enumerate(arena.examples, 1):
        st.markdown(f"**Example {number}**")
        st.html(cards.prompt(one.prompt))
        st.html(cards.pair(one.better, one.worse, ("Better", "Worse"), (one.reason, ""), is_short=True))
    n_first = min(arena.config.n_qualifying, len(ready.pool.qualify))
    if n_first:
        st.write(f"First come {n_first} pairs to practise on: you see after each whether you are right.")
    args = (mark_rater, arena.workspace, rater.rater, "instructed")
    st.button("Begin", on_click=_store, args=args, key="begin")


def _vote(ready: Served, now: Position, ballot: Ballot, address: str | None) -> None:
    arena, rater = ready.arena, now.rater
    assert rater is not None, "only a rater votes"
    shown = st.session_state.get("shown")
    if shown is None or shown[0] != ballot.vote_id:
        shown = st.session_state["shown"] = (ballot.vote_id, time.monotonic())

    def choose(choice: Choice) -> None:
        dwell_ms = int((time.monotonic() - shown[1]) * 1000)
        if dwell_ms < MIN_DWELL_MS:
            return
        cast(arena, rater.rater, ballot, choice, dwell_ms, address)
        is_revealed = arena.config.reveal != "nothing" and choice != "skip"
        if ballot.draw.phase == "qualify" or is_revealed:
            st.session_state["after"] = (ballot, choice)

    progress = "Practice" if now.stage == "qualifying" else f"{now.n_cast:,} of {_how_many(ready)} votes"
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{QUESTIONS[arena.config.mode]}**", width="content")
        st.caption(progress, width="content")
    st.html(cards.prompt(ballot.prompt))
    st.html(cards.pair(ballot.a, ballot.b))
    row = st.columns([3, 2, 2, 3], gap="small")
    buttons: tuple[tuple[str, str, Choice], ...] = (
        ("A is better", "a", "a"),
        ("Level", "t", "level"),
        ("Both bad", "x", "both_bad"),
        ("B is better", "b", "b"),
    )
    for column, (label, key, choice) in zip(row, buttons, strict=True):
        name = f"{key}-{ballot.vote_id}"
        column.button(label, shortcut=key, key=name, on_click=_store, args=(choose, choice), width="stretch")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Skip", shortcut="s", key=f"s-{ballot.vote_id}", on_click=_store, args=(choose, "skip"))
        if arena.config.reveal == "nothing":
            can = may_take_back(arena, now)
            undo = f"z-{ballot.vote_id}"
            st.button("Undo", shortcut="z", key=undo, on_click=_store, args=(take_back, arena, now), disabled=not can)
        _remark(arena, rater.rater, ballot)


def _how_many(ready: Served) -> str:
    """How many votes a rater is asked for.

    Gold and repeats come on top of the pairs and count like them: a count that stood still would tell which they are.
    """
    config, n_pairs = ready.arena.config, len(ready.pool.main)
    more = config.repeat_share + (config.gold_share if ready.pool.gold else 0.0)
    total = round(n_pairs / (1 - more))
    if config.max_votes_per_rater <= total:
        return f"{config.max_votes_per_rater:,}"
    return f"about {total:,}" if more else f"{total:,}"


def _remark(arena: Arena, rater: str, ballot: Ballot) -> None:
    """A box for what the rater wants to tell about the pair."""

    def send() -> None:
        text = str(st.session_state.get(field, "")).strip()
        if text:
            remark_id = uuid.uuid4().hex
            is_sent = append_remark(arena.workspace, remark_id, arena.name, rater, ballot.item_id, text)
            st.session_state["remark_said"] = "Sent to the researcher." if is_sent else TOO_MANY_REMARKS

    field = f"remark-{ballot.vote_id}"
    with (
        st.popover("Tell the researcher", key=f"tell-{ballot.vote_id}"),
        st.form(f"form-{ballot.vote_id}", clear_on_submit=True, border=False),
    ):
        st.text_area("About this pair", key=field, max_chars=MAX_REMARK_CHARS, height=80)
        st.caption(f"At most {MAX_REMARK_CHARS:,} characters, and {MAX_REMARKS} comments in all.")
        st.form_submit_button("Send", on_click=_store, args=(send,))
    if said := st.session_state.pop("remark_said", ""):
        st.caption(said, width="content")


def _feedback(ready: Served, ballot: Ballot, choice: Choice) -> None:
    """What the answer of a qualifying item is, and why."""
    item = ready.texts[ballot.item_id]
    answer = "A" if item["chosen_id"] == ballot.a_id else "B"
    st.markdown(f"**{'Right' if is_right(ballot, choice, ready.texts) else 'Not quite'}: {answer} is the better one.**")
    notes = tuple(item["reason"] or "" if side == answer else "" for side in ("A", "B"))
    _after(ballot, (notes[0], notes[1]))


def _reveal(ready: Served, ballot: Ballot, choice: Choice) -> None:
    """Which source wrote each response, after the vote."""
    voted = {"a": "A is better", "b": "B is better", "level": "level", "both_bad": "both bad"}[choice]
    st.markdown(f"**Your vote: {voted}.** Below each response is what wrote it.")
    first, second = sources(ballot, ready.texts)
    _after(ballot, (f"Written by: {first}", f"Written by: {second}"))


def _after(ballot: Ballot, notes: tuple[str, str]) -> None:
    """The pair again with what is told after the vote, and the way on."""
    st.html(cards.prompt(ballot.prompt))
    st.html(cards.pair(ballot.a, ballot.b, notes=notes))
    st.button("Next", shortcut="n", key=f"next-{ballot.vote_id}", on_click=st.session_state.pop, args=("after", None))
