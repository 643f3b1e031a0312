"""Time and peak memory of a function, run in its own process so that no other work counts."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """What a call returned and used."""

    value: Any
    """what it returned"""
    time_s: float
    peak_gb: float
    """of the entire process, including input and interpreter"""


def run_alone(function: Callable[..., Any], *arguments: Any) -> Measured:
    """Call the function in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (function, *arguments))


def _measure(function: Callable[..., Any], *arguments: Any) -> Measured:
    started = time.perf_counter()
    value = function(*arguments)
    time_s = time.perf_counter() - started
    return Measured(value, time_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
