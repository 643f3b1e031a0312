"""How taste carries over: one model per source community, judged on every target's test."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.pair_sets import read_pairs, split_of
from lurker.progress import say
from lurker.schema import TRANSFER, check
from lurker.workspace import Workspace, write_json, write_parquet
from rm.evaluation.metrics import ALL
from rm.experiments.cells import Cell, accuracy_rows, cell, data_digest, evaluations, mean_accuracy, run_cells, test_set
from rm.models.ladder import check_spec
from rm.training.run_folder import RunConfig
from rm.training.trainable import train_config


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferConfig:
    """A transfer experiment."""

    pairs: str
    """pair set trained on"""
    model: str
    """SPEC of the model trained on each source"""
    max_pairs: int | None = None
    """training pairs of each source; the smallest source's count when absent"""
    n_seeds: int = 1
    """seeds 0 … n_seeds - 1"""
    test_pairs: str | None = None
    """pair set judged on; the hard test where there is one when absent"""
    subreddits: tuple[str, ...] = ()
    """sources and targets; all communities of the pair set when empty"""
    settings: tuple[str, ...] = ()
    """field=value for every cell's TrainConfig"""

    def __post_init__(self) -> None:
        if self.n_seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.n_seeds}")
        if self.max_pairs is not None and self.max_pairs < 2:
            raise ValueError(f"max_pairs must be at least 2, got {self.max_pairs}")


def run_transfer(
    workspace: Workspace, name: str, config: TransferConfig, engine: Engine = "local", n_workers: int | None = None
) -> pl.DataFrame:
    """Run the sources' cells that are not finished; write and return TRANSFER, the manifest last.

    Errors: CallError for one community only, more pairs than the smallest source has, or an unknown model;
    LurkerError when a test post was trained on.
    """
    cells, test_pairs = plan_transfer(workspace, name, config)
    run_cells(workspace, cells, engine, n_workers)
    table = _collect(workspace, cells, test_pairs)
    folder = workspace.folder("experiments", name)
    write_parquet(table, folder / "transfer.parquet")
    manifest = {
        "kind": "transfer",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": test_pairs,
        "model": config.model,
        "n_train_pairs": cells[0].n_train_pairs,
        "subreddits": sorted({ran.config.subreddits[0] for ran in cells}),
        "cells": [ran.run_id for ran in cells],
    }
    write_json(manifest, folder / "manifest.json")
    return table


def plan_transfer(workspace: Workspace, name: str, config: TransferConfig) -> tuple[list[Cell], str]:
    """A cell for each source and seed, all with as many training pairs, and the pair set they are judged on."""
    check_spec(config.model)
    test_pairs = test_set(workspace, config.pairs, config.test_pairs)
    frame = read_pairs(workspace, config.pairs, config.subreddits)
    judged = split_of(read_pairs(workspace, test_pairs), test_pairs, "test")
    counts = _sources(frame, judged, config.pairs, test_pairs)
    smallest = min(counts, key=lambda source: (counts[source], source))
    n_pairs = counts[smallest] if config.max_pairs is None else config.max_pairs
    if n_pairs > counts[smallest]:
        raise CallError(
            f"{n_pairs:,} training pairs were asked for, r/{smallest} has {counts[smallest]:,}.",
            f"Take `--max-pairs {counts[smallest]}`, or leave r/{smallest} out with --subreddit.",
        )
    digest = data_digest(frame, config.pairs, judged)
    cells = [
        cell(
            name,
            RunConfig(
                pairs=config.pairs,
                model=config.model,
                train=train_config(config.model, seed, config.settings),
                subreddits=(source,),
                max_pairs=n_pairs,
                test_pairs=(test_pairs,),
                test_subreddits=tuple(counts),
            ),
            n_pairs,
            digest,
        )
        for source in counts
        for seed in range(config.n_seeds)
    ]
    return cells, test_pairs


def _sources(frame: pl.DataFrame, judged: pl.DataFrame, pairs: str, test_pairs: str) -> dict[str, int]:
    """Training pairs of each community that can be source and target; those left out are named aloud.

    Errors: CallError when fewer than two are left.
    """
    splits = frame.group_by("subreddit").agg(
        n_train=(pl.col("split") == "train").sum(), n_validation=(pl.col("split") == "validation").sum()
    )
    tested = set(judged["subreddit"])
    counts = {}
    for subreddit, n_train, n_validation in splits.sort("subreddit").iter_rows():
        if n_train >= 2 and n_validation and subreddit in tested:
            counts[subreddit] = int(n_train)
        else:
            say(f"r/{subreddit} is left out: it lacks training, validation or test pairs in {pairs} or {test_pairs}.")
    if len(counts) < 2:
        raise CallError(
            f"Transfer needs two communities; {pairs} and {test_pairs} share {', '.join(counts) or 'none'}.",
            "Build pairs of more subreddits.",
        )
    return counts


def matrix(table: pl.DataFrame, predictor: str) -> list[dict[str, Any]]:
    """A row a source, a column a target: mean accuracy over seeds, with the mean interval over test posts."""
    kept = table.filter(pl.col("predictor") == predictor)
    rows = []
    for source in sorted(kept["source"].unique()):
        row: dict[str, Any] = {"trained on": source}
        for target in sorted(kept["target"].unique()):
            at = kept.filter((pl.col("source") == source) & (pl.col("target") == target))
            row[f"on {target}"] = mean_accuracy(at)
        rows.append(row)
    return rows


def _collect(workspace: Workspace, cells: list[Cell], test_pairs: str) -> pl.DataFrame:
    """TRANSFER: every source's model and its baselines, fitted on the source, on every target."""
    rows = []
    for ran in cells:
        table = evaluations(workspace, ran.run_id, test_pairs).filter(pl.col("subreddit") != ALL)
        for row in accuracy_rows(table, ran.config, with_baselines=True):
            place = {"source": ran.config.subreddits[0], "target": row["subreddit"]}
            rows.append({**row, **place, "n_train_pairs": ran.n_train_pairs})
    frame = pl.DataFrame([{name: row[name] for name in TRANSFER.columns} for row in rows], schema=TRANSFER.schema)
    return check(frame, TRANSFER).sort("is_baseline", "predictor", "source", "target", "seed")
