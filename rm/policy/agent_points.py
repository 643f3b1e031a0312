"""An agent's curve prompt by prompt, kept on the way, and at the end the fitted over-optimisation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.errors import CallError
from lurker.files import write_json, write_parquet
from rm.policy.over_optimisation import OverOptimisation, RunPoints, fit_over_optimisation

Floats = NDArray[np.float64]
POINTS_FILE, FITS_FILE = "points.parquet", "over_optimisation.json"
"""In an agent's folder: measures by step and prompt; the fitted curves."""


def record_points(folder: Path, prompts: Sequence[str], kl: Floats, values: Mapping[str, Floats], step: int) -> None:
    """Add the divergence and each measure of every prompt at one step to the folder's table.

    Args:
        folder: of the agent.
        prompts: id of each response's prompt, [n].
        kl: log-probability under the agent minus that under the writer, nats, [n].
        values: measure -> standardised reward of each response, [n].
        step: of the training.
    """
    rows = pl.DataFrame({"prompt_id": list(prompts), "kl": kl, **values}).group_by("prompt_id").mean()
    rows = rows.sort("prompt_id").select(pl.lit(step, dtype=pl.Int64).alias("step"), "*")
    path = folder / POINTS_FILE
    before = pl.read_parquet(path).filter(pl.col("step") < step) if path.exists() else rows.clear()
    write_parquet(pl.concat([before, rows]), path)


def run_points(folder: Path, measure: str) -> RunPoints | None:
    """What one agent's prompts showed at each evaluated step; None if the measure was not taken."""
    path = folder / POINTS_FILE
    if not path.exists() or measure not in (rows := pl.read_parquet(path)).columns:
        return None
    rows = rows.sort("step", "prompt_id")
    n_steps = rows["step"].n_unique()
    kl, values = (rows[name].to_numpy().reshape(n_steps, -1).T for name in ("kl", measure))
    return RunPoints(kl, values)


def write_fits(folder: Path, measures: Sequence[str]) -> list[OverOptimisation]:
    """Fit d(α − β log d) to each measure of an agent, and store what came; empty where the steps are too few."""
    found = []
    for measure in measures:
        points = run_points(folder, measure)
        if points is None:
            continue
        try:
            found.append(fit_over_optimisation([points], measure, "agent"))
        except CallError:  # fewer than three distances: the curve itself says all there is
            continue
    write_json({"over_optimisation": [fit.report() for fit in found]}, folder / FITS_FILE)
    return found
