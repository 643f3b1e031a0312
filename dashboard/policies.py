"""Policies and their samples as files of a workspace: what exists, and each file as a frame."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from dashboard import queries
from dashboard.queries import read_table, version
from lurker.charts.policy import WIN_RATES
from lurker.errors import LurkerError
from lurker.files import read_object
from lurker.listings import CONFIG, RESULT
from lurker.schema import BEST_OF_N, DRIFT, Table
from lurker.workspace import Workspace

CURVE_FILE, DRIFT_FILE, FITS_FILE = "curve.parquet", "drift.parquet", "over_optimisation.json"
"""In a policy's folder."""
BEST = ".best-of-n"
"""End of the name of a file that tells what the best of n samples is worth, NAME.JUDGE.best-of-n.parquet."""
HUMAN = "human"
REWARD = "reward:"
"""A column of samples that starts with it holds the rewards of a judge."""
MAX_SAMPLES = 200_000
"""Responses that the page reads of a file."""


def policy_names(workspace: Workspace) -> list[str]:
    """Policies, finished or not, those with a curve first."""
    names = workspace.names("policies", CONFIG)
    return sorted(names, key=lambda name: (not (workspace.folder("policies", name) / CURVE_FILE).exists(), name))


def is_finished(workspace: Workspace, name: str) -> bool:
    """Whether a policy has been trained to its end."""
    return (workspace.folder("policies", name) / RESULT).exists()


def sample_files(workspace: Workspace) -> dict[str, Path]:
    """Name -> file of samples: those in `samples/`, then those in the folders of policies by their path."""
    own = {path.stem: path for path in sorted((workspace.root / "samples").glob("*.parquet"))}
    folder = workspace.root / "policies"
    of_policies = {
        str(path.relative_to(folder).with_suffix("")): path
        for path in sorted([*folder.glob("*/samples.parquet"), *folder.glob("*/samples/*.parquet")])
    }
    return {name: path for name, path in (own | of_policies).items() if not name.endswith(BEST)}


def curve(workspace: Workspace, name: str) -> pl.DataFrame | None:
    """The curve of a policy by step and measure, with a label for each step; None if it has none.

    Raises:
        LurkerError: the file is damaged.
    """
    path = workspace.folder("policies", name) / CURVE_FILE
    if not path.exists():
        return None
    rows = queries.policy_curve(version(path))
    return rows.with_columns(label=pl.format("step {}", "step"))


def drift(workspace: Workspace, name: str) -> pl.DataFrame | None:
    """DRIFT of a policy; None if no alarm was asked.

    Raises:
        LurkerError: the file is damaged.
    """
    return _table(workspace.folder("policies", name) / DRIFT_FILE, DRIFT)


def judged_files(samples: Path) -> dict[str, Path]:
    """Judge -> file of what the best by it is worth, for a file of samples."""
    found = sorted(samples.parent.glob("*.parquet"))
    start = f"{samples.stem}."
    own = [path for path in found if path.stem.startswith(start) and path.stem.endswith(BEST)]
    return {path.stem.removeprefix(start).removesuffix(BEST): path for path in own}


def best_of_n(path: Path) -> pl.DataFrame:
    """BEST_OF_N, with a label for each n.

    Raises:
        LurkerError: the file is damaged.
    """
    return read_table(version(path), BEST_OF_N).with_columns(label=pl.format("best of {}", "n"))


def wins(rows: pl.DataFrame) -> pl.DataFrame:
    """How often the best of n beats another sample, as rows of a curve; by the truth, else by the held-out judge."""
    known = rows["measure"].unique().to_list()
    referee = next((name for name in ("truth", "held-out") if name in known), None)
    columns = ("win_rate", "win_rate_at_equal_length")
    judged = rows.filter(pl.col("measure") == (referee or ""))
    won = [
        judged.filter(pl.col(column).is_not_null()).select(
            "n", "kl", "label", measure=pl.lit(name), value=column, low=f"{column}_low", high=f"{column}_high"
        )
        for name, column in zip(WIN_RATES, columns, strict=True)
    ]
    return pl.concat(won)


def document(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file.

    Raises:
        LurkerError: the file is damaged.
    """
    return read_object(path) if path.exists() else {}


def peaks(fits: Mapping[str, Any]) -> dict[str, list[float]]:
    """Measure -> √KL at its peak with the ends of its interval, where a fit found one."""
    fitted = fits.get("over_optimisation") or []
    return {fit["measure"]: fit["peak_distance"] for fit in fitted if fit.get("peak_distance")}


def sentences(fits: Mapping[str, Any]) -> list[str]:
    """What the fits say."""
    return [str(fit["sentence"]) for fit in fits.get("over_optimisation") or []]


def samples(path: Path) -> pl.DataFrame:
    """Responses with their rewards: prompt_id, prompt, source, sample, response, and a column for each judge.

    Raises:
        LurkerError: the file is damaged or holds no samples.
    """
    rows = queries.first_rows(version(path), MAX_SAMPLES)
    needed = ("prompt_id", "prompt", "source", "sample", "response")
    if missing := [name for name in needed if name not in rows.columns]:
        raise LurkerError(f"{path} has no column {missing[0]}.", "Draw them again: `lurker policy sample POLICY`.")
    judges = [name for name in rows.columns if name.startswith(REWARD)]
    return rows.select(*needed, *(pl.col(name).alias(name.removeprefix(REWARD)) for name in judges))


def _table(path: Path, table: Table) -> pl.DataFrame | None:
    return read_table(version(path), table) if path.exists() else None
