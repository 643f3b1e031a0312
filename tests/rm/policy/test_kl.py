"""KL divergence of best-of-n: exact, estimated and bounded."""

import numpy as np
import pytest

from rm.policy.kl import exact_kl, kl_bound, kl_of_output


@pytest.mark.parametrize(
    ("outputs", "n", "exact", "estimate", "bound"),
    [(10, 64, 2.293, 2.295, 3.175), (10, 256, 2.303, 2.303, 4.549), (1_000, 256, 4.546, 4.548, 4.549)],
)
def test_known_values(outputs, n, exact, estimate, bound):
    """Ten and a thousand equally likely outputs, whose exact divergences are known."""
    assert exact_kl(np.full(outputs, 1 / outputs), n) == pytest.approx(exact, abs=5e-4)
    assert kl_of_output(1 / outputs, n) == pytest.approx(estimate, abs=5e-4)
    assert kl_bound(n) == pytest.approx(bound, abs=5e-4)


@pytest.mark.parametrize("n", [1, 2, 4, 16, 64, 256])
def test_the_estimate_is_near_the_exact_value_and_both_are_below_the_bound(n):
    """Outputs of very different probabilities, in random order of reward."""
    rng = np.random.default_rng(3)
    for concentration in (0.1, 1.0, 20.0):
        probabilities = rng.dirichlet(np.full(50, concentration)) + 1e-12
        probabilities /= probabilities.sum()
        exact = exact_kl(probabilities, n)
        returned = np.diff(np.cumsum(probabilities) ** n, prepend=0.0)
        estimate = returned @ kl_of_output(probabilities, n)
        assert exact <= kl_bound(n) + 1e-9
        assert estimate <= kl_bound(n) + 1e-9
        assert estimate == pytest.approx(exact, abs=0.12)


def test_a_policy_with_one_output_cannot_move():
    assert kl_of_output(1.0, 64) == 0
    assert exact_kl([1.0], 64) == 0
    assert kl_bound(1) == 0
    assert kl_of_output(np.array([1e-12, 0.3]), 1) == pytest.approx([0, 0], abs=1e-9)
