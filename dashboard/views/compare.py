"""Compare page: recipes, transfer between communities, or any two runs, always on the same pairs."""

import streamlit as st

from dashboard import layout
from dashboard.compare import recipes, transfer, two_runs

PARTS = {"recipes": recipes.show, "transfer": transfer.show, "two runs": two_runs.show}


def render() -> None:
    """Draw the part that the reader chose."""
    workspace = layout.open_page()
    layout.header(
        "What makes a difference", "Paired differences on the same pairs; named only if their interval excludes 0."
    )
    part = st.segmented_control(
        "Compare",
        list(PARTS),
        default="recipes",
        required=True,
        key="part",
        bind="query-params",
        label_visibility="collapsed",
    )
    PARTS[str(part)](workspace)


if __name__ == "__main__":
    render()
