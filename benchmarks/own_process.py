"""What a contender of a benchmark takes, run in a process of its own: its peak of memory is never another's."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Taken:
    """One contender's run."""

    found: Any
    """What it returned."""
    time_s: float
    peak_gb: float
    """Of the whole process, input and interpreter included."""


def run_alone(function: Callable[..., Any], *arguments: Any) -> Taken:
    """Call the function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, *arguments))


def _measured(function: Callable[..., Any], *arguments: Any) -> Taken:
    started = time.perf_counter()
    found = function(*arguments)
    time_s = time.perf_counter() - started
    return Taken(found, time_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
