"""The cells of a few-shot experiment: the other communities' model, and every start on each number of pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from lurker.errors import CallError
from lurker.files import read_json
from lurker.pair_sets import (
    EXTERNAL,
    VOTES_RECIPE,
    of_subreddits,
    read_manifest,
    read_pair_set,
    read_pairs,
    split_of,
)
from lurker.predictions import of_these_pairs
from lurker.progress import say
from lurker.workspace import Workspace
from rm.evaluation.baselines import Which
from rm.evaluation.evaluate_run import evaluate_run
from rm.experiments.cells import Cell, data_digest, make_cell, train_cells
from rm.experiments.config import (
    EQUAL_SHARES,
    Experiment,
    PairSetConfig,
    choose_test,
    require_distinct,
    require_pairs,
)
from rm.experiments.few_shot_findings import Arm
from rm.experiments.results import Failure
from rm.experiments.starts import NOTHING, Start, parse_start, require_unread, require_untaught
from rm.training.run_folder import RunConfig, finished_run, predictions_file, run_config

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
    """community tuned and tested on; external: all pairs of an imported set, or of one made from votes"""
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


@dataclass(frozen=True, slots=True)
class FewShotData:
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
    target_posts: frozenset[str]
    """posts of the target's training and validation pairs"""
    test_pairs: str
    test: pl.DataFrame
    """PAIRS of the target's test"""
    digest: str
    """of all pairs read"""


def read_data(workspace: Workspace, config: FewShotConfig) -> FewShotData:
    """The target's pairs, and the others'.

    Raises:
        CallError: there is no such target, or it has fewer training pairs than the largest size.
    """
    is_imported = read_pair_set(workspace, config.pairs).manifest["recipe"]["name"] in (EXTERNAL, VOTES_RECIPE)
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
    posts = frozenset(target.filter(pl.col("split") != "test")["post_id"])
    return FewShotData(communities, names, n_target, n_validation, others.height, posts, test_pairs, test, digest)


def read_starts(workspace: Workspace, config: FewShotConfig, data: FewShotData) -> list[Start]:
    """The start from nothing, then those that were named.

    Raises:
        CallError: two have one name, or one has read pairs of the target.
    """
    starts = [parse_start(workspace, config.model, NOTHING), *(parse_start(workspace, one) for one in config.starts)]
    names = [start.name for start in starts]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise CallError(f"Two starts are called {repeated}.", "Name runs with `lurker rm train --run NAME`.")
    if read_manifest(workspace, config.pairs)["recipe"]["name"] == VOTES_RECIPE:
        return starts  # Reddit's votes on the same communities are what raters' votes are compared with
    for start in starts:
        for community in data.communities:
            require_untaught(workspace, start, community)
        require_unread(start, data.target_posts, config.target)
    return starts


def teach_others(
    experiment: Experiment, config: FewShotConfig, data: FewShotData
) -> tuple[list[Arm], tuple[Failure, ...]]:
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
    shares = EQUAL_SHARES if len(data.others) > 1 else ()
    for size in sizes:
        for seed in range(config.n_seeds):
            run = RunConfig(
                pairs=config.pairs,
                model=start.model,
                train=start.train(seed, (*shares, *config.settings)),
                subreddits=data.others,
                max_pairs=size,
                test_pairs=(data.test_pairs,),
                test_subreddits=data.communities,
            )
            cell = make_cell(f"{experiment.name}-{OTHERS}", run, size, data.digest, n_available=data.n_others)
            cell = replace(cell, baselines="none")
            arms.append(Arm(OTHERS, 0, 0, size, cell))
    finished, failures = train_cells(experiment, [arm.cell for arm in arms])
    return [arm for arm in arms if arm.cell in finished], failures


def tuned_arms(
    experiment: Experiment, config: FewShotConfig, data: FewShotData, starts: Sequence[Start], sources: Sequence[Arm]
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
            name = f"{experiment.name}-{start.name}-{size}"
            cell = make_cell(name, run, size, data.digest, n_available=data.n_target)
            cell = replace(cell, baselines=baselines)
            arms.append(Arm(start.name, size, min(train.max_validation_pairs, data.n_validation), n_source, cell))
    return arms


def untuned_arms(workspace: Workspace, data: FewShotData, starts: Sequence[Start]) -> list[Arm]:
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
    return file.exists() and of_these_pairs(pl.read_parquet(file), test).height == test.height
