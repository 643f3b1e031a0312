"""Best of n from a file of samples: judged, estimated, fitted, texts side by side, and stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lurker.errors import CallError
from lurker.files import write_json, write_parquet
from lurker.report import Displayed, ResultTable
from lurker.workspace import AnyWorkspace, as_workspace
from rm.policy.best_of_n import AT_EQUAL_LENGTH, LENGTH, PROXY, Points, best_of_n_points, best_of_n_rows
from rm.policy.judged_samples import REWARD, AnySamples, judged, pools, reward_column
from rm.policy.judges import TRUTH
from rm.policy.over_optimisation import MIN_POINTS, OverOptimisation, RunPoints, fit_over_optimisation
from rm.runs.run import Run

HELD_OUT = "held-out"
BEST = ".best-of-n"
"""End of the name of a file that tells what the best of n samples is worth, NAME.JUDGE.best-of-n.parquet."""
N_SHOWN = 3
SHOWN_CHARACTERS = 160


@dataclass(frozen=True, slots=True, repr=False)
class BestOfN(Displayed):
    """What the best of n samples is worth."""

    frame: pl.DataFrame
    """BEST_OF_N"""
    points: Points
    fits: list[OverOptimisation]
    """of each measure but length; empty where too few n were asked for"""
    texts: list[dict[str, Any]]
    """prompt, first sample and best by the proxy of some prompts, with their rewards"""
    files: list[Path]
    """that hold it; none of samples that no file holds"""

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "best_of_n": self.frame.to_dicts(),
            "over_optimisation": [fit.report() for fit in self.fits],
            "texts": self.texts,
            "files": [str(path) for path in self.files],
        }

    def table(self) -> ResultTable:
        """A row per n."""
        return self.tables()[0]

    def tables(self) -> list[ResultTable]:
        """Gains by n, how often the best wins, over-optimisation, and texts side by side."""
        gains, wins = [], []
        judged = [name for name in self.points.at_equal_length if name in self.points.gains]
        for n in self.points.sizes:
            rows = {row["measure"]: row for row in self.frame.filter(n=n).iter_rows(named=True)}
            any_row = rows[PROXY]
            row = {"n": n, "KL": _shown(any_row, "kl", "kl_low", "kl_high"), "bound": any_row["kl_bound"]}
            gains.append(row | {_heading(name): _shown(one) for name, one in rows.items()})
            win = {name: _shown(one, "win_rate", "win_rate_low", "win_rate_high") for name, one in rows.items()}
            won = {name: value for name, value in win.items() if name != PROXY}
            equal: dict[str, Any] = {f"{name} at equal length": _shown(rows[name], *AT_EQUAL_LENGTH) for name in judged}
            wins.append({"n": n, **won, **equal})
        n_prompts = self.frame["n_prompts"][0]
        note = (
            f"{n_prompts:,} prompts. Gains over a single sample in standard deviations of samples to one prompt, 95 % "
            "intervals clustered by prompt. KL in nats, repeated outputs counted; log n − (n−1)/n is only its bound."
        )
        fitted = [table.rows[0] for fit in self.fits if (table := fit.table())]
        sentences = "\n".join(fit.sentence for fit in self.fits)
        texts = [{name: str(value)[:SHOWN_CHARACTERS] for name, value in row.items()} for row in self.texts]
        return [
            ResultTable("Best of n by the proxy", gains, note),
            ResultTable("How often it beats another sample, by", wins),
            *([ResultTable("Over-optimisation: d(α − β d), d = √KL", fitted, sentences)] if fitted else []),
            ResultTable("First samples and the best", texts, self._where()),
        ]

    def _where(self) -> str:
        return f"Written to {', '.join(map(str, self.files))}." if self.files else ""


def best_of_n(
    workspace: AnyWorkspace,
    samples: AnySamples,
    judge: Run | str,
    *,
    held_out: Run | str | None = None,
    with_truth: bool = False,
    sizes: Sequence[int] | None = None,
) -> BestOfN:
    """Judge the samples of one policy and tell what the best of n is worth.

    Samples in a file get the rewards as columns, and what is found is written beside them, in files named after the
    judge; nothing is written of samples that no file holds.

    Args:
        workspace: where the judges are.
        samples: what `rm.sample` drew, or a file that `lurker policy sample` wrote.
        judge: by which the best is chosen: a run, its id, truth or length.
        held_out: another judge, which the choice does not see.
        with_truth: also by the simulator's truth.
        sizes: the n; powers of 2 up to the number of samples by default.

    Raises:
        CallError: the file holds no samples, an n is impossible, or the judges are one.
        LurkerError: a judge was trained on prompts of the samples.
    """
    opened = as_workspace(workspace)
    measures = {PROXY: reward_column(judge)}
    measures |= {HELD_OUT: reward_column(held_out)} if held_out is not None else {}
    measures |= {TRUTH: reward_column(TRUTH)} if with_truth else {}
    judges = {name: column.removeprefix(REWARD) for name, column in measures.items()}
    if held_out is not None and judges[HELD_OUT] == judges[PROXY]:
        raise CallError(
            f"{judges[PROXY]} cannot be held out: the best is chosen by it.", "Name another run with `--held-out RUN`."
        )
    rewarded, out = judged(opened, samples, [*judges.values()])
    of_prompts = pools(rewarded, measures)
    n_samples = max(len(pool["responses"]) for pool in of_prompts)
    points = best_of_n_points(of_prompts, _sizes(sizes, n_samples))
    frame, fits, texts = best_of_n_rows(points), _fits(points), _side_by_side(of_prompts)
    files = []
    if out is not None:
        files = [out.with_name(f"{out.stem}.{judges[PROXY]}{BEST}.{ending}") for ending in ("parquet", "json")]
        write_parquet(frame, files[0])
        report = [fit.report() for fit in fits]
        write_json({"judges": judges, "over_optimisation": report, "texts": texts}, files[1])
    return BestOfN(frame, points, fits, texts, files)


def _sizes(sizes: Sequence[int] | None, n_samples: int) -> list[int]:
    """The n asked for, sorted; else powers of 2 and the number of samples."""
    if sizes:
        return sorted(set(sizes))
    powers = [2**power for power in range(n_samples.bit_length()) if 2**power <= n_samples]
    return sorted({*powers, n_samples})


def _fits(points: Points) -> list[OverOptimisation]:
    if sum(n > 1 for n in points.sizes) < MIN_POINTS:
        return []
    measures = [name for name in points.gains if name != LENGTH]
    return [fit_over_optimisation([RunPoints(points.kl, points.gains[name])], name, "best of n") for name in measures]


def _side_by_side(of_prompts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first sample and the best by the proxy, with what each measure says of both."""
    rows = []
    for pool in of_prompts[:N_SHOWN]:
        best = int(np.argmax(pool["measures"][PROXY]))
        for what, index in (("first", 0), ("best", best)):
            row = {"prompt": pool["prompt"], "which": what, "response": pool["responses"][index]}
            rows.append(row | {name: round(float(values[index]), 3) for name, values in pool["measures"].items()})
    return rows


def _heading(measure: str) -> str:
    return f"{measure}, words" if measure == LENGTH else measure


def _shown(row: dict[str, Any], value: str = "value", low: str = "low", high: str = "high") -> str | None:
    if row[value] is None:
        return None
    numbers = [round(row[name], 2) + 0.0 for name in (value, low, high)]  # no minus before a zero
    return "{:.2f} [{:.2f}, {:.2f}]".format(*numbers)
