"""The runs of a workspace as rows: their state, what they were trained on, and what they reached."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dashboard.queries import FileVersion, version
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.learning_curves import METRICS, validation_losses
from lurker.listings import CONFIG, RESULT, list_runs, model_in_short
from lurker.workspace import Workspace

STALE_S = 60
"""A run in training that has written no line for this long is stale: stopped, or very slow."""
ACCURACY = ("accuracy", "accuracy_low", "accuracy_high")
BINS = ("confidence", *ACCURACY, "n_pairs")
_SAME = ("settings", "pairs", "model", "train_pairs", "tested_on", "state")
ROWS: dict[str, Any] = {
    "run": pl.String,
    "state": pl.String,
    "pairs": pl.String,
    "model": pl.String,
    "train_pairs": pl.Int64,
    "seed": pl.Int64,
    "tested_on": pl.String,
    **dict.fromkeys(ACCURACY, pl.Float64),
    "losses": pl.List(pl.Float64),
    "changed": pl.Float64,
    "settings": pl.String,
}


def run_rows(workspace: Workspace) -> tuple[pl.DataFrame, list[str]]:
    """One row per run with the columns ROWS, the latest first, and what is wrong with those that are broken."""
    rows, problems = [], []
    for row in list_runs(workspace):
        folder = workspace.folder("runs", row["run"])
        if row["problem"]:
            problems.append(str(row["problem"]))
        losses = _losses(version(folder / METRICS)) if (folder / METRICS).exists() else []
        rows.append(
            {
                **row,
                "model": model_in_short(row["model"]),
                "state": state(folder, row["state"]),
                "losses": losses,
                "changed": changed(folder),
                "settings": _settings(folder),
            }
        )
    columns = [pl.Series(name, [row[name] for row in rows], dtype, strict=False) for name, dtype in ROWS.items()]
    frame = pl.DataFrame(columns)  # what has another type in a damaged file is null
    return frame.sort("changed", descending=True), problems


def _settings(folder: Path) -> str:
    """The configuration but for the seed and what it draws, by which runs are told to differ by their seed alone."""
    try:
        config = read_object(folder / CONFIG)
    except LurkerError:
        return folder.name
    train = config.get("train")
    if isinstance(train, dict):
        config["train"] = {name: value for name, value in train.items() if name != "seed"}
    if config.get("max_pairs") is not None:
        config.pop("data_digest", None)  # of a subset, which each seed draws anew
    return json.dumps(config, sort_keys=True)


@lru_cache(maxsize=2048)
def _losses(file: FileVersion) -> list[float]:
    return validation_losses(file.path.parent)


def state(folder: Path, known: str) -> str:
    """finished, broken, training, or stale: no result, and no new line for a minute."""
    if known != "unfinished":
        return known
    return "training" if time.time() - changed(folder) < STALE_S else "stale"


def changed(folder: Path) -> float:
    """When the run last wrote a line or its result, seconds since 1970."""
    files = (folder / name for name in (RESULT, METRICS, CONFIG))
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def over_seeds(rows: pl.DataFrame) -> pl.DataFrame:
    """Runs that differ by their seed as one row: means, the number of seeds, and the loss of the latest."""
    return rows.group_by(_SAME, maintain_order=True).agg(
        pl.col("run").first(),
        n_seeds=pl.col("seed").n_unique().cast(pl.Int64),
        accuracy=pl.col("accuracy").mean(),
        accuracy_low=pl.col("accuracy_low").mean(),
        accuracy_high=pl.col("accuracy_high").mean(),
        losses=pl.col("losses").first(),
        changed=pl.col("changed").max(),
    )


def config_differences(workspace: Workspace, first: str, second: str) -> pl.DataFrame:
    """Fields in which the configurations of two runs differ: columns field, first, second.

    Raises:
        LurkerError: a configuration is missing or damaged.
    """
    configs = [dict(_flat(read_object(workspace.folder("runs", run) / CONFIG))) for run in (first, second)]
    names = dict.fromkeys([*configs[0], *configs[1]])
    rows = [
        (name, *(json.dumps(config.get(name), ensure_ascii=False) for config in configs))
        for name in names
        if configs[0].get(name) != configs[1].get(name)
    ]
    return pl.DataFrame(rows, schema=["field", "first", "second"], orient="row").cast(pl.String)


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def seconds_left(looks: list[tuple[float, int]], planned: int | None) -> float | None:
    """Time until the plan is done, at the pace since the first look; None if it cannot be told yet.

    Args:
        looks: time in seconds and steps done, of each look.
        planned: steps of the whole plan.
    """
    (began, before), (now, done) = looks[0], looks[-1]
    if planned is None or done <= before:
        return None
    return float(np.clip((planned - done) * (now - began) / (done - before), 0.0, None))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often a run is right at each confidence, as a diagnosis has it."""

    expected_error: float
    bins: list[dict[str, float]]
    """confidence, accuracy, accuracy_low, accuracy_high, n_pairs"""


def calibrations(workspace: Workspace, run: str) -> dict[str, Calibration]:
    """The calibration of a run by pair set and split, of the diagnoses that were written.

    Raises:
        LurkerError: a diagnosis is damaged.
    """
    found = {}
    for path in sorted(workspace.folder("runs", run).glob("diagnoses/*.json")):
        content = read_object(path)
        try:
            one = content["calibration"]
            bins = [{name: float(row[name]) for name in BINS} for row in one["bins"]]
            found[path.stem] = Calibration(float(one["expected_calibration_error"]), bins)
        except (KeyError, TypeError, ValueError) as error:
            raise LurkerError(f"{path} is damaged.", f"Run `lurker rm diagnose {run}` again.") from error
    return found
