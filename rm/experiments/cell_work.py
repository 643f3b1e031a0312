"""What each cell of an experiment has to do, in amounts that its measured seconds are proportional to.

Amounts follow from the configs alone, before anything runs. Work that cells share counts for the first one that does
it: a text that a frozen model has read is not read again, and baselines are fitted once for the same pairs.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import ceil, prod
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lurker.errors import CallError
from rm.evaluation.baselines import Which
from rm.models.ladder import LADDER, TFIDF
from rm.models.pretrained import PACKAGED, locate
from rm.training.run_folder import RunConfig

TRAINING, VALIDATING, POINTS, TESTING, BASELINES = (
    "Training",
    "Validating",
    "Testing on the way",
    "Evaluating",
    "Baselines",
)
"""Parts of a cell, as its progress names them."""
READING = ("Embedding", "Frozen layers", "Probing")
"""Parts in which a frozen model reads texts of training and validation that it has not read yet; counted together."""
FROZEN = "frozen pass"
EMBEDDINGS = "Embeddings"
"""Texts that the baseline on frozen embeddings reads itself: those of the tests, and whatever no frozen pass read."""
REST = "the rest"
"""What no bar covers: loading the model, cutting texts into tokens, saving."""
LOADING = "Loading libraries"
"""What only the first cell of a worker does; no part of a plan."""
AFFINE = (BASELINES, REST)
"""Parts that take a fixed time as well as time in proportion to the pairs."""
PRETRAINED_PARAMETERS = 1e8
"""Guessed size of a model whose files are not here yet."""
EMBEDDING = re.compile(r"(^|\.)(embed_\w+|\w*embeddings|wte|wpe|shared|lm_head)\.weight$")
"""Names of weights that size does not count: a classifier has no output layer over tokens."""
STEP_OVERHEAD = 20_000
"""Parameters whose arithmetic costs as much as the fixed work per response; compares kinds that have not run yet."""


class Planned(Protocol):
    """What is known of a cell before it runs; `rm.experiments.cells.Cell` in practice."""

    @property
    def run_id(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def n_train_pairs(self) -> int: ...
    @property
    def n_available(self) -> int: ...
    @property
    def baselines(self) -> Which: ...
    @property
    def cost(self) -> float: ...


C = TypeVar("C", bound=Planned)


@dataclass(frozen=True, slots=True)
class CellWork:
    """The amounts of one cell."""

    kind: str
    """cells of one kind do the same in the same time: the model, and which weights train"""
    size: float
    """nominal cost of one pair; compares kinds of which none has run yet"""
    amounts: dict[str, float]
    """part -> amount, in pairs or evaluations; 0 where an earlier cell does it"""
    points: tuple[int, ...] = ()
    """training pairs after which the model is tested on the way"""
    begun: float = 0.0
    """share of the planned steps that an earlier start has trained"""

    def between(self, begun: float, ended: float) -> dict[str, float]:
        """The amounts of what is done from one share of the planned steps to another, and of all parts besides."""
        trained, pairs = max(ended - begun, 0.0), self.amounts.get(TRAINING, 0.0)
        n_points = sum(begun * pairs < point <= ended * pairs for point in self.points)
        shares = {part: trained * self.amounts[part] for part in (TRAINING, VALIDATING) if part in self.amounts}
        return self.amounts | shares | ({POINTS: float(n_points)} if self.points else {})

    def without_training(self) -> "CellWork":
        """What is left of a cell whose run has its result, but not all of its baselines."""
        left = {part: amount for part, amount in self.amounts.items() if part in (EMBEDDINGS, BASELINES, REST)}
        return CellWork(self.kind, self.size, left)


def cell_work(cells: Sequence[Planned]) -> list[CellWork]:
    """The amounts of cells that run in this order."""
    fitted: set[tuple[Any, ...]] = set()
    read: dict[tuple[Any, ...], dict[int, float]] = {}
    works = []
    for cell in cells:
        run: RunConfig = cell.config
        pairs_read = float(cell.n_train_pairs)
        amounts = {TRAINING: 0.0, REST: pairs_read}
        baselines = (run.pairs, run.subreddits, run.max_pairs, run.train.seed, cell.baselines != "none")
        amounts[BASELINES] = 0.0 if baselines in fitted or cell.baselines == "none" else pairs_read
        fitted.add(baselines)
        if run.model != TFIDF:
            amounts |= _of_training(run, pairs_read)
        if run.model not in (*LADDER, TFIDF):
            amounts |= _of_frozen_passes(read, cell)
        works.append(CellWork(kind_of(run), nominal_parameters(run.model) + STEP_OVERHEAD, amounts, run.curve_points))
    return works


def kind_of(run: RunConfig) -> str:
    """What a cell's rates depend on."""
    train = run.train
    return f"{run.model} {train.trained} {train.train_layers} {train.max_tokens} {train.max_prompt_tokens}"


def _of_training(run: RunConfig, n_pairs: float) -> dict[str, float]:
    train = run.train
    n_steps = max(ceil(n_pairs / train.pairs_per_step), 1)
    epochs = max(train.epochs, ceil(train.min_steps / n_steps))
    evaluations = epochs * min(train.evaluations_per_epoch, n_steps)
    return {
        TRAINING: n_pairs * epochs,
        VALIDATING: float(evaluations * train.max_validation_pairs),
        POINTS: float(len(run.curve_points)),
        TESTING: 1.0,
    }


def _of_frozen_passes(read: dict[tuple[Any, ...], dict[int, float]], cell: Planned) -> dict[str, float]:
    """Pairs that a pretrained model reads with frozen weights, and tests that it evaluates.

    A trained head and the baseline `embeddings` read a text once for all cells, a head's pass for both; frozen lower
    layers are computed for the texts of each cell.
    """
    train, n_pairs = cell.config.train, float(cell.n_train_pairs)
    new, is_first = _new_pairs(read, cell)
    new += train.max_validation_pairs if is_first else 0.0
    if train.trained == "head":
        return {FROZEN: new, TESTING: float(is_first), EMBEDDINGS: float(is_first and cell.baselines == "all")}
    below = n_pairs + train.max_validation_pairs if train.train_layers is not None else 0.0
    return {FROZEN: below, EMBEDDINGS: new if cell.baselines == "all" else 0.0}


def _new_pairs(read: dict[tuple[Any, ...], dict[int, float]], cell: Planned) -> tuple[float, bool]:
    """Training pairs whose texts no earlier cell has read, as expected; and whether the cell is the model's first.

    Subsets of one seed are nested; those of different seeds are drawn independently.
    """
    run: RunConfig = cell.config
    is_first = not any(key[0] == kind_of(run) for key in read)
    of_seeds = read.setdefault((kind_of(run), run.pairs, run.subreddits), {})
    n_all = max(float(cell.n_available or cell.n_train_pairs), 1.0)
    unread = 1.0
    for seed, most in of_seeds.items():
        unread *= 1.0 if seed == run.train.seed else 1 - min(most / n_all, 1.0)
    before = of_seeds.get(run.train.seed, 0.0)
    of_seeds[run.train.seed] = max(before, float(cell.n_train_pairs))
    return max(cell.n_train_pairs - before, 0.0) * unread, is_first


def in_order(cells: Sequence[C]) -> list[C]:
    """The order to run cells in: the cheapest of each kind first, whose times foretell the others', then by cost.

    The most expensive of the others come first, so that no core waits long at the end.
    """
    by_cost = sorted(cells, key=lambda cell: (cell.cost, cell.run_id))
    scouts: dict[str, C] = {}
    for cell in by_cost:
        scouts.setdefault(kind_of(cell.config), cell)
    first = list(scouts.values()) if len(scouts) < len(by_cost) else []
    named = {cell.run_id for cell in first}
    return [*first, *(cell for cell in reversed(by_cost) if cell.run_id not in named)]


def nominal_parameters(spec: str) -> float:
    """A ladder model's size by its name, a folder's by its files, a guess for a pretrained model, 0 for TF-IDF."""
    if spec == TFIDF:
        return 0.0
    if spec in LADDER:
        number, unit = re.fullmatch(r"scratch-(\d+)([km])", spec).groups()  # type: ignore[union-attr]
        return float(number) * {"k": 1e3, "m": 1e6}[unit]
    with suppress(CallError):  # of a package that is not installed, which loading the model says
        return _parameters_in(locate(spec) if spec in PACKAGED else Path(spec)) or PRETRAINED_PARAMETERS
    return PRETRAINED_PARAMETERS


@cache
def _parameters_in(folder: Path) -> float:
    """Parameters of the model in a folder without its embeddings of tokens; 0 if it holds no weights."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    try:
        for file in folder.glob("model*.safetensors"):
            with safe_open(file, framework="numpy") as tensors:
                shapes |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0.0
    return float(sum(prod(shape) for name, shape in shapes.items() if not EMBEDDING.search(name)))
