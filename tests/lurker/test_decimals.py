"""Shares and differences as people read them."""

import pytest

from lurker.decimals import decimal, difference, interval, signed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7331, "0.733"), (-0.0194, "−0.019"), (1.25, "1.250"), (0.0, "0.000"), (-0.0001, "0.000"), (0.9996, "1.000")],
)
def test_decimals_have_three_digits_and_a_true_minus(value: float, shown: str) -> None:
    assert decimal(value) == shown


def test_differences_show_their_sign_unless_they_are_nothing() -> None:
    assert (signed(0.0123), signed(-0.0123), signed(0.0001)) == ("+0.012", "−0.012", "0.000")
    assert difference(0.01, -0.02, 0.04) == "+0.010 [−0.020, +0.040]"
    assert interval(0.7, 0.65, 0.75) == "0.700 [0.650, 0.750]"
