"""A chart on a page: what is measured, on what, the chart in the page's colours, and its files to download."""

from functools import partial

import polars as pl
import streamlit as st

from dashboard import layout
from lurker.charts.figure import FORMATS, PAGE_IN, Figure, paper_spec, render
from lurker.charts.look import on_page

MIME = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}


def show_figure(figure: Figure, source: str, rows: pl.DataFrame) -> None:
    """Draw a figure, how to read it, and its downloads; pictures are made when they are asked for.

    Args:
        figure: the chart with its title, subtitle and note.
        source: experiment or page, the first part of the files' names.
        rows: the figures behind the chart, for the CSV.
    """
    st.markdown(f"**{layout.escape(figure.title)}**  \n:gray[{layout.escape(figure.subtitle)}]")
    spec = on_page(figure.chart.to_dict(), is_dark=layout.is_dark())
    st.vega_lite_chart(spec, width="stretch", theme=None, key=figure.stem(source))
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


def _picture(figure: Figure, ending: str) -> bytes:
    return render(paper_spec(figure, PAGE_IN), [ending])[ending]
