"""Compare page: recipes, transfer between communities, or any two runs, always on the same pairs."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from dashboard import layout
from dashboard.compare import recipes, transfer, two_runs
from lurker.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of comparison."""

    show: Callable[[Workspace], None]
    has_any: Callable[[Workspace], bool]
    """whether the workspace has something to compare"""


PARTS = {
    "recipes": Part(recipes.show, recipes.has_any),
    "transfer": Part(transfer.show, transfer.has_any),
    "two runs": Part(two_runs.show, two_runs.has_any),
}


def render() -> None:
    """Draw the part that the reader chose; without a choice, the first that has something."""
    workspace = layout.open_page()
    layout.header(
        "What makes a difference", "Paired differences on the same pairs; named only if their interval excludes 0."
    )
    requested = st.query_params.get("part")
    if requested not in PARTS:
        requested = next((name for name, part in PARTS.items() if part.has_any(workspace)), "recipes")
    name = str(
        st.segmented_control(
            "Compare", list(PARTS), default=requested, required=True, key="part", label_visibility="collapsed"
        )
    )
    st.query_params["part"] = name
    PARTS[name].show(workspace)


if __name__ == "__main__":
    render()
