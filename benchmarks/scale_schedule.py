"""All of Reddit on 10, 100 and 1,000 machines: a discrete-event simulation with measured rates.

    python benchmarks/scale_schedule.py [--nodes 10 100 1000] [--seed 0] [--json]

The stages of the data follow each other: read (a task per month), shuffle and pairs (a task per group of
communities), audit. Training, a task per cell, is simulated apart, as a grid needs few machines and much time. A task
reserves cores of one machine and starts where they are free, the largest first. Some machines are slow, machines die
and are replaced, and what ran on one that dies starts again elsewhere; finished work and checkpoints are on shared
storage and stay. Each row is the mean of SEEDS simulations. Processor time comes from stage_rates.py and
bench_ingest.py, which measure it on one core; sizes and machines are assumptions, named in `World` and `Cluster`.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from schedule_simulation import HOUR_S, Cluster, Outcome, Task, simulate

from lurker.report import ResultTable, print_json, print_table
from lurker.table_formats import to_markdown

SEEDS = 5
CUTS = {"whole": 1.0, "cut by time": 0.001}
"""Name -> the largest piece of a community that is one task, as a share of all comments."""
NODES = (10, 100, 1_000)
TRAIN_NODES = (1, 2, 10)
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Work per second of one core, and sizes per unit of work: measured, see docs/scale.md."""

    read_mb_s: float = 171.0
    """MB of JSON read, filtered, normalised, sorted and merged"""
    shuffle_mb_s: float = 39.8
    """MB of Parquet read, split and written again"""
    pairs_comments_s: float = 6_386.0
    """comments from which pairs are built, recipe balanced"""
    audit_s: float = 8.6
    """seconds of an audit of 31,576 pairs, the sample that a group of communities is audited on"""
    train_tokens_s: float = 27_300.0
    """tokens trained on by a model of a million parameters"""
    comments_per_mb: float = 715.0
    """comments in a MB of JSON"""
    parquet_per_json: float = 0.072
    """bytes of Parquet for a byte of JSON"""
    tokens_per_pair: float = 335.0
    """that training reads: a prompt is computed once for all its responses"""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What there is to do. Assumptions, none of them measured here."""

    compressed_tb: float = 3.0
    """all dumps, as they are stored"""
    json_per_compressed: float = 10.0
    """bytes of JSON for a byte of zstd"""
    n_months: int = 240
    monthly_growth: float = 1.017
    """each month's files are larger by this factor; from the 12th year on they are as large as in that year"""
    n_communities: int = 40_000
    """with more than a few posts; the k-th has a share of comments in proportion to 1/k"""
    group_share: float = 1e-4
    """small communities are taken together until they have this share of all comments"""
    largest_piece: float = 1.0
    """larger communities are cut by time into pieces of at most this share of all comments; 1: never"""
    cell_pairs: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    """training pairs of the cells of a scaling grid"""
    cells_per_size: int = 9
    """models and seeds"""
    checkpoint_s: float = 60.0
    """seconds between the checkpoints of a cell"""


def plan(world: World, rates: Rates, cluster: Cluster) -> tuple[list[list[Task]], list[Task]]:
    """The tasks of each stage of the data, each of which starts when the one before is finished; and of training."""
    json_mb = 1e6 * world.compressed_tb * world.json_per_compressed
    comments = json_mb * rates.comments_per_mb
    months = np.minimum(world.monthly_growth ** np.arange(world.n_months), world.monthly_growth**144)
    files_mb = json_mb * months / months.sum()
    shares = community_shares(world)
    cores = cluster.task_cores
    gb = rates.parquet_per_json * json_mb / 1e3
    stored = 1e-3 / world.json_per_compressed + 1e-3 * rates.parquet_per_json
    read = [Task("read", mb / rates.read_mb_s, cores, stored * mb) for mb in files_mb]
    shuffle = [Task("shuffle", 1e3 * gb * share / rates.shuffle_mb_s, cores, 2 * gb * share) for share in shares]
    pairs = [Task("pairs", comments * share / rates.pairs_comments_s, cores, gb * share) for share in shares]
    audit = [Task("audit", rates.audit_s, 1) for _ in shares]
    per_pair_s = rates.tokens_per_pair / rates.train_tokens_s
    sizes = sorted(world.cell_pairs * world.cells_per_size)
    train = [Task("train", n * per_pair_s, 1, saved_every_s=world.checkpoint_s) for n in sizes]
    return [read, shuffle, pairs, audit], train


def community_shares(world: World) -> list[float]:
    """Shares of comments of the groups of communities that are one task each; they add up to 1."""
    shares = 1 / np.arange(1, world.n_communities + 1)
    shares /= shares.sum()
    pieces: list[float] = []
    group = 0.0
    for share in shares.tolist():
        if share >= world.group_share:
            n_pieces = int(np.ceil(share / world.largest_piece))
            pieces += [share / n_pieces] * n_pieces
            continue
        group += share
        if group >= world.group_share:
            pieces.append(group)
            group = 0.0
    return [*pieces, group] if group else pieces


def work_rows(world: World, rates: Rates, cluster: Cluster) -> list[Row]:
    """One row per stage: how much there is to do, and its longest task."""
    rows: list[Row] = []
    data, train = plan(world, rates, cluster)
    for tasks in (*data, train):
        longest = max(task.core_s / task.cores for task in tasks)
        rows.append(
            {
                "stage": tasks[0].stage,
                "tasks": len(tasks),
                "core-hours": round(sum(task.core_s for task in tasks) / HOUR_S),
                "read and written": f"{sum(task.gigabytes for task in tasks) / 1e3:.1f} TB",
                "longest task": _shown(longest / HOUR_S),
            }
        )
    return rows


def data_rows(world: World, rates: Rates, nodes: Sequence[int], seed: int) -> list[Row]:
    """One row per number of machines and way to cut: hours by stage of the data, and what they cost."""
    rows = []
    for n_nodes, (name, piece) in itertools.product(nodes, CUTS.items()):
        cluster = Cluster(n_nodes=n_nodes)
        data, _ = plan(replace(world, largest_piece=piece), rates, cluster)
        outcomes = [simulate(data, cluster, seed + number) for number in range(SEEDS)]
        ends_h = [_mean([one.ends_s[tasks[0].stage] for one in outcomes]) / HOUR_S for tasks in data]
        stages = {tasks[0].stage: _shown(took_h) for tasks, took_h in zip(data, np.diff([0.0, *ends_h]), strict=True)}
        rows.append({"machines": n_nodes, "communities": name, **stages, **_costs(outcomes, cluster)})
    return rows


def train_rows(world: World, rates: Rates, nodes: Sequence[int], seed: int) -> list[Row]:
    """One row per number of machines: the hours of the grid's cells, and what they cost."""
    rows = []
    for n_nodes in nodes:
        cluster = Cluster(n_nodes=n_nodes)
        _, train = plan(world, rates, cluster)
        outcomes = [simulate([train], cluster, seed + number) for number in range(SEEDS)]
        rows.append({"machines": n_nodes, "cells": len(train), **_costs(outcomes, cluster)})
    return rows


def _costs(outcomes: Sequence[Outcome], cluster: Cluster) -> Row:
    """Means over simulations: hours, use of cores, deaths and cost."""
    total_h = _mean([one.total_s for one in outcomes]) / HOUR_S
    core_h = cluster.n_nodes * cluster.cores * total_h
    return {
        "total": _shown(total_h),
        "cores in use": f"{_mean([one.used_core_s for one in outcomes]) / HOUR_S / core_h:.0%}",
        "deaths": f"{_mean([one.n_deaths for one in outcomes]):.1f}",
        "tasks again": f"{_mean([one.n_again for one in outcomes]):.1f}",
        "core-hours lost": f"{_mean([one.lost_core_s for one in outcomes]) / HOUR_S:.1f}",
        "dollars": round(cluster.n_nodes * total_h * cluster.dollars_per_hour),
    }


def _shown(hours: float) -> str:
    return f"{hours:.2f} h" if hours < 10 else f"{hours:.0f} h"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def tables(nodes: Sequence[int] = NODES, seed: int = 0) -> dict[str, list[Row]]:
    """Title -> rows: the work, the schedule of the data, and that of the grid.

    Args:
        nodes: numbers of machines.
        seed: of the first simulation.
    """
    world, rates = World(), Rates()
    return {
        "What there is to do": work_rows(world, rates, Cluster(n_nodes=1)),
        f"The data: hours by stage, means of {SEEDS} simulations": data_rows(world, rates, nodes, seed),
        f"The grid, means of {SEEDS} simulations": train_rows(world, rates, TRAIN_NODES, seed),
    }


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES, help="numbers of machines")
    parser.add_argument("--seed", type=int, default=0, help="of the first simulation")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", action="store_true", help="the tables as docs/scale.md has them")
    options = parser.parse_args()
    made = tables(options.nodes, options.seed)
    if options.json:
        print_json(made)
    for title, rows in () if options.json else made.items():
        if options.markdown:
            sys.stdout.write(to_markdown(ResultTable(title, rows)) + "\n")
        else:
            print_table(title, rows)


if __name__ == "__main__":
    main()
