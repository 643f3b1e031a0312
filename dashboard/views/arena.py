"""Arena page: what people's votes say so far, and the rater's page itself, to vote or to see what raters see."""

import contextlib
import io

import polars as pl
import streamlit as st

from dashboard import layout
from dashboard.arena.page import render as render_ballots
from dashboard.arena.results import show
from dashboard.tables import show_table
from lurker.cli import run
from lurker.decimals import counted
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.votes.arenas import RESULTS_FILE, Arena, arena_names, invite, open_arena
from lurker.votes.store import read_raters, read_remarks, read_votes
from lurker.workspace import Workspace

RESULTS, VOTE = "Results", "Vote"
REMARK_PX = 84
"""Height of a remark in the table: three lines."""


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
            layout.guarded(f"the arena {name}", _results, workspace, arena)
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
    path = workspace.folder("votes", arena.name) / RESULTS_FILE
    written = f"{counted(votes.height, 'vote')} written by {votes['rater'].n_unique():,} of {raters.height:,} raters"
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
        show(report, arena)
    if (remarks := read_remarks(workspace, arena.name)).height:
        st.subheader("What raters told you", anchor=False)
        shown = remarks.select(
            pl.col("rater").str.slice(0, 8),
            "item_id",
            pl.col("text").map_elements(layout.visible, return_dtype=pl.String),
        )
        show_table(shown, columns={"text": st.column_config.TextColumn("text", width="large")}, row_height=REMARK_PX)


def _compute(workspace: Workspace, name: str) -> None:
    """Run the command that writes the figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(["--workspace", str(workspace.root), "arena", "results", name, "--json"])
    if code:
        st.warning(f"The figures could not be computed (code {code}); the terminal says why.")


if __name__ == "__main__":
    render()
