"""Run independent tasks: in processes of this machine, or on a Ray cluster.

A task is a picklable call `function(**task)`; results come back as they finish, so a caller can save each one and a
stopped experiment goes on where it stopped. `map_in_order` is for streams of many small tasks.
"""

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Literal

import zstandard

from lurker.errors import CallError

Engine = Literal["local", "ray"]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[dict[str, Any]],
    *,
    engine: Engine = "local",
    n_workers: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Call `function(**task)` for each task; yield (index, result) as each finishes.

    engine: "local" uses spawned processes that share the cores evenly (this process itself when n_workers is 1);
    "ray" uses the cluster that `RAY_ADDRESS` names, or a new one here, one core a task.
    Errors: the first error of a task ends the run; CallError when Ray is asked for and not installed.
    """
    if engine == "ray":
        yield from _run_on_ray(function, tasks)
        return
    n_cores = os.cpu_count() or 1
    n_workers = min(n_workers or n_cores, len(tasks))
    if n_workers <= 1:
        for index, task in enumerate(tasks):
            yield index, function(**task)
        return
    # Spawned, not forked: a forked child of a process that has used torch or polars threads can hang.
    context = multiprocessing.get_context("spawn")
    threads = str(max(1, n_cores // n_workers))
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))
    pool = ProcessPoolExecutor(n_workers, mp_context=context)
    try:
        futures = {pool.submit(function, **task): index for index, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for process in list((pool._processes or {}).values()):
            if pool._pending_work_items:  # stopped early: what still runs would only hold up the exit
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def map_in_order(
    function: Callable[..., Any],
    tasks: Iterable[dict[str, Any]],
    *,
    engine: Engine = "local",
    shared: dict[str, Any] | None = None,
) -> Iterator[Any]:
    """`function(**task, **shared)` of each task, in their order. A few are under way at a time, so that neither tasks
    nor results pile up in memory.

    shared: what all tasks are given alike; a cluster is sent it once. engine: "local" uses threads of this process, one
    a core; "ray" as `run_tasks` does.
    Errors: the first error of a task ends the run; CallError when Ray is asked for and not installed.
    """
    with _submitter(function, engine, shared or {}) as (submit, n_workers):
        waiting: deque[Callable[[], Any]] = deque()
        for task in tasks:
            waiting.append(submit(task))
            if len(waiting) > n_workers:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


@contextmanager
def running(engine: Engine) -> Iterator[None]:
    """Keep one cluster up for all that runs within; of the local engine nothing stays up."""
    if engine != "ray":
        yield
        return
    try:
        import ray
    except ModuleNotFoundError as error:
        raise CallError(
            "--engine ray needs Ray.", "Install it: `pip install -c constraints.txt -e '.[ray]'`."
        ) from error
    if ray.is_initialized():
        yield
        return
    ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


Submit = Callable[[dict[str, Any]], Callable[[], Any]]
"""task -> what waits for its result and gives it."""


@contextmanager
def _submitter(function: Callable[..., Any], engine: Engine, shared: dict[str, Any]) -> Iterator[tuple[Submit, int]]:
    """How a task is started, and how many run at once."""
    if engine == "local":
        n_threads = os.cpu_count() or 1
        pool = ThreadPoolExecutor(n_threads)
        try:
            yield lambda task: pool.submit(function, **task, **shared).result, n_threads
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return
    with running(engine):
        import ray

        remote = ray.remote(num_cpus=1)(_call)
        sent = {name: ray.put(value) for name, value in shared.items()}

        def submit(task: dict[str, Any]) -> Callable[[], Any]:
            promised = remote.remote(function, _packed(task), **sent)
            return lambda: _unpacked(_result(promised))

        yield submit, max(1, int(ray.cluster_resources().get("CPU", 1)))


def _call(function: Callable[..., Any], task: bytes, /, **shared: Any) -> bytes:
    """A task of a stream, on the worker."""
    return _packed(function(**_unpacked(task), **shared))


def _packed(value: Any) -> bytes:
    """Compressed, for what lies in a cluster's shared memory weighs on every process that has touched it."""
    return zstandard.compress(pickle.dumps(value), 1)


def _unpacked(packed: bytes) -> Any:
    return pickle.loads(zstandard.decompress(packed))


def _result(promised: Any) -> Any:
    """What a task on Ray gave; its error as the task raised it."""
    import ray

    try:
        return ray.get(promised)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _run_on_ray(function: Callable[..., Any], tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
    with running("ray"):
        import ray

        remote = ray.remote(num_cpus=1)(function)
        pending = {remote.remote(**task): index for index, task in enumerate(tasks)}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            yield pending[done[0]], _result(done[0])
            del pending[done[0]]
