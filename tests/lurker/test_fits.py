"""Figures of a fit, written as losses, read as accuracies."""

import pytest

from lurker.fits import ERROR, HELD_OUT, LIMIT, accuracy_of


def test_a_loss_with_its_interval_becomes_an_accuracy_with_its_interval() -> None:
    known = {"measure": ERROR, "figure": LIMIT, "value": 0.2, "low": 0.1, "high": 0.35}
    other = known | {"measure": "log loss", "value": 0.5}
    assert accuracy_of([other, known], LIMIT) == pytest.approx((0.8, 0.65, 0.9))
    assert accuracy_of([known], HELD_OUT) is None
    assert accuracy_of([known | {"low": None}], LIMIT) is None  # cannot tell
