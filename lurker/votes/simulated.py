"""Simulated raters: what careful, careless, side-biased and contrarian people would vote, given a known quality."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["careful", "careless", "side-biased", "contrarian"]


@dataclass(frozen=True, slots=True)
class SimulatedRater:
    """How a simulated rater chooses: P(A) = σ(slope · (quality of A − quality of B) + bias)."""

    kind: Kind
    slope: float
    """log-odds per unit of quality"""
    bias: float
    """log-odds for A"""


RATERS = (
    SimulatedRater("careful", 2.0, 0.0),
    SimulatedRater("careless", 0.0, 0.0),
    SimulatedRater("side-biased", 1.0, 1.5),
    SimulatedRater("contrarian", -1.5, 0.0),
)
LEVEL_BELOW = 0.1
"""A difference of quality that a careful rater calls level half of the time."""


def simulated_raters(n: int, careful_share: float = 0.7) -> Sequence[SimulatedRater]:
    """n raters: the first share careful, then the other kinds in turn."""
    n_careful = round(n * careful_share)
    others = [RATERS[1 + index % (len(RATERS) - 1)] for index in range(n - n_careful)]
    return [*[RATERS[0]] * n_careful, *others]


def choose(
    rater: SimulatedRater, quality_a: float, quality_b: float, rng: np.random.Generator
) -> Literal["a", "b", "level"]:
    """What the rater votes on two responses of known quality."""
    difference = quality_a - quality_b
    if rater.slope and abs(difference) < LEVEL_BELOW and rng.random() < 0.5:
        return "level"
    p = 1 / (1 + np.exp(-(rater.slope * difference + rater.bias)))
    return "a" if rng.random() < p else "b"
