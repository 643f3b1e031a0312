"""The learning curve of a run, finished or in training: what metrics.jsonl holds, as rows and as text."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lurker.text_chart import Series, text_chart

METRICS = "metrics.jsonl"
"""In a run's folder: one line per step."""
BLOCKS = 60
"""Means of the training loss that a chart draws at most."""
NUMBERS, MAYBE = ("step", "train_log_loss"), {"validation_log_loss", "validation_accuracy", "planned_steps"}
"""Numbers of every line, and of those after a validation."""
LARGEST = 2.0**53
"""Beyond it a number of a line is damage."""
CHARTED = 3
"""Validations from which on their accuracy is drawn; fewer are listed."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Losses and accuracies of a run by step."""

    run_id: str
    steps: tuple[dict[str, float], ...]
    """a line of metrics.jsonl each"""

    def rows(self) -> list[dict[str, Any]]:
        """One row per validation: step, mean training loss since the one before, validation loss and accuracy."""
        rows, since = [], []
        for one in self.steps:
            since.append(one["train_log_loss"])
            if "validation_log_loss" in one:
                found = {name: one.get(name) for name in ("validation_log_loss", "validation_accuracy")}
                rows.append({"step": int(one["step"]), "train_log_loss": sum(since) / len(since), **found})
                since = []
        return rows

    @property
    def planned_steps(self) -> int | None:
        """Steps of the whole plan, as the last validation recorded it; early stopping may end before."""
        planned = [int(one["planned_steps"]) for one in self.steps if "planned_steps" in one]
        return planned[-1] if planned else None

    def training_losses(self) -> list[tuple[float, float]]:
        """Means of step and training loss over blocks of steps, at most BLOCKS of them."""
        n, n_blocks = len(self.steps), min(len(self.steps), BLOCKS)  # of equal size, or the last is one noisy step
        blocks = [self.steps[one * n // n_blocks : (one + 1) * n // n_blocks] for one in range(n_blocks)]
        return [
            (sum(one["step"] for one in block) / len(block), sum(one["train_log_loss"] for one in block) / len(block))
            for block in blocks
        ]

    def text(self, accuracy: str = "accuracy on validation pairs") -> str:
        """Charts for a terminal: training loss as dots with validation loss as discs, and validation accuracy.

        Args:
            accuracy: what the validation accuracy is, in words.
        """
        if not self.steps:
            return f"Run {self.run_id} has no step yet."
        trained = self.training_losses()
        charts = [
            text_chart(
                "log loss by step: ⠶ training, ● validation",
                Series(trained),
                Series([(row["step"], row["validation_log_loss"]) for row in self.rows()], mark="●"),
            )
        ]
        accuracies = [(row["step"], row["validation_accuracy"]) for row in self.rows()]
        known = [(step, value) for step, value in accuracies if value is not None]  # runs of before have none
        if 0 < len(known) < CHARTED:
            shown = ", ".join(f"{value:.3f} at step {step:,}" for step, value in known)
            charts.append(f"{accuracy}: {shown}")
        elif known:
            charts.append(text_chart(f"{accuracy} by step", Series(known, mark="●")))
        return "\n\n".join(charts)


def validation_losses(folder: Path) -> list[float]:
    """The validation losses in a run's folder, in order; quick, as only their lines are parsed."""
    path = folder / METRICS
    lines = path.read_bytes().splitlines() if path.exists() else []
    losses = []
    for line in lines:
        if b"validation_log_loss" in line:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a torn last line, or a damaged one
                losses.append(float(json.loads(line)["validation_log_loss"]))
    return losses


def read_learning_curve(folder: Path) -> LearningCurve:
    """The learning curve in a run's folder, up to the first line that is torn or damaged."""
    path, steps = folder / METRICS, []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            one = json.loads(line)
            if not all(abs(one[name]) < LARGEST for name in (*NUMBERS, *(MAYBE & one.keys()))):  # nor if it is NaN
                break
        except (ValueError, TypeError, KeyError, AttributeError):
            break
        steps.append(one)
    return LearningCurve(folder.name, tuple(steps))
