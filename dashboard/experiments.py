"""Tables of experiments and runs, averaged over seeds as the charts draw them; cached until the file changes."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import polars as pl

from dashboard.queries import FileVersion, read_table
from lurker import charts
from lurker.schema import (
    CEILING,
    FEW_SHOT_DIFFERENCES,
    RECIPE_DIFFERENCES,
    RECIPES,
    SCALING,
    TRANSFER,
    TRANSFER_DIFFERENCES,
)
from lurker.seeds import mean_over_seeds
from lurker.workspace import Workspace

ExperimentKind = Literal["scaling", "transfer", "few-shot", "recipes", "ceiling"]
Differences = Literal["differences", "transfer-differences", "few-shot-differences"]


def experiment_names(workspace: Workspace, kind: ExperimentKind) -> list[str]:
    """Names of the finished experiments of a kind."""
    names = workspace.names("experiments", "manifest.json")
    return [name for name in names if experiment_file(workspace, name, kind).exists()]


def experiment_file(workspace: Workspace, name: str, table: ExperimentKind | Differences) -> Path:
    """One table of an experiment: that of its kind, or the differences between recipes, sources or starts."""
    return workspace.root / "experiments" / name / f"{table}.parquet"


@lru_cache(maxsize=32)
def scaling_cells(file: FileVersion) -> pl.DataFrame:
    """The SCALING table of one experiment, sorted by model size, data size and seed."""
    cells = read_table(file, SCALING)
    return cells.sort("is_baseline", "n_parameters", "predictor", "n_train_pairs", "seed", nulls_last=True)


@lru_cache(maxsize=32)
def scaling_curve(file: FileVersion) -> pl.DataFrame:
    """As `lurker.seeds.mean_over_seeds` of the file."""
    return mean_over_seeds(scaling_cells(file))


@lru_cache(maxsize=32)
def transfer_matrix(file: FileVersion, differences: FileVersion | None = None) -> pl.DataFrame:
    """As `lurker.charts.transfer_matrix` of the files."""
    paired = None if differences is None else read_table(differences, TRANSFER_DIFFERENCES)
    return charts.transfer_matrix(read_table(file, TRANSFER), paired)


@lru_cache(maxsize=32)
def few_shot_differences(file: FileVersion) -> pl.DataFrame:
    """The FEW_SHOT_DIFFERENCES table of one experiment."""
    return read_table(file, FEW_SHOT_DIFFERENCES)


@lru_cache(maxsize=32)
def recipe_figures(file: FileVersion) -> pl.DataFrame:
    """As `lurker.charts.recipe_figures` of the file."""
    return charts.recipe_figures(read_table(file, RECIPES))


@lru_cache(maxsize=32)
def recipe_differences(file: FileVersion) -> pl.DataFrame:
    """The RECIPE_DIFFERENCES table of one experiment."""
    return read_table(file, RECIPE_DIFFERENCES)


@lru_cache(maxsize=32)
def ceilings(file: FileVersion) -> pl.DataFrame:
    """The CEILING table of one experiment."""
    return read_table(file, CEILING)
