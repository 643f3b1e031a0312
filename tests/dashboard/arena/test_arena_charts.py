"""Charts of an arena: rows in order, both series told apart by colour and shape, and marks for what is suspicious."""

from typing import Any

import pytest

from lurker import charts
from lurker.charts.figure import PAGE_IN, Figure, paper_spec, render
from lurker.charts.look import BASELINE, LEAK, TASTE
from tests.dashboard.test_charts import layers, rows_of

RATINGS = [
    {"source": source, "strength": strength, "low": strength - 0.2, "high": strength + 0.2, "tier": tier, "votes": 40}
    | {"at_equal_length": 0.0, "at_equal_length_low": -0.2, "at_equal_length_high": 0.2, "votes_to_flip": 3}
    for source, strength, tier in (("human", 0.5, 1), ("writer", 0.4, 1), ("agent", -0.9, 2))
]


def group(judge: str, in_group: float, held_out: float) -> dict[str, Any]:
    row: dict[str, Any] = {"judge": judge}
    for name, value in (("in_group", in_group), ("held_out", held_out)):
        row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1, f"{name}_n": 90}
        row[f"{name}_raters"] = 7
    return row


def test_sources_stand_in_order_with_their_tiers() -> None:
    chart = charts.source_ratings(RATINGS)
    spec = chart.to_dict()
    (points,) = layers(spec, "point")
    assert points["encoding"]["y"]["sort"] == ["human · tier 1", "writer · tier 1", "agent · tier 2"]
    assert points["encoding"]["color"]["scale"]["range"] == [TASTE, BASELINE]
    assert len(set(points["encoding"]["shape"]["scale"]["range"])) == 2
    assert points["encoding"]["yOffset"]["field"] == "kind"
    low, high = points["encoding"]["x"]["scale"]["domain"]
    assert low < -1.1 and high > 0.7
    assert len(rows_of(spec, points)) == 6
    figure = Figure("sources", "tea", "What raters prefer", "by source", chart, height_px=140)
    svg = render(paper_spec(figure, PAGE_IN), ["svg"])["svg"].decode()
    assert "human · tier 1" in svg and "at equal length" in svg


def test_groups_of_raters_share_a_row_per_judge() -> None:
    spec = charts.judges_by_group([group("another rater", 0.7, 0.72), group("run:tuned", 0.8, 0.6)]).to_dict()
    (points,) = layers(spec, "point")
    assert points["encoding"]["y"]["sort"] == ["another rater", "run:tuned"]
    assert points["encoding"]["color"]["scale"]["domain"] == ["raters trained on", "held-out raters"]
    low, high = points["encoding"]["x"]["scale"]["domain"]
    assert low <= 0.47 and high >= 0.9


@pytest.mark.parametrize("n_suspicious", [0, 1])
def test_suspicious_raters_stand_out_and_the_best_is_first(n_suspicious: int) -> None:
    rows = [
        {"rater": name * 12, "gold": gold, "gold_low": gold - 0.1, "gold_high": gold + 0.05, "gold_n": 12}
        | {"suspicious": ["wrong on gold"] if name == "b" and n_suspicious else []}
        for name, gold in (("a", 0.7), ("b", 0.4), ("c", 0.9))
    ]
    spec = charts.raters_on_gold(rows).to_dict()
    (points,) = layers(spec, "point")
    assert points["encoding"]["y"]["sort"] == ["c" * 8, "a" * 8, "b" * 8]
    assert points["encoding"]["color"]["scale"]["range"] == [TASTE, LEAK][: 1 + n_suspicious]
    assert "yOffset" not in points["encoding"]
    assert [row["why"] for row in rows_of(spec, points)][-1] == ("wrong on gold" if n_suspicious else "–")


def test_votes_over_time_are_bars_of_an_hour() -> None:
    spec = charts.votes_over_time(
        [{"start_utc": 3_600 * hour, "votes": 5, "raters": 2} for hour in (0, 1, 5)]
    ).to_dict()
    (bars,) = layers(spec, "rect")
    assert (bars["encoding"]["x"]["field"], bars["encoding"]["x2"]["field"]) == ("hour", "end")
    assert len(rows_of(spec, bars)) == 3
