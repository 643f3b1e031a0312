"""Accuracy against data and model size: a grid of models x sizes x seeds on one test."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import LurkerError
from lurker.files import atomic_path, read_json, write_json, write_parquet
from lurker.pair_sets import PairSet, pair_set_name, read_pairs, require_pair_set, split_of
from lurker.progress import say
from lurker.report import ResultTable
from lurker.schema import EVALUATIONS, SCALING, check
from lurker.seeds import mean_over_seeds
from lurker.workspace import Workspace
from rm.evaluation.curve_points import read_point
from rm.evaluation.metrics import ALL
from rm.experiments.cells import (
    Cell,
    accuracy_rows,
    has_result,
    read_evaluations,
    result_file,
    train_cells,
)
from rm.experiments.checklist import CHECKLIST, Item, checklist, open_questions, to_markdown
from rm.experiments.config import (
    Experiment,
    experiment_on,
    make_config,
)
from rm.experiments.results import MANIFEST, ExperimentResult, require_same_experiment
from rm.experiments.scaling_fit import AXES, ScalingFit, X, fit_scaling, require_axis
from rm.experiments.scaling_plan import NAMES, Protocol, ScalingConfig, plan_scaling
from rm.models.ladder import LADDER, slug
from rm.training.run_folder import MODEL, models_of_runs
from rm.training.settings import as_settings

T = TypeVar("T")
EMBEDDINGS = "embeddings"
"""The baseline that depends on the model."""


@dataclass(frozen=True, slots=True, repr=False)
class Scaling(ExperimentResult):
    """The SCALING table: one row per predictor, data size and seed."""

    fit: ScalingFit
    """the curve through the runs, and what it says"""
    checklist: tuple[Item, ...] = ()
    """the questions of (Mis)Fitting, arXiv 2502.18969, with the answers of this experiment"""

    @property
    def sentence(self) -> str:
        """What the fitted curve allows to claim."""
        return self.fit.sentence

    def table(self) -> ResultTable:
        """One row per predictor and one column per size: mean accuracy over seeds, with an interval of both."""
        test_pairs = self.frame["test_pairs"][0]
        title = f"Accuracy on {test_pairs} (experiment {self.experiment.name})"
        return ResultTable(title, summary(self.frame))

    def sources(self) -> ResultTable:
        """How much of each interval the test posts make, and how much the seeds: one row per model and size."""
        curve = mean_over_seeds(self.frame).filter(~pl.col("is_baseline"))
        rows = [
            {
                "model": row["predictor"],
                "pairs": row["n_train_pairs"],
                "accuracy": row["accuracy"],
                "from": row["accuracy_low"],
                "to": row["accuracy_high"],
                "± test posts": row["by_posts"],
                "± seeds": row["by_seeds"],
                "seeds": row["n_seeds"],
            }
            for row in curve.to_dicts()
        ]
        note = "One seed does not show how seeds differ." if curve["by_seeds"].null_count() else ""
        return ResultTable("What the intervals cover", rows, note)

    def result_tables(self) -> Sequence[ResultTable]:
        """The accuracies with their intervals, then the figures of the fit with the sentence that follows from them."""
        fit = self.fit.table()
        if self.checklist:
            fit = replace(fit, note=f"{fit.note}\n{open_questions(self.checklist)} ({CHECKLIST}.md).")
        return [self.table(), self.sources(), fit]

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        means = mean_over_seeds(self.frame).to_dicts()
        answers = [asdict(item) for item in self.checklist]
        return {**ExperimentResult.report(self), "means": means, "fit": self.fit.to_json(), "checklist": answers}

    def plot(self, against: X | Literal["parameters"] | None = None) -> Any:
        """The dashboard's chart of accuracy against pairs, tokens, time or parameters; the axis of the fit by default.

        The fitted curve is drawn on its own axis.
        """
        from lurker.charts import Fitted, accuracy_by_data, accuracy_by_parameters

        curve, x = mean_over_seeds(self.frame), against or self.fit.x
        if x == "parameters":
            return accuracy_by_parameters(curve)
        fit = Fitted.of(self.fit.curve, self.fit.figures) if x == self.fit.x else None
        return accuracy_by_data(curve, fit=fit, x=AXES[x].column)


def scaling(
    pairs: PairSet,
    models: Sequence[str] | str,
    sizes: Sequence[int] | int,
    *,
    seeds: int = 3,
    protocol: Protocol = "retrain",
    x: X = "pairs",
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
        protocol: "retrain" trains a run for each size, "online" one pass over the largest, evaluated at each size; a
            single size also gives its half, its quarter and so on.
        x: what the curve takes as the amount of data: "pairs", "tokens" read in training, or "time" of training.
        test: pair set tested on; the hard test by default.
        subreddits: communities trained and tested on; all by default.
        name: of the experiment; `<pairs>-scaling`, or `<pairs>-online`, by default.
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
        protocol=protocol,
        test_pairs=None if test is None else pair_set_name(test),
        subreddits=subreddits,
        settings=as_settings(train_fields),
    )
    name = name or f"{pairs.name}-{NAMES[config.protocol]}"
    return run_scaling(experiment_on(pairs, name, engine, n_workers), config, require_axis(x))


def run_scaling(experiment: Experiment, config: ScalingConfig, x: X = "pairs") -> Scaling:
    """Run the cells that are not finished; write SCALING and the fit, then the manifest.

    fit.json is over pairs; that over another amount of data is beside it.
    """
    workspace = experiment.workspace
    cells, test_pairs = plan_scaling(experiment, config)
    same = {name: getattr(config, name) for name in ("pairs", "protocol", "subreddits", "settings")}
    require_same_experiment(experiment, "scaling", test_pairs=test_pairs, **same)
    finished, failures = train_cells(experiment, cells)
    config, earlier = _with_earlier_grid(experiment, config, test_pairs, finished)
    finished += earlier
    results = {cell.run_id: read_json(result_file(workspace, cell)) for cell in finished}
    table = _collect(workspace, finished, results, test_pairs)
    test = split_of(read_pairs(workspace, test_pairs), test_pairs, "test")
    write_parquet(table, experiment.folder / "scaling.parquet")
    fit = fit_scaling(workspace, table, test)
    write_json(fit.to_json(), experiment.folder / "fit.json")
    if x != "pairs":
        fit = fit_scaling(workspace, table, test, x)
        write_json(fit.to_json(), experiment.folder / f"fit-{x}.json")
    manifest = {
        "kind": "scaling",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": test_pairs,
        "models": [{"model": model, "n_parameters": n} for model, n in _parameters(finished, results)],
        "sizes": list(config.data_sizes),
        "cells": [cell.run_id for cell in finished],
    }
    write_json(manifest, experiment.folder / MANIFEST)
    train = {cell.config.model: cell.config.train for cell in finished}
    items = checklist(replace(config, models=tuple(train)), tuple(train.values()), table, fit)
    write_json([asdict(item) for item in items], experiment.folder / f"{CHECKLIST}.json")
    with atomic_path(experiment.folder / f"{CHECKLIST}.md") as temporary:
        temporary.write_text(to_markdown(items, f"Checklist of {experiment.name}"), encoding="utf-8")
    return Scaling(experiment, table, failures, fit, items)


def _with_earlier_grid(
    experiment: Experiment, config: ScalingConfig, test_pairs: str, finished: Sequence[Cell]
) -> tuple[ScalingConfig, list[Cell]]:
    """Keep what an earlier call with a larger grid finished, so that a smaller one does not take it out of the table.

    The run ids of cells follow from their content: a cell counts only if its pairs and settings are still the same.

    Returns:
        The config of both grids, and the finished cells that are only in the earlier one.
    """
    manifest_file = experiment.folder / MANIFEST
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


def summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per predictor and one column per size: mean accuracy over seeds, with an interval of both."""
    curve = mean_over_seeds(table)
    sizes = sorted(curve["n_train_pairs"].unique())
    rows: dict[str, dict[str, Any]] = {}
    for one in curve.to_dicts():
        row = rows.setdefault(
            one["predictor"], {"predictor": one["predictor"], **{_column(size): "–" for size in sizes}}
        )
        interval = f"[{one['accuracy_low']:.3f}, {one['accuracy_high']:.3f}]"
        row[_column(one["n_train_pairs"])] = f"{one['accuracy']:.3f} {interval}"
    return list(rows.values())


def _column(size: int) -> str:
    return f"{size:,} pairs"


def _collect(
    workspace: Workspace, cells: Sequence[Cell], results: dict[str, dict[str, Any]], test_pairs: str
) -> pl.DataFrame:
    """SCALING: every cell's model, and the baselines once per size and seed."""
    rows = []
    has_baselines: set[tuple[int, int]] = set()
    embedders = {cell.config.model for cell in cells if cell.config.model not in LADDER}
    for cell in cells:
        size_and_seed = (cell.n_train_pairs, cell.config.train.seed)
        table = read_evaluations(workspace, cell.run_id, test_pairs).filter(pl.col("subreddit") == ALL)
        is_first = size_and_seed not in has_baselines
        if len(embedders) > 1:  # each has embeddings of its own
            named, is_own = pl.lit(f"{EMBEDDINGS}-{slug(cell.config.model)}"), pl.col("predictor") == EMBEDDINGS
            own = table.filter(is_own | (pl.col("predictor") == MODEL) | pl.lit(is_first))
            table = own.with_columns(predictor=pl.when(is_own).then(named).otherwise("predictor"))
        with_baselines = is_first or len(embedders) > 1
        rows += _rows(table, cell, results[cell.run_id], cell.n_train_pairs, with_baselines=with_baselines)
        has_baselines.add(size_and_seed)
        for n_pairs in cell.config.curve_points:
            point = read_point(workspace.folder("runs", cell.run_id), n_pairs)
            facts = {**results[cell.run_id], **point}
            here = [row for row in point["evaluations"] if row["pairs"] == test_pairs]
            rows += _rows(pl.DataFrame(here, schema=EVALUATIONS.schema), cell, facts, n_pairs, with_baselines=False)
    frame = pl.DataFrame([{name: row[name] for name in SCALING.columns} for row in rows], schema=SCALING.schema)
    return check(frame, SCALING).sort("is_baseline", "n_parameters", "predictor", "n_train_pairs", "seed")


def _rows(
    table: pl.DataFrame, cell: Cell, facts: dict[str, Any], n_pairs: int, *, with_baselines: bool
) -> list[dict[str, Any]]:
    """Rows of SCALING: of a cell's model at its end or at a point of its pass, and of its baselines."""
    rows = []
    for row in accuracy_rows(table, cell.config, with_baselines=with_baselines):
        own = {} if row["is_baseline"] else facts
        measured = {name: own.get(name) for name in ("n_parameters", "train_time_s", "n_tokens")}
        if own and measured["n_tokens"] is None and "tokens_per_s" in own:  # a run of before
            measured["n_tokens"] = round(own["tokens_per_s"] * own["train_time_s"])
        rows.append({**row, **measured, "n_train_pairs": n_pairs})
    return rows


def _parameters(cells: Sequence[Cell], results: dict[str, dict[str, Any]]) -> list[tuple[str, int]]:
    sizes = {cell.config.model: int(results[cell.run_id]["n_parameters"]) for cell in cells}
    return sorted(sizes.items(), key=lambda item: (item[1], item[0]))
