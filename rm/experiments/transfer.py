"""Transfer across communities: one model per source community, tested on every target community."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.files import write_json, write_parquet
from lurker.pair_sets import PairSet, pair_set_name, read_pairs, require_pair_set, split_of
from lurker.progress import say
from lurker.report import ResultTable
from lurker.schema import TRANSFER, check
from lurker.workspace import Workspace
from rm.evaluation.metrics import ALL
from rm.experiments.cells import Cell, accuracy_rows, data_digest, make_cell, read_evaluations, train_cells
from rm.experiments.config import (
    Experiment,
    PairSetConfig,
    choose_test,
    experiment_on,
    make_config,
    require_pairs,
)
from rm.experiments.results import ExperimentResult, mean_accuracy
from rm.models.ladder import check_spec
from rm.training.run_folder import RunConfig, model_of_run
from rm.training.settings import as_settings
from rm.training.trainable import train_config


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferConfig(PairSetConfig):
    """A transfer experiment."""

    model: str
    """SPEC of the model trained on each source"""
    max_pairs: int | None = None
    """training pairs of each source; those of the smallest source when absent"""
    n_seeds: int = 1
    """seeds 0 … n_seeds - 1"""

    def __post_init__(self) -> None:
        PairSetConfig.__post_init__(self)
        if self.max_pairs is not None and self.max_pairs < 2:
            raise ValueError(f"max_pairs must be at least 2, got {self.max_pairs}")


@dataclass(frozen=True, slots=True, repr=False)
class Transfer(ExperimentResult):
    """The TRANSFER table: one row per predictor, source, target and seed."""

    @property
    def model(self) -> str:
        """SPEC of the model trained on each source."""
        return str(self.frame.filter(~pl.col("is_baseline"))["predictor"][0])

    @property
    def matrix(self) -> pl.DataFrame:
        """The model's mean accuracy over seeds: one row per source, one column per target."""
        models = self.frame.filter(~pl.col("is_baseline")).sort("target")
        return models.pivot("target", index="source", values="accuracy", aggregate_function="mean").sort("source")

    def table(self) -> ResultTable:
        """The model's accuracy by source and target, with intervals."""
        return self._table_of(self.model)

    def result_tables(self) -> Sequence[ResultTable]:
        """Accuracy by source and target, of the model and of TF-IDF."""
        baselines = ["tfidf"] if "tfidf" in self.frame["predictor"] else []
        return [self._table_of(predictor) for predictor in (self.model, *baselines)]

    def plot(self, *, difference: bool = False) -> Any:
        """The dashboard's heatmap of the model's accuracy, or of its difference from in-domain training."""
        from lurker.charts import transfer_heatmap, transfer_matrix

        matrix = transfer_matrix(self.frame).filter(pl.col("predictor") == self.model)
        return transfer_heatmap(matrix, difference=difference)

    def _table_of(self, predictor: str) -> ResultTable:
        test_pairs = self.frame["test_pairs"][0]
        title = f"Accuracy of {predictor} on {test_pairs} (experiment {self.experiment.name})"
        return ResultTable(title, source_rows(self.frame, predictor))


def transfer(
    pairs: PairSet,
    model: str,
    *,
    max_pairs: int | None = None,
    seeds: int = 1,
    test: PairSet | str | None = None,
    subreddits: Sequence[str] | str = (),
    name: str | None = None,
    engine: Engine = "local",
    n_workers: int | None = None,
    **train_fields: Any,
) -> Transfer:
    """Train on each community and test on all; finished cells are not run again.

    Args:
        pairs: pair set trained on.
        model: SPEC, such as "scratch-200k" or a Hugging Face id.
        max_pairs: training pairs of each source; those of the smallest source by default.
        seeds: number of seeds.
        test: pair set tested on; the hard test by default.
        subreddits: sources and targets; all communities by default.
        name: of the experiment; `<pairs>-transfer` by default.
        engine: "local" (processes of this machine) or "ray".
        n_workers: processes of the local engine; as many as fit by default.
        **train_fields: fields of `rm.training.config.TrainConfig` for every cell, such as epochs=1.

    Raises:
        CallError: an argument is not possible, such as fewer than two communities.
        LurkerError: every cell failed, or a test post was trained on.
    """
    require_pair_set(pairs)
    config = make_config(
        TransferConfig,
        pairs=pairs.name,
        model=model_of_run(pairs.workspace, model),
        max_pairs=max_pairs,
        n_seeds=seeds,
        test_pairs=None if test is None else pair_set_name(test),
        subreddits=subreddits,
        settings=as_settings(train_fields),
    )
    return run_transfer(experiment_on(pairs, name or f"{pairs.name}-transfer", engine, n_workers), config)


def run_transfer(experiment: Experiment, config: TransferConfig) -> Transfer:
    """Run the cells that are not finished; write TRANSFER, then the manifest."""
    cells, test_pairs = plan_transfer(experiment, config)
    finished, failures = train_cells(experiment, cells)
    table = _collect(experiment.workspace, finished, test_pairs)
    write_parquet(table, experiment.folder / "transfer.parquet")
    manifest = {
        "kind": "transfer",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": test_pairs,
        "model": config.model,
        "n_train_pairs": cells[0].n_train_pairs,
        "subreddits": sorted({cell.config.subreddits[0] for cell in cells}),
        "cells": [cell.run_id for cell in finished],
    }
    write_json(manifest, experiment.folder / "manifest.json")
    return Transfer(experiment, table, failures)


def plan_transfer(experiment: Experiment, config: TransferConfig) -> tuple[list[Cell], str]:
    """One cell per source and seed, all with the same number of training pairs, and the pair set they are tested on."""
    check_spec(config.model)
    test_pairs = choose_test(experiment.workspace, config.pairs, config.test_pairs)
    frame = read_pairs(experiment.workspace, config.pairs, config.subreddits)
    test = split_of(read_pairs(experiment.workspace, test_pairs), test_pairs, "test")
    n_train = _training_pairs(frame, test, config.pairs, test_pairs)
    smallest = min(n_train, key=lambda source: (n_train[source], source))
    n_pairs = n_train[smallest] if config.max_pairs is None else config.max_pairs
    require_pairs(n_pairs, n_train[smallest], f"r/{smallest}")
    digest = data_digest(frame, config.pairs, test)
    cells = [
        make_cell(
            experiment.name,
            RunConfig(
                pairs=config.pairs,
                model=config.model,
                train=train_config(config.model, seed, config.settings),
                subreddits=(source,),
                max_pairs=n_pairs,
                test_pairs=(test_pairs,),
                test_subreddits=tuple(n_train),
            ),
            n_pairs,
            digest,
        )
        for source in n_train
        for seed in range(config.n_seeds)
    ]
    return cells, test_pairs


def _training_pairs(frame: pl.DataFrame, test: pl.DataFrame, pairs: str, test_pairs: str) -> dict[str, int]:
    """Training pairs of each community that can be both source and target; the others are reported and left out.

    Raises:
        CallError: fewer than two are left.
    """
    splits = frame.group_by("subreddit").agg(
        n_train=(pl.col("split") == "train").sum(), n_validation=(pl.col("split") == "validation").sum()
    )
    tested = set(test["subreddit"])
    counts = {}
    for subreddit, n_train, n_validation in splits.sort("subreddit").iter_rows():
        if n_train >= 2 and n_validation and subreddit in tested:
            counts[subreddit] = int(n_train)
        else:
            say(f"r/{subreddit} is left out: {pairs} or {test_pairs} lacks its training, validation or test pairs.")
    if len(counts) < 2:
        raise CallError(
            f"Transfer needs two communities; {pairs} and {test_pairs} share {', '.join(counts) or 'none'}.",
            "Build pairs of more subreddits.",
        )
    return counts


def source_rows(table: pl.DataFrame, predictor: str) -> list[dict[str, Any]]:
    """One row per source and one column per target: mean accuracy over seeds, with its mean interval."""
    kept = table.filter(pl.col("predictor") == predictor)
    rows = []
    for source in sorted(kept["source"].unique()):
        row: dict[str, Any] = {"trained on": source}
        for target in sorted(kept["target"].unique()):
            row[f"on {target}"] = mean_accuracy(
                kept.filter((pl.col("source") == source) & (pl.col("target") == target))
            )
        rows.append(row)
    return rows


def _collect(workspace: Workspace, cells: Sequence[Cell], test_pairs: str) -> pl.DataFrame:
    """TRANSFER: every source's model, and the baselines fitted on the source, on every target."""
    rows = []
    for cell in cells:
        table = read_evaluations(workspace, cell.run_id, test_pairs).filter(pl.col("subreddit") != ALL)
        for row in accuracy_rows(table, cell.config, with_baselines=True):
            communities = {"source": cell.config.subreddits[0], "target": row["subreddit"]}
            rows.append({**row, **communities, "n_train_pairs": cell.n_train_pairs})
    frame = pl.DataFrame([{name: row[name] for name in TRANSFER.columns} for row in rows], schema=TRANSFER.schema)
    return check(frame, TRANSFER).sort("is_baseline", "predictor", "source", "target", "seed")
