"""Tables in terminals of any width."""

from io import StringIO

import pytest
from rich.console import Console

from lurker.report import ResultTable, cell

ROWS = [{"name": "balanced-scaling", "accuracy": None, "pairs": 1234}, {"name": "x", "accuracy": 0.5, "pairs": 2}]
TABLE = ResultTable("A title that is wider than a narrow table", ROWS, "A note.")


def printed(table: ResultTable, width: int) -> list[str]:
    text = StringIO()
    table.print_on(Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False))
    return text.getvalue().splitlines()


def test_a_title_wraps_at_the_terminal_not_at_its_table() -> None:
    assert printed(TABLE, 80)[0] == TABLE.title
    assert printed(TABLE, 80)[-1] == "A note."


@pytest.mark.parametrize("width", [80, 46, 40, 25])
def test_no_figure_is_cut_or_wrapped(width: int) -> None:
    lines = printed(TABLE, width)
    assert max(map(len, lines)) <= width
    for value in ("balanced-scaling", "1,234", "0.500"):
        assert any(value in line for line in lines)


def test_a_terminal_too_narrow_for_a_table_gets_one_line_per_value() -> None:
    assert "  accuracy  0.500" in [line.rstrip() for line in printed(TABLE, 30)]


def test_a_table_loses_its_lines_before_an_interval_is_folded() -> None:
    rows = [{"model": "scratch-10k", "accuracy": "0.732 [0.657, 0.796]", "AUC": "0.800 [0.712, 0.871]"}]
    lines = printed(ResultTable("t", rows), 58)
    assert len(lines) == 3 and "0.732 [0.657, 0.796]" in lines[2] and "│" not in lines[2]


def test_rows_too_wide_for_a_table_are_a_name_and_a_line_of_values() -> None:
    name = "a-name-of-a-run" * 6
    lines = printed(ResultTable("t", [{"run": name, "model": "scratch-10k", "MB": 0.5}]), 100)
    assert lines == ["t", name, "    model scratch-10k · MB 0.500"]


def test_a_column_of_numbers_is_aligned_right_though_its_first_value_is_missing() -> None:
    first, second = [line for line in str(TABLE).splitlines() if "1,234" in line or "0.500" in line]
    assert "│        – │" in first and "│    0.500 │" in second


def test_values_as_people_read_them() -> None:
    assert [cell(value) for value in (None, True, 1234, 0.5, "x")] == ["–", "yes", "1,234", "0.500", "x"]
    signed = {-0.5: "−0.500", "-1.2 [-3.0, +0.6]": "−1.2 [−3.0, +0.6]", "6-24 h": "6-24 h", "2020-01-02": "2020-01-02"}
    assert {value: cell(value) for value in signed} == signed
