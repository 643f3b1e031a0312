"""What the training loop minimises, and what it calls the figures of it in metrics.jsonl."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from rm.pairs.tokens import Indices


class Objective(Protocol):
    """What the loop minimises: one kind of training on one data set."""

    @property
    def network(self) -> Any:
        """The nn.Module that computes losses; its `model` holds the weights that are trained and saved."""

    @property
    def auxiliary(self) -> nn.Module | None:
        """Weights trained alongside, without decay, that are never part of the saved model."""

    @property
    def auxiliary_learning_rate(self) -> float:
        """Peak learning rate of the auxiliary weights."""

    def epoch_steps(self, epoch: int) -> list[Indices]:
        """Indices of the training examples of each optimiser step of an epoch; depends on the epoch alone."""

    def loss(self, network: nn.Module, examples: Indices, step: Indices) -> tuple[Tensor, int]:
        """The contribution of some training examples to the mean loss of their step.

        Args:
            network: `self.network` as distributed over processes.
            examples: Indices of training examples, at least one.
            step: Indices of all training examples of the step, over which the loss is averaged.

        Returns:
            The loss in nats, a scalar with its graph, and the number of tokens read.
        """

    def validate(self) -> tuple[float, float]:
        """The validation loss, which may be infinite or NaN and selects the step, and a share such as the accuracy.

        They are equal on every process.
        """

    def describe(self, examples: Indices) -> str:
        """Where these training examples come from, for an error message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricNames:
    """What metrics.jsonl calls an objective's figures."""

    train: str = "train_log_loss"
    """its loss on the examples of a step"""
    validation: str = "validation_log_loss"
    """its validation loss"""
    share: str = "validation_accuracy"
    """the share that comes with the validation loss"""


LOG_LOSS = MetricNames()
