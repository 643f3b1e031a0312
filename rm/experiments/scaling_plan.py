"""What a scaling experiment trains: its config, and the cells of its grid by protocol."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from lurker.decimals import counted
from lurker.pair_sets import read_pairs, split_of
from lurker.progress import say
from rm.experiments.cells import Cell, data_digest, make_cell, shared_tokenizer
from rm.experiments.config import Experiment, PairSetConfig, choose_test, require_distinct, require_pairs
from rm.experiments.curves import MIN_DATA_SIZES
from rm.models.ladder import require_loadable
from rm.training.run_folder import RunConfig
from rm.training.trainable import train_config

Protocol = Literal["retrain", "online"]
NAMES = {"retrain": "scaling", "online": "online"}
"""What an experiment of each protocol is called after its pair set."""
ONLINE_FIXED = {"epochs": 1, "min_steps": 0, "evaluations_per_epoch": 1}
"""Fields of TrainConfig in one pass: its end is its only validation, so the last weights are the run's."""
MAX_POINTS = 8
"""Points of one pass to a single size."""
MIN_POINT = 256
"""The smallest of them: eight steps of 32 pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingConfig(PairSetConfig):
    """A scaling experiment."""

    models: tuple[str, ...]
    """SPEC of each model"""
    sizes: tuple[int, ...]
    """training pairs; for one seed, a smaller training set is a subset of a larger one"""
    protocol: Protocol = "retrain"
    """retrain: a run per size, its best step by validation; online: one pass to the largest, evaluated at each"""

    def __post_init__(self) -> None:
        PairSetConfig.__post_init__(self)
        if not self.models or not self.sizes:
            raise ValueError(f"a model and a size are needed, got {self.models} and {self.sizes}")
        if min(self.sizes) < 2:
            raise ValueError(f"sizes must be at least 2 pairs, got {min(self.sizes)}")
        require_distinct(self, "models", "sizes")
        fixed = {setting.partition("=")[0].strip() for setting in self.settings} & set(ONLINE_FIXED)
        if self.protocol == "online" and fixed:
            raise ValueError(f"one pass with protocol online sets {', '.join(sorted(fixed))} itself")

    @property
    def data_sizes(self) -> tuple[int, ...]:
        """The sizes in order; of one pass to a single size also its half, its quarter, … as far as steps resolve."""
        if self.protocol == "retrain" or len(self.sizes) > 1:
            return tuple(sorted(self.sizes))
        most = self.sizes[0]
        halves = [most // 2**k for k in range(MAX_POINTS) if k == 0 or most // 2**k >= MIN_POINT]
        return tuple(reversed(halves))

    @property
    def train_settings(self) -> tuple[str, ...]:
        """The settings of every cell."""
        if self.protocol == "retrain":
            return self.settings
        return ("schedule=constant", *self.settings, *(f"{name}={value}" for name, value in ONLINE_FIXED.items()))


def _source(training: pl.DataFrame, config: ScalingConfig) -> str:
    """What a scaling experiment trains on, in words: the pair set, and where only some are read, each community."""
    if not config.subreddits:
        return config.pairs
    counts = training["subreddit"].value_counts().sort("count", "subreddit").iter_rows()
    return f"{config.pairs} of {', '.join(f'r/{name} ({count:,})' for name, count in counts)}"


def plan_scaling(experiment: Experiment, config: ScalingConfig) -> tuple[list[Cell], str]:
    """The cells of the grid and the pair set they are tested on; trains the tokenizer they share."""
    for model in config.models:
        require_loadable(model)
    test_pairs = choose_test(experiment.workspace, config.pairs, config.test_pairs)
    frame = read_pairs(experiment.workspace, config.pairs, config.subreddits)
    training = split_of(frame, config.pairs, "train")
    sizes = config.data_sizes
    if config.protocol == "online" and len(config.sizes) == 1 and len(sizes) < MIN_DATA_SIZES:
        say(
            f"One pass to {sizes[-1]:,} pairs is evaluated at {counted(len(sizes), 'size')}, and a curve needs "
            f"{MIN_DATA_SIZES}: ask for {MIN_POINT * 2 ** (MIN_DATA_SIZES - 1):,} pairs or more, or name the sizes."
        )
    require_pairs(sizes[-1], training.height, _source(training, config))
    test = split_of(read_pairs(experiment.workspace, test_pairs), test_pairs, "test")
    digest = data_digest(frame, config.pairs, test)
    train = {
        (model, seed): train_config(model, seed, config.train_settings)
        for model in config.models
        for seed in range(config.n_seeds)
    }
    tokenizer = shared_tokenizer(experiment, training, next(iter(train.values())).vocabulary_size)
    runs = [(sizes[-1], sizes[:-1])] if config.protocol == "online" else [(size, ()) for size in sizes]
    cells = [
        make_cell(
            experiment.name,
            RunConfig(
                pairs=config.pairs,
                model=model,
                train=train[model, seed],
                subreddits=config.subreddits,
                max_pairs=size,
                test_pairs=(test_pairs,),
                curve_points=points,
                tokenizer=tokenizer,
            ),
            size,
            digest,
            n_available=training.height,
        )
        for model in config.models
        for size, points in runs
        for seed in range(config.n_seeds)
    ]
    return cells, test_pairs
