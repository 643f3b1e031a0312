import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rm.training.loss import Targets, log_loss, pair_losses, smooth_labels

CHOSEN, REJECTED = torch.tensor([2.0, -1.0]), torch.tensor([0.0, 2.0])


def targets(weight: float = 1.0, label: float = 1.0, margin: float = 0.0, offset: float = 0.0) -> Targets:
    return Targets(*(torch.full((2,), value) for value in (weight, label, margin, offset)))


def test_bradley_terry_by_hand() -> None:
    by_hand = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(3.0))]
    assert pair_losses(CHOSEN, REJECTED, targets()).tolist() == pytest.approx(by_hand)
    assert pair_losses(CHOSEN, REJECTED, targets(weight=0.5)).tolist() == pytest.approx(
        [0.5 * loss for loss in by_hand]
    )


def test_a_response_in_two_pairs_gets_the_gradient_of_both() -> None:
    rewards = torch.zeros(3, requires_grad=True)
    pair_losses(rewards[[0, 0]], rewards[[1, 2]], targets()).sum().backward()
    assert rewards.grad is not None
    assert rewards.grad.tolist() == pytest.approx([-1.0, 0.5, 0.5])


@given(label=st.floats(0.55, 0.95))
def test_the_loss_of_a_soft_label_is_lowest_at_its_log_odds(label: float) -> None:
    margin = torch.tensor([math.log(label / (1 - label))] * 2, requires_grad=True)
    pair_losses(margin, torch.zeros(2), targets(label=label)).sum().backward()
    assert margin.grad is not None
    assert margin.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-5)


def test_smoothing_flips_a_fraction_of_labels() -> None:
    assert smooth_labels(torch.tensor([1.0, 0.5, 0.8]), 0.1).tolist() == pytest.approx([0.9, 0.5, 0.74])


def test_a_margin_subtracts_from_the_logit_and_an_offset_adds() -> None:
    with_margin = pair_losses(CHOSEN, REJECTED, targets(margin=2.0))
    assert with_margin.tolist() == pytest.approx(pair_losses(CHOSEN - 2.0, REJECTED, targets()).tolist())
    with_offset = pair_losses(CHOSEN, REJECTED, targets(offset=2.0))
    assert with_offset.tolist() == pytest.approx(pair_losses(CHOSEN + 2.0, REJECTED, targets()).tolist())


def test_centring_pulls_the_mean_reward_to_zero() -> None:
    rewards = torch.tensor([3.0, 2.0], requires_grad=True)
    optimiser = torch.optim.SGD([rewards], lr=0.1)
    target = Targets(*(torch.tensor([value]) for value in (1.0, 0.7, 0.0, 0.0)))
    for _ in range(300):
        optimiser.zero_grad()
        pair_losses(rewards[:1], rewards[1:], target, 0.5).backward()
        optimiser.step()
    assert float(rewards.detach().sum()) == pytest.approx(0.0, abs=1e-3)
    assert float(rewards.detach()[0] - rewards.detach()[1]) == pytest.approx(math.log(0.7 / 0.3), abs=1e-2)


def test_the_log_loss_of_equal_rewards_is_log_two() -> None:
    assert float(log_loss(torch.zeros(5))) == pytest.approx(math.log(2))
