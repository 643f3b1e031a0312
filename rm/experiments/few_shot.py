"""Few-shot transfer: what a model learned elsewhere is worth in pairs of the target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import as_list
from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import (
    EXTERNAL,
    PairSet,
    of_subreddits,
    pair_set_name,
    read_pair_set,
    read_pairs,
    require_pair_set,
    split_of,
)
from lurker.progress import say
from lurker.report import ResultTable
from lurker.workspace import Workspace
from rm.evaluation.baselines import Which
from rm.evaluation.evaluate_run import evaluate_run
from rm.experiments.cells import Cell, data_digest, make_cell, train_cells
from rm.experiments.config import (
    Experiment,
    PairSetConfig,
    choose_test,
    experiment_on,
    make_config,
    require_distinct,
    require_pairs,
)
from rm.experiments.few_shot_findings import Arm, arm_rows, few_shot_findings, few_shot_rows, few_shot_table
from rm.experiments.outcomes import Taught, read_outcomes
from rm.experiments.results import ExperimentResult, Failure
from rm.experiments.starts import NOTHING, Start, parse_start, require_untaught
from rm.training.run_folder import MODEL, RunConfig, finished_run, predictions_file, run_config
from rm.training.settings import as_settings

OTHERS = "others"
"""The start that pairs of the other communities taught, in this experiment."""
SOURCE_STEPS = (16, 4, 1)
"""Source sizes by default: the training pairs of the other communities over these."""
MIN_SOURCE_PAIRS = 20
VALIDATION_SHARE = 4
"""Target pairs per validation pair, which choose the best step and are bought too."""
MIN_VALIDATION_PAIRS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShotConfig(PairSetConfig):
    """A few-shot experiment."""

    model: str
    """SPEC of the model that starts from nothing, with `field=value` of its own after it"""
    target: str
    """community tuned and tested on; external: all pairs of an imported set of judgements"""
    sizes: tuple[int, ...] = (0, 100, 1000)
    """training pairs of the target; 0 tests a start as it is"""
    starts: tuple[str, ...] = ()
    """`SPEC field=value ...` of each other start; when empty, `model` taught by the other communities"""
    source_sizes: tuple[int, ...] = ()
    """training pairs of the other communities; a sequence up to all when empty"""
    effect: float = 0.02
    """difference in accuracy whose power is told"""
    n_seeds: int = 1
    """seeds 0 … n_seeds - 1"""

    def __post_init__(self) -> None:
        PairSetConfig.__post_init__(self)
        require_distinct(self, "sizes", "starts", "source_sizes")
        if not any(self.sizes):
            raise ValueError(f"sizes need a number of pairs above 0, got {', '.join(map(str, self.sizes)) or 'none'}")
        if unusable := [size for size in (*self.sizes, *self.source_sizes) if size < 0 or size == 1]:
            raise ValueError(f"sizes must be 0 or at least 2 pairs, got {unusable[0]}")
        if self.starts and self.source_sizes:
            raise ValueError("source_sizes are of the other communities, which starts replace: leave one of them out")
        if not 0 < self.effect < 0.5:
            raise ValueError(f"effect must be between 0 and 0.5, got {self.effect}")


@dataclass(frozen=True, slots=True, repr=False)
class FewShot(ExperimentResult):
    """The FEW_SHOT table, one row per start, number of pairs and seed; and what it shows."""

    differences: pl.DataFrame
    """FEW_SHOT_DIFFERENCES: means over seeds, against nothing on the same pairs, and power"""
    findings: dict[str, Any]
    """sentence, exchange rates and pairs left out; as in findings.json"""

    @property
    def sentence(self) -> str:
        """What the experiment shows."""
        return str(self.findings["sentence"])

    def table(self) -> ResultTable:
        """Accuracy by start and target pairs, with intervals."""
        title = f"Accuracy on {self.frame['target'][0]} by training pairs of it (experiment {self.experiment.name})"
        return ResultTable(title, arm_rows(self.differences, "accuracy"))

    def result_tables(self) -> Sequence[ResultTable]:
        """Accuracy, gain over nothing, and exchange rates."""
        rates = [{"this": one["what"], "is worth": one["words"]} for one in self.findings["exchange"]]
        return [
            self.table(),
            ResultTable(f"Gain over {NOTHING}, points", arm_rows(self.differences, "difference")),
            ResultTable("Exchange rates", rates, self.sentence),
        ]

    def plot(self) -> Any:
        """The dashboard's chart: accuracy against target pairs, one line per start."""
        from lurker.charts import few_shot_curves

        return few_shot_curves(self.differences)

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {**ExperimentResult.report(self), "differences": self.differences.to_dicts(), **self.findings}


def few_shot(
    pairs: PairSet,
    model: str,
    target: str,
    *,
    sizes: Sequence[int] = (0, 100, 1000),
    starts: Sequence[str] | str = (),
    source_sizes: Sequence[int] = (),
    effect: float = 0.02,
    seeds: int = 1,
    test: PairSet | str | None = None,
    subreddits: Sequence[str] | str = (),
    name: str | None = None,
    engine: Engine = "local",
    n_workers: int | None = None,
    **train_fields: Any,
) -> FewShot:
    """Tune models that learned elsewhere on few pairs of a target, and one that starts from nothing beside them.

    Args:
        pairs: pair set trained on; an imported set of judgements with target="external".
        model: SPEC that starts from nothing, such as "scratch-200k", with `field=value` of its own after it.
        target: community tuned and tested on, or "external": all pairs of an imported set.
        sizes: training pairs of the target; a quarter as many validation pairs choose the best step. 0 tests a start
            as it is.
        starts: "run:ID", or a SPEC, each with `field=value` of its own after it; without any, `model` is taught by the
            other communities, at several sizes, which gives the exchange rate. A start from a run keeps its rate and
            how it reads texts.
        source_sizes: training pairs of the other communities; a sequence up to all by default.
        effect: difference in accuracy for which the test posts needed are told.
        seeds: number of seeds.
        test: pair set tested on; the hard test by default, or `pairs` if it was imported.
        subreddits: the target and the others; all communities by default.
        name: of the experiment; `<pairs>-few-shot-<target>` by default.
        engine: "local" (processes of this machine) or "ray".
        n_workers: processes of the local engine; as many as fit by default.
        **train_fields: fields of `rm.training.config.TrainConfig` for every cell, such as epochs=1.

    Raises:
        CallError: an argument is not possible, such as a start that has read pairs of the target.
        LurkerError: every cell failed, or a test post was trained on.
    """
    require_pair_set(pairs)
    config = make_config(
        FewShotConfig,
        pairs=pairs.name,
        model=model,
        target=target,
        sizes=sizes,
        starts=as_list(starts, "starts"),
        source_sizes=source_sizes,
        effect=effect,
        n_seeds=seeds,
        test_pairs=None if test is None else pair_set_name(test),
        subreddits=subreddits,
        settings=as_settings(train_fields),
    )
    named = name or f"{pairs.name}-few-shot-{target.removeprefix('r/')}"
    return run_few_shot(experiment_on(pairs, named, engine, n_workers), config)


def run_few_shot(experiment: Experiment, config: FewShotConfig) -> FewShot:
    """Teach the others' model, tune every start, test all; write the tables and findings, then the manifest."""
    workspace = experiment.workspace
    data = _read_data(workspace, config)
    starts = _starts(workspace, config, data)
    sources, failures = _teach_others(experiment, config, data) if not config.starts else ([], ())
    tuned = _tuned(experiment, config, data, starts, sources)
    finished, more = train_cells(experiment, [arm.cell for arm in tuned])
    untuned = _untuned(workspace, data, starts) if 0 in config.sizes else []
    known = [*sources, *untuned, *(arm for arm in tuned if arm.cell in finished)]
    taught = [Taught(arm.name, data.communities, arm.cell, MODEL) for arm in known]
    outcomes = read_outcomes(workspace, taught, data.test_pairs, data.test)
    table = few_shot_rows(outcomes, known, config.pairs, data.test_pairs, config.target)
    differences = few_shot_table(outcomes, known, config.effect)
    findings = few_shot_findings(outcomes, known, differences, config.target)
    write_parquet(table, experiment.folder / "few-shot.parquet")
    write_parquet(differences, experiment.folder / "few-shot-differences.parquet")
    write_json(findings, experiment.folder / "findings.json")
    manifest = {
        "kind": "few-shot",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": data.test_pairs,
        "target": config.target,
        "cells": [arm.cell.run_id for arm in known],
    }
    write_json(manifest, experiment.folder / "manifest.json")
    return FewShot(experiment, table, (*failures, *more), differences, findings)


@dataclass(frozen=True, slots=True)
class _Data:
    """The pairs of a few-shot experiment."""

    communities: tuple[str, ...]
    """the target, or all of an imported set"""
    others: tuple[str, ...]
    n_target: int
    """training pairs of the target"""
    n_validation: int
    """validation pairs of the target"""
    n_others: int
    """training pairs of the others that may be read"""
    test_pairs: str
    test: pl.DataFrame
    """PAIRS of the target's test"""
    digest: str
    """of all pairs read"""


def _read_data(workspace: Workspace, config: FewShotConfig) -> _Data:
    """The target's pairs, and the others'.

    Raises:
        CallError: there is no such target, or it has fewer training pairs than the largest size.
    """
    is_imported = read_pair_set(workspace, config.pairs).manifest["recipe"]["name"] == EXTERNAL
    frame = read_pairs(workspace, config.pairs, config.subreddits)
    if (config.target == EXTERNAL) != is_imported:
        fix = "Use `--target external`." if is_imported else "Import it: `lurker pairs import NAME FILE`."
        what = "was imported" if is_imported else "holds Reddit's votes"
        raise CallError(f"{config.pairs} {what}, and the target is {config.target}.", fix)
    target = frame if is_imported else of_subreddits(frame, config.pairs, (config.target,))
    communities = tuple(sorted(target["subreddit"].unique()))
    others = frame.filter(~pl.col("subreddit").is_in(communities), split="train")
    n_target = split_of(target, config.pairs, "train").height
    require_pairs(max(config.sizes), n_target, config.target if is_imported else f"r/{communities[0]}")
    test_pairs = config.test_pairs or (config.pairs if is_imported else choose_test(workspace, config.pairs, None))
    test = split_of(of_subreddits(read_pairs(workspace, test_pairs), test_pairs, communities), test_pairs, "test")
    digest = data_digest(frame, config.pairs, test)
    names = tuple(sorted(others["subreddit"].unique()))
    n_validation = split_of(target, config.pairs, "validation").height
    return _Data(communities, names, n_target, n_validation, others.height, test_pairs, test, digest)


def _starts(workspace: Workspace, config: FewShotConfig, data: _Data) -> list[Start]:
    """The start from nothing, then those that were named.

    Raises:
        CallError: two have one name, or one has read pairs of the target.
    """
    starts = [parse_start(workspace, config.model, NOTHING), *(parse_start(workspace, one) for one in config.starts)]
    names = [start.name for start in starts]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise CallError(f"Two starts are called {repeated}.", "Name runs with `lurker rm train --run NAME`.")
    for start in starts:
        for community in data.communities:
            require_untaught(workspace, start, community)
    return starts


def _teach_others(experiment: Experiment, config: FewShotConfig, data: _Data) -> tuple[list[Arm], tuple[Failure, ...]]:
    """Train the model on the other communities at each source size, tested on the target as it is.

    Raises:
        CallError: there are no others, or too few pairs for a source size.
    """
    if not data.others:
        raise CallError(
            f"{config.pairs} has no training pairs of communities besides {config.target}.",
            "Name what to start from: `--start run:ID`.",
        )
    wanted = config.source_sizes or tuple(data.n_others // step for step in SOURCE_STEPS)
    sizes = sorted({size for size in wanted if config.source_sizes or size >= MIN_SOURCE_PAIRS})
    require_pairs(max(sizes, default=MIN_SOURCE_PAIRS), data.n_others, "The other communities together")
    start = parse_start(experiment.workspace, config.model, OTHERS)
    arms = []
    for size in sizes:
        for seed in range(config.n_seeds):
            run = RunConfig(
                pairs=config.pairs,
                model=start.model,
                train=start.train(seed, config.settings),
                subreddits=data.others,
                max_pairs=size,
                test_pairs=(data.test_pairs,),
                test_subreddits=data.communities,
            )
            cell = replace(make_cell(f"{experiment.name}-{OTHERS}", run, size, data.digest), baselines="none")
            arms.append(Arm(OTHERS, 0, 0, size, cell))
    finished, failures = train_cells(experiment, [arm.cell for arm in arms])
    return [arm for arm in arms if arm.cell in finished], failures


def _tuned(
    experiment: Experiment, config: FewShotConfig, data: _Data, starts: Sequence[Start], sources: Sequence[Arm]
) -> list[Arm]:
    """Every start tuned on each number of target pairs, by seed; that of the others is their largest run."""
    workspace = experiment.workspace
    most = max((arm.n_source or 0 for arm in sources), default=0)
    own = [(start, seed, None) for start in starts for seed in range(config.n_seeds)]
    taught = [
        (
            replace(parse_start(workspace, f"run:{arm.cell.run_id}", OTHERS), settings=starts[0].settings),
            arm.cell.config.train.seed,
            most,
        )
        for arm in sources
        if arm.n_source == most
    ]
    arms = []
    for start, seed, n_source in (*own, *taught):
        for size in sorted(size for size in config.sizes if size):
            n_validation = max(size // VALIDATION_SHARE, MIN_VALIDATION_PAIRS)
            of_prompts = ("subset_of=pairs",) if config.target == EXTERNAL else ()  # few prompts have many pairs each
            defaults = (f"max_validation_pairs={n_validation}", *of_prompts)
            train = start.train(seed, (*defaults, *config.settings))
            run = RunConfig(
                pairs=config.pairs,
                model=start.model,
                train=train,
                subreddits=data.communities,
                max_pairs=size,
                test_pairs=(data.test_pairs,),
                test_subreddits=data.communities,
            )
            baselines: Which = "cheap" if start.name == NOTHING else "none"  # all starts read the same pairs
            cell = make_cell(f"{experiment.name}-{start.name}-{size}", run, size, data.digest)
            cell = replace(cell, baselines=baselines)
            arms.append(Arm(start.name, size, min(train.max_validation_pairs, data.n_validation), n_source, cell))
    return arms


def _untuned(workspace: Workspace, data: _Data, starts: Sequence[Start]) -> list[Arm]:
    """The runs that are starts, tested on the target as they are; a model without a run has no reward yet."""
    arms = []
    for start in starts:
        if start.run_id is None:
            continue
        folder = finished_run(workspace, start.run_id)
        if not _is_tested(predictions_file(folder, data.test_pairs, "test"), data.test):
            say(f"Testing {start.name} as it is.")
            evaluate_run(workspace, start.run_id, data.test_pairs, "test", "none")
        described = read_json(folder / "config.json")
        cell = Cell(start.run_id, run_config(described), 0)
        arms.append(Arm(start.name, 0, 0, None, cell))
    return arms


def _is_tested(file: Path, test: pl.DataFrame) -> bool:
    """Whether a file of predictions has all pairs of the test."""
    return file.exists() and test.join(pl.read_parquet(file), on="pair_id", how="anti").is_empty()
