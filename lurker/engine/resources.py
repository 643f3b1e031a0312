"""What a task needs, what this machine has, and which tasks fit next to each other."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lurker.errors import CallError

GPUS_VARIABLE = "LURKER_GPUS"
"""GPUs of this machine that tasks may use, as CUDA_VISIBLE_DEVICES names them; empty for none."""
CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task reserves while it runs."""

    cpus: int = 1
    """cores"""
    gpus: int = 0
    """GPUs, used by no other task at the same time; a task without any sees none"""
    memory_bytes: int | None = None
    """memory; None: not counted"""

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0 or (self.memory_bytes or 0) < 0:
            raise ValueError(f"resources are at least 0, got {self}")

    def __str__(self) -> str:
        memory = "" if self.memory_bytes is None else f", {self.memory_bytes / 1e9:.1f} GB"
        return f"{self.cpus} CPUs, {self.gpus} GPUs{memory}"


@dataclass(slots=True)
class Machine:
    """What a machine has; what is reserved on it is taken off."""

    cpus: int
    gpus: list[str] = field(default_factory=list)
    """as CUDA_VISIBLE_DEVICES names them: numbers or UUIDs"""
    memory_bytes: int | None = None
    """None: unknown, so never what keeps a task from starting"""

    def fits(self, need: Resources) -> bool:
        """Whether a task with this need can start."""
        has_memory = self.memory_bytes is None or (need.memory_bytes or 0) <= self.memory_bytes
        return need.cpus <= self.cpus and need.gpus <= len(self.gpus) and has_memory

    def reserve(self, need: Resources) -> list[str]:
        """Take off what the task needs; the GPUs it got."""
        gpus, self.gpus = self.gpus[: need.gpus], self.gpus[need.gpus :]
        self._add(need, -1)
        return gpus

    def release(self, need: Resources, gpus: Sequence[str]) -> None:
        """Give back what the task had."""
        self.gpus = [*gpus, *self.gpus]
        self._add(need, 1)

    def _add(self, need: Resources, sign: int) -> None:
        self.cpus += sign * need.cpus
        if self.memory_bytes is not None:
            self.memory_bytes += sign * (need.memory_bytes or 0)

    def __str__(self) -> str:
        return str(Resources(self.cpus, len(self.gpus), self.memory_bytes))


def this_machine(*, with_gpus: bool) -> Machine:
    """The cores, GPUs and memory that this process may use.

    Args:
        with_gpus: also look for GPUs, which imports torch unless LURKER_GPUS names them.
    """
    return Machine(n_cores(), visible_gpus() if with_gpus else [], _memory_bytes())


def n_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that tasks may use: those of LURKER_GPUS, else those that torch can use."""
    if (wanted := os.environ.get(GPUS_VARIABLE)) is not None:
        return _names(wanted)
    import torch

    n_gpus = torch.cuda.device_count()
    if (visible := os.environ.get(CUDA_VARIABLE)) is not None:
        return _names(visible)[:n_gpus]
    return [str(number) for number in range(n_gpus)]


def require_fit(needs: Sequence[Resources], machines: Sequence[Machine], where: str) -> None:
    """Check that each task fits on some machine when nothing else runs there.

    Raises:
        CallError: a task needs more than any machine has.
    """
    for need in dict.fromkeys(needs):
        if not any(machine.fits(need) for machine in machines):
            has = "; ".join(sorted({str(machine) for machine in machines})) or "nothing"
            raise CallError(
                f"A task needs {need}, and {where} has {has}.",
                f"Ask for less, or set {GPUS_VARIABLE} if it names fewer GPUs than there are.",
            )


@contextmanager
def environment(gpus: Sequence[str], n_threads: int) -> Iterator[None]:
    """Within, processes that start see these GPUs only and use this many threads."""
    values = {CUDA_VARIABLE: ",".join(gpus), **dict.fromkeys(THREAD_VARIABLES, str(n_threads))}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _names(variable: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in variable.split(",") if name.strip()))


def _memory_bytes() -> int | None:
    """Memory of the machine, or the container's limit if that is lower."""
    sizes = []
    with suppress(ValueError, OSError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in CGROUP_LIMITS:
        with suppress(ValueError, OSError):  # "max", or another system
            sizes.append(int(Path(file).read_text(encoding="ascii")))
    return min(sizes, default=None)
