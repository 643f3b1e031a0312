"""What experiments share: where one is kept and run, the options of their configs, and the checks of these options."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lurker.arguments import as_list, shown
from lurker.config import typed_values
from lurker.engine import Engine, require_engine
from lurker.errors import CallError
from lurker.pair_sets import HARD_TEST, PairSet, has_hard_test, pair_set_name
from lurker.progress import say
from lurker.workspace import Workspace

C = TypeVar("C")
EQUAL_SHARES = ("subset_of=communities",)
"""Settings by which several communities teach as many pairs each, as far as they have them."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Where an experiment is kept, and how its cells are run."""

    workspace: Workspace
    name: str
    engine: Engine = "local"
    """local: processes of this machine; ray: a cluster"""
    n_workers: int | None = None
    """processes of the local engine; as many as fit when absent"""

    def __post_init__(self) -> None:
        """Check the name before any work.

        Raises:
            CallError: it is no name for a folder, or a file has it.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise CallError(f"{self.folder} is a file, not the folder of an experiment.", "Choose another `--name`.")

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.workspace.folder("experiments", self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededConfig:
    """Options of an experiment whose cells differ in their seed."""

    n_seeds: int = 3
    """seeds 0 … n_seeds - 1, of subset, initial weights and order"""
    settings: tuple[str, ...] = ()
    """field=value for the TrainConfig of every cell"""

    def __post_init__(self) -> None:
        if self.n_seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.n_seeds}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSetConfig(SeededConfig):
    """Options of an experiment that trains on one pair set and tests on another."""

    pairs: str
    """pair set trained on"""
    test_pairs: str | None = None
    """pair set tested on; when absent the hard test, or the test split of `pairs` without one"""
    subreddits: tuple[str, ...] = ()
    """communities trained and tested on; all when empty"""


def make_config(config: type[C], **values: Any) -> C:
    """A config of values of the right types, its complaints turned into a CallError; one value is a tuple of one."""
    checked = typed_values(config, values)
    try:
        return config(**checked)
    except ValueError as error:
        raise CallError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error


def require_distinct(config: Any, *fields: str) -> None:
    """Check that no value of these fields comes twice.

    Raises:
        ValueError: one does.
    """
    for name in fields:
        values = getattr(config, name)
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must differ, got {', '.join(map(str, values))}")


def require_pairs(wanted: int, available: int, source: str) -> None:
    """Check that a source has the training pairs a cell needs.

    Raises:
        CallError: it has fewer.
    """
    if wanted > available:
        raise CallError(
            f"{source} has {available:,} training pairs, {wanted:,} are needed.",
            f"Ask for at most {available:,}, or build a larger pair set.",
        )


def pair_set_names(pairs: Sequence[PairSet | str] | PairSet | str, what: str) -> tuple[str, ...]:
    """The names of pair sets; one is a tuple of one.

    Args:
        what: name of the argument, for the error.
    """
    return tuple(pair_set_name(one) for one in as_list(pairs, what))


def experiment_on(pairs: PairSet, name: str, engine: Engine, n_workers: int | None) -> Experiment:
    """The experiment of this name in the workspace of a pair set.

    Raises:
        CallError: the engine or the number of workers is not possible.
    """
    require_engine(engine)
    if n_workers is not None and (not isinstance(n_workers, int) or n_workers < 1):
        raise CallError(f"n_workers takes a whole number from 1, got {shown(n_workers)}.", "Leave it out to use all.")
    return Experiment(pairs.workspace, name, engine, n_workers)


def choose_test(workspace: Workspace, pairs: str, wanted: str | None) -> str:
    """The pair set to test on: the one wanted, else the hard test, else `pairs` itself."""
    if wanted:
        return wanted
    if not has_hard_test(workspace):
        say(f"There is no pair set {HARD_TEST}: testing on the test split of {pairs}.")
        return pairs
    return HARD_TEST
