"""Shared by all pages: the header, the workspace, hints for what is missing, and safe display of texts."""

import html
import os
import re
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException
from streamlit.navigation.page import StreamlitPage

from dashboard.documents import PairSetSummary
from dashboard.style import COPY_LINK
from lurker.errors import LurkerError
from lurker.pair_sets import JUDGED_BY_PEOPLE
from lurker.workspace import Workspace, open_workspace

WORKSPACE_VARIABLE = "LURKER_WORKSPACE"
BUILD_PAIRS = "lurker pairs build balanced --recipe balanced"
AUDIT_PAIRS = "lurker pairs audit balanced"
INTERVAL_NOTE = "Intervals are 95 %, clustered by post; 0.5 is a coin."

DAMAGE = (KeyError, TypeError, ValueError, IndexError, AttributeError, pl.exceptions.PolarsError, StreamlitAPIException)
"""What reading a file raises that holds something else than it should."""

_HERE, _LEFT = "page here", "pages left"
"""In the session: the path of the page shown; path of a page left -> the query of the page opened, and its own."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&])")
_INTERVAL = re.compile(r"\[[−+\d.]+, [−+\d.]+\]")
# Control characters and bidirectional marks are shown by name, so that they cannot hide or reorder words.
_NAMED = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_NAMES = {code: f"[U+{code:04X}]" for code in _NAMED}


def is_dark() -> bool:
    """Whether the reader's page is dark."""
    return st.context.theme.type == "dark"


def header(title: str, subtitle: str) -> None:
    """Draw the headline of a page and, below it, on what it stands and a button that copies the page's address."""
    st.title(escape(title), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="below-title"):
        st.markdown(f":gray[{escape_with_code(subtitle)}]", width="stretch")
        st.html(COPY_LINK, width="content", unsafe_allow_javascript=True)


def open_page() -> Workspace:
    """The workspace; without one, show what to run and end the page."""
    root = Path(os.environ.get(WORKSPACE_VARIABLE, "workspace"))
    try:
        return open_workspace(root)
    except LurkerError as error:
        header("Lurker", "What predicts which response people liked more.")
        commands = ["lurker demo   # a simulated Reddit; or your own dumps:", "lurker ingest dump FILE..."]
        show_missing(error.message, commands, "Then start the dashboard on that workspace again.")
        st.stop()


def select_in_url(column: DeltaGenerator, label: str, names: list[str], parameter: str) -> str:
    """A select box whose choice is always in the URL, so that a shared link stays valid as the workspace grows.

    A widget's own binding leaves its default out of the URL, and the first name may change.
    """
    requested = st.query_params.get(parameter)
    is_first = parameter not in st.session_state  # later the session's value counts, and Streamlit takes no default
    index = names.index(requested) if is_first and requested in names else 0
    name = column.selectbox(label, names, index=index, key=parameter)
    st.query_params[parameter] = name
    return name


def leave_for(page: str, query: Mapping[str, str]) -> None:
    """Open another page with its query, so that the browser's "back" shows this page as it is now."""
    # Streamlit writes the query into the address before the page, so "back" leads here with the other page's query.
    left = st.session_state.setdefault(_LEFT, {})
    left[st.session_state[_HERE]] = (dict(query), st.query_params.to_dict())
    st.switch_page(page, query_params=query)


def come_back(page: StreamlitPage) -> None:
    """Before a page is drawn: where "back" led to it with the query of the page left for, give it its own again."""
    st.session_state[_HERE] = page.url_path
    asked = st.query_params.to_dict().items()
    opened, own = st.session_state.get(_LEFT, {}).get(page.url_path, ({}, {}))
    if asked and asked <= opened.items():  # Streamlit drops what widgets of the other page were bound to
        del st.session_state[_LEFT][page.url_path]
        st.switch_page(page, query_params=own)


def show_missing(what: str, commands: Iterable[str], after: str = "") -> None:
    """Show what does not exist yet and the commands that create it, in order."""
    with st.container(border=True):
        st.markdown(f"**{escape(what)}**")
        st.markdown("Run:")
        st.code("\n".join(commands), language="bash", wrap_lines=True)
        if after:
            st.caption(after)


def show_errors(errors: Iterable[LurkerError]) -> None:
    """Show what could not be read and what to do; the rest of the page is still drawn."""
    for error in errors:
        step = error.next_step or "Run the command that wrote it again."
        st.warning(f"{escape(error.message)} {escape_with_code(step)}", icon=":material/broken_image:")


def guarded(what: str, part: Callable[..., object], *arguments: object) -> None:
    """Draw a part of a page; a file that is damaged in any way costs that part only.

    Args:
        what: whose files are read, for the message.
    """
    try:
        part(*arguments)
    except LurkerError as error:
        show_errors([error])
    except DAMAGE as error:
        reason = str(error).strip().partition("\n")[0]
        show_errors([LurkerError(f"A file of {what} is damaged ({type(error).__name__}: {reason}).")])


def unaudited(sets: Mapping[str, PairSetSummary], audited: Container[str]) -> list[str]:
    """Pair sets that have no audit yet; one that people judged has none."""
    return [name for name, one in sets.items() if name not in audited and one.recipe not in JUDGED_BY_PEOPLE]


def show_unaudited(names: Iterable[str]) -> None:
    """Show which pair sets have no audit yet, with the command for each."""
    for name in names:
        st.info(f"**{escape(name)}** has no audit yet: `lurker pairs audit {name}`", icon=":material/fact_check:")


def escape(text: str) -> str:
    """Text that Markdown shows literally: no link, image, heading, emoji code or formula."""
    return _MARKDOWN.sub(r"\\\1", visible(text)).replace("\n", " ")


def escape_with_code(text: str) -> str:
    """Text that Markdown shows literally, except for commands between backticks."""
    parts = text.split("`")
    return "".join(f"`{part}`" if index % 2 else escape(part) for index, part in enumerate(parts))


def visible(text: str) -> str:
    """The text with control characters, lone surrogates and bidirectional marks made visible."""
    valid = text.encode("utf-8", "replace").decode("utf-8") if any("\ud800" <= c <= "\udfff" for c in text) else text
    return valid.replace("\r\n", "\n").translate(_NAMES)


def cards(entries: Iterable[tuple[str, str, str]]) -> None:
    """Draw figures side by side: what, the figure, and a line below."""
    boxes = [
        f"<div><small>{html.escape(visible(what))}</small><b>{html.escape(visible(figure))}</b>"
        f"<small>{html.escape(_unbroken(visible(line)))}</small></div>"
        for what, figure, line in entries
    ]
    st.html(f'<div class="cards">{"".join(boxes)}</div>')


def _unbroken(line: str) -> str:
    """The line with every interval kept in one piece."""
    return _INTERVAL.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), line)


def text_box(text: str, *, accent: str, max_height_px: int = 520, search: str = "") -> str:
    """HTML that shows untrusted text safely: escaped, wrapped, in a box that scrolls and cannot overflow.

    Args:
        accent: colour of the box's edge.
        search: text whose places are marked, in any case.
    """
    style = (
        f"border-left:4px solid {accent};background:rgba(132,139,149,.10);border-radius:0 8px 8px 0;"
        f"padding:.9rem 1.1rem;white-space:pre-wrap;overflow-wrap:anywhere;overflow:auto;"
        f"max-height:{max_height_px}px;line-height:1.55;unicode-bidi:isolate;contain:content"
    )
    return f'<div dir="auto" style="{style}">{_marked(visible(text), search)}</div>'


def _marked(text: str, search: str) -> str:
    """The text as HTML that shows it literally, with every place of `search` marked."""
    if not search:
        return html.escape(text)
    parts = re.split(f"({re.escape(visible(search))})", text, flags=re.IGNORECASE)
    return "".join(
        f"<mark>{html.escape(part)}</mark>" if number % 2 else html.escape(part) for number, part in enumerate(parts)
    )


def duration(seconds: int) -> str:
    """A time span in words: '45 s', '12 min', '3 h 20 min', '2 d 4 h'; with a minus if before the post."""
    sign, left = ("−" if seconds < 0 else ""), abs(seconds)
    if left < 60:
        return f"{sign}{left} s"
    if left < 3600:
        return f"{sign}{left // 60} min"
    if left < 86_400:
        hours, minutes = divmod(left // 60, 60)
        return f"{sign}{hours} h {minutes} min" if minutes else f"{sign}{hours} h"
    days, hours = divmod(left // 3600, 24)
    return f"{sign}{days:,} d {hours} h" if hours else f"{sign}{days:,} d"
