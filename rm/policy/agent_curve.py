"""The curve of an agent: what it gains at what divergence, taken on the way; and the sentence at the end."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from lurker.drift import ringing_alarms
from lurker.files import write_parquet
from lurker.schema import CURVE, DRIFT, Table
from rm.policy.agent_alarms import AgentAlarms
from rm.policy.agent_config import AgentConfig
from rm.policy.agent_evaluation import HELD_OUT, PROXY, TRUTH_MEASURE, WIN_RATE, Evaluated, Evaluator
from rm.policy.agent_points import record_points
from rm.policy.response_logits import ResponseLogits
from rm.training.config import LoopConfig
from rm.training.distributed import current_processes
from rm.training.loop import Trained

CURVE_FILE, DRIFT_FILE = "curve.parquet", "drift.parquet"


class CurveRecorder:
    """Evaluates an agent on the way and keeps `curve.parquet`; validation and curve share their samples."""

    def __init__(
        self, evaluator: Evaluator, network: ResponseLogits, folder: Path, config: AgentConfig, alarms: AgentAlarms
    ) -> None:
        """Record into an agent's folder the evaluations of its model.

        Args:
            evaluator: evaluates.
            network: the agent's logits.
            folder: the agent's.
            config: how it is trained.
            alarms: that ring at each evaluation.
        """
        self.evaluator, self.network, self.folder, self.config = evaluator, network, folder, config
        self.alarms = alarms
        self.selects = HELD_OUT if HELD_OUT in evaluator.judges else PROXY
        """whose mean reward selects the weights"""
        self.early = {2**power for power in range(1, 12) if 2**power <= config.evaluate_every / 2}
        """first steps, at which the curve is taken though no weights are selected"""
        self._last: Evaluated | None = None
        self.kl = 0.0
        """divergence at the last evaluation, nats per response"""
        self.written = -1
        """step of the last evaluation"""

    @property
    def loop(self) -> LoopConfig:
        """The loop's config; without a held-out judge patience does not end training."""
        loop = self.config.loop
        return loop if self.selects == HELD_OUT else replace(loop, patience=self.config.steps + 1)

    def validate(self) -> tuple[float, float]:
        """Minus the mean reward by the held-out judge, or by the judge where there is none, and the win rate."""
        self._last = self.evaluator.evaluate(self.network.model, -1)
        return -self._last.value(self.selects), self._last.value(WIN_RATE)

    def after_step(self, step: int, *, is_last: bool = False) -> None:
        """Add a step to the curve if it was validated, is one of the first, or the one that ends training."""
        if self._last is None and (step in self.early or is_last):
            self._last = self.evaluator.evaluate(self.network.model, step)
        if self._last is not None:
            self.kl = float(self._last.rows["kl"][0])
            self._write(self._last, step)
            self._last, self.written = None, step

    def _write(self, evaluated: Evaluated, step: int) -> None:
        """Write the step's rows of the curve, and which alarms ring."""
        if not current_processes().is_first:
            return
        _replace_from(self.folder / CURVE_FILE, CURVE, evaluated.rows.with_columns(step=pl.lit(step, dtype=pl.Int64)))
        prompts, answers = self.evaluator.prompts, evaluated.responses
        ids = [prompts.ids[one] for one in self.evaluator.code]
        record_points(self.folder, ids, answers.log_prob - answers.writer_log_prob, evaluated.rewards, step)
        if self.alarms.is_possible:
            _replace_from(self.folder / DRIFT_FILE, DRIFT, self.alarms.ring(evaluated, self.network, step))


def _replace_from(path: Path, table: Table, rows: pl.DataFrame) -> None:
    """Add a step's rows to a file, in place of what a killed training left from this step on."""
    before = pl.read_parquet(path).filter(pl.col("step") < rows["step"][0]) if path.exists() else table.empty()
    write_parquet(pl.concat([before, rows]), path)


def alarm_sentence(drifted: pl.DataFrame) -> str:
    """Which alarms ring at the last step, and since when."""
    said = [f"{row['alarm']} (since step {row['since']:,})" for row in ringing_alarms(drifted)]
    return f"Alarms that ring at the end: {', '.join(said)}." if said else "No alarm rings at the end."


def sentence(config: AgentConfig, trained: Trained, curve: pl.DataFrame) -> str:
    """Where training stopped and why, which step is kept, and where the truth is highest if it is known."""
    planned = config.steps
    if trained.stop_reason:
        why = f"because {trained.stop_reason}"
    elif trained.n_steps < planned:
        why = f"because the held-out judge saw no gain in {config.patience} evaluations"
    else:
        why = "as planned"
    measure = HELD_OUT if HELD_OUT in curve["measure"] else PROXY
    kept = curve.filter(step=trained.best_step)

    def reward(name: str, rows: pl.DataFrame) -> str:
        row = rows.filter(measure=name).row(0, named=True)
        return f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"

    said = [
        f"Training stopped after step {trained.n_steps} of {planned}, {why}.",
        f"Step {trained.best_step} is kept, at {kept['kl'][0]:.1f} nats from the writer: {measure} reward "
        f"{reward(measure, kept)} of the writer's standard deviations.",
    ]
    truth = curve.filter(measure=TRUTH_MEASURE).sort("value", "step", descending=[True, False])
    if truth.height:
        peak = truth.row(0, named=True)
        last = curve.filter(step=curve["step"].max())
        said.append(
            f"The truth is highest at step {peak['step']}, at {reward(TRUTH_MEASURE, truth.head(1))}; it is "
            f"{reward(TRUTH_MEASURE, kept)} at the kept step and {reward(TRUTH_MEASURE, last)} at the last."
        )
    return " ".join(said)
