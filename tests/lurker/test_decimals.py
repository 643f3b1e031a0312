"""Shares and differences as people read them."""

import pytest

from lurker.decimals import decimal, difference, interval, signed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7331, ".733"), (-0.0194, "−.019"), (1.25, "1.250"), (0.0, ".000"), (-0.0001, ".000"), (0.9996, "1.000")],
)
def test_decimals_have_no_leading_zero_and_a_true_minus(value: float, shown: str) -> None:
    assert decimal(value) == shown


def test_differences_show_their_sign_unless_they_are_nothing() -> None:
    assert (signed(0.0123), signed(-0.0123), signed(0.0001)) == ("+.012", "−.012", ".000")
    assert difference(0.01, -0.02, 0.04) == "+.010 [−.020, +.040]"
    assert interval(0.7, 0.65, 0.75) == ".700 [.650, .750]"
