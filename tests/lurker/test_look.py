"""Colours can be read as text, and are told apart by people who do not see red or green."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from lurker.charts import look

Colour = NDArray[np.float64]
# Machado, Oliveira & Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency",
# severity 1; on linear RGB.
SEEN_BY = {
    "all": np.eye(3),
    "deuteranopes": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopes": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
LEAST_DISTANCE, LEAST_STEP = 14, 8
"""CIE 1976 differences: of unlike things, and of neighbouring model sizes, which stand in order and have names."""
PAGES = {False: look.PAPER, True: look.DARK[look.PAPER]}


def on(is_dark: bool, colour: str) -> str:
    return look.DARK[colour] if is_dark else colour


def linear(colour: str) -> Colour:
    parts = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """Source: WCAG 2.2, relative luminance and contrast ratio."""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: Colour) -> Colour:
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(first: str, second: str) -> float:
    """The smallest difference to any of SEEN_BY."""
    return min(float(np.linalg.norm(lab(eye @ linear(first)) - lab(eye @ linear(second)))) for eye in SEEN_BY.values())


@pytest.mark.parametrize("is_dark", [False, True])
def test_every_colour_can_be_read_as_text(is_dark: bool) -> None:
    for colour in (look.INK, look.TEXT, look.BASELINE, *look.SERIES, *look.SIZES):
        assert contrast(on(is_dark, colour), PAGES[is_dark]) >= 4.5, colour


@pytest.mark.parametrize("is_dark", [False, True])
def test_colours_are_told_apart_without_red_or_green(is_dark: bool) -> None:
    for pair in combinations((*look.SERIES, look.BASELINE), 2):
        assert distance(*(on(is_dark, colour) for colour in pair)) >= LEAST_DISTANCE, pair
    for pair in combinations(look.SIZES, 2):
        assert distance(*(on(is_dark, colour) for colour in pair)) >= LEAST_STEP, pair


def test_a_known_name_keeps_its_colour_and_shape_whatever_else_is_drawn() -> None:
    def looks(names: list[str], name: str) -> tuple[str, str]:
        place = names.index(name)
        return look.colours(names).to_dict()["range"][place], look.shapes(names).to_dict()["range"][place]

    assert looks(["naive", "matched", "mine"], "naive") == looks(["naive"], "naive")
    assert looks(["mine", "balanced"], "balanced") == looks(["hard-test", "balanced"], "balanced")
    assert len(set(look.colours(["naive", "matched", "balanced", "mine", "other"]).to_dict()["range"])) == 5
    assert look.colours(["tfidf", "naive"]).to_dict()["range"][0] == look.BASELINE


def test_the_dark_page_has_its_own_colours_and_no_tooltip_without_a_point() -> None:
    spec = look.on_page(
        {"layer": [{"mark": {"type": "rule", "color": look.LEAK}}], "datasets": {"d": [{"x": look.LEAK}]}}, is_dark=True
    )
    assert spec["layer"][0]["mark"]["color"] == look.DARK[look.LEAK]
    assert spec["datasets"] == {"d": [{"x": look.LEAK}]}  # data stay as they are
    assert spec["config"]["mark"]["tooltip"] is None and spec["config"]["view"]["stroke"] is None
