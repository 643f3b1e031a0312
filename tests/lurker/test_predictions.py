"""Predictions are read only for pairs that still have the winner they were tested with."""

import polars as pl
import pytest

from lurker.errors import LurkerError
from lurker.predictions import of_these_pairs, require_current

PAIRS = pl.DataFrame({"pair_id": ["a-b", "c-d", "e-f"], "chosen_id": ["a", "c", "e"]})
PREDICTIONS = pl.DataFrame(
    {"pair_id": ["e-f", "a-b", "x-y"], "margin": [1.0, 2.0, 3.0], "is_correct": [1.0] * 3, "chosen_id": ["f", "a", "x"]}
)


def test_a_pair_with_another_winner_and_a_pair_that_is_gone_are_dropped() -> None:
    assert of_these_pairs(PREDICTIONS, PAIRS).rows() == [("a-b", 2.0, 1.0, "a")]


def test_predictions_of_versions_without_the_winner_are_kept() -> None:
    older = PREDICTIONS.drop("chosen_id").head(2)
    assert of_these_pairs(older, PAIRS)["pair_id"].to_list() == ["e-f", "a-b"]


def test_a_set_that_was_built_again_is_named() -> None:
    with pytest.raises(LurkerError, match=r"naive was built again since run r1 .* 2 of 3 pairs"):
        require_current(PREDICTIONS, PAIRS, "r1", "naive")
    assert require_current(PREDICTIONS[1:2], PAIRS, "r1", "naive").height == 1
