"""Experiments as their commands left them: the result of a finished one, and how far an unfinished one is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lurker.errors import CallError, LurkerError, nearest
from lurker.files import read_json, read_object
from lurker.schema import (
    CEILING,
    FEW_SHOT,
    FEW_SHOT_DIFFERENCES,
    RECIPE_DIFFERENCES,
    RECIPES,
    SCALING,
    SEARCH,
    TRANSFER,
    TRANSFER_DIFFERENCES,
    Table,
    check,
)
from lurker.workspace import Workspace
from rm.experiments.ceiling import CeilingResult
from rm.experiments.checklist import CHECKLIST, from_json
from rm.experiments.config import Experiment
from rm.experiments.few_shot import FewShot
from rm.experiments.recipe_comparison import Recipes, rewards_name
from rm.experiments.results import CELLS, MANIFEST, ExperimentResult, Failure
from rm.experiments.scaling import Scaling
from rm.experiments.scaling_fit import fit_from_json
from rm.experiments.search import Search, SearchConfig
from rm.experiments.transfer import Transfer
from rm.training.run_folder import RESULT

AGAIN = "Run the experiment's command again: finished cells are kept."


@dataclass(frozen=True, slots=True)
class Stored:
    """An experiment in a workspace."""

    experiment: Experiment
    manifest: dict[str, Any]
    """empty without a table"""
    result: ExperimentResult | None
    """None if the command was stopped before it made a table"""
    cells: tuple[str, ...]
    """run ids of the last call"""
    waiting: tuple[str, ...]
    """those of them that are not finished; failed ones are among them"""

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.experiment.name

    @property
    def kind(self) -> str:
        """What it is: scaling, transfer, few-shot, recipes, search or ceiling; empty without a table."""
        return str(self.manifest.get("kind", ""))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The cells that failed in the last call."""
        return self.result.failures if self.result else read_failures(self.experiment)

    @property
    def partial(self) -> str:
        """A sentence on what is missing; empty if the experiment is complete."""
        if not self.waiting and self.result is not None:
            return ""
        done = f"{len(self.cells) - len(self.waiting)} of {len(self.cells)} cells of its last call are finished"
        failed = f", {len(self.failures)} failed" if self.failures else ""
        table = "" if self.result else ", and it has no table yet"
        return f"Partial: {done}{failed}{table}."

    def require_result(self) -> ExperimentResult:
        """The result.

        Raises:
            LurkerError: the experiment has no table yet.
        """
        if self.result is None:
            raise LurkerError(f"{self.name}: {self.partial}", AGAIN)
        return self.result


def experiment_names(workspace: Workspace) -> list[str]:
    """Names of the experiments that have a table or at least planned cells."""
    return sorted({*workspace.names("experiments", MANIFEST), *workspace.names("experiments", CELLS)})


def open_experiment(workspace: Workspace, name: str) -> Stored:
    """An experiment with its result, if it has one.

    Raises:
        CallError: there is no experiment of this name; the message lists those that exist.
        LurkerError: a file of it is damaged; the message names the file.
    """
    existing = experiment_names(workspace)
    if name not in existing:
        raise CallError(
            f"There is no experiment {name!r} in {workspace.root} (it has: {nearest(name, existing)}).",
            "See `lurker experiment list`; make one: `lurker experiment scaling NAME --models SPEC,SPEC --sizes N,N`.",
        )
    experiment = Experiment(workspace, name)
    manifest_file = experiment.folder / MANIFEST
    manifest: dict[str, Any] = {}
    result = None
    with report_damage(manifest_file):
        if manifest_file.exists():
            manifest = read_object(manifest_file)
            if manifest["kind"] not in _READERS:
                raise LurkerError(f"{manifest_file} is of an unknown kind: {manifest['kind']!r}.")
            result = _READERS[manifest["kind"]](experiment, manifest, read_failures(experiment))
    return Stored(experiment, manifest, result, *read_cells(experiment, manifest))


def read_cells(experiment: Experiment, manifest: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cells of the last call, and those of them that are not finished.

    Args:
        manifest: of the experiment; empty without a table.

    Raises:
        LurkerError: the file of the cells is damaged.
    """
    file = experiment.folder / CELLS
    with report_damage(file):
        planned = read_object(file)["cells"] if file.exists() else manifest.get("cells", [])
        cells = tuple(str(one) for one in planned)
    return cells, tuple(cell for cell in cells if not _is_finished(experiment, cell))


def read_failures(experiment: Experiment) -> tuple[Failure, ...]:
    """The cells that failed in the last call; none if the experiment is of a version that did not record them."""
    file = experiment.folder / CELLS
    with report_damage(file):
        failed = read_object(file)["failures"] if file.exists() else []
        return tuple(Failure(str(one["cell"]), str(one["error"])) for one in failed)


def _is_finished(experiment: Experiment, run_id: str) -> bool:
    run = experiment.workspace.folder("runs", run_id)
    return (run / RESULT).exists() or (experiment.folder / rewards_name(run_id)).exists()


def _scaling(experiment: Experiment, _: dict[str, Any], failures: tuple[Failure, ...]) -> Scaling:
    fit_file = experiment.folder / "fit.json"
    frame = _read(experiment.folder / "scaling.parquet", SCALING)
    with report_damage(fit_file):
        fit = fit_from_json(read_object(fit_file))
    file = experiment.folder / f"{CHECKLIST}.json"
    with report_damage(file):
        return Scaling(experiment, frame, failures, fit, from_json(read_json(file)) if file.exists() else ())


def _transfer(experiment: Experiment, _: dict[str, Any], failures: tuple[Failure, ...]) -> Transfer:
    table = _read(experiment.folder / "transfer.parquet", TRANSFER)
    differences = _read(experiment.folder / "transfer-differences.parquet", TRANSFER_DIFFERENCES)
    return Transfer(experiment, table, failures, differences, _findings(experiment, "sentence", "net", "map"))


def _few_shot(experiment: Experiment, _: dict[str, Any], failures: tuple[Failure, ...]) -> FewShot:
    table = _read(experiment.folder / "few-shot.parquet", FEW_SHOT)
    differences = _read(experiment.folder / "few-shot-differences.parquet", FEW_SHOT_DIFFERENCES)
    return FewShot(experiment, table, failures, differences, _findings(experiment, "sentence", "exchange"))


def _findings(experiment: Experiment, *names: str) -> dict[str, Any]:
    """The content of findings.json, with these entries."""
    file = experiment.folder / "findings.json"
    with report_damage(file):
        found = read_object(file)
        for name in names:
            _ = found[name]
        return found


def _recipes(experiment: Experiment, manifest: dict[str, Any], failures: tuple[Failure, ...]) -> Recipes:
    table = _read(experiment.folder / "recipes.parquet", RECIPES)
    differences = _read(experiment.folder / "differences.parquet", RECIPE_DIFFERENCES)
    return Recipes(experiment, table, failures, differences, manifest)


def _search(experiment: Experiment, manifest: dict[str, Any], failures: tuple[Failure, ...]) -> Search:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in manifest["config"].items()
    }
    table = _read(experiment.folder / "search.parquet", SEARCH)
    return Search(experiment, table, failures, SearchConfig(**fields))


def _ceiling(experiment: Experiment, manifest: dict[str, Any], failures: tuple[Failure, ...]) -> CeilingResult:
    frame = _read(experiment.folder / "ceiling.parquet", CEILING)
    best, accuracy = next(iter(manifest["models"].items()), (None, None))
    return CeilingResult(experiment, frame, failures, manifest["pairs"], manifest["split"], best, accuracy)


_READERS: dict[str, Callable[[Experiment, dict[str, Any], tuple[Failure, ...]], ExperimentResult]] = {
    "scaling": _scaling,
    "transfer": _transfer,
    "few-shot": _few_shot,
    "recipes": _recipes,
    "search": _search,
    "ceiling": _ceiling,
}


def _read(path: Path, table: Table) -> pl.DataFrame:
    try:
        return check(pl.read_parquet(path), table)
    except (OSError, pl.exceptions.PolarsError, LurkerError) as error:
        raise LurkerError(f"Cannot read {path}: {str(error).splitlines()[0].rstrip('.')}.", AGAIN) from error


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Turn what a malformed file leads to into a LurkerError that names the file."""
    try:
        yield
    except LurkerError as error:
        raise LurkerError(error.message, error.next_step or AGAIN) from error
    except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0].rstrip(".")
        raise LurkerError(f"{path} is damaged: {reason}.", AGAIN) from error
