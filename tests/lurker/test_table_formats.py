import csv
from io import StringIO

from lurker.report import ResultTable
from lurker.table_formats import to_csv, to_latex, to_markdown

TABLE = ResultTable(
    "50 % of r/a_b & c",
    [{"model": "x_{1} | <b>", "n": 12_000, "share": 0.5}, {"model": "=1+1", "n": 7, "share": None}],
    "loss^2 ≥ 0\nsecond line",
)


def test_latex_is_escaped_and_aligned() -> None:
    text = to_latex(TABLE, "tab:x")
    assert r"\caption{50 \% of r/a\_b \& c}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"x\_\{1\} \textbar{} \textless{}b\textgreater{} & 12,000 & 0.500 \\" in text
    assert r"loss\textasciicircum{}2 $\geq$ 0 second line" in text


def test_markdown_cells_stay_cells() -> None:
    lines = to_markdown(TABLE).splitlines()
    assert lines[3] == "| --- | ---: | ---: |"
    assert lines[4] == r"| x\_\{1\} \| \<b\> | 12,000 | 0.500 |"


def test_csv_keeps_numbers_and_disarms_formulas() -> None:
    rows = list(csv.reader(StringIO(to_csv(TABLE))))
    assert rows == [["model", "n", "share"], ["x_{1} | <b>", "12000", "0.5"], ["'=1+1", "7", ""]]


def test_a_table_without_rows_is_its_title_and_note() -> None:
    empty = ResultTable("None", [], "nothing")
    assert to_markdown(empty) == "**None**\n\n\nnothing\n"
    assert "tabular" not in to_latex(empty, "tab:x")
