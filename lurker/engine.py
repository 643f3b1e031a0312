"""Run independent tasks: in processes of this machine, or on a Ray cluster.

A task is a picklable call `function(**task)`; results come back as they finish, so a caller can save each one and a
stopped experiment goes on where it stopped.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Literal

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


def _run_on_ray(function: Callable[..., Any], tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise CallError(
            "--engine ray needs Ray.", "Install it: `pip install -c constraints.txt -e '.[ray]'`."
        ) from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    try:
        remote = ray.remote(num_cpus=1)(function)
        pending = {remote.remote(**task): index for index, task in enumerate(tasks)}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            try:
                result = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            yield pending.pop(done[0]), result
    finally:
        if started_here:
            ray.shutdown()
