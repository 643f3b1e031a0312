"""Accuracy against data and model size: a grid of models x sizes x seeds on one test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.pair_sets import read_pairs, split_of
from lurker.schema import SCALING, check
from lurker.workspace import Workspace, write_json, write_parquet
from rm.evaluation.metrics import ALL
from rm.experiments.cells import (
    Cell,
    accuracy_rows,
    cell,
    data_digest,
    evaluations,
    mean_accuracy,
    run_cells,
    shared_tokenizer,
    test_set,
)
from rm.models.ladder import check_spec
from rm.training.run_folder import RunConfig
from rm.training.trainable import train_config


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingConfig:
    """A scaling experiment."""

    pairs: str
    """pair set trained on"""
    models: tuple[str, ...]
    """SPEC of each model"""
    sizes: tuple[int, ...]
    """training pairs of each size; a smaller training set lies in a larger one of the same seed"""
    n_seeds: int = 3
    """seeds 0 … n_seeds - 1, of subset, initial weights and order"""
    test_pairs: str | None = None
    """pair set judged on; the hard test where there is one when absent"""
    subreddits: tuple[str, ...] = ()
    """communities trained and judged on; all when empty"""
    settings: tuple[str, ...] = ()
    """field=value for every cell's TrainConfig"""

    def __post_init__(self) -> None:
        if not self.models or not self.sizes or self.n_seeds < 1:
            raise ValueError(
                f"a model, a size and a seed are needed, got {self.models}, {self.sizes} and {self.n_seeds} seeds"
            )
        if min(self.sizes) < 2:
            raise ValueError(f"sizes must be at least 2 pairs, got {min(self.sizes)}")
        for name in ("models", "sizes"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must differ, got {getattr(self, name)}")


def run_scaling(
    workspace: Workspace, name: str, config: ScalingConfig, engine: Engine = "local", n_workers: int | None = None
) -> pl.DataFrame:
    """Run the grid's cells that are not finished; write and return SCALING, the manifest last.

    Errors: CallError for a size beyond the data or an unknown model; LurkerError when a test post was trained on.
    """
    cells, test_pairs = plan_scaling(workspace, name, config)
    results = run_cells(workspace, cells, engine, n_workers)
    table = _collect(workspace, cells, results, test_pairs)
    folder = workspace.folder("experiments", name)
    write_parquet(table, folder / "scaling.parquet")
    manifest = {
        "kind": "scaling",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": test_pairs,
        "models": [{"model": model, "n_parameters": n} for model, n in _parameters(cells, results)],
        "sizes": sorted(config.sizes),
        "cells": [ran.run_id for ran in cells],
    }
    write_json(manifest, folder / "manifest.json")
    return table


def plan_scaling(workspace: Workspace, name: str, config: ScalingConfig) -> tuple[list[Cell], str]:
    """The cells of the grid and the pair set they are judged on; trains the tokenizer they share."""
    for model in config.models:
        check_spec(model)
    test_pairs = test_set(workspace, config.pairs, config.test_pairs)
    frame = read_pairs(workspace, config.pairs, config.subreddits)
    training = split_of(frame, config.pairs, "train")
    if max(config.sizes) > training.height:
        raise CallError(
            f"Size {max(config.sizes):,} is beyond the data: {config.pairs} has {training.height:,} training pairs.",
            "Take smaller sizes, or build a larger pair set.",
        )
    digest = data_digest(frame, config.pairs, split_of(read_pairs(workspace, test_pairs), test_pairs, "test"))
    train = {
        (model, seed): train_config(model, seed, config.settings)
        for model in config.models
        for seed in range(config.n_seeds)
    }
    vocabulary_size = next(iter(train.values())).vocabulary_size
    tokenizer = shared_tokenizer(workspace, workspace.folder("experiments", name), training, vocabulary_size)
    cells = [
        cell(
            name,
            RunConfig(
                pairs=config.pairs,
                model=model,
                train=train[model, seed],
                subreddits=config.subreddits,
                max_pairs=size,
                test_pairs=(test_pairs,),
                tokenizer=tokenizer,
            ),
            size,
            digest,
        )
        for model in config.models
        for size in sorted(config.sizes)
        for seed in range(config.n_seeds)
    ]
    return cells, test_pairs


def summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """A row a predictor, a column a size: mean accuracy over seeds, with the mean interval over test posts."""
    sizes = sorted(table["n_train_pairs"].unique())
    rows = []
    for predictor in table["predictor"].unique(maintain_order=True):
        row: dict[str, Any] = {"predictor": predictor}
        for size in sizes:
            at = table.filter((pl.col("predictor") == predictor) & (pl.col("n_train_pairs") == size))
            row[f"{size:,} pairs"] = mean_accuracy(at)
        rows.append(row)
    return rows


def _collect(
    workspace: Workspace, cells: Sequence[Cell], results: dict[str, dict[str, Any]], test_pairs: str
) -> pl.DataFrame:
    """SCALING: every cell's model, and the baselines once for each size and seed."""
    rows = []
    baselines_of: set[tuple[int, int]] = set()
    for ran in cells:
        place = (ran.n_train_pairs, ran.config.train.seed)
        table = evaluations(workspace, ran.run_id, test_pairs).filter(pl.col("subreddit") == ALL)
        for row in accuracy_rows(table, ran.config, with_baselines=place not in baselines_of):
            of_model = {name: results[ran.run_id][name] for name in ("n_parameters", "train_time_s")}
            rows.append(
                {
                    **row,
                    "n_parameters": None if row["is_baseline"] else of_model["n_parameters"],
                    "n_train_pairs": ran.n_train_pairs,
                    "train_time_s": None if row["is_baseline"] else of_model["train_time_s"],
                }
            )
        baselines_of.add(place)
    frame = pl.DataFrame([{name: row[name] for name in SCALING.columns} for row in rows], schema=SCALING.schema)
    return check(frame, SCALING).sort("is_baseline", "n_parameters", "predictor", "n_train_pairs", "seed")


def _parameters(cells: Sequence[Cell], results: dict[str, dict[str, Any]]) -> list[tuple[str, int]]:
    found = {ran.config.model: int(results[ran.run_id]["n_parameters"]) for ran in cells}
    return sorted(found.items(), key=lambda item: (item[1], item[0]))
