"""Which recipe teaches taste? The same model trained on each pair set, tested on the same frozen pairs and on truth.

A cell is a pair set, a model, a size and a seed. It leaves a reward for every test response, and all figures are
computed from these rewards.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lurker.arguments import as_list
from lurker.config import fingerprint, to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.files import write_json, write_parquet
from lurker.hard_tests import require_one_hard_test
from lurker.pair_sets import (
    HARD_TEST,
    PairSet,
    has_hard_test,
    pair_set_name,
    read_manifest,
    read_pairs,
    require_disjoint,
    require_pair_set,
    split_of,
)
from lurker.pairwise import fit_tfidf
from lurker.report import ResultTable
from lurker.workspace import Workspace
from rm.evaluation.score import score_columns, text_scorer
from rm.evaluation.trained_run import load_trained
from rm.experiments.cells import Cell, make_cell, run_cells, timed_cell
from rm.experiments.config import (
    Experiment,
    SeededConfig,
    experiment_on,
    make_config,
    pair_set_names,
    require_distinct,
)
from rm.experiments.recipe_summaries import lead_sentence, recipe_summaries
from rm.experiments.recipe_tables import (
    Benchmark,
    CellKey,
    Rewards,
    difference_table,
    make_benchmark,
    recipe_table,
)
from rm.experiments.remaining import CellTime
from rm.experiments.results import ExperimentResult, require_finished
from rm.models.ladder import TFIDF, require_loadable
from rm.pairs.subsets import content_digest
from rm.pairs.tokenised import CONFOUNDERS
from rm.runs.train_run import train_run
from rm.training.identity import unseen_tests
from rm.training.run_folder import RunConfig, models_of_runs, read_run_pairs
from rm.training.settings import as_settings
from rm.training.trainable import train_config


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipesConfig(SeededConfig):
    """A comparison of recipes.

    TF-IDF on all pairs runs with one seed only. A set with confounder_log_odds trains adjusted=true unless set.
    """

    pairs: tuple[str, ...]
    """pair sets trained on, one per recipe"""
    models: tuple[str, ...] = (TFIDF,)
    """`tfidf`, or SPEC of each model"""
    sizes: tuple[int | None, ...] = (None,)
    """maximum number of training pairs; a smaller set uses all it has; None for all"""
    tests: tuple[str, ...] = ()
    """pair sets whose test split is tested on; when empty the hard test and each balanced one of `pairs`"""
    min_gaps: tuple[int, ...] = (1, 5)
    """each test is evaluated on its pairs with at least this score gap, votes"""
    reference: str | None = None
    """pair set the others are compared with; when absent the first balanced one, else the first"""

    def __post_init__(self) -> None:
        SeededConfig.__post_init__(self)
        if len(self.pairs) < 2:
            raise ValueError(f"a comparison needs two pair sets, got {', '.join(self.pairs) or 'none'}")
        require_distinct(self, "pairs", "models", "sizes", "tests", "min_gaps")
        if not self.models or not self.sizes or not self.min_gaps:
            raise ValueError("a model, a size and a score gap are needed")
        if min(self.min_gaps) < 1 or any(size is not None and size < 2 for size in self.sizes):
            raise ValueError(f"score gaps are at least 1 and sizes at least 2, got {self.min_gaps} and {self.sizes}")
        if self.reference is not None and self.reference not in self.pairs:
            raise ValueError(f"the reference {self.reference} is not one of {', '.join(self.pairs)}")


@dataclass(frozen=True, slots=True, repr=False)
class Recipes(ExperimentResult):
    """The RECIPES table: one row per pair set, predictor, size, seed and figure."""

    differences: pl.DataFrame
    """RECIPE_DIFFERENCES: the reference minus each other pair set"""
    manifest: dict[str, Any]

    @property
    def sentence(self) -> str:
        """How the reference compares with the others on the first test."""
        return lead_sentence(self.differences, self.manifest)

    def table(self) -> ResultTable:
        """Accuracy on the first test."""
        return self.result_tables()[0]

    def result_tables(self) -> Sequence[ResultTable]:
        """Accuracy on each test, differences from the reference, and what the rewards follow where truth is known."""
        return recipe_summaries(self.frame, self.differences, self.manifest)

    def plot(self, test: str | None = None, *, model: str | None = None, max_pairs: int | None = None) -> Any:
        """The dashboard's chart of accuracy on one test by recipe.

        Args:
            test: pair set tested on, or "truth"; the first test by default.
            model: `tfidf` or a SPEC; the first by default.
            max_pairs: one of the sizes.
        """
        from lurker.charts import recipe_accuracy, recipe_figures

        models = self.frame.filter(~pl.col("is_baseline"))["predictor"]
        is_shown = (pl.col("predictor") == (model or models[0])) & pl.col("max_pairs").eq_missing(max_pairs)
        figures = recipe_figures(self.frame).filter(pl.col("is_baseline") | is_shown)
        return recipe_accuracy(figures, test or self.manifest["tests"][0])

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        more = {"differences": self.differences.to_dicts(), "manifest": self.manifest}
        return ExperimentResult.report(self) | more


@dataclass(frozen=True, slots=True)
class RecipesPlan:
    """What a comparison runs and tests on."""

    cells: dict[CellKey, Cell]
    """two keys may share a cell"""
    benchmark: Benchmark
    recipes: dict[str, str]
    """pair set -> name of its recipe"""
    tests: tuple[str, ...]
    reference: str


def recipes(
    pairs: Sequence[PairSet] | PairSet,
    *,
    models: Sequence[str] | str = (TFIDF,),
    sizes: Sequence[int | None] | int | None = (None,),
    seeds: int = 3,
    tests: Sequence[PairSet | str] | PairSet | str = (),
    min_gaps: Sequence[int] | int = (1, 5),
    reference: PairSet | str | None = None,
    name: str = "recipes",
    engine: Engine = "local",
    n_workers: int | None = None,
    **train_fields: Any,
) -> Recipes:
    """Train the same models on each pair set and test them on the same pairs and, where it is known, on truth.

    Args:
        pairs: pair sets of one workspace, one per recipe.
        models: "tfidf", or SPECs.
        sizes: maximum numbers of training pairs; None for all.
        seeds: number of seeds.
        tests: pair sets whose test split is tested on; by default the hard test and each balanced one of `pairs`.
        min_gaps: each test is evaluated on its pairs with at least this score gap, votes.
        reference: pair set the others are compared with; the first balanced one by default.
        name: of the experiment.
        engine: "local" (processes of this machine) or "ray".
        n_workers: processes of the local engine; as many as fit by default.
        **train_fields: fields of `rm.training.config.TrainConfig` for every cell, such as epochs=1.

    Raises:
        CallError: an argument is not possible.
        LurkerError: every cell failed, sets were built with different hard tests, a test has no test pairs, or a test
            post was trained on.
    """
    sets = [require_pair_set(one) for one in as_list(pairs, "pairs")]
    config = make_config(
        RecipesConfig,
        pairs=[one.name for one in sets],
        models=models_of_runs(sets[0].workspace, models),
        sizes=[sizes] if sizes is None else sizes,
        n_seeds=seeds,
        tests=pair_set_names(tests, "tests"),
        min_gaps=min_gaps,
        reference=None if reference is None else pair_set_name(reference),
        settings=as_settings(train_fields),
    )
    return run_recipes(experiment_on(sets[0], name, engine, n_workers), config)


def run_recipes(experiment: Experiment, config: RecipesConfig) -> Recipes:
    """Run the cells that are not finished; write RECIPES and RECIPE_DIFFERENCES, then the manifest."""
    workspace = experiment.workspace
    plan = plan_recipes(experiment, config)
    cells = list({cell.run_id: cell for cell in plan.cells.values()}.values())
    shared = {"experiment": experiment.name, "responses": plan.benchmark.responses}
    failures = run_cells(
        experiment,
        cells,
        is_finished=lambda cell: rewards_file(experiment.folder, cell).exists(),
        function=recipe_cell_task,
        arguments=lambda cell: {"root": str(workspace.root.resolve()), "cell": cell, **shared},
    )
    finished = {key: cell for key, cell in plan.cells.items() if rewards_file(experiment.folder, cell).exists()}
    require_finished(len(finished), failures)
    rewards = {
        key: _read_rewards(rewards_file(experiment.folder, cell), plan.benchmark) for key, cell in finished.items()
    }
    training = {pairs: read_pairs(workspace, pairs).filter(pl.col("split") == "train") for pairs in config.pairs}
    table, scores = recipe_table(plan.benchmark, finished, rewards, training, plan.recipes)
    differences = difference_table(plan.benchmark, scores, plan.reference)
    write_parquet(table, experiment.folder / "recipes.parquet")
    write_parquet(differences, experiment.folder / "differences.parquet")
    manifest = {
        "kind": "recipes",
        "config": to_dict(config),
        "recipes": plan.recipes,
        "tests": list(plan.tests),
        "reference": plan.reference,
        "has_truth": plan.benchmark.known is not None,
        "cells": sorted({cell.run_id for cell in finished.values()}),
    }
    write_json(manifest, experiment.folder / "manifest.json")
    return Recipes(experiment, table, failures, differences, manifest)


def plan_recipes(experiment: Experiment, config: RecipesConfig) -> RecipesPlan:
    """The cells, and the pairs and responses they are tested on."""
    workspace = experiment.workspace
    for model in config.models:
        if model != TFIDF:
            require_loadable(model)
    frames = {pairs: read_pairs(workspace, pairs) for pairs in config.pairs}
    rules = {pairs: read_manifest(workspace, pairs)["recipe"] for pairs in frames}
    balanced = [pairs for pairs in frames if rules[pairs].get("deconfound") == "balance"]
    tests = config.tests or _default_tests(workspace, balanced)
    if HARD_TEST in tests:
        require_one_hard_test(workspace, config.pairs)
    tested = {test: split_of(read_pairs(workspace, test), test, "test") for test in tests}
    own_tests = {pairs: frame.filter(pl.col("split") == "test") for pairs, frame in frames.items()}
    for model in (one for one in config.models if one != TFIDF):
        tested, own_tests = unseen_tests(model, tested), unseen_tests(model, own_tests)
    benchmark = make_benchmark(workspace, tested, [*own_tests.values()], config.min_gaps)
    cells = {}
    for pairs, frame in frames.items():
        training, validation = split_of(frame, pairs, "train"), split_of(frame, pairs, "validation")
        require_disjoint(pl.concat([training, validation]), benchmark.responses, f"the tests of {', '.join(tests)}")
        digest = fingerprint(content_digest(training), content_digest(validation), benchmark.responses["key"].to_list())
        is_adjusted = bool((training[CONFOUNDERS] != 0).any())
        for model, size, seed in _grid(config, training.height):
            train = train_config(model, seed, (f"adjusted={str(is_adjusted).lower()}", *config.settings))
            n_pairs = min(size or training.height, training.height)
            max_pairs = n_pairs if n_pairs < training.height else None
            run = RunConfig(pairs=pairs, model=model, train=train, max_pairs=max_pairs)
            cells[pairs, model, size, seed] = make_cell(
                f"{experiment.name}-{pairs}", run, n_pairs, digest, n_available=training.height
            )
    names = {pairs: str(rules[pairs]["name"]) for pairs in frames}
    return RecipesPlan(cells, benchmark, names, tests, config.reference or (balanced or list(frames))[0])


def recipe_cell_task(root: str, experiment: str, cell: Cell, responses: pl.DataFrame) -> CellTime:
    """Train one cell and write its reward of every response, in a worker; how long it took."""
    workspace = Workspace(Path(root))
    compute_rewards = _model_rewards if cell.is_run else _tfidf_rewards
    with timed_cell(workspace, cell.run_id) as took:
        table = responses.select("key", reward=pl.Series(compute_rewards(workspace, cell, responses), dtype=pl.Float64))
        write_parquet(table, rewards_file(workspace.folder("experiments", experiment), cell))
    return took()


def rewards_file(folder: Path, cell: Cell) -> Path:
    """The rewards of a cell, key and reward; it exists once the cell is finished."""
    return folder / rewards_name(cell.run_id)


def rewards_name(run_id: str) -> str:
    """The same, relative to the experiment's folder."""
    return f"rewards/{run_id}.parquet"


def _read_rewards(path: Path, benchmark: Benchmark) -> Rewards:
    """The rewards of a cell in the order of the benchmark's responses, [n_responses]."""
    table = benchmark.responses.select("key").join(pl.read_parquet(path), on="key", how="left", maintain_order="left")
    return table["reward"].to_numpy()


def _default_tests(workspace: Workspace, balanced: Sequence[str]) -> tuple[str, ...]:
    """The hard test, if there is one, and the balanced pair sets.

    Raises:
        CallError: there is neither.
    """
    hard_test = (HARD_TEST,) if has_hard_test(workspace) else ()
    if not (tests := (*hard_test, *balanced)):
        raise CallError(
            f"There is no {HARD_TEST} in {workspace.root} and no balanced pair set among these to test on.",
            "Name a test with `--test NAME`, or build one: `lurker pairs build balanced --recipe balanced`.",
        )
    return tests


def _grid(config: RecipesConfig, n_train: int) -> Iterator[tuple[str, int | None, int]]:
    """(model, size, seed) of one pair set; TF-IDF on all of its pairs does not depend on the seed."""
    for model, size in itertools.product(config.models, config.sizes):
        ignores_seed = model == TFIDF and (size is None or size >= n_train)
        for seed in range(1 if ignores_seed else config.n_seeds):
            yield model, size, seed


def _tfidf_rewards(workspace: Workspace, cell: Cell, responses: pl.DataFrame) -> Rewards:
    """Rewards of TF-IDF, [n_responses]; all 0 when the training texts share no word."""
    pairs = read_run_pairs(workspace, cell.config)
    reward = fit_tfidf(pairs.training, pairs.validation, is_adjusted=cell.config.train.adjusted)
    return np.zeros(responses.height) if reward is None else reward(responses["text"].to_list())


def _model_rewards(workspace: Workspace, cell: Cell, responses: pl.DataFrame) -> Rewards:
    """Rewards of the cell's run, [n_responses]; trains the run unless it is finished."""
    train_run(workspace, cell.run_id, cell.config, resume=True, waits=True)
    scorer = text_scorer(load_trained(workspace, cell.run_id).reward_model, cell.config.train)
    columns = {"prompt": "prompt", "response": "text", "delay_s": "delay_s"}
    return np.array(score_columns(scorer, {name: responses[column].to_list() for name, column in columns.items()}))
