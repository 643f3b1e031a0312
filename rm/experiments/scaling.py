"""Accuracy against data and model size: a grid of models x sizes x seeds on one test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import LurkerError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import PairSet, pair_set_name, read_pairs, require_pair_set, split_of
from lurker.progress import say
from lurker.report import ResultTable
from lurker.schema import SCALING, check
from lurker.workspace import Workspace
from rm.evaluation.metrics import ALL
from rm.experiments.cells import (
    Cell,
    accuracy_rows,
    data_digest,
    has_result,
    make_cell,
    read_evaluations,
    result_file,
    shared_tokenizer,
    train_cells,
)
from rm.experiments.config import (
    Experiment,
    PairSetConfig,
    choose_test,
    experiment_on,
    make_config,
    require_distinct,
    require_pairs,
)
from rm.experiments.results import ExperimentResult, mean_accuracy
from rm.experiments.scaling_fit import ScalingFit, fit_scaling
from rm.models.ladder import check_spec
from rm.training.run_folder import RunConfig, models_of_runs
from rm.training.settings import as_settings
from rm.training.trainable import train_config

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingConfig(PairSetConfig):
    """A scaling experiment."""

    models: tuple[str, ...]
    """SPEC of each model"""
    sizes: tuple[int, ...]
    """training pairs; for one seed, a smaller training set is a subset of a larger one"""

    def __post_init__(self) -> None:
        PairSetConfig.__post_init__(self)
        if not self.models or not self.sizes:
            raise ValueError(f"a model and a size are needed, got {self.models} and {self.sizes}")
        if min(self.sizes) < 2:
            raise ValueError(f"sizes must be at least 2 pairs, got {min(self.sizes)}")
        require_distinct(self, "models", "sizes")


@dataclass(frozen=True, slots=True, repr=False)
class Scaling(ExperimentResult):
    """The SCALING table: one row per predictor, data size and seed."""

    fit: ScalingFit
    """the curve through the runs, and what it says"""

    @property
    def sentence(self) -> str:
        """What the fitted curve allows to claim."""
        return self.fit.sentence

    def table(self) -> ResultTable:
        """One row per predictor and one column per size: mean accuracy over seeds, with its mean interval."""
        test_pairs = self.frame["test_pairs"][0]
        title = f"Accuracy on {test_pairs} (experiment {self.experiment.name})"
        return ResultTable(title, summary(self.frame))

    def result_tables(self) -> Sequence[ResultTable]:
        """The accuracies, then the figures of the fit with the sentence that follows from them."""
        return [self.table(), self.fit.table()]

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {**ExperimentResult.report(self), "fit": self.fit.to_json()}

    def plot(self, against: Literal["data", "parameters"] = "data") -> Any:
        """The dashboard's chart of accuracy against training pairs, or against model size."""
        from lurker.charts import accuracy_by_data, accuracy_by_parameters, scaling_curve

        curve = scaling_curve(self.frame)
        return accuracy_by_data(curve, fit=self.fit.curve) if against == "data" else accuracy_by_parameters(curve)


def scaling(
    pairs: PairSet,
    models: Sequence[str] | str,
    sizes: Sequence[int] | int,
    *,
    seeds: int = 3,
    test: PairSet | str | None = None,
    subreddits: Sequence[str] | str = (),
    name: str | None = None,
    engine: Engine = "local",
    n_workers: int | None = None,
    **train_fields: Any,
) -> Scaling:
    """Train every model on every data size with every seed; finished cells are not run again.

    Args:
        pairs: pair set trained on.
        models: SPECs, such as "scratch-200k" or a Hugging Face id.
        sizes: numbers of training pairs.
        seeds: number of seeds.
        test: pair set tested on; the hard test by default.
        subreddits: communities trained and tested on; all by default.
        name: of the experiment; `<pairs>-scaling` by default.
        engine: "local" (processes of this machine) or "ray".
        n_workers: processes of the local engine; as many as fit by default.
        **train_fields: fields of `rm.training.config.TrainConfig` for every cell, such as epochs=1.

    Raises:
        CallError: an argument is not possible, such as a size beyond the data.
        LurkerError: every cell failed, or a test post was trained on.
    """
    require_pair_set(pairs)
    config = make_config(
        ScalingConfig,
        pairs=pairs.name,
        models=models_of_runs(pairs.workspace, models),
        sizes=sizes,
        n_seeds=seeds,
        test_pairs=None if test is None else pair_set_name(test),
        subreddits=subreddits,
        settings=as_settings(train_fields),
    )
    return run_scaling(experiment_on(pairs, name or f"{pairs.name}-scaling", engine, n_workers), config)


def run_scaling(experiment: Experiment, config: ScalingConfig) -> Scaling:
    """Run the cells that are not finished; write SCALING and the fit, then the manifest."""
    workspace = experiment.workspace
    cells, test_pairs = plan_scaling(experiment, config)
    finished, failures = train_cells(experiment, cells)
    config, earlier = _with_earlier_grid(experiment, config, test_pairs, finished)
    finished += earlier
    results = {cell.run_id: read_json(result_file(workspace, cell)) for cell in finished}
    table = _collect(workspace, finished, results, test_pairs)
    test = split_of(read_pairs(workspace, test_pairs), test_pairs, "test")
    fit = fit_scaling(workspace, table, test)
    write_parquet(table, experiment.folder / "scaling.parquet")
    write_json(fit.to_json(), experiment.folder / "fit.json")
    manifest = {
        "kind": "scaling",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": test_pairs,
        "models": [{"model": model, "n_parameters": n} for model, n in _parameters(finished, results)],
        "sizes": sorted(config.sizes),
        "cells": [cell.run_id for cell in finished],
    }
    write_json(manifest, experiment.folder / "manifest.json")
    return Scaling(experiment, table, failures, fit)


def _with_earlier_grid(
    experiment: Experiment, config: ScalingConfig, test_pairs: str, finished: Sequence[Cell]
) -> tuple[ScalingConfig, list[Cell]]:
    """Keep what an earlier call with a larger grid finished, so that a smaller one does not take it out of the table.

    The run ids of cells follow from their content: a cell counts only if its pairs and settings are still the same.

    Returns:
        The config of both grids, and the finished cells that are only in the earlier one.
    """
    manifest_file = experiment.folder / "manifest.json"
    manifest = read_json(manifest_file) if manifest_file.exists() else {}
    if manifest.get("kind") != "scaling":
        return config, []
    before = manifest["config"]
    both = replace(
        config,
        models=_union(config.models, before["models"]),
        sizes=_union(config.sizes, before["sizes"]),
        n_seeds=max(config.n_seeds, before["n_seeds"]),
    )
    known = set(manifest["cells"]) - {cell.run_id for cell in finished}
    if both == config or not known:
        return config, []
    try:
        cells, _ = plan_scaling(experiment, replace(both, test_pairs=test_pairs))
    except LurkerError:  # a model is gone, or the pairs are fewer now: nothing of it can be told to be the same
        return config, []
    kept = [cell for cell in cells if cell.run_id in known and has_result(experiment.workspace, cell)]
    if not kept:
        return config, []
    say(f"The table keeps {len(kept)} {'cell' if len(kept) == 1 else 'cells'} of an earlier grid.")
    return both, kept


def _union(wanted: tuple[T, ...], earlier: Sequence[T]) -> tuple[T, ...]:
    return (*wanted, *(one for one in earlier if one not in wanted))


def plan_scaling(experiment: Experiment, config: ScalingConfig) -> tuple[list[Cell], str]:
    """The cells of the grid and the pair set they are tested on; trains the tokenizer they share."""
    for model in config.models:
        check_spec(model)
    test_pairs = choose_test(experiment.workspace, config.pairs, config.test_pairs)
    frame = read_pairs(experiment.workspace, config.pairs, config.subreddits)
    training = split_of(frame, config.pairs, "train")
    require_pairs(max(config.sizes), training.height, config.pairs)
    test = split_of(read_pairs(experiment.workspace, test_pairs), test_pairs, "test")
    digest = data_digest(frame, config.pairs, test)
    train = {
        (model, seed): train_config(model, seed, config.settings)
        for model in config.models
        for seed in range(config.n_seeds)
    }
    tokenizer = shared_tokenizer(experiment, training, next(iter(train.values())).vocabulary_size)
    cells = [
        make_cell(
            experiment.name,
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
    """One row per predictor and one column per size: mean accuracy over seeds, with its mean interval."""
    sizes = sorted(table["n_train_pairs"].unique())
    rows = []
    for predictor in table["predictor"].unique(maintain_order=True):
        row: dict[str, Any] = {"predictor": predictor}
        for size in sizes:
            at_size = table.filter((pl.col("predictor") == predictor) & (pl.col("n_train_pairs") == size))
            row[f"{size:,} pairs"] = mean_accuracy(at_size)
        rows.append(row)
    return rows


def _collect(
    workspace: Workspace, cells: Sequence[Cell], results: dict[str, dict[str, Any]], test_pairs: str
) -> pl.DataFrame:
    """SCALING: every cell's model, and the baselines once per size and seed."""
    rows = []
    has_baselines: set[tuple[int, int]] = set()
    for cell in cells:
        size_and_seed = (cell.n_train_pairs, cell.config.train.seed)
        table = read_evaluations(workspace, cell.run_id, test_pairs).filter(pl.col("subreddit") == ALL)
        for row in accuracy_rows(table, cell.config, with_baselines=size_and_seed not in has_baselines):
            result = {} if row["is_baseline"] else results[cell.run_id]
            rows.append(
                {
                    **row,
                    "n_parameters": result.get("n_parameters"),
                    "n_train_pairs": cell.n_train_pairs,
                    "train_time_s": result.get("train_time_s"),
                }
            )
        has_baselines.add(size_and_seed)
    frame = pl.DataFrame([{name: row[name] for name in SCALING.columns} for row in rows], schema=SCALING.schema)
    return check(frame, SCALING).sort("is_baseline", "n_parameters", "predictor", "n_train_pairs", "seed")


def _parameters(cells: Sequence[Cell], results: dict[str, dict[str, Any]]) -> list[tuple[str, int]]:
    sizes = {cell.config.model: int(results[cell.run_id]["n_parameters"]) for cell in cells}
    return sorted(sizes.items(), key=lambda item: (item[1], item[0]))
