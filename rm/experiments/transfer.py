"""Transfer across communities: models taught by some of them, tested on others and against in-domain training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lurker.config import to_dict
from lurker.engine import Engine
from lurker.errors import CallError
from lurker.files import write_json, write_parquet
from lurker.pair_sets import PairSet, pair_set_name, read_pairs, require_pair_set, split_of
from lurker.progress import say
from lurker.report import ResultTable
from rm.experiments.cells import data_digest, make_cell, train_cells
from rm.experiments.community_map import community_map
from rm.experiments.config import (
    EQUAL_SHARES,
    Experiment,
    PairSetConfig,
    choose_test,
    experiment_on,
    make_config,
    require_pairs,
)
from rm.experiments.outcomes import Outcomes, Taught, read_outcomes, transfer_rows
from rm.experiments.results import ExperimentResult, require_same_experiment
from rm.experiments.transfer_findings import compare_cells, net_rows, net_transfer, transfer_sentence
from rm.experiments.transfer_tables import CELL_COLUMNS, cell_rows, difference_text, named_side, source_rows
from rm.models.ladder import require_loadable
from rm.training.run_folder import RunConfig, model_of_run
from rm.training.settings import as_settings
from rm.training.trainable import train_config

Design = Literal["pairwise", "pooled", "leave-one-out"]
Communities = tuple[str, ...]
SOURCES: dict[str, str] = {"pooled": "all communities", "leave-one-out": "all others"}
"""What the source of a design of several communities is called."""
MIN_TEST_POSTS = 2
"""Below it an interval has no ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferConfig(PairSetConfig):
    """A transfer experiment."""

    model: str
    """SPEC of the model trained on each source"""
    design: Design = "pairwise"
    """sources: each community; all of them pooled; or for each target all others. Each target is a source too"""
    max_pairs: int | None = None
    """training pairs of each source; those of the smallest community when absent"""
    is_equal: bool = True
    """every source has the same number of training pairs; otherwise each has all its own"""
    min_pairs: int = 200
    """training pairs that a community needs; others are named and left out"""
    effect: float = 0.02
    """difference in accuracy whose power is told"""
    n_seeds: int = 1
    """seeds 0 … n_seeds - 1"""

    def __post_init__(self) -> None:
        PairSetConfig.__post_init__(self)
        if self.max_pairs is not None and self.max_pairs < 2:
            raise ValueError(f"max_pairs must be at least 2, got {self.max_pairs}")
        if self.max_pairs is not None and not self.is_equal:
            raise ValueError("max_pairs makes all sources equal: leave it out, or is_equal=False")
        if self.min_pairs < 2 or not 0 < self.effect < 0.5:
            raise ValueError(
                f"min_pairs must be at least 2 and effect between 0 and 0.5, got {self.min_pairs} and {self.effect}"
            )


@dataclass(frozen=True, slots=True, repr=False)
class Transfer(ExperimentResult):
    """The TRANSFER table, one row per predictor, source, target and seed; and what it shows."""

    differences: pl.DataFrame
    """TRANSFER_DIFFERENCES: each cell against in-domain training on the same pairs, and its power"""
    findings: dict[str, Any]
    """sentence, net transfer, the map of communities, and pairs left out; as in findings.json"""

    @property
    def model(self) -> str:
        """SPEC of the model trained on each source."""
        return str(self.frame.filter(~pl.col("is_baseline"))["predictor"][0])

    @property
    def sentence(self) -> str:
        """What the experiment shows."""
        return str(self.findings["sentence"])

    @property
    def matrix(self) -> pl.DataFrame:
        """The model's mean accuracy over seeds: one row per source, one column per target."""
        models = self.frame.filter(~pl.col("is_baseline")).sort("target")
        return models.pivot("target", index="source", values="accuracy", aggregate_function="mean").sort("source")

    def table(self) -> ResultTable:
        """The model's accuracy by source and target, with intervals."""
        return self._table_of(self.model)

    def result_tables(self) -> Sequence[ResultTable]:
        """Accuracy of the model and of TF-IDF, differences from in-domain training with power, net transfer."""
        baselines = ["tfidf"] if "tfidf" in self.frame["predictor"] else []
        own = self.differences.filter(predictor=self.model)
        net = [{"mean over": named_side(one), "difference": difference_text(one)} for one in self.findings["net"]]
        title = "Net transfer: accuracy minus that of in-domain training"
        return [
            *(self._table_of(predictor) for predictor in (self.model, *baselines)),
            ResultTable("Each cell against in-domain training", cell_rows(own), CELL_COLUMNS),
            ResultTable(title, net, self.sentence),
        ]

    def plot(self, *, difference: bool = False) -> Any:
        """The dashboard's heatmap of the model's accuracy, or of its difference from in-domain training."""
        from lurker.charts import transfer_heatmap, transfer_matrix

        matrix = transfer_matrix(self.frame, self.differences).filter(pl.col("predictor") == self.model)
        return transfer_heatmap(matrix, difference=difference)

    def plot_map(self) -> Any:
        """The dashboard's map of communities, by how alike their models rank the same responses.

        Raises:
            CallError: there is none, as with fewer than three communities.
        """
        from lurker.charts import community_map as draw

        if self.findings["map"] is None:
            raise CallError("There is no map of communities.", "It needs design=pairwise and three communities.")
        return draw(self.findings["map"])

    def report(self) -> dict[str, Any]:
        """The JSON object that the command prints."""
        return {**ExperimentResult.report(self), "differences": self.differences.to_dicts(), **self.findings}

    def _table_of(self, predictor: str) -> ResultTable:
        test_pairs = self.frame["test_pairs"][0]
        title = f"Accuracy of {predictor} on {test_pairs} (experiment {self.experiment.name})"
        return ResultTable(title, source_rows(self.differences, predictor))


def transfer(
    pairs: PairSet,
    model: str,
    *,
    design: Design = "pairwise",
    max_pairs: int | None = None,
    is_equal: bool = True,
    min_pairs: int = 200,
    effect: float = 0.02,
    seeds: int = 1,
    test: PairSet | str | None = None,
    subreddits: Sequence[str] | str = (),
    name: str | None = None,
    engine: Engine = "local",
    n_workers: int | None = None,
    **train_fields: Any,
) -> Transfer:
    """Train on communities and test on others; finished cells are not run again, and designs share them.

    Args:
        pairs: pair set trained on.
        model: SPEC, such as "scratch-200k" or a Hugging Face id.
        design: "pairwise": each community teaches a model that is tested on all; "pooled": all communities together
            teach one; "leave-one-out": for each target, all others together. Targets teach a model of their own too.
        max_pairs: training pairs of each source; those of the smallest community by default.
        is_equal: False trains each source on all its pairs.
        min_pairs: training pairs that a community needs; others are named and left out.
        effect: difference in accuracy for which the test posts needed are told.
        seeds: number of seeds.
        test: pair set tested on; the hard test by default.
        subreddits: sources and targets; all communities by default.
        name: of the experiment; `<pairs>-transfer` by default, or `<pairs>-<design>`.
        engine: "local" (processes of this machine) or "ray".
        n_workers: processes of the local engine; as many as fit by default.
        **train_fields: fields of `rm.training.config.TrainConfig` for every cell, such as epochs=1.

    Raises:
        CallError: an argument is not possible, such as fewer than two communities.
        LurkerError: every cell failed, or a test post was trained on.
    """
    require_pair_set(pairs)
    if str(design) == "few-shot":
        raise CallError("A few-shot experiment has a function of its own.", "Call `rm.few_shot(pairs, model, target)`.")
    config = make_config(
        TransferConfig,
        pairs=pairs.name,
        model=model_of_run(pairs.workspace, model),
        design=design,
        max_pairs=max_pairs,
        is_equal=is_equal,
        min_pairs=min_pairs,
        effect=effect,
        n_seeds=seeds,
        test_pairs=None if test is None else pair_set_name(test),
        subreddits=subreddits,
        settings=as_settings(train_fields),
    )
    named = name or f"{pairs.name}-{'transfer' if design == 'pairwise' else design}"
    return run_transfer(experiment_on(pairs, named, engine, n_workers), config)


def run_transfer(experiment: Experiment, config: TransferConfig) -> Transfer:
    """Run the cells that are not finished; write the tables and findings, then the manifest."""
    taught, test_pairs = plan_transfer(experiment, config)
    same = {name: getattr(config, name) for name in ("pairs", "model", "design", "subreddits", "settings")}
    require_same_experiment(experiment, "transfer", test_pairs=test_pairs, **same)
    finished, failures = train_cells(experiment, [one.cell for one in taught])
    known = [one for one in taught if one.cell in finished]
    test = split_of(read_pairs(experiment.workspace, test_pairs), test_pairs, "test")
    outcomes = read_outcomes(experiment.workspace, known, test_pairs, test)
    table = transfer_rows(outcomes, config.pairs, test_pairs)
    differences = compare_cells(outcomes, config.effect)
    communities = tuple(sorted({target for one in taught for target in one.targets}))
    findings = _findings(outcomes, differences, config, communities)
    write_parquet(table, experiment.folder / "transfer.parquet")
    write_parquet(differences, experiment.folder / "transfer-differences.parquet")
    write_json(findings, experiment.folder / "findings.json")
    manifest = {
        "kind": "transfer",
        "config": to_dict(config),
        "pairs": config.pairs,
        "test_pairs": test_pairs,
        "model": config.model,
        "n_train_pairs": taught[0].cell.n_train_pairs,
        "subreddits": communities,
        "cells": [one.cell.run_id for one in known],
    }
    write_json(manifest, experiment.folder / "manifest.json")
    return Transfer(experiment, table, failures, differences, findings)


def plan_transfer(experiment: Experiment, config: TransferConfig) -> tuple[list[Taught], str]:
    """The cells by source and seed, and the pair set they are tested on; in-domain sources are in every design.

    Cells are named after the pair set, so that experiments of different designs share them.
    """
    require_loadable(config.model)
    test_pairs = choose_test(experiment.workspace, config.pairs, config.test_pairs)
    frame = read_pairs(experiment.workspace, config.pairs, config.subreddits)
    test = split_of(read_pairs(experiment.workspace, test_pairs), test_pairs, "test")
    n_train = _training_pairs(frame, test, config, test_pairs)
    smallest = min(n_train, key=lambda source: (n_train[source], source))
    n_equal = n_train[smallest] if config.max_pairs is None else config.max_pairs
    require_pairs(n_equal, n_train[smallest], f"r/{smallest}")
    digest = data_digest(frame, config.pairs, test)
    taught = []
    for source, communities, tested, targets in _sources(config.design, tuple(n_train)):
        n_own = sum(n_train[community] for community in communities)
        shares = EQUAL_SHARES if len(communities) > 1 and config.is_equal else ()
        for seed in range(config.n_seeds):
            run = RunConfig(
                pairs=config.pairs,
                model=config.model,
                train=train_config(config.model, seed, (*shares, *config.settings)),
                subreddits=communities,
                max_pairs=n_equal if config.is_equal else None,
                test_pairs=(test_pairs,),
                test_subreddits=tested,
            )
            n_pairs = n_equal if config.is_equal else n_own
            cell = make_cell(f"{config.pairs}-transfer", run, n_pairs, digest, n_available=n_own)
            taught.append(Taught(source, targets, cell))
    return taught, test_pairs


def _sources(design: Design, all_: Communities) -> list[tuple[str, Communities, Communities, Communities]]:
    """Name, communities taught by, communities tested on, and those of them that the design reads, of each source."""
    is_pairwise = design == "pairwise"
    sources: list[tuple[str, Communities, Communities, Communities]] = [
        (one, (one,), all_, all_ if is_pairwise else (one,)) for one in all_
    ]
    if design == "pooled":
        return [*sources, (SOURCES[design], all_, all_, all_)]
    if design == "leave-one-out":
        others = [(target, tuple(one for one in all_ if one != target)) for target in all_]
        return [*sources, *((SOURCES[design], taught, (target,), (target,)) for target, taught in others)]
    return sources


def _training_pairs(frame: pl.DataFrame, test: pl.DataFrame, config: TransferConfig, test_pairs: str) -> dict[str, int]:
    """Training pairs of each community that can be both source and target; the others are named and left out.

    Raises:
        CallError: fewer than two are left.
    """
    splits = frame.group_by("subreddit").agg(
        n_train=(pl.col("split") == "train").sum(), n_validation=(pl.col("split") == "validation").sum()
    )
    n_posts = dict(test.group_by("subreddit").agg(pl.col("post_id").n_unique()).iter_rows())
    counts = {}
    for subreddit, n_train, n_validation in splits.sort("subreddit").iter_rows():
        if reason := _too_few(n_train, n_validation, n_posts.get(subreddit, 0), config.min_pairs, test_pairs):
            say(f"r/{subreddit} is left out: {reason}.")
        else:
            counts[subreddit] = int(n_train)
    if len(counts) < 2:
        raise CallError(
            f"Transfer needs two communities; {config.pairs} and {test_pairs} share {', '.join(counts) or 'none'} "
            f"with {config.min_pairs:,} training pairs.",
            "Build pairs of more subreddits, or lower `--min-pairs`.",
        )
    return counts


def _too_few(n_train: int, n_validation: int, n_posts: int, min_pairs: int, test_pairs: str) -> str:
    """Why a community cannot be both source and target, or nothing."""
    if n_train < min_pairs:
        return f"{n_train:,} training {'pair' if n_train == 1 else 'pairs'}, and {min_pairs:,} are needed (--min-pairs)"
    if not n_validation:
        return "it has no validation pairs"
    if n_posts < MIN_TEST_POSTS:
        return f"{n_posts} test {'post' if n_posts == 1 else 'posts'} in {test_pairs}, and {MIN_TEST_POSTS} are needed"
    return ""


def _findings(
    outcomes: Outcomes, differences: pl.DataFrame, config: TransferConfig, communities: tuple[str, ...]
) -> dict[str, Any]:
    """The content of findings.json."""
    net = net_transfer(outcomes, config.model)
    sources = set(outcomes.frame["source"])
    mapped = (
        community_map(outcomes, config.model, tuple(one for one in communities if one in sources))
        if config.design == "pairwise"
        else None
    )
    return {
        "sentence": transfer_sentence(differences, net["all"], config.model, config.effect),
        "net": net_rows(net),
        "map": mapped and mapped.rows(),
        "pairs_left_out": outcomes.n_left_out,
    }
