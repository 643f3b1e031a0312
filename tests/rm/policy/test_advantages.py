"""Advantages and losses: by hand, and against TRL's trainers on the same batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rm.policy.advantages import (
    LossPer,
    best_and_worst,
    group_advantages,
    leave_one_out,
    policy_gradient_loss,
    preference_loss,
)
from rm.policy.causal import CausalModel, load_policy
from rm.policy.kl_control import token_terms
from rm.policy.response_logits import ResponseLogits, read_sequences
from tests.rm.policy.planted_policies import PolicyWorld

PROMPT = [1, 9, 8, 2]
RESPONSES = [[10, 11, 12, 3], [13, 3], [14, 15, 16, 17, 18], [19, 20, 3], [21, 3], [22, 23, 24, 3]]
REWARDS = np.array([[0.1, 0.9, 0.4], [0.7, 0.2, 0.6]])
BETA, WIDTH = 0.05, 5


def test_advantages_by_hand() -> None:
    np.testing.assert_allclose(group_advantages(REWARDS, "centred")[0], [-11 / 30, 13 / 30, -2 / 30])
    normalised = group_advantages(REWARDS, "normalised")
    np.testing.assert_allclose(normalised.std(axis=1, ddof=1), 1, rtol=1e-3)
    np.testing.assert_allclose(leave_one_out(REWARDS)[0], [0.1 - 0.65, 0.9 - 0.25, 0.4 - 0.5])
    assert not group_advantages(np.full((1, 4), 0.5), "normalised").any()


def test_the_best_and_the_worst_of_a_group_and_ties() -> None:
    best, worst, differ = best_and_worst(np.array([[0.5, 0.5, 0.5], [0.2, 0.8, 0.8], [0.3, 0.3, 0.4]]))
    assert best.tolist() == [0, 1, 2] and worst.tolist() == [0, 0, 0] and differ.tolist() == [False, True, True]


@pytest.fixture(scope="module")
def policy(policy_world: PolicyWorld) -> CausalModel:
    """A policy that differs from the writer on disk."""
    model = load_policy(policy_world.workspace, str(policy_world.writer))
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def test_the_policy_gradient_is_that_of_trl(policy: CausalModel, policy_world: PolicyWorld, tmp_path: Path) -> None:
    for per, loss_type in (("mean", "grpo"), ("token", "bnpo"), ("response", "dr_grpo")):
        trainer = _trainer(GRPOTrainer, GRPOConfig, policy, policy_world, tmp_path, loss_type=loss_type, beta=BETA)
        advantages = torch.from_numpy(group_advantages(REWARDS, "normalised").ravel()).float()
        theirs = trainer._compute_loss(trainer.model, _inputs(trainer.ref_model, advantages))
        scale = WIDTH if per == "response" else 1  # TRL divides by the longest response allowed
        _compare(policy, trainer, theirs * scale, _ours(policy, policy_world, advantages, BETA, per))


def test_leave_one_out_is_that_of_trl(policy: CausalModel, policy_world: PolicyWorld, tmp_path: Path) -> None:
    trainer = _trainer(RLOOTrainer, RLOOConfig, policy, policy_world, tmp_path, beta=BETA)
    terms, response = _terms(policy, policy_world)
    ratio = (terms.log_prob - terms.writer_log_prob).detach()
    kl = torch.zeros(len(RESPONSES)).index_add(0, response, ratio).numpy().reshape(REWARDS.shape)
    advantages = torch.from_numpy(leave_one_out(REWARDS - BETA * kl).ravel()).float()
    inputs = _inputs(trainer.ref_model, advantages)
    inputs["old_logps"] = torch.zeros(len(RESPONSES)).index_add(0, response, terms.log_prob.detach())
    theirs = trainer._compute_loss(trainer.model, inputs)
    ours = _ours(policy, policy_world, advantages, 0.0, "response")
    n_tokens = torch.tensor([len(one) for one in RESPONSES])  # their ratio is of a whole response, ours of each token
    value = theirs + ((1 - n_tokens) * advantages).mean()
    _compare(policy, trainer, value, ours)


def _trainer(kind: Any, config: Any, policy: CausalModel, world: PolicyWorld, folder: Path, **settings: Any) -> Any:
    """TRL's trainer with the policy, and the writer on disk as its reference."""
    arguments = config(
        output_dir=str(folder),
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        per_device_train_batch_size=len(RESPONSES),
        num_generations=3,
        max_completion_length=WIDTH,
        **settings,
    )
    data = Dataset.from_dict({"prompt": ["the road", "with tea"]})
    trainer = kind(
        model=str(world.writer),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=data,
        processing_class=policy.tokenizer,
    )
    trainer.model.load_state_dict(policy.model.state_dict())
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


@torch.no_grad()
def _inputs(reference: Any, advantages: torch.Tensor) -> dict[str, Any]:
    """The batch as TRL's trainers read it."""
    ids = torch.tensor([[*one, *[0] * (WIDTH - len(one))] for one in RESPONSES])
    mask = torch.tensor([[1] * len(one) + [0] * (WIDTH - len(one)) for one in RESPONSES])
    prompts = torch.tensor([PROMPT] * len(RESPONSES))
    logits = reference.eval()(torch.cat([prompts, ids], 1)).logits[:, len(PROMPT) - 1 : -1].log_softmax(-1)
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": advantages,
        "ref_per_token_logps": logits.gather(2, ids[..., None])[..., 0],
        "num_items_in_batch": mask.sum(),
    }


def _terms(policy: CausalModel, world: PolicyWorld) -> Any:
    writer = load_policy(world.workspace, str(world.writer))
    own, other = (ResponseLogits(model.model, is_packed=False) for model in (policy, writer))
    (batch,) = own.batches(read_sequences([PROMPT] * len(RESPONSES), RESPONSES), 0, 8192)
    with torch.no_grad():
        (known,) = other([batch])
    return token_terms(own([batch])[0], known, batch.targets, "k3"), batch.response


def _ours(policy: CausalModel, world: PolicyWorld, advantages: torch.Tensor, weight: float, per: LossPer) -> Any:
    terms, response = _terms(policy, world)
    n = response.numel() if per == "token" else len(RESPONSES)
    return policy_gradient_loss(terms, response, advantages, weight, per, n)


def _compare(policy: CausalModel, trainer: Any, theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """Equal values and equal gradients."""
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    gradients = []
    for loss, model in ((theirs, trainer.model), (ours, policy.model)):
        names, weights = zip(*model.named_parameters(), strict=True)
        gradients.append(dict(zip(names, torch.autograd.grad(loss, weights), strict=True)))
    assert gradients[0].keys() == gradients[1].keys()
    assert max(float(one.abs().max()) for one in gradients[0].values()) > 1e-3
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-3)


def test_the_preference_loss_is_that_of_trl(policy: CausalModel, policy_world: PolicyWorld, tmp_path: Path) -> None:
    row = {"prompt": "the road", "chosen": " with tea", "rejected": " was long and"}
    arguments = DPOConfig(
        output_dir=str(tmp_path),
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        beta=BETA,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.5],
        per_device_train_batch_size=1,
    )
    trainer = DPOTrainer(
        model=str(policy_world.writer),
        args=arguments,
        train_dataset=Dataset.from_list([row]),
        processing_class=policy.tokenizer,
    )
    trainer.model.load_state_dict(policy.model.state_dict())
    (batch,) = trainer.get_train_dataloader()
    theirs = trainer.compute_loss(trainer.model, batch)
    chosen, rejected = _rows(batch)
    writer = load_policy(policy_world.workspace, str(policy_world.writer))
    own, other = (ResponseLogits(model.model, is_packed=False) for model in (policy, writer))
    (read,) = own.batches(read_sequences([chosen[0], rejected[0]], [chosen[1], rejected[1]]), 0, 8192)
    with torch.no_grad():
        (known,) = other([read])
    terms = token_terms(own([read])[0], known, read.targets, "k3")
    ours = preference_loss(terms, read.response, torch.tensor([[0, 1]]), BETA, 0.5, 1)
    _compare(policy, trainer, theirs, ours)


def _rows(batch: Any) -> list[tuple[list[int], list[int]]]:
    """Prompt and response tokens of TRL's batch: the chosen row first."""
    rows = []
    for ids, attended, completion in zip(
        batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
    ):
        kept = attended.bool()
        is_response = completion[kept].bool()
        tokens = ids[kept]
        rows.append((tokens[~is_response].tolist(), tokens[is_response].tolist()))
    return rows
