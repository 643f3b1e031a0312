import math

import pytest
import torch

from rm.loss import bradley_terry_loss, log_loss


def test_loss_of_two_pairs_by_hand() -> None:
    rewards = torch.tensor([2.0, 0.0, -1.0])
    loss = bradley_terry_loss(rewards, torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([1.0, 3.0]))
    right, wrong = math.log1p(math.exp(-2.0)), math.log1p(math.exp(3.0))
    assert loss.item() == pytest.approx((1 * right + 3 * wrong) / 4)


def test_gradient_of_a_shared_response_is_the_sum_over_its_pairs() -> None:
    rewards = torch.zeros(3, requires_grad=True)
    bradley_terry_loss(rewards, torch.tensor([0, 0]), torch.tensor([1, 2]), torch.ones(2)).backward()
    assert rewards.grad is not None
    assert rewards.grad.tolist() == pytest.approx([-0.5, 0.25, 0.25])


def test_log_loss_without_knowledge_is_log_two() -> None:
    assert float(log_loss(torch.zeros(5))) == pytest.approx(math.log(2))
