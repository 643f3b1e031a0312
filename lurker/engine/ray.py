"""Tasks on a Ray cluster: the one that RAY_ADDRESS names, or a new one on this machine."""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import zstandard

from lurker.engine.outcome import MAX_RETRIES, Outcome
from lurker.engine.resources import Machine, Resources, require_fit
from lurker.errors import CallError, LurkerError


@contextmanager
def running(engine: str) -> Iterator[None]:
    """Keep one cluster connected for everything that runs within; the local engine needs none.

    Raises:
        CallError: Ray is needed and not installed.
    """
    if engine != "ray":
        yield
        return
    ray = require_ray()
    if ray.is_initialized():
        yield
        return
    ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


def require_ray() -> Any:
    """The module.

    Raises:
        CallError: it is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise CallError(
            "--engine ray needs Ray.", "Install it: `pip install -c constraints.txt -e '.[ray]'`."
        ) from error
    return ray


def cluster_machines() -> list[Machine]:
    """The live nodes of the connected cluster, each with all it has."""
    import ray

    totals = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [
        Machine(
            int(total.get("CPU", 0)),
            [str(number) for number in range(int(total.get("GPU", 0)))],
            int(total["memory"]) if "memory" in total else None,
        )
        for total in totals
    ]


def run_on_ray(
    function: Callable[..., Any], tasks: Sequence[dict[str, Any]], needs: Sequence[Resources]
) -> Iterator[tuple[int, Outcome]]:
    """Yield (index, outcome) of each task as it finishes; Ray runs a task again if its process or node died."""
    with running("ray"):
        import ray

        require_fit(needs, cluster_machines(), "no node of the cluster has that: each")
        pending = {}
        try:
            for index, (task, need) in enumerate(zip(tasks, needs, strict=True)):
                remote = ray.remote(max_retries=MAX_RETRIES, **_ray_options(need))(function)
                pending[remote.remote(**task)] = index
            while pending:
                done, _ = ray.wait(list(pending), num_returns=1)
                yield pending.pop(done[0]), _outcome(done[0])
        finally:
            for reference in pending:  # stopped early
                ray.cancel(reference, force=True)


@contextmanager
def ray_submitter(
    function: Callable[..., Any], shared: dict[str, Any]
) -> Iterator[tuple[Callable[[dict[str, Any]], Callable[[], Any]], int]]:
    """What starts a task and returns a call that waits for its result; and the number of cores of the cluster.

    Args:
        shared: arguments that all tasks have in common; sent to the cluster once.
    """
    with running("ray"):
        import ray

        remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_call_compressed)
        sent = {name: ray.put(value) for name, value in shared.items()}

        def submit(task: dict[str, Any]) -> Callable[[], Any]:
            reference = remote.remote(function, _compressed(task), **sent)
            return lambda: _decompressed(_outcome(reference).result())

        yield submit, max(1, int(ray.cluster_resources().get("CPU", 1)))


def _ray_options(need: Resources) -> dict[str, Any]:
    memory = {} if need.memory_bytes is None else {"memory": need.memory_bytes}
    return {"num_cpus": need.cpus, "num_gpus": need.gpus, **memory}


def _outcome(reference: Any) -> Outcome:
    """The outcome of a finished task, its error as the task raised it."""
    import ray

    try:
        return Outcome(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        return Outcome(error=error.cause or error)
    except ray.exceptions.RayError as error:  # its process or node died, once too often
        reason = str(error).strip().splitlines()[0]
        return Outcome(
            error=LurkerError(
                f"A task was lost {MAX_RETRIES + 1} times on the cluster: {type(error).__name__}: {reason}",
                "See `ray status`, then run the same command to resume.",
            )
        )


def _call_compressed(function: Callable[..., Any], task: bytes, /, **shared: Any) -> bytes:
    """Run one task of a stream on the cluster."""
    return _compressed(function(**_decompressed(task), **shared))


def _compressed(value: Any) -> bytes:
    """Pickled and compressed: what lies in a cluster's shared memory counts for every process that has touched it."""
    return zstandard.compress(pickle.dumps(value), 1)


def _decompressed(compressed: bytes) -> Any:
    return pickle.loads(zstandard.decompress(compressed))
