"""Which recipe teaches taste? One model trained on each pair set, all judged on the same frozen pairs and on truth.

A cell is a pair set, a model, a size and a seed; what it leaves is a reward for every response that is judged, and all
figures follow from these rewards.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lurker.config import fingerprint, to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.hard_tests import require_one_hard_test
from lurker.pair_sets import HARD_TEST, has_hard_test, read_pairs, require_disjoint, split_of
from lurker.pairwise import fit_tfidf
from lurker.workspace import Workspace, read_json, write_json, write_parquet
from rm.evaluation.score import Reader, score_texts
from rm.experiments.cells import TFIDF, Cell, cell, run_waiting, train_cell
from rm.experiments.recipe_tables import Judge, Place, Rewards, difference_table, make_judge, recipe_table
from rm.models.ladder import check_spec, load
from rm.models.scorer import move_to_device
from rm.pairs.subsets import content_digest
from rm.pairs.tokenised import CONFOUNDERS, prefix_delay
from rm.training.run_folder import RunConfig, read_run_pairs
from rm.training.trainable import train_config


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipesConfig:
    """An experiment over recipes."""

    pairs: tuple[str, ...]
    """pair sets trained on, one a recipe"""
    models: tuple[str, ...] = (TFIDF,)
    """`tfidf` or SPEC of each model"""
    sizes: tuple[int | None, ...] = (None,)
    """most training pairs of a set: a set with fewer takes part with all it has; None for all"""
    n_seeds: int = 3
    """seeds 0 … n_seeds - 1, of subset, initial weights and order; TF-IDF on all pairs needs one only"""
    tests: tuple[str, ...] = ()
    """pair sets whose test split judges; the hard test and each `balanced` one of the pair sets when empty"""
    min_gaps: tuple[int, ...] = (1, 5)
    """each test is judged on its pairs with at least this score gap, votes"""
    reference: str | None = None
    """pair set that the others are compared with; the first `balanced` one, else the first, when absent"""
    settings: tuple[str, ...] = ()
    """field=value for every cell's TrainConfig; a set with confounder_log_odds trains adjusted=true unless set"""

    def __post_init__(self) -> None:
        if len(self.pairs) < 2:
            raise ValueError(
                f"recipes are compared, so two pair sets are needed, got {', '.join(self.pairs) or 'none'}"
            )
        for name in ("pairs", "models", "sizes", "tests", "min_gaps"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must differ, got {', '.join(map(str, values))}")
        if not self.models or not self.sizes or self.n_seeds < 1 or not self.min_gaps:
            raise ValueError("a model, a size, a seed and a score gap are needed")
        if min(self.min_gaps) < 1 or any(size is not None and size < 2 for size in self.sizes):
            raise ValueError(f"score gaps are at least 1 and sizes at least 2, got {self.min_gaps} and {self.sizes}")
        if self.reference is not None and self.reference not in self.pairs:
            raise ValueError(f"the reference {self.reference} is none of {', '.join(self.pairs)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an experiment runs and how it is judged.

    places: the cell of each (pair set, model, size, seed); two of them may be the same cell.
    """

    places: dict[Place, Cell]
    judge: Judge
    recipes: dict[str, str]
    tests: tuple[str, ...]
    reference: str


def run_recipes(
    workspace: Workspace, name: str, config: RecipesConfig, engine: Engine = "local", n_workers: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run the cells that are not finished; write and return RECIPES and RECIPE_DIFFERENCES, the manifest last.

    Errors: CallError for a pair set or model that is not there; LurkerError when sets were built with another hard
    test, a test has no test pairs, or a judged post was trained on.
    """
    plan = plan_recipes(workspace, name, config)
    cells = list({ran.run_id: ran for ran in plan.places.values()}.values())
    folder = workspace.folder("experiments", name)
    run_waiting(
        workspace,
        cells,
        is_done=lambda ran: rewards_file(folder, ran).exists(),
        function=run_recipe_cell,
        task=lambda ran: {
            "root": str(workspace.root.resolve()),
            "experiment": name,
            "ran": ran,
            "responses": plan.judge.responses,
        },
        engine=engine,
        n_workers=n_workers,
    )
    rewards = {at: _read_rewards(rewards_file(folder, ran), plan.judge) for at, ran in plan.places.items()}
    trained = {pairs: read_pairs(workspace, pairs).filter(pl.col("split") == "train") for pairs in config.pairs}
    table, answers = recipe_table(plan.judge, plan.places, rewards, trained, plan.recipes)
    differences = difference_table(plan.judge, answers, plan.reference)
    write_parquet(table, folder / "recipes.parquet")
    write_parquet(differences, folder / "differences.parquet")
    manifest = {
        "kind": "recipes",
        "config": to_dict(config),
        "recipes": plan.recipes,
        "tests": list(plan.tests),
        "reference": plan.reference,
        "has_truth": plan.judge.known is not None,
        "cells": sorted(ran.run_id for ran in cells),
    }
    write_json(manifest, folder / "manifest.json")
    return table, differences


def plan_recipes(workspace: Workspace, name: str, config: RecipesConfig) -> Plan:
    """The cells, and the pairs and responses they are judged on."""
    for model in config.models:
        if model != TFIDF:
            check_spec(model)
    frames = {pairs: read_pairs(workspace, pairs) for pairs in config.pairs}
    rules = {pairs: read_json(workspace.folder("pairs", pairs) / "manifest.json")["recipe"] for pairs in frames}
    balanced = [pairs for pairs in frames if rules[pairs].get("deconfound") == "balance"]
    tests = config.tests or _tests(workspace, balanced)
    if HARD_TEST in tests:
        require_one_hard_test(workspace, config.pairs)
    tested = {test: split_of(read_pairs(workspace, test), test, "test") for test in tests}
    others = [frame.filter(pl.col("split") == "test") for frame in frames.values()]
    judge = make_judge(workspace, tested, others, config.min_gaps)
    places = {}
    for pairs, frame in frames.items():
        training, validation = split_of(frame, pairs, "train"), split_of(frame, pairs, "validation")
        require_disjoint(pl.concat([training, validation]), judge.responses, f"the tests of {', '.join(tests)}")
        digest = fingerprint(content_digest(training), content_digest(validation), judge.responses["key"].to_list())
        is_adjusted = bool((training[CONFOUNDERS] != 0).any())
        for model, size, seed in _grid(config, training.height):
            train = train_config(model, seed, (f"adjusted={str(is_adjusted).lower()}", *config.settings))
            n_pairs = min(size or training.height, training.height)
            kept = n_pairs if n_pairs < training.height else None
            run = RunConfig(pairs=pairs, model=model, train=train, max_pairs=kept)
            places[pairs, model, size, seed] = cell(f"{name}-{pairs}", run, n_pairs, digest)
    recipes = {pairs: str(rules[pairs]["name"]) for pairs in frames}
    return Plan(places, judge, recipes, tests, config.reference or (balanced or list(frames))[0])


def run_recipe_cell(root: str, experiment: str, ran: Cell, responses: pl.DataFrame) -> str:
    """Train one cell and write its reward of every response: what a worker is sent."""
    workspace = Workspace(Path(root))
    judge = _model_rewards if ran.is_run else _tfidf_rewards
    table = responses.select("key", reward=pl.Series(judge(workspace, ran, responses), dtype=pl.Float64))
    write_parquet(table, rewards_file(workspace.folder("experiments", experiment), ran))
    return ran.run_id


def rewards_file(folder: Path, ran: Cell) -> Path:
    """The rewards of a cell, key and reward: the file that says it is finished."""
    return folder / "rewards" / f"{ran.run_id}.parquet"


def _read_rewards(path: Path, judge: Judge) -> Rewards:
    """The rewards of a cell in the order of the judge's responses."""
    table = judge.responses.select("key").join(pl.read_parquet(path), on="key", how="left", maintain_order="left")
    return table["reward"].to_numpy()


def _tests(workspace: Workspace, balanced: Sequence[str]) -> tuple[str, ...]:
    """The hard test, where there is one, and the balanced pair sets.

    Errors: CallError when there is neither.
    """
    frozen = (HARD_TEST,) if has_hard_test(workspace) else ()
    if not (tests := (*frozen, *balanced)):
        raise CallError(
            f"There is no {HARD_TEST} in {workspace.root} and no balanced pair set among these to judge on.",
            "Name a test with `--test NAME`, or build one: `lurker pairs build balanced --recipe balanced`.",
        )
    return tests


def _grid(config: RecipesConfig, n_train: int) -> Iterator[tuple[str, int | None, int]]:
    """(model, size, seed) of one pair set; TF-IDF on all of its pairs is the same whatever the seed."""
    for model, size in itertools.product(config.models, config.sizes):
        is_same = model == TFIDF and (size is None or size >= n_train)
        for seed in range(1 if is_same else config.n_seeds):
            yield model, size, seed


def _tfidf_rewards(workspace: Workspace, ran: Cell, responses: pl.DataFrame) -> Rewards:
    """Rewards of TF-IDF; 0 for every response where the training texts share no word."""
    pairs = read_run_pairs(workspace, ran.config)
    reward = fit_tfidf(pairs.training, pairs.validation, is_adjusted=ran.config.train.adjusted)
    return np.zeros(responses.height) if reward is None else reward(responses["text"].to_list())


def _model_rewards(workspace: Workspace, ran: Cell, responses: pl.DataFrame) -> Rewards:
    """Rewards of the cell's run, trained now where it is not finished."""
    train_cell(workspace, ran.run_id, ran.config)
    reward_model = load(workspace.folder("runs", ran.run_id) / "model")
    move_to_device(reward_model.model, reward_model.n_parameters)
    reader = Reader.of(reward_model, ran.config.train)
    texts = prefix_delay(responses["text"], responses["delay_s"]) if reader.with_delay else responses["text"]
    return np.array(score_texts(reader, responses["prompt"].to_list(), texts.to_list()))
