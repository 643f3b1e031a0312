"""Navigation between the pages; `lurker dashboard` serves this file."""

import streamlit as st

from dashboard import layout
from dashboard.style import EYE, STYLE

FINDINGS = "views/findings.py"


def open_findings() -> None:
    """Lead from /findings to the page, whose own address is /."""
    st.switch_page(FINDINGS)


PAGES = [
    st.Page(FINDINGS, title="Findings", url_path="", default=True),
    st.Page(open_findings, url_path="findings", visibility="hidden"),
    st.Page("views/scaling.py", title="Scaling", url_path="scaling"),
    st.Page("views/compare.py", title="Compare", url_path="compare"),
    st.Page("views/runs.py", title="Runs", url_path="runs"),
    st.Page("views/policy.py", title="Policy", url_path="policy"),
    st.Page("views/read.py", title="Read", url_path="read"),
    st.Page("views/arena.py", title="Arena", url_path="arena"),
    st.Page("views/score.py", title="Score", url_path="score"),
    st.Page("views/data.py", title="Data", url_path="data"),
]

st.set_page_config(page_title="Lurker", page_icon=EYE, layout="wide")
st.html(STYLE)
page = st.navigation(PAGES, position="top")
layout.come_back(page)
page.run()
