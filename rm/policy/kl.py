"""How far the best of n samples is from a single sample: KL divergences of best-of-n, in nats."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def kl_bound(n: int | NDArray[np.int64]) -> Floats:
    """log n − (n − 1)/n: the KL divergence if no two outputs are alike, else an upper bound, nats.

    Source: the formula of Stiennon et al. 2020, 2009.01325; that it is a bound, Beirami et al. 2024, 2401.01879,
        theorem 1.
    """
    number = np.asarray(n, dtype=np.float64)
    return np.asarray(np.log(number) - (number - 1) / number)


def exact_kl(probabilities: Sequence[float] | Floats, n: int) -> float:
    """KL divergence of best-of-n from a policy with few outputs, nats.

    Args:
        probabilities: of the outputs, from the lowest reward to the highest, no two of them equal, [outputs].
        n: samples of which the best is taken.
    """
    single = np.asarray(probabilities, dtype=np.float64)
    up_to = np.cumsum(single) / single.sum()
    best = np.diff(up_to**n, prepend=0.0)
    is_possible = best > 0
    return float(np.sum(best[is_possible] * np.log(best[is_possible] / single[is_possible])))


def kl_of_output(probability: Floats, n: Floats | float) -> Floats:
    """Beirami's estimate of the KL divergence of best-of-n, from the probability of an output that it returned, nats.

    Its mean over what best-of-n returns is near the exact value, also where outputs repeat themselves.

    Args:
        probability: with which a single sample is this output, above 0 to 1.
        n: samples of which the best is taken; broadcast with `probability`.

    Source:
        Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy", 2401.01879, their proposed
        estimator (section 4).
    """
    p, number = np.broadcast_arrays(np.asarray(probability, dtype=np.float64), np.asarray(n, dtype=np.float64))
    with np.errstate(divide="ignore"):
        log_other = np.log1p(-p)  # −inf where only one output is possible
    none_same = np.exp(number * log_other)
    # The first term vanishes with (1 − p)ⁿ, faster than its logarithm grows.
    spread = np.where(none_same > 0, np.log(number) + (number - 1) * log_other - (number - 1) / number, 0.0)
    some_same = -np.expm1(number * log_other)
    return np.asarray(none_same * np.nan_to_num(spread, neginf=0.0) + some_same * np.log(some_same / p))
