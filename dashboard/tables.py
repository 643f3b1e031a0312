"""Tables on the pages: one way to write numbers, figures in one cell with their interval, a dash where nothing is."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from lurker.decimals import decimal, difference, interval, signed

NOTHING = "–"
_ENDS = (("value", "low", "high"), ("difference", "low", "high"))
"""Figures whose ends carry no name of their own; others have NAME_low and NAME_high."""
_SIGNED = "difference"
"""Beginning of the names of figures that are written with their sign."""


def show_table(
    rows: pl.DataFrame | Sequence[Mapping[str, Any]],
    titles: Mapping[str, str] | None = None,
    columns: Mapping[str, ColumnConfig] | None = None,
    **options: Any,
) -> None:
    """Draw a table over the full width.

    Args:
        rows: the frame, or its rows.
        titles: of columns whose name, without n_ and underscores, does not say it.
        columns: how to draw some columns, by name, in place of the rule.
        options: of `st.dataframe`.
    """
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
    own = columns or {}
    shown = readable(frame, skipped=list(own))
    titled = {name: (titles or {}).get(name) or name.removeprefix("n_").replace("_", " ") for name in shown.columns}
    titled |= {name: f"{titled[name]} [95 %]" for name, *_ in _with_ends(frame)}
    config = {name: _column(titled[name], dtype) for name, dtype in frame.schema.items() if name in titled}
    sent = shown.to_arrow(compat_level=pl.CompatLevel.oldest())  # for a frame, Streamlit would load pandas: 0.3 s
    st.dataframe(
        sent, width="stretch", hide_index=True, placeholder=NOTHING, column_config={**config, **own}, **options
    )


def readable(frame: pl.DataFrame, skipped: Sequence[str] = ()) -> pl.DataFrame:
    """The frame with every figure and its interval as one text, and other fractions with three digits; pure.

    Args:
        frame: figures are columns NAME, NAME_low and NAME_high, or value or difference with low and high.
        skipped: columns that stay as they are.
    """
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))  # of damaged files
    for name, low, high in _with_ends(frame):
        is_signed = name.startswith(_SIGNED)
        texts = [_figure(*ends, is_signed=is_signed) for ends in frame.select(name, low, high).iter_rows()]
        frame = frame.with_columns(pl.Series(name, texts, dtype=pl.String)).drop(low, high)
    fractions = [name for name, dtype in frame.schema.items() if dtype.is_float() and name not in skipped]
    return frame.with_columns(
        pl.col(name).map_elements(signed if name.startswith(_SIGNED) else decimal, return_dtype=pl.String)
        for name in fractions
    )


def shortened(name: str, n_characters: int) -> str:
    """The name with its middle left out if it is longer; pure. Ids tell each other apart by their ends.

    Args:
        n_characters: at most that many are kept, the ellipsis among them.
    """
    if len(name) <= n_characters:
        return name
    n_last = n_characters // 2
    return f"{name[: n_characters - n_last - 1]}…{name[-n_last:]}"


def _with_ends(frame: pl.DataFrame) -> list[tuple[str, str, str]]:
    """The figures of a frame that have an interval, with the columns of its ends."""
    named = [(name, f"{name}_low", f"{name}_high") for name in frame.columns]
    return [names for names in (*named, *_ENDS) if set(names) <= set(frame.columns)]


def _figure(value: float | None, low: float | None, high: float | None, *, is_signed: bool) -> str | None:
    """A figure with its interval, as far as both are known."""
    if value is None:
        return None
    if low is None or high is None:
        return signed(value) if is_signed else decimal(value)
    return difference(value, low, high) if is_signed else interval(value, low, high)


def _column(title: str, dtype: pl.DataType) -> ColumnConfig:
    if dtype.is_integer():
        return st.column_config.NumberColumn(title, format="localized")
    if dtype.is_float():
        return st.column_config.TextColumn(title, alignment="right")
    return st.column_config.Column(title)
