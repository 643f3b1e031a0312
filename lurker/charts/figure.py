"""Charts as figures of a paper: light, at a width in inches, with title and subtitle, as SVG, PDF or PNG.

A chart is drawn for a page of about 1,000 px. `paper_spec` takes its Vega-Lite specification and sets the sizes of text
and marks for print, whichever chart it is. vl-convert draws it: no browser, nothing from the network.
"""

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from lurker.charts.look import GRID, INK, LABEL_SIZE, TEXT
from lurker.errors import CallError

COLUMN_IN, PAGE_IN = 3.3, 6.8
"""Width of a figure in one column of a paper and across both, inches."""
WIDTHS_IN = (COLUMN_IN, PAGE_IN)
FORMATS = ("pdf", "svg", "png")
PX_PER_IN = 96
PADDING_PX = 3
PNG_SCALE = 3
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""Liberation Sans comes with vl-convert, so that a figure looks the same on every machine."""
TEXT_PX, TITLE_PX = 10.5, 12.5
"""Text and titles: 8 and 9.5 points in print, at any width."""
POINT_AREA_PX = 38
LINE_PX = 1.6
CHARACTER_WIDTH = 0.49
"""Mean width of a character, as a share of the text's size; the bold title takes a tenth more."""
LEGEND_SHARE, SYMBOL_PX = 0.82, 24
"""Share of the width that a legend may take, right of the axis; the symbol of an entry and the gap to the next."""
ASPECT = 0.75
"""Height over width of a chart with a vertical axis."""
FULL_HEIGHT_IN = 3.2
"""Height at which a chart with a vertical axis stops growing with its width."""
_LEAST_LABEL_PX = 9.5


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with what it needs to stand alone."""

    name: str
    """of the chart, in words joined by dashes; part of the file's name"""
    test: str
    """pair set that is measured on; the last part of the file's name"""
    title: str
    """what is measured"""
    subtitle: str
    """on what, and how many"""
    chart: alt.LayerChart
    note: str = ""
    """how to read it, for the caption"""
    narrow: alt.LayerChart | None = None
    """the chart for one column, where it has to leave something out"""
    height_px: float | None = None
    """height of a chart of rows, without title, legend and axis; None: it follows the width"""

    def stem(self, experiment: str) -> str:
        """Name of the figure's files without width and ending: experiment-chart-set."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{experiment}-{self.name}-{self.test}")


def paper_spec(figure: Figure, width_in: float) -> dict[str, Any]:
    """The Vega-Lite specification of a figure of this width.

    Args:
        figure: the figure. A chart with a width and a height of its own keeps their ratio, as its axes share a scale.
        width_in: width of the complete picture, inches; at most that where the chart keeps its ratio.
    """
    width_px = width_in * PX_PER_IN
    chart = figure.narrow if figure.narrow is not None and width_in <= COLUMN_IN else figure.chart
    drawn = chart.to_dict()
    kept = {name: value for name, value in drawn.items() if name not in ("config", "title", "datasets")}
    fitted = _with_fitting_legends(_for_paper(kept), width_px)
    spec: dict[str, Any] = fitted | {"datasets": drawn.get("datasets", {})}
    return spec | {
        **_size(drawn, figure.height_px, width_px),
        "padding": PADDING_PX,
        "background": "#FFFFFF",
        "title": {
            "text": _wrapped(figure.title, width_px, 1.1 * TITLE_PX),
            "subtitle": _wrapped(figure.subtitle, width_px, TEXT_PX),
        },
        "config": _config(),
    }


def _size(drawn: dict[str, Any], height_px: float | None, width_px: float) -> dict[str, Any]:
    """Width and height of a specification, and what they are of: the complete width, or the plot alone."""
    if "width" in drawn and "height" in drawn:
        ratio = drawn["height"] / drawn["width"]
        plot_px = min(width_px - 2 * PADDING_PX, FULL_HEIGHT_IN * PX_PER_IN / ratio)
        return {"height": round(plot_px * ratio), "width": round(plot_px), "autosize": "pad"}
    height_px = height_px or min(ASPECT * width_px, FULL_HEIGHT_IN * PX_PER_IN)
    of_all = {"type": "fit-x", "contains": "padding"}
    return {"height": round(height_px), "width": round(width_px, 1), "autosize": of_all}


def render(spec: dict[str, Any], endings: Sequence[str]) -> dict[str, bytes]:
    """The pictures of a specification by ending.

    Args:
        spec: as returned by `paper_spec`.
        endings: of FORMATS.

    Raises:
        CallError: vl-convert is not installed.
    """
    vl_convert = require_vl_convert()
    svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    convert: dict[str, Callable[[], bytes]] = {
        "svg": svg.encode,
        "pdf": lambda: vl_convert.svg_to_pdf(svg),
        "png": lambda: vl_convert.svg_to_png(svg, scale=PNG_SCALE),
    }
    return {ending: convert[ending]() for ending in endings}


def require_vl_convert() -> Any:
    """The module that draws figures.

    Raises:
        CallError: it is not installed.
    """
    try:
        import vl_convert
    except ModuleNotFoundError as error:
        raise CallError(
            "Figures need vl-convert-python.", "Install it: `pip install -c constraints.txt -e '.[report]'`."
        ) from error
    return vl_convert


def inline_svg(svg: bytes, prefix: str) -> str:
    """An SVG for an HTML page: its ids get a prefix, as two pictures of a page may not share one."""
    text = re.sub(r"<\?xml[^>]*>|<!DOCTYPE[^>]*>", "", svg.decode())
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)


def _wrapped(text: str, width_px: float, size_px: float) -> list[str]:
    """Lines that fit the width."""
    return textwrap.wrap(text, max(12, int(width_px / (CHARACTER_WIDTH * size_px)))) or [""]


def _for_paper(part: Any) -> Any:
    """A part of a specification with sizes for print and without tooltips."""
    if isinstance(part, list):
        return [_for_paper(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {name: _for_paper(value) for name, value in part.items() if name != "tooltip"}
    for name in ("fontSize", "labelFontSize", "titleFontSize"):
        if isinstance(kept.get(name), int | float):
            kept[name] = TEXT_PX if kept[name] >= 13 else _LEAST_LABEL_PX
    if kept.get("type") == "point" and "size" in kept:
        kept["size"] = POINT_AREA_PX
    if kept.get("name") == LABEL_SIZE:
        kept["value"] = TEXT_PX
    if isinstance(kept.get("strokeWidth"), int | float):
        kept["strokeWidth"] = min(kept["strokeWidth"], LINE_PX)
    return kept


def _with_fitting_legends(part: Any, width_px: float) -> Any:
    """A part of a specification whose legends on top have as many columns as their names leave room for."""
    if isinstance(part, list):
        return [_with_fitting_legends(one, width_px) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {name: _with_fitting_legends(value, width_px) for name, value in part.items()}
    legend, scale = kept.get("legend"), kept.get("scale")
    names = scale.get("domain") if isinstance(scale, dict) else None
    if isinstance(legend, dict) and legend.get("orient") == "top" and isinstance(names, list) and names:
        room_px = LEGEND_SHARE * width_px
        entry_px = CHARACTER_WIDTH * TEXT_PX * max(len(str(name)) for name in names) + SYMBOL_PX
        columns = min(max(1, int(room_px / entry_px)), legend.get("columns", len(names)))
        kept["legend"] = legend | {"columns": columns, "labelLimit": room_px}
    return kept


def _config() -> dict[str, Any]:
    """Fonts, colours and sizes of all figures."""
    axis = {
        "labelFontSize": TEXT_PX,
        "titleFontSize": TEXT_PX,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": TEXT,
        "tickColor": TEXT,
        "gridWidth": 0.7,
        "tickSize": 4,
    }
    legend = {
        "labelFontSize": TEXT_PX,
        "titleFontSize": TEXT_PX,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": TEXT,
        "symbolSize": 45,
        "rowPadding": 1,
        "columnPadding": 8,
        "labelLimit": 260,
        "symbolOpacity": 1,
    }
    title = {
        "anchor": "start",
        "fontSize": TITLE_PX,
        "fontWeight": 600,
        "color": INK,
        "subtitleFontSize": TEXT_PX,
        "subtitleColor": TEXT,
        "subtitlePadding": 3,
        "offset": 8,
        "frame": "bounds",
    }
    numbers = {"labelOverlap": True}
    return {
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisQuantitative": numbers,
        "legend": legend,
        "title": title,
    }
