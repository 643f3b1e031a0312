"""Run independent tasks, on this machine or on a cluster.

A task is a picklable call `function(**task)`. `run_tasks` yields results as they finish, so that a caller can save each
one and a stopped experiment resumes. `map_in_order` is for streams of many small tasks.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

from lurker.engine.local import run_local
from lurker.engine.outcome import Outcome, call
from lurker.engine.ray import cluster_machines, ray_submitter, require_ray, run_on_ray, running
from lurker.engine.resources import Resources, n_cores, require_fit, this_machine, visible_gpus
from lurker.errors import CallError

Engine = Literal["local", "ray"]
Item = TypeVar("Item")
Submit = Callable[[dict[str, Any]], Callable[[], Any]]
"""task -> a call that waits for its result"""


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[dict[str, Any]],
    *,
    engine: Engine,
    n_workers: int | None = None,
    resources: Resources | Sequence[Resources] | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Call `function(**task)` for each task and yield (index, outcome) as each finishes.

    A task that raises has an outcome with that error, and the others continue. A task whose process or node died is
    started again a few times before its outcome is an error. Ctrl-C, or leaving the loop, stops what still runs.

    Args:
        engine: "local": spawned processes of this machine, as many at once as fit, each bound to its own GPUs; "ray":
            the cluster that RAY_ADDRESS names, or a new one here.
        n_workers: most tasks at once, local engine only; None: as many as fit. With 1 and no GPU to bind, tasks run in
            this process.
        resources: what each task needs, or all alike; None: one core.

    Raises:
        CallError: a task needs more than the machine or any node of the cluster has, before any task starts; or Ray is
            not installed.
    """
    needs = [resources or Resources()] * len(tasks) if not isinstance(resources, Sequence) else list(resources)
    if len(needs) != len(tasks):
        raise ValueError(f"{len(needs)} resources for {len(tasks)} tasks")
    if not tasks:
        return
    require_engine(engine)
    if engine == "ray":
        yield from run_on_ray(function, tasks, needs)
        return
    machine = this_machine(with_gpus=any(need.gpus for need in needs))
    require_fit(needs, [machine], "this machine")
    if min(n_workers or machine.cpus, len(tasks)) == 1 and not any(need.gpus for need in needs):
        yield from ((index, call(function, task)) for index, task in enumerate(tasks))
        return
    yield from run_local(function, tasks, needs, machine=machine, n_workers=n_workers)


def map_in_order(
    function: Callable[..., Any],
    tasks: Iterable[dict[str, Any]],
    *,
    engine: Engine = "local",
    shared: dict[str, Any] | None = None,
) -> Iterator[Any]:
    """Yield `function(**task, **shared)` of each task, in the order of the tasks; each takes one core.

    A few tasks are in flight at a time, so that neither tasks nor results pile up in memory. The first error of a task
    is raised and ends the stream.

    Args:
        engine: "local": threads of this process, one per core; "ray": as for `run_tasks`.
        shared: arguments that all tasks have in common; a cluster receives them once.

    Raises:
        CallError: Ray is needed and not installed.
    """
    require_engine(engine)
    submitter = _thread_submitter if engine == "local" else ray_submitter
    with submitter(function, shared or {}) as (submit, n_workers):
        in_flight: deque[Callable[[], Any]] = deque()
        for task in tasks:
            in_flight.append(submit(task))
            if len(in_flight) > n_workers:
                yield in_flight.popleft()()
        while in_flight:
            yield in_flight.popleft()()


def write_behind(write: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `write(item)` for each item, in order, in a thread of its own, while the next item is being made.

    At most two items wait. The first error of a write is raised and ends the stream.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[None]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(write, item))
                if len(waiting) > 1:
                    waiting.popleft().result()
            while waiting:
                waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def require_engine(engine: str) -> None:
    """Raises CallError for an engine that does not exist or is not installed."""
    if engine not in get_args(Engine):
        raise CallError(f"Unknown engine {engine!r}.", f"Use one of: {', '.join(get_args(Engine))}.")
    if engine == "ray":
        require_ray()


def gpus_available(engine: Engine) -> int:
    """Most GPUs that one task can reserve: those of this machine, or of the cluster's largest node."""
    if engine == "local":
        return len(visible_gpus())
    with running(engine):
        return max((len(machine.gpus) for machine in cluster_machines()), default=0)


@contextmanager
def _thread_submitter(function: Callable[..., Any], shared: dict[str, Any]) -> Iterator[tuple[Submit, int]]:
    """What starts a task in a thread, and the number of threads."""
    pool = ThreadPoolExecutor(n_cores())
    try:
        yield lambda task: pool.submit(function, **task, **shared).result, n_cores()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
