"""Few-shot transfer: what a model learned elsewhere is worth in pairs of the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.arguments import as_list
from lurker.config import to_dict
from lurker.engine import Engine
from lurker.files import write_json, write_parquet
from lurker.pair_sets import (
    PairSet,
    pair_set_name,
    require_pair_set,
)
from lurker.report import ResultTable
from rm.experiments.cells import train_cells
from rm.experiments.config import (
    Experiment,
    experiment_on,
    make_config,
)
from rm.experiments.few_shot_findings import arm_rows, few_shot_findings, few_shot_rows, few_shot_table
from rm.experiments.few_shot_plan import FewShotConfig, read_data, read_starts, teach_others, tuned_arms, untuned_arms
from rm.experiments.outcomes import Taught, read_outcomes
from rm.experiments.results import ExperimentResult, require_same_experiment
from rm.experiments.starts import NOTHING
from rm.training.run_folder import MODEL
from rm.training.settings import as_settings


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
            ResultTable(f"Gain over {NOTHING}", arm_rows(self.differences, "difference")),
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
    data = read_data(workspace, config)
    starts = read_starts(workspace, config, data)
    same = {name: getattr(config, name) for name in ("pairs", "model", "target", "subreddits", "settings")}
    require_same_experiment(experiment, "few-shot", test_pairs=data.test_pairs, **same)
    sources, failures = teach_others(experiment, config, data) if not config.starts else ([], ())
    tuned = tuned_arms(experiment, config, data, starts, sources)
    finished, more = train_cells(experiment, [arm.cell for arm in tuned])
    untuned = untuned_arms(workspace, data, starts) if 0 in config.sizes else []
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
