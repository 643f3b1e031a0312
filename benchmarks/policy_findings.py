"""What the agents of `benchmarks/policy_experiment.py` show: peaks, falls, the held-out stop, and fitted curves.

    python benchmarks/policy_findings.py WORKSPACE [--seeds 3]

A peak that is looked for among noisy steps is too high. So the step of the peak is chosen on one half of the prompts
and measured on the other, both ways. Effects are paired by prompt; intervals hold prompts and seeds.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from policy_experiment import CONTROLS, LONG, WEIGHTS, agent_id, agents, finished
from scipy.stats import t as student

from lurker.stats import mean_interval
from lurker.true_quality import quality_parts, read_quality_rule, true_quality
from lurker.workspace import open_workspace
from rm.pairs.subsets import stable_hash
from rm.policy.agent_points import POINTS_FILE, run_points
from rm.policy.over_optimisation import fit_over_optimisation

Floats = NDArray[np.float64]
JUDGED = ("naive-a", "balanced-a")
KEPT_SHARE = 0.9
"""Share of the peak that stopping by the held-out judge should keep."""


class Cell:
    """The runs of one judge and one β: seeds that answered the same prompts at the same steps."""

    def __init__(self, workspace: Path, judge: str, weight: float, seeds: Sequence[int], suffix: str = "") -> None:
        """Read the points of all seeds."""
        self.seeds = list(seeds)
        self.name = f"{judge}, β {weight:g}" + suffix.replace("-", ", ")
        self.folders = [workspace / "policies" / agent_id(judge, weight, seed, suffix) for seed in seeds]
        tables = [pl.read_parquet(folder / POINTS_FILE).sort("step", "prompt_id") for folder in self.folders]
        shared = sorted(set.intersection(*(set(table["step"]) for table in tables)))
        self.steps = shared
        prompts = tables[0]["prompt_id"].unique().sort().to_list()
        self.is_first = np.array([stable_hash(0, f"fold {one}") % 2 == 0 for one in prompts])
        self.values = {
            name: np.stack([_matrix(table, name, shared, len(prompts)) for table in tables])
            for name in ("kl", "truth", "proxy", "held-out")
        }
        """measure -> [seeds, steps, prompts]"""
        results = [json.loads((folder / "result.json").read_text()) for folder in self.folders]
        self.kept = [int(result["best_step"]) for result in results]
        self.curves = [pl.read_parquet(folder / "curve.parquet") for folder in self.folders]

    def mean(self, measure: str) -> Floats:
        """Over seeds and prompts, [steps]."""
        return np.asarray(self.values[measure].mean(axis=(0, 2)))

    def at_peak(self) -> Floats:
        """The truth at the peak, chosen on the other half of the prompts, [seeds, prompts]."""
        truth = self.values["truth"]
        found = np.empty((truth.shape[0], truth.shape[2]))
        for half in (self.is_first, ~self.is_first):
            step = int(truth[:, :, ~half].mean(axis=(0, 2)).argmax())
            found[:, half] = truth[:, step][:, half]
        return found

    def at_end(self) -> Floats:
        """The truth at the last step, [seeds, prompts]."""
        return np.asarray(self.values["truth"][:, -1])

    def at_kept(self) -> Floats:
        """The truth at the step that the held-out judge keeps, [seeds, prompts]."""
        places = [self.steps.index(step) for step in self.kept]
        return np.stack([self.values["truth"][seed, place] for seed, place in enumerate(places)])

    def win_rates(self) -> dict[str, list[tuple[float, float]]]:
        """Win rates at the truth's peak and at the end of each seed, by the held-out judge."""
        peak, last = self.steps[int(self.mean("truth").argmax())], self.steps[-1]
        found: dict[str, list[tuple[float, float]]] = {}
        for name in ("win rate", "win rate at equal length"):
            rows = [curve.filter(measure=name) for curve in self.curves]
            found[name] = [(row.filter(step=peak)["value"][0], row.filter(step=last)["value"][0]) for row in rows]
        return found

    def alarms(self) -> str:
        """Alarms that ring at the end of most seeds, with the step since which each seed's rings without a pause."""
        since: dict[str, list[int]] = {}
        for folder in self.folders:
            rows = pl.read_parquet(folder / "drift.parquet").sort("step")
            for (name,), part in rows.group_by("alarm", maintain_order=True):
                quiet = part.filter(~pl.col("is_ringing"))["step"].max()
                ringing = part.filter(pl.col("step") > (-1 if quiet is None else quiet))["step"]
                if ringing.len():
                    since.setdefault(str(name), []).append(int(ringing[0]))
        most = {name: steps for name, steps in since.items() if 2 * len(steps) > len(self.folders)}
        return ", ".join(f"{name} {'/'.join(map(str, steps))}" for name, steps in most.items()) or "none"


def _matrix(table: pl.DataFrame, name: str, steps: Sequence[int], n_prompts: int) -> Floats:
    """[steps, prompts]."""
    rows = table.filter(pl.col("step").is_in(list(steps)))
    return rows[name].to_numpy().reshape(len(steps), n_prompts)


def interval(effect: Floats) -> tuple[float, float, float]:
    """Mean of a paired effect with a 95 % interval that holds prompts and seeds.

    Args:
        effect: [seeds, prompts].
    """
    of_prompts = mean_interval(effect.mean(axis=0), np.arange(effect.shape[1]))
    means = effect.mean(axis=1)
    of_seeds = 0.0
    if len(means) > 1:
        of_seeds = float(student.ppf(0.975, len(means) - 1) * means.std(ddof=1) / math.sqrt(len(means)))
    half = math.hypot((of_prompts.high - of_prompts.low) / 2, of_seeds)
    return of_prompts.value, of_prompts.value - half, of_prompts.value + half


def ratio_interval(top: Floats, bottom: Floats, seed: int = 0, n_draws: int = 2_000) -> tuple[float, float, float]:
    """Ratio of two means with a 95 % interval from resampled seeds and prompts, [seeds, prompts] each."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n_draws):
        seeds = rng.integers(0, top.shape[0], top.shape[0])
        prompts = rng.integers(0, top.shape[1], top.shape[1])
        draws.append(top[seeds][:, prompts].mean() / bottom[seeds][:, prompts].mean())
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(top.mean() / bottom.mean()), float(low), float(high)


def at_distance(cell: Cell, distance: float) -> Floats:
    """The truth of each prompt at √KL, between the two steps around it on the way out, [seeds, prompts]."""
    found = []
    for kl, truth in zip(cell.values["kl"].mean(axis=2), cell.values["truth"], strict=True):
        way = np.maximum.accumulate(np.sqrt(np.maximum(kl, 0.0)))
        after = min(int(np.searchsorted(way, distance)), len(way) - 1)
        before = max(after - 1, 0)
        share = 0.0 if way[after] == way[before] else (distance - way[before]) / (way[after] - way[before])
        found.append(truth[before] + min(share, 1.0) * (truth[after] - truth[before]))
    return np.stack(found)


def shown(found: tuple[float, float, float], digits: int = 2) -> str:
    """Value and interval."""
    return "{0:+.{3}f} [{1:+.{3}f}, {2:+.{3}f}]".format(*found, digits).replace("-", "−")


def cell_row(cell: Cell) -> dict[str, Any]:
    """Peak, end, fall and held-out stop of one cell."""
    peak, end, kept = cell.at_peak(), cell.at_end(), cell.at_kept()
    place = int(cell.mean("truth").argmax())
    rates = cell.win_rates()
    return {
        "agents": cell.name,
        "peak at step": cell.steps[place],
        "√KL there": f"{math.sqrt(max(cell.mean('kl')[place], 0)):.2f}",
        "√KL at the end": f"{math.sqrt(max(cell.mean('kl')[-1], 0)):.2f}",
        "truth at the peak": shown(interval(peak)),
        "at the end": shown(interval(end)),
        "fall": shown(interval(peak - end)),
        "kept by held-out": shown(interval(kept)),
        "proxy at the end": f"{cell.mean('proxy')[-1]:+.2f}",
        "held-out at the end": f"{cell.mean('held-out')[-1]:+.2f}",
        "words won": " → ".join(f"{one:.2f}" for one in np.mean(rates["win rate"], axis=0)),
        "at equal length": " → ".join(f"{one:.2f}" for one in np.mean(rates["win rate at equal length"], axis=0)),
        "length": f"{np.mean([_length(curve, cell.steps[-1]) for curve in cell.curves]):.1f}",
    }


def _length(curve: pl.DataFrame, step: int) -> float:
    return float(curve.filter(measure="length", step=step)["value"][0])


def part_row(workspace: Path, name: str, files: Sequence[Path]) -> dict[str, Any]:
    """What the quality of responses is the sum of, in standard deviations of the community's comments.

    Args:
        workspace: of the simulated Reddit.
        name: of the row.
        files: samples.
    """
    rows = pl.concat([pl.read_parquet(path).select("subreddit", "prompt", "response") for path in files])
    rule = read_quality_rule(open_workspace(workspace))
    parts = quality_parts(rule, *(rows[column].to_list() for column in rows.columns))
    words = rows["response"].str.split(" ")
    n_words = words.list.len().to_numpy().mean()
    shown_parts = {part: f"{values.mean():+.2f}".replace("-", "−") for part, values in parts.items()}
    turns = words.list.eval(pl.element().str.strip_chars(".,") == rule.turn).list.sum().to_numpy()
    row = {"responses": name, **shown_parts, "words each": f"{n_words:.1f}"}
    return row | {f"with “{rule.turn}”": f"{(turns > 0).mean():.0%}".replace("%", " %")}


def without_limit(workspace: Path, cell: Cell) -> tuple[float, float, float]:
    """Gain of the kept agents in a truth that charges no words beyond the longest comment, in standard deviations."""
    rule = replace(read_quality_rule(open_workspace(workspace)), max_words=None)
    gains = []
    for folder in cell.folders:
        of_source = []
        for name in ("writer", "agent"):
            rows = pl.read_parquet(folder / "samples" / f"{name}.parquet").sort("prompt_id", "sample")
            columns = (rows[column].to_list() for column in ("subreddit", "prompt", "response"))
            of_source.append(true_quality(rule, *columns).reshape(rows["prompt_id"].n_unique(), -1))
        spread = float(np.sqrt(of_source[0].var(axis=1, ddof=1).mean()))
        gains.append((of_source[1].mean(axis=1) - of_source[0].mean(axis=1)) / spread)
    return interval(np.stack(gains))


def verdicts(cells: dict[tuple[str, float], Cell]) -> list[str]:
    """What was asked of the experiment, answered."""
    said = []
    compared = [(("naive-a", weight), ("balanced-a", weight)) for weight in WEIGHTS]
    compared += [(("naive-a", 0.0), ("balanced-a long", 0.0)), (("naive-a long", 0.02), ("balanced-a long", 0.0))]
    for naive, balanced in [(cells[one], cells[two]) for one, two in compared if one in cells and two in cells]:
        shared = sorted({*naive.seeds} & {*balanced.seeds})
        if not shared:
            continue
        own = [[cell.seeds.index(seed) for seed in shared] for cell in (balanced, naive)]
        peaks = interval(balanced.at_peak()[own[0]] - naive.at_peak()[own[1]])
        ends = interval(balanced.at_end()[own[0]] - naive.at_end()[own[1]])
        what = f"({balanced.name}) − ({naive.name}), {len(shared)} seeds"
        said.append(f"{what}: peak {shown(peaks)}; at the end {shown(ends)}.")
        furthest = math.sqrt(min(float(cell.values["kl"].mean(axis=2).max(axis=1).min()) for cell in (naive, balanced)))
        for share in (0.25, 0.5, 0.75, 1.0):
            gains = [
                at_distance(cell, share * furthest)[rows] for cell, rows in zip((balanced, naive), own, strict=True)
            ]
            said.append(f"  at √KL {share * furthest:.2f} of both: {shown(interval(gains[0] - gains[1]))}.")
    for cell in cells.values():
        peak, kept = cell.at_peak(), cell.at_kept()
        said.append(
            f"{cell.name}: peak − kept by the held-out judge {shown(interval(peak - kept))}, steps {cell.kept}."
        )
        if interval(peak)[1] > 0:  # a share of what may be nothing says nothing
            said.append(f"  kept / peak {shown(ratio_interval(kept, peak))}, of {KEPT_SHARE} that was hoped for.")
        said.append(f"  alarms, first steps: {cell.alarms()}.")
    return said


def fits(cells: dict[tuple[str, float], Cell], measures: Sequence[str] = ("proxy", "held-out", "truth")) -> list[str]:
    """Fitted curves of all seeds of a cell together."""
    said = []
    for cell in cells.values():
        for measure in measures:
            runs = [points for folder in cell.folders if (points := run_points(folder, measure)) is not None]
            fit = fit_over_optimisation(runs, measure, "agent")
            left = f"residual {fit.residual:.2f}"
            said.append(f"{cell.name}, {measure}: α {shown(fit.alpha)}, β {shown(fit.beta)}, {left}. {fit.sentence}")
    return said


def print_rows(rows: Sequence[dict[str, Any]], tell: Callable[[str], None]) -> None:
    """A Markdown table."""
    tell("| " + " | ".join(rows[0]) + " |")
    tell("|" + "---|" * len(rows[0]))
    for row in rows:
        tell("| " + " | ".join(str(value) for value in row.values()) + " |")


def main() -> None:
    """Print tables and sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    done = finished(options.workspace, agents(options.seeds))
    tell: Callable[[str], None] = print
    cells = {}
    for judge in (*JUDGED, *CONTROLS):
        for weight in WEIGHTS:
            seeds = [seed for one, other, seed in done if (one, other) == (judge, weight)]
            if seeds:
                cells[judge, weight] = Cell(options.workspace, judge, weight, seeds)
    for judge, weight in LONG:
        planned = [(judge, weight, seed) for seed in range(options.seeds)]
        if done := finished(options.workspace, planned, "-long"):
            cells[f"{judge} long", weight] = Cell(options.workspace, judge, weight, [one[2] for one in done], "-long")
    print_rows([cell_row(cell) for cell in cells.values()], tell)
    writer = next(iter(cells.values())).folders[0] / "samples" / "writer.parquet"
    kept = {cell.name: [folder / "samples" / "agent.parquet" for folder in cell.folders] for cell in cells.values()}
    print_rows([part_row(options.workspace, *one) for one in {"the writer": [writer], **kept}.items()], tell)
    for cell in cells.values():
        tell(
            f"{cell.name}: kept, in a truth without a longest comment, {shown(without_limit(options.workspace, cell))}"
        )
    for line in (*verdicts(cells), *fits(cells)):
        tell(line)


if __name__ == "__main__":
    main()
