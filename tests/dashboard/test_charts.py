"""Charts as Vega-Lite: axes, scales, series and labels."""

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import documents, experiments
from dashboard.queries import version
from lurker import charts
from lurker.charts import look, scaling
from lurker.charts.figure import COLUMN_IN, PX_PER_IN, TEXT_PX, WIDTHS_IN, Figure, paper_spec, render
from lurker.charts.look import LEAK, OPEN, TASTE, spread
from lurker.charts.transfer import DARK_INK, LIGHT_INK, communities
from lurker.decimals import decimal
from lurker.workspace import Workspace

TRUTH = charts.Ceiling("the truth", 0.84, 0.82, 0.86)


@pytest.fixture
def workspace(full_root: Path) -> Workspace:
    return Workspace(full_root)


@pytest.fixture
def curve(full_root: Path) -> pl.DataFrame:
    return experiments.scaling_curve(version(full_root / "experiments/ladder/scaling.parquet"))


@pytest.fixture
def matrix(full_root: Path) -> pl.DataFrame:
    file = version(full_root / "experiments/across/transfer.parquet")
    return experiments.transfer_matrix(file).filter(pl.col("predictor") == "scratch-200k")


def layers(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]


def rows_of(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    name = (layer.get("data") or spec["data"])["name"]
    return list(spec["datasets"][name])


def labels_of(spec: dict[str, Any]) -> list[str]:
    return [str(row["label"]) for row in rows_of(spec, layers(spec, "text")[0])]


def test_scaling_has_a_log_axis_with_units_bands_and_names_at_the_line_ends(curve: pl.DataFrame) -> None:
    spec = charts.accuracy_by_data(curve, TRUTH).to_dict()
    (band,) = layers(spec, "area")
    assert band["encoding"]["y"]["field"] == "accuracy_low"
    assert band["encoding"]["y2"]["field"] == "accuracy_high"
    *_, points = layers(spec, "point")
    assert points["encoding"]["x"]["scale"]["type"] == "log"
    assert "training pairs" in points["encoding"]["x"]["title"]
    scale = points["encoding"]["color"]["scale"]
    assert scale["domain"] == ["scratch-50k", "scratch-200k", "scratch-1m"]  # by size, not by name
    assert points["encoding"]["color"]["legend"] is None
    of_baselines = ["length alone 0.505", "time alone 0.497", "time + length 0.509", "TF-IDF 0.575", "the truth 0.840"]
    labels = labels_of(spec)
    assert set(of_baselines) < set(labels) and sum("scratch" in label for label in labels) == 3


def test_only_points_have_tooltips(curve: pl.DataFrame) -> None:
    spec = charts.accuracy_by_data(curve, TRUTH).to_dict()
    with_tooltip = [layer["mark"]["type"] for layer in spec["layer"] if "tooltip" in layer["encoding"]]
    assert with_tooltip == ["point"]


def test_scaling_leaves_out_what_is_unknown_or_not_wanted(curve: pl.DataFrame) -> None:
    labels = labels_of(charts.accuracy_by_data(curve, shortcuts=False).to_dict())
    assert not any("truth" in label or "alone" in label for label in labels)
    assert any("TF-IDF" in label for label in labels)
    spec = charts.accuracy_by_data(curve.filter(~pl.col("is_baseline"))).to_dict()
    assert len(rows_of(spec, layers(spec, "line")[1])) == 12


def test_model_size_leaves_baselines_out_and_orders_data_sizes_by_number(curve: pl.DataFrame) -> None:
    spec = charts.accuracy_by_parameters(curve).to_dict()
    *_, points = layers(spec, "point")
    assert points["encoding"]["color"]["scale"]["domain"] == ["500 pairs", "1,000 pairs", "2,000 pairs", "4,000 pairs"]
    assert {row["predictor"] for row in rows_of(spec, points)} == {"scratch-50k", "scratch-200k", "scratch-1m"}


def test_findings_have_a_bar_from_a_coin_and_a_rule_at_the_ceiling() -> None:
    ends = {"accuracy_low": [0.77, 0.49], "accuracy_high": [0.81, 0.51]}
    sets = {"pairs": ["naive", "balanced"], "accuracy": [0.79, 0.5], **ends}
    probes = pl.DataFrame({**sets, "sees": ["time", "length"], "probe": ["boosting"] * 2, "label": ["a", "b"]})
    (bar,) = layers(charts.leaks(probes).to_dict(), "bar")
    assert bar["mark"]["color"] == LEAK and bar["encoding"]["x"]["field"] == "chance"
    rows = pl.DataFrame({**sets, "tfidf": [0.6, None], "n_seeds": [1, 1], "label": ["a", "b"]})
    spec = charts.learned(rows, ["naive", "balanced"], TRUTH).to_dict()
    (point,) = layers(spec, "point")
    assert point["mark"]["color"] == TASTE
    low, high = point["encoding"]["x"]["scale"]["domain"]
    assert low < 0.49 and high > TRUTH.high
    assert [row["value"] for row in rows_of(spec, layers(spec, "rule")[-1])] == [TRUTH.accuracy]
    (band,) = layers(spec, "rect")
    assert [(row["low"], row["high"]) for row in rows_of(spec, band)] == [(TRUTH.low, TRUTH.high)]


def test_marks_that_lead_on_select_what_they_stand_for(curve: pl.DataFrame) -> None:
    spec = charts.accuracy_by_data(curve).to_dict()
    (opens,) = [param for param in spec["params"] if param["name"] == OPEN]
    assert opens["select"]["fields"] == ["predictor", "n_train_pairs"] and opens["select"]["on"] == "click"


def test_a_fit_is_drawn_with_its_limit_and_what_it_predicts(curve: pl.DataFrame) -> None:
    fitted = curve.filter(~pl.col("is_baseline")).select(
        "predictor", "n_parameters", pl.col("n_train_pairs").cast(pl.Float64), "accuracy"
    )
    spec = charts.accuracy_by_data(curve, TRUTH, charts.Fitted(fitted, (0.7, 0.66, 0.8), (0.64, 0.6, 0.7))).to_dict()
    (bands,) = layers(spec, "rect")
    assert [row["low"] for row in rows_of(spec, bands)] == [TRUTH.low, 0.66]
    assert "limit of the fit 0.700" in labels_of(spec)
    (predicted,) = [layer for layer in layers(spec, "point") if layer["mark"].get("shape") == "diamond"]
    (row,) = rows_of(spec, predicted)
    assert (row["predictor"], row["n_train_pairs"], row["accuracy"]) == ("scratch-1m", 4000, 0.64)
    assert (
        "diamond" not in charts.Fitted(fitted).note and "diamond" in charts.Fitted(fitted, None, (0.6, 0.5, 0.7)).note
    )
    far = charts.accuracy_by_data(curve, None, charts.Fitted(fitted, (0.97, 0.9, 1.0))).to_dict()
    assert not any("limit" in label for label in labels_of(far))  # it would press all points together


def test_calibration_is_drawn_against_the_diagonal() -> None:
    row = {"confidence": 0.7, "accuracy": 0.6, "accuracy_low": 0.55, "accuracy_high": 0.65, "n_pairs": 90}
    spec = charts.calibration_curve([row, row | {"confidence": 0.9}]).to_dict()
    (diagonal,) = layers(spec, "line")
    assert all(point["predicted"] == point["value"] for point in rows_of(spec, diagonal))
    (points,) = layers(spec, "point")
    assert points["encoding"]["x"]["scale"] == points["encoding"]["y"]["scale"]
    assert [point["value"] for point in rows_of(spec, points)] == [0.6, 0.6]


def test_ledger_labels_show_numbers_and_shares(workspace: Workspace) -> None:
    spec = charts.ledger_bars(documents.pair_set(workspace, "naive").ledger).to_dict()
    counts, named = layers(spec, "text")
    labels = labels_of(spec)
    assert labels[labels.index("84,000") + 1] == "−21,000  (25.0 %)"
    assert labels[-1] == "24,000  (28.6 %)"
    assert layers(spec, "bar")[0]["encoding"]["x"]["scale"]["type"] == "log"
    assert counts["encoding"]["y"]["axis"] is None and named["encoding"]["x"] == {"value": 0}  # above the bar


def test_a_rule_that_drops_rows_twice_has_two_bars() -> None:
    rows = [("pairs", "input", 100), ("pairs", "thinned", 20), ("pairs", "thinned", 5), ("pairs", "kept", 75)]
    spec = charts.ledger_bars(pl.DataFrame(rows, schema=["stage", "step", "n"], orient="row")).to_dict()
    (bar,) = layers(spec, "bar")
    places = [row[bar["encoding"]["y"]["field"]] for row in rows_of(spec, bar)]
    assert len(set(places)) == 4


@pytest.mark.parametrize("width", [300, 1000])
def test_names_at_the_line_ends_have_room_at_any_width(curve: pl.DataFrame, width: int) -> None:
    spec = charts.accuracy_by_data(curve, TRUTH).to_dict()
    *_, points = layers(spec, "point")
    first, last = points["encoding"]["x"]["scale"]["domain"]
    (size,) = [param["value"] for param in spec["params"] if param["name"] == look.LABEL_SIZE]
    end = eval(last["expr"], {"pow": pow, "max": max, "width": width, look.LABEL_SIZE: size})
    place = math.log(4000 / first) / math.log(end / first)
    longest = max(len(label) for label in labels_of(spec))
    assert 0.4 < place < 1 - longest * 6 / width  # at least 6 px a character
    printed = paper_spec(Figure("a", "test", "Title", "on what", charts.accuracy_by_data(curve, TRUTH)), COLUMN_IN)
    (param,) = [param for param in printed["params"] if param["name"] == look.LABEL_SIZE]
    assert param["value"] == TEXT_PX < size


def test_heatmap_writes_accuracy_and_interval_in_each_cell(matrix: pl.DataFrame) -> None:
    spec = charts.transfer_heatmap(matrix).to_dict()
    assert [layer["encoding"]["text"]["field"] for layer in layers(spec, "text")] == ["figure", "interval"]
    cells = rows_of(spec, layers(spec, "rect")[0])
    assert len(cells) == 9
    for cell in cells:
        assert cell["figure"] == decimal(cell["accuracy"])
        assert cell["interval"] == f"[{decimal(cell['accuracy_low'])}, {decimal(cell['accuracy_high'])}]"


def test_difference_view_is_centred_on_zero(matrix: pl.DataFrame) -> None:
    spec = charts.transfer_heatmap(matrix, difference=True).to_dict()
    low, middle, high = layers(spec, "rect")[0]["encoding"]["color"]["scale"]["domain"]
    assert middle == 0
    assert low == -high
    in_domain = [row["figure"] for row in rows_of(spec, layers(spec, "rect")[0]) if row["source"] == row["target"]]
    assert in_domain == ["0.000"] * 3


def test_communities_that_are_source_and_target_come_first() -> None:
    matrix = pl.DataFrame({"source": ["b", "c", "all"], "target": ["c", "b", "a"]})
    assert communities(matrix) == ["b", "c", "a", "all"]


def test_probes_are_drawn_against_chance(workspace: Workspace) -> None:
    probes = documents.audit(workspace, "naive").probes.filter(
        (pl.col("subreddit") == "all") & (pl.col("split") == "test")
    )
    spec = charts.probe_intervals(probes).to_dict()
    chance, intervals = layers(spec, "rule")
    assert [row["value"] for row in rows_of(spec, chance)] == [0.5]
    low, high = intervals["encoding"]["x"]["scale"]["domain"]
    assert low < probes["accuracy_low"].min() and high > probes["accuracy_high"].max()  # type: ignore[operator]
    assert len(rows_of(spec, intervals)) == probes.height


def test_love_plot_shows_sizes_and_keeps_the_sign_for_the_tooltip(workspace: Workspace) -> None:
    spec = charts.love_plot(documents.audit(workspace, "naive").differences).to_dict()
    rows = {row["confounder"]: row for row in rows_of(spec, layers(spec, "point")[0])}
    assert rows["log delay"]["smd"] < 0 < rows["log delay"]["size"]
    assert layers(spec, "point")[0]["encoding"]["y"]["sort"][0] == "log delay"  # the largest first


def test_a_chart_does_not_change_its_frame(curve: pl.DataFrame) -> None:
    before = curve.clone()
    assert charts.accuracy_by_data(curve).to_dict() == charts.accuracy_by_data(curve).to_dict()
    assert curve.equals(before)


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.2))
def test_labels_never_overlap_and_keep_their_order(values: list[float], gap: float) -> None:
    placed = spread(values, gap)
    order = sorted(range(len(values)), key=lambda index: values[index])
    for lower, upper in pairwise(order):
        assert placed[upper] - placed[lower] >= gap - 1e-9


def test_labels_that_do_not_touch_are_not_moved() -> None:
    assert spread([0.9, 0.1, 0.5], 0.2) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])


@pytest.fixture
def figures(full_root: Path) -> pl.DataFrame:
    return experiments.recipe_figures(version(full_root / "experiments/taught/recipes.parquet"))


def test_recipes_keep_their_order_with_length_and_time_once(figures: pl.DataFrame) -> None:
    spec = charts.recipe_accuracy(figures.filter(pl.col("max_pairs").is_null()), "hard-test").to_dict()
    (points,) = layers(spec, "point")
    assert points["encoding"]["y"]["sort"] == ["naive", "matched", "length alone", "time alone"]
    rows = rows_of(spec, points)
    assert len(rows) == 8 and {row["series"] for row in rows} == {"all pairs", "gap >= 5"}
    (chance,) = [layer for layer in layers(spec, "rule") if layer["encoding"]["x"]["field"] == "value"]
    assert rows_of(spec, chance) == [{"value": 0.5}]


def test_correlations_of_a_reward_have_one_scale_around_zero(figures: pl.DataFrame) -> None:
    spec = charts.recipe_correlations(figures).to_dict()
    (points,) = layers(spec, "point")
    low, high = points["encoding"]["x"]["scale"]["domain"]
    assert low < 0 < high == 1
    rows = rows_of(spec, points)
    assert {row["series"] for row in rows} == {"true quality", "length, at fixed quality", "delay, at fixed quality"}
    assert not any(row["is_baseline"] for row in rows)


def test_text_on_cells_is_the_same_on_the_light_and_the_dark_page() -> None:
    assert not {LIGHT_INK, DARK_INK} & {*look.DARK, *look.DARK.values()}


def test_legends_of_a_narrow_figure_have_as_many_columns_as_there_is_room_for() -> None:
    frame = pl.DataFrame({"x": [1, 2, 3], "name": ["a", "b", "run:balanced-scaling-scratch-200k"]})
    scale, legend = look.colours(frame["name"].to_list()), alt.Legend(orient="top", columns=2)
    chart = look.layered(
        alt.Chart(frame).mark_point().encode(x="x:Q", color=alt.Color("name:N", scale=scale, legend=legend))
    )
    figure = Figure("a", "b", "title", "subtitle", chart)
    found = [paper_spec(figure, width)["layer"][0]["encoding"]["color"]["legend"]["columns"] for width in WIDTHS_IN]
    assert found == [1, 2]


@pytest.mark.parametrize("width_in", WIDTHS_IN)
def test_a_figure_of_distances_has_one_scale_on_both_axes(width_in: float) -> None:
    positions = [{"community": name, "x": x, "y": 0.1 * x} for name, x in (("advice", -1.0), ("cooking", 1.0))]
    plane = charts.community_plane({"positions": positions, "shown": 0.9})
    spec = paper_spec(Figure("plane", "t", "Near", "far", plane.properties(width=400, height=400)), width_in)
    svg = render(spec, ["svg"])["svg"].decode()
    places = re.findall(r'"circle" transform="translate\(([\d.]+),([\d.]+)\)', svg)
    (x, y), (other_x, other_y) = [(float(x), float(y)) for x, y in places]
    assert y - other_y == pytest.approx(0.1 * (other_x - x), abs=0.01)
    (width,) = re.findall(r'<svg[^>]* width="([\d.]+)', svg)
    assert float(width) <= width_in * PX_PER_IN + 1


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1.8, 140, [2, 5, 10, 20, 50, 100]), (3, 40_000, [10, 100, 1_000, 10_000]), (0.0, 0.004, [0.001, 0.002])],
)
def test_measured_amounts_have_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert scaling._round_values(low, high) == pytest.approx(ticks)
