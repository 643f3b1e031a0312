"""The arena as a page of its own, without the researcher's pages; `lurker arena serve` serves this file."""

import os
from pathlib import Path

import streamlit as st

from dashboard.arena.page import render

st.set_page_config(page_title="Compare responses", layout="wide")
st.html("<style>.stMainBlockContainer {max-width: 1180px; padding-top: 1.2rem; padding-bottom: 1rem}</style>")
render(
    Path(os.environ["LURKER_WORKSPACE"]),
    os.environ["LURKER_ARENA"],
    is_behind_proxy=os.environ.get("LURKER_BEHIND_PROXY") == "1",
)
