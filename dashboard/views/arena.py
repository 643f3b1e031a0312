"""Arena page: what people's votes say so far, and the rater's page itself, to vote or to see what raters see."""

import contextlib
import io
from typing import Any

import streamlit as st

from dashboard import layout
from dashboard.arena.page import render as render_ballots
from lurker.cli import run
from lurker.decimals import interval
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.votes.arenas import Arena, arena_names, invite, open_arena
from lurker.votes.store import read_raters, read_remarks, read_votes
from lurker.workspace import Workspace

RESULTS, VOTE = "Results", "Vote"


def render() -> None:
    """Draw the results that `lurker arena results` wrote, or the rater's page."""
    workspace = layout.open_page()
    names = arena_names(workspace)
    if not names:
        layout.header("The arena", "People compare two responses, blind: what do they prefer, and is Reddit like them?")
        commands = ["lurker arena serve tea --pairs balanced --split test", "lurker arena invite tea --number 5"]
        layout.show_missing("There is no arena yet.", commands)
        return
    left, right, _ = st.columns([1, 1, 2])
    name = layout.select_in_url(left, "Arena", names, "arena")
    view = right.segmented_control("View", [RESULTS, VOTE], default=RESULTS, key="arena_view")
    try:
        arena = open_arena(workspace, name)
        if view == VOTE:
            _vote(arena)
        else:
            _results(workspace, arena)
    except LurkerError as error:
        layout.show_errors([error])


def _vote(arena: Arena) -> None:
    """The rater's page, with a link of the researcher's own."""

    def enter() -> None:
        st.query_params["rater"] = invite(arena, "researcher")

    if "rater" not in st.query_params:
        st.write("Your votes are written like those of any rater, under the name researcher.")
        st.button("Vote as the researcher", on_click=enter, key="enter")
        return
    render_ballots(arena.workspace.root, arena.name)


def _results(workspace: Workspace, arena: Arena) -> None:
    votes, raters = read_votes(workspace, arena.name), read_raters(workspace, arena.name)
    path = workspace.folder("votes", arena.name) / "results.json"
    written = f"{votes.height:,} votes written by {votes['rater'].n_unique():,} of {raters.height:,} raters"
    if path.exists():
        report = read_object(path)
        layout.header(report["headline"], report["summary"])
        n_since = votes.height - report["ledger"]["input"]
        st.caption(f"{written}; {n_since:,} since the figures below were computed. {layout.INTERVAL_NOTE}")
    else:
        layout.header(f"Arena {arena.name}", f"{written}; nothing is computed yet.")
    if votes.height:
        st.button("Compute the figures", key="compute", on_click=_compute, args=(workspace, arena.name))
    else:
        commands = [f"lurker arena invite {arena.name} --number 5", f"lurker arena serve {arena.name}"]
        layout.show_missing("Nobody has voted yet.", commands)
    if path.exists():
        _tables(report)
    if (remarks := read_remarks(workspace, arena.name)).height:
        st.subheader("What raters told you", anchor=False)
        st.dataframe(remarks.select("rater", "item_id", "text"), width="stretch", hide_index=True)


def _compute(workspace: Workspace, name: str) -> None:
    """Run the command that writes the figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(["--workspace", str(workspace.root), "arena", "results", name, "--json"])
    if code:
        st.warning(f"The figures could not be computed (code {code}); the terminal says why.")


def _tables(report: dict[str, Any]) -> None:
    if report["ratings"]:
        st.subheader("Sources", anchor=False)
        st.dataframe([_rating(row) for row in report["ratings"]], width="stretch", hide_index=True)
    st.subheader("How often two judges prefer the same response", anchor=False)
    agreement = [
        {"judge": row["first"], "and": row["second"], "agree": interval(row["agreement"], row["low"], row["high"])}
        | {"n": row["n"], "posts": row["n_posts"]}
        for row in report["agreement"]
    ]
    st.dataframe(agreement, width="stretch", hide_index=True)
    st.subheader("Raters", anchor=False)
    st.dataframe([_rater(row) for row in report["raters"]], width="stretch", hide_index=True)
    st.subheader("Votes that count", anchor=False)
    ledger = [{"votes": "written", "number": report["ledger"]["input"]}]
    ledger += [{"votes": one["reason"], "number": -one["n"]} for one in report["ledger"]["dropped"]]
    st.dataframe([*ledger, {"votes": "that count", "number": report["ledger"]["kept"]}], hide_index=True)


def _rating(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": row["source"],
        "tier": row["tier"],
        "strength": _interval(row, "strength", "low", "high"),
        "at equal length": _interval(row, "at_equal_length"),
        "votes": row["votes"],
        "votes to flip with the next": row["votes_to_flip"],
    }


def _rater(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rater": row["rater"],
        "votes": row["votes"],
        "gold": _interval(row, "gold"),
        "chose A": _interval(row, "side_a"),
        "agrees with self": _interval(row, "self_agreement"),
        "slope": _interval(row, "slope"),
        "seconds": round(row["dwell_ms"] / 1000, 1),
        "suspicious": ", ".join(row["suspicious"]),
    }


def _interval(row: dict[str, Any], name: str, low: str = "", high: str = "") -> str | None:
    if row[name] is None:
        return None
    return interval(row[name], row[low or f"{name}_low"], row[high or f"{name}_high"])


if __name__ == "__main__":
    render()
