"""A stopwatch on model fits, in a command and in the processes that it starts: Python runs this file first.

`FIT_SECONDS=FILE PYTHONPATH=benchmarks/stopwatches lurker ARGUMENTS` appends the seconds of each fit to the file, a
line each. Functions of SCIENCE are wrapped when their module is imported, so that nothing is imported earlier.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

SCIENCE = {
    "features.confounders.propensity": ("_fit_products", "_fit_terms", "_fit_trees"),
    "features.audits.probes": ("predict_forward", "_text_probabilities"),
    "rm.training.loop": ("train",),
    "rm.evaluation.baselines": ("fit_baseline", "_text_margins"),
}
"""Functions that fit models, by module; none calls another of its module, and each computes in its own thread."""


def timed(function: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
    """The function; what it takes is appended to the file at once, since workers are not always let end."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        started = clock()
        try:
            return function(*arguments, **named)
        finally:
            with Path(os.environ["FIT_SECONDS"]).open("a", encoding="utf-8") as file:
                file.write(f"{clock() - started}\n")

    return call


class Stopwatches(importlib.abc.MetaPathFinder):
    """Wraps the functions of SCIENCE as their modules are imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual spec of a module in SCIENCE, with a loader that wraps; None for all others."""
        if name not in SCIENCE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            clock = time.process_time if name == "rm.training.loop" else time.thread_time  # torch has its own threads
            for function in SCIENCE[name]:
                setattr(module, function, timed(getattr(module, function), clock))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "FIT_SECONDS" in os.environ:
    sys.meta_path.insert(0, Stopwatches())
