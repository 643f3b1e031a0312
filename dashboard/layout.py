"""What every page shares: its head, the workspace it reads, hints for what is missing, and text shown as text."""

import html
import os
import re
from collections.abc import Iterable
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lurker.errors import LurkerError
from lurker.workspace import Workspace, open_workspace

WORKSPACE_VARIABLE = "LURKER_WORKSPACE"
BUILD_PAIRS = "lurker pairs build matched --recipe matched"
AUDIT_PAIRS = "lurker pairs audit matched"
COIN_NOTE = "Intervals are 95 % and clustered by post; 0.5 is a coin."

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&])")
# Control characters, and marks that reorder the text around them: named, so that they cannot hide or swap words.
_NAMED = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_NAMES = {code: f"[U+{code:04X}]" for code in _NAMED}


def begin(title: str, question: str) -> Workspace:
    """Draw the head of a page and return the workspace; without one, say what to run and end the page."""
    st.title(title)
    st.markdown(f":gray[{question}]")
    root = Path(os.environ.get(WORKSPACE_VARIABLE, "workspace"))
    try:
        return open_workspace(root)
    except LurkerError as error:
        commands = ["lurker demo   # a simulated Reddit, or your own dumps:", "lurker ingest dump FILE..."]
        missing(error.message, commands, "Then start the dashboard on that workspace again.")
        st.stop()


def choose(place: DeltaGenerator, label: str, names: list[str], parameter: str) -> str:
    """A choice that always stands in the URL: a shared link means the same when the workspace has grown.

    A widget's own binding leaves its default out of the URL, and the first of the names is not the first for ever.
    """
    asked = st.query_params.get(parameter)
    name = place.selectbox(label, names, index=names.index(asked) if asked in names else 0, key=parameter)
    st.query_params[parameter] = name
    return name


def missing(what: str, commands: Iterable[str], after: str = "") -> None:
    """Say what is not there yet and which commands make it, in their order."""
    with st.container(border=True):
        st.markdown(f"**{plain(what)}**")
        st.markdown("Run:")
        st.code("\n".join(commands), language="bash")
        if after:
            st.caption(after)


def damaged(errors: Iterable[LurkerError]) -> None:
    """Name what could not be read; the rest of the page goes on."""
    for error in errors:
        st.warning(f"{plain(error.message)} {with_commands(error.next_step)}", icon=":material/broken_image:")


def not_audited(names: Iterable[str]) -> None:
    """Say which pair sets wait for their audit, and the command for each."""
    for name in names:
        st.info(f"**{plain(name)}** was not audited yet: `lurker pairs audit {name}`", icon=":material/fact_check:")


def plain(text: str) -> str:
    """Text that Markdown shows as it is: no link, image, heading, emoji code or formula."""
    return _MARKDOWN.sub(r"\\\1", visible(text)).replace("\n", " ")


def with_commands(text: str) -> str:
    """Text that Markdown shows as it is, but for what stands between backticks: that is a command."""
    parts = text.split("`")
    return "".join(f"`{part}`" if index % 2 else plain(part) for index, part in enumerate(parts))


def visible(text: str) -> str:
    """The text with what cannot be shown made visible: control characters, lone surrogates, reordering marks."""
    whole = text.encode("utf-8", "replace").decode("utf-8") if any("\ud800" <= c <= "\udfff" for c in text) else text
    return whole.replace("\r\n", "\n").translate(_NAMES)


def text_box(text: str, *, accent: str, max_height_px: int = 520) -> str:
    """HTML that shows a stranger's text as text: escaped, wrapped anywhere, in a box that scrolls and cannot overflow.

    accent: colour of the box's edge.
    """
    style = (
        f"border-left:4px solid {accent};background:rgba(132,139,149,.10);border-radius:0 8px 8px 0;"
        f"padding:.9rem 1.1rem;white-space:pre-wrap;overflow-wrap:anywhere;overflow:auto;"
        f"max-height:{max_height_px}px;line-height:1.55;unicode-bidi:isolate;contain:content"
    )
    return f'<div dir="auto" style="{style}">{html.escape(visible(text))}</div>'


def duration(seconds: int) -> str:
    """A time span as people say it: '45 s', '12 min', '3 h 20 min', '2 d 4 h'; before the post has a minus."""
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


def interval(value: float, low: float, high: float) -> str:
    """A share with its interval, as everywhere on the pages."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
