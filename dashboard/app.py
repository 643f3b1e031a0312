"""Navigation between the pages; `lurker dashboard` serves this file."""

import streamlit as st

PAGES = {
    "": [
        st.Page("views/overview.py", title="Overview", icon=":material/visibility:", default=True),
    ],
    "Experiments": [
        st.Page("views/scaling.py", title="Scaling", icon=":material/trending_up:", url_path="scaling"),
        st.Page("views/transfer.py", title="Transfer", icon=":material/grid_on:", url_path="transfer"),
        st.Page("views/recipes.py", title="Recipes", icon=":material/balance:", url_path="recipes"),
    ],
    "Models": [
        st.Page("views/runs.py", title="Runs", icon=":material/show_chart:", url_path="runs"),
    ],
    "Pairs": [
        st.Page("views/audit.py", title="Audit", icon=":material/fact_check:", url_path="audit"),
        st.Page("views/reader.py", title="Reader", icon=":material/menu_book:", url_path="reader"),
    ],
}

SHAPES = """<path d="M3 20 Q20 3 37 20 Q20 37 3 20 Z" fill="none" stroke="#2E8CC7" stroke-width="3.4"/>
<circle cx="20" cy="20" r="5.6" fill="#E69F00"/>"""
EYE = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" height="40">{SHAPES}</svg>"""
LOGO = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 40" height="40">{SHAPES}
<text x="47" y="28" font-family="sans-serif" font-size="25" font-weight="700" fill="#2E8CC7">lurker</text></svg>"""

st.set_page_config(page_title="Lurker", page_icon=EYE, layout="wide")
st.logo(LOGO, size="large")
st.navigation(PAGES).run()
