"""Tables as people read them: a figure with its interval in one cell, three digits, a true minus."""

import polars as pl

from dashboard.tables import readable


def test_a_figure_stands_with_its_interval_in_one_cell() -> None:
    ends = {"accuracy_low": [0.7, None], "accuracy_high": [0.8, None]}
    frame = pl.DataFrame({"run": ["a", "b"], "accuracy": [0.75, 0.5], **ends, "n_seeds": [1, 2]})
    shown = readable(frame)
    assert shown.columns == ["run", "accuracy", "n_seeds"]
    assert shown["accuracy"].to_list() == ["0.750 [0.700, 0.800]", "0.500"]
    assert shown["n_seeds"].to_list() == [1, 2]  # a number, to be sorted


def test_differences_show_their_sign_and_a_true_minus() -> None:
    frame = pl.DataFrame({"difference": [-0.019, None, 0.02], "low": [-0.03, None, None], "high": [-0.01, None, None]})
    assert readable(frame)["difference"].to_list() == ["−0.019 [−0.030, −0.010]", None, "+0.020"]


def test_other_fractions_have_three_digits_and_skipped_columns_stay() -> None:
    frame = pl.DataFrame(
        {"value": [1.0, -0.5], "low": [0.0, -1.0], "high": [2.0, 0.0], "p": [1e-5, 0.5], "x": [0.5, 1]}
    )
    shown = readable(frame, skipped=["p"])
    assert shown["value"].to_list() == ["1.000 [0.000, 2.000]", "−0.500 [−1.000, 0.000]"]
    assert shown["p"].to_list() == [1e-5, 0.5] and shown["x"].to_list() == ["0.500", "1.000"]
