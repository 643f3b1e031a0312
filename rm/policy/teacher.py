"""Teacher report: which reward model would teach this writer best, by what can be known before, and what came of it.

An accurate judge need not be a good teacher: where it hardly tells a writer's own responses apart, the writer learns
slowly, and where it follows length, the writer learns length.

Source: Razin et al. 2025, "What makes a reward model a good teacher?", 2503.15477 (variance under the writer).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from lurker.arguments import as_list
from lurker.decimals import signed
from lurker.errors import CallError
from lurker.files import read_json, write_json
from lurker.predictions import predictions_on
from lurker.report import Displayed, ResultTable
from lurker.stats import mean_interval
from lurker.workspace import AnyWorkspace, Workspace, as_workspace
from rm.evaluation.diagnose import calibration
from rm.policy.best_of_n import PROXY, best_of_n_points
from rm.policy.judged_samples import AnySamples, judged, pools, reward_column, spec_of
from rm.policy.judges import TRUTH
from rm.runs.run import Run
from rm.training.run_folder import RESULT, RUN_PREFIX

Floats = NDArray[np.float64]
TAIL_SHARE = 0.01
NORMAL_TAIL = 2.665
"""Mean of the highest hundredth of a standard normal."""
FORETELLS = {
    "accuracy": 1,
    "calibration_error": -1,
    "reward_sd": 1,
    "length_correlation": -1,
    "tail": -1,
}
"""Numbers known before, and whether a better teacher should have more (1) or less (−1) of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """One judge: what is known of it before, and what choosing by it brought."""

    judge: str
    accuracy: float | None
    """on its own test pairs; None for a judge that is no run"""
    calibration_slope: float | None
    """log-odds of being right per log-odds that it claims: 1 is calibrated, less is too sure"""
    calibration_error: float | None
    """expected calibration error, 0-1"""
    reward_sd: float
    """standard deviation of its log-odds over the writer's samples to one prompt"""
    reward_sd_low: float
    reward_sd_high: float
    length_correlation: float
    """mean correlation of reward and words within prompts"""
    length_correlation_low: float
    length_correlation_high: float
    tail: float
    """mean of the highest hundredth of rewards, in standard deviations within prompts, over that of a normal: above 1,
    a few responses are rated far above all others"""
    gain: float
    """of the best of n by it, in the outcome's standard deviations within prompts"""
    gain_low: float
    gain_high: float


@dataclass(frozen=True, slots=True, repr=False)
class Teachers(Displayed):
    """The judges, the best teacher first."""

    rows: list[Teacher]
    outcome: str
    n: int
    foretold: dict[str, float]
    """number known before -> rank correlation with the gain over judges, −1 to 1, its sign turned where less is better;
    empty for two judges"""

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "outcome": self.outcome,
            "n": self.n,
            "teachers": [asdict(row) for row in self.rows],
            "foretold": self.foretold,
            "sentence": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """What foretold the order of the teachers."""
        best = self.rows[0]
        gains = f"the best of {self.n} by it gains {best.gain:.2f} in {self.outcome}"
        if len(self.rows) > 1 and self.rows[1].gain_high >= best.gain_low:
            lead = f"{best.judge} leads, {gains}, and the next one's interval overlaps"
            said = f"Which judge teaches best cannot be told: {lead}."
        else:
            said = f"{best.judge} teaches best: {gains}."
        if not self.foretold:
            return f"{said} What foretells a teacher takes three judges or more."
        ranked = sorted(self.foretold.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name.replace('_', ' ')} {signed(value, 2)}" for name, value in ranked)
        return f"{said} Rank correlation of what is known before with what came, {len(self.rows)} judges: {listed}."

    def table(self) -> ResultTable:
        """A row per judge."""
        rows = [
            {
                "judge": row.judge,
                "accuracy": row.accuracy,
                "slope": row.calibration_slope,
                "calibration error": row.calibration_error,
                "sd within prompts": f"{row.reward_sd:.2f} [{row.reward_sd_low:.2f}, {row.reward_sd_high:.2f}]",
                "with length": f"{row.length_correlation:.2f} "
                f"[{row.length_correlation_low:.2f}, {row.length_correlation_high:.2f}]",
                "tail": row.tail,
                f"gain in {self.outcome}": f"{row.gain:.2f} [{row.gain_low:.2f}, {row.gain_high:.2f}]",
            }
            for row in self.rows
        ]
        return ResultTable(f"Teachers, by the best of {self.n}", rows, self.sentence)


def teachers(
    workspace: AnyWorkspace,
    samples: AnySamples,
    judges: Sequence[Run | str] | Run | str,
    *,
    outcome: Run | str = TRUTH,
    n: int = 16,
) -> Teachers:
    """Compare judges as teachers of the writer of some samples; written beside the file that holds them, if one does.

    Args:
        workspace: where the judges are.
        samples: what `rm.sample` drew from one policy, or a file that `lurker policy sample` wrote.
        judges: runs, their ids, truth, length.
        outcome: by which the taught are measured: the truth, or a judge that is not among them.
        n: the best of which is taken.

    Raises:
        CallError: a judge is named twice or is the outcome, or n is impossible.
    """
    opened, measured = as_workspace(workspace), spec_of(outcome)
    names = [spec_of(one) for one in as_list(judges, "judges")]
    if len(set(names)) < len(names) or measured in names:
        raise CallError(
            f"Judges and outcome must differ, got {', '.join(names)} and {measured}.",
            "Name the outcome with `--outcome truth` or `--outcome RUN`.",
        )
    rewarded, out = judged(opened, samples, [*names, measured])
    rows = [_teacher(opened, rewarded, name, measured.removeprefix(RUN_PREFIX), n) for name in names]
    rows.sort(key=lambda row: -row.gain)
    found = Teachers(rows, measured.removeprefix(RUN_PREFIX), n, foretold(rows))
    if out is not None:
        write_json(found.report(), out.with_name(f"{out.stem}.teachers.json"))
    return found


def foretold(rows: Sequence[Teacher]) -> dict[str, float]:
    """Rank correlation of each number known before with the gain; of those that all judges have and differ in."""
    from scipy.stats import spearmanr  # slow to import

    found = {}
    for name, sign in FORETELLS.items():
        values = [getattr(row, name) for row in rows]
        if len(rows) > 2 and None not in values and len(set(values)) > 1 and len({row.gain for row in rows}) > 1:
            size = np.abs(values) if name == "length_correlation" else np.array(values)
            found[name] = float(sign * spearmanr(size, [row.gain for row in rows]).statistic)
    return found


def under_writer(of_prompts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Spread, correlation with length and tail of the proxy's rewards within prompts, with intervals by prompt.

    Args:
        of_prompts: as returned by `judged_samples.pools`.
    """
    rewards = np.array([pool["measures"][PROXY] for pool in of_prompts], dtype=np.float64)
    lengths = np.array([pool["measures"]["length"] for pool in of_prompts], dtype=np.float64)
    centred, of_length = (values - values.mean(axis=1, keepdims=True) for values in (rewards, lengths))
    variance = centred.var(axis=1, ddof=1)
    spread = mean_interval(variance, np.arange(len(variance)))
    together, scale = (centred * of_length).mean(axis=1), centred.std(axis=1) * of_length.std(axis=1)
    correlations = np.divide(together, scale, out=np.zeros_like(scale), where=scale > 0)
    correlation = mean_interval(correlations, np.arange(len(correlations)))
    standard = np.sort((centred / max(float(np.sqrt(variance.mean())), 1e-12)).ravel())
    highest = standard[-max(1, round(TAIL_SHARE * standard.size)) :]
    return {
        "reward_sd": float(np.sqrt(spread.value)),
        "reward_sd_low": float(np.sqrt(max(spread.low, 0.0))),
        "reward_sd_high": float(np.sqrt(spread.high)),
        "length_correlation": correlation.value,
        "length_correlation_low": correlation.low,
        "length_correlation_high": correlation.high,
        "tail": float(highest.mean()) / NORMAL_TAIL,
    }


def calibration_slope(margins: Floats) -> float:
    """Slope of the logistic regression of being right on the log-odds that a judge claims, without intercept.

    Args:
        margins: of the chosen over the rejected response, log-odds, [n].

    Source: Cox 1958, "Two further applications of a model for binary regression", Biometrika 45.
    """
    low, high = 0.0, 100.0
    for _ in range(100):  # the likelihood is concave: its derivative falls with the slope
        middle = (low + high) / 2
        if float(np.sum(margins * expit(-middle * margins))) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _teacher(workspace: Workspace, samples: pl.DataFrame, name: str, outcome: str, n: int) -> Teacher:
    of_prompts = pools(samples, {PROXY: reward_column(name), outcome: reward_column(outcome)})
    gains = best_of_n_points(of_prompts, [n]).gains[outcome][:, 0]
    gain = mean_interval(gains, np.arange(len(gains)))
    return Teacher(
        judge=name,
        **_on_its_test(workspace, name),
        **under_writer(of_prompts),
        gain=gain.value,
        gain_low=gain.low,
        gain_high=gain.high,
    )


def _on_its_test(workspace: Workspace, name: str) -> dict[str, Any]:
    """Accuracy and calibration on the run's first test; None of each for a judge that is no run."""
    unknown: dict[str, Any] = dict.fromkeys(("accuracy", "calibration_slope", "calibration_error"))
    if not name.startswith(RUN_PREFIX):
        return unknown
    folder = workspace.folder("runs", name.removeprefix(RUN_PREFIX))
    tests = [row for row in read_json(folder / RESULT)["evaluations"] if row["predictor"] == "model"]
    for test in tests:
        predictions = predictions_on(folder, test["pairs"], ["test"])
        if not predictions.is_empty():
            margins = predictions["margin"].to_numpy()
            error = calibration(margins, predictions["pair_id"].to_list())["expected_calibration_error"]
            return {
                "accuracy": float(predictions["is_correct"].mean()),  # type: ignore[arg-type]
                "calibration_slope": calibration_slope(margins),
                "calibration_error": float(error),
            }
    return unknown
