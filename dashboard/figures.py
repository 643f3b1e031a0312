"""A chart on a page: what is measured, on what, the chart in the page's colours, and its files to download."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import altair as alt
import polars as pl
import streamlit as st

from dashboard import layout
from lurker.charts.figure import FORMATS, PAGE_IN, Figure, paper_spec, render
from lurker.charts.look import OPEN, on_page

MIME = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}


Opens = Callable[[dict[str, Any]], tuple[str, dict[str, str]] | None]
"""What a reader clicked, by column -> the page to open and its query; None leads nowhere."""


def show_figure(figure: Figure, source: str, rows: pl.DataFrame, opens: Opens | None = None) -> None:
    """Draw a figure, how to read it, and its downloads; pictures are made when they are asked for.

    Args:
        figure: the chart with its title, subtitle and note.
        source: experiment or page, the first part of the files' names.
        rows: the figures behind the chart, for the CSV.
        opens: where a click on a mark leads; the chart has the selection `selects` for it.
    """
    st.markdown(f"**{layout.escape(figure.title)}**  \n:gray[{layout.escape(figure.subtitle)}]")
    spec = _page_spec(figure.chart)
    look: dict[str, Any] = {
        "width": "content" if "width" in spec else "stretch",
        "theme": None,
        "key": figure.stem(source),
    }
    if opens is None:
        st.vega_lite_chart(spec, **look)
    else:
        picked = st.vega_lite_chart(spec, on_select="rerun", selection_mode=OPEN, **look)
        marks = picked["selection"].get(OPEN) or []
        if marks and (target := opens(marks[0])) is not None:
            page, query = target
            layout.leave_for(page, query)
    if figure.note:
        st.caption(layout.escape(figure.note))
    stem = figure.stem(source)
    with st.container(horizontal=True, gap="small"):
        for ending in FORMATS:
            st.download_button(
                ending.upper(),
                partial(_picture, figure, ending),
                f"{stem}.{ending}",
                MIME[ending],
                key=f"{stem}.{ending}",
                type="tertiary",
                on_click="ignore",
            )
        st.download_button(
            "CSV", rows.write_csv, f"{stem}.csv", "text/csv", key=f"{stem}.csv", type="tertiary", on_click="ignore"
        )


def _page_spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The Vega-Lite specification of a chart in the page's colours, its rows as Arrow.

    Streamlit would take rows through pandas, which takes 0.3 s to load.
    """
    spec = on_page(chart.to_dict(), is_dark=layout.is_dark())
    return spec | {"datasets": {name: _arrow(rows) for name, rows in spec["datasets"].items()}}


def _arrow(rows: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


def _picture(figure: Figure, ending: str) -> bytes:
    return render(paper_spec(figure, PAGE_IN), [ending])[ending]
