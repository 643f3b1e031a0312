"""Tasks in processes of this machine: as many at once as fit, each bound to its own GPUs.

Every worker is a process of its own, so one that is killed takes no other with it.
"""

import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from lurker.engine.outcome import MAX_RETRIES, Outcome, call, portable
from lurker.engine.resources import Machine, Resources, environment
from lurker.errors import LurkerError
from lurker.garbage import collect_rarely

STOP_AFTER_S = 5.0
"""How long a terminated worker may take to end before it is killed."""


class Worker:
    """A process that runs one task at a time; its GPUs and threads are set before it imports anything."""

    def __init__(self, gpus: Sequence[str], n_threads: int) -> None:
        # Spawned, not forked: a forked child of a process that has used torch or polars threads can hang.
        context = multiprocessing.get_context("spawn")
        self.binding = (tuple(gpus), n_threads)
        self.connection, worker_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(worker_end,))
        with environment(gpus, n_threads), _interrupts_blocked(), _main_script_hidden():
            self.process.start()
        worker_end.close()

    def send(self, function: Callable[..., Any], task: dict[str, Any]) -> None:
        """Start a task; whether the worker is alive shows when the answer is received."""
        pickled = pickle.dumps((function, task))
        with suppress(OSError):  # it died, which `receive` reports
            self.connection.send_bytes(pickled)

    def receive(self) -> Outcome | None:
        """The outcome of the task, once `ready` returned the worker; None if the process died."""
        try:
            return pickle.loads(self.connection.recv_bytes()) if self.connection.poll() else None
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """Wait for the process to end, by force if it does not end soon; how it ended, in words."""
        self.process.join(STOP_AFTER_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        code = self.process.exitcode or 0
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def run_local(
    function: Callable[..., Any],
    tasks: Sequence[dict[str, Any]],
    needs: Sequence[Resources],
    *,
    machine: Machine,
    n_workers: int | None,
) -> Iterator[tuple[int, Outcome]]:
    """Yield (index, outcome) of each task as it finishes.

    The first waiting task that fits starts next. A task whose process died is started again, up to MAX_RETRIES times.

    Args:
        needs: what each task reserves.
        machine: what there is to reserve.
        n_workers: most tasks at once; None: as many as fit.
    """
    most = _most_at_once(needs, machine, n_workers or len(tasks))
    free = Machine(machine.cpus, list(machine.gpus), machine.memory_bytes)
    waiting, n_deaths = list(range(len(tasks))), [0] * len(tasks)
    busy: dict[Worker, int] = {}
    idle: list[Worker] = []
    try:
        while waiting or busy:
            for index in _startable(waiting, needs, free, most - len(busy)):
                gpus = free.reserve(needs[index])
                worker = _take_worker(idle, gpus, max(needs[index].cpus, machine.cpus // most, 1))
                busy[worker] = index
                worker.send(function, tasks[index])
            for worker in _ready(busy):
                index = busy.pop(worker)
                free.release(needs[index], worker.binding[0])
                if (outcome := worker.receive()) is not None:
                    idle.append(worker)
                    yield index, outcome
                    continue
                how = worker.end()
                n_deaths[index] += 1
                if n_deaths[index] <= MAX_RETRIES:
                    waiting.insert(0, index)
                else:
                    yield index, Outcome(error=_death_error(index, n_deaths[index], how))
    finally:
        _stop([*busy, *idle])


def _most_at_once(needs: Sequence[Resources], machine: Machine, limit: int) -> int:
    """How many tasks can run at once if the smallest start first."""
    left = Machine(machine.cpus, list(machine.gpus), machine.memory_bytes)
    n = 0
    for need in sorted(needs, key=lambda need: (need.gpus, need.cpus, need.memory_bytes or 0)):
        if n == limit or not left.fits(need):
            break
        left.reserve(need)
        n += 1
    return max(1, n)


def _startable(waiting: list[int], needs: Sequence[Resources], free: Machine, n_slots: int) -> Iterator[int]:
    """Take tasks off `waiting` that fit into what is free at that moment, in order."""
    for index in list(waiting):
        if n_slots <= 0:
            return
        if free.fits(needs[index]):
            waiting.remove(index)
            n_slots -= 1
            yield index


def _take_worker(idle: list[Worker], gpus: Sequence[str], n_threads: int) -> Worker:
    """An idle worker with this binding, or a new one; then idle ones are stopped, as they occupy GPU memory."""
    for worker in idle:
        if worker.binding == (tuple(gpus), n_threads) and worker.process.is_alive():
            idle.remove(worker)
            return worker
    _stop(idle)
    idle.clear()
    return Worker(gpus, n_threads)


def _ready(busy: dict[Worker, int]) -> list[Worker]:
    """Wait until workers have answered or died; those workers."""
    fired = set(wait([sign for worker in busy for sign in (worker.connection, worker.process.sentinel)]))
    return [worker for worker in busy if worker.connection in fired or worker.process.sentinel in fired]


def _stop(workers: Sequence[Worker]) -> None:
    """End the processes, by force if they do not end soon."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.end()


def _death_error(index: int, n_deaths: int, how: str) -> LurkerError:
    hint = " Most often the machine ran out of memory." if "SIGKILL" in how else ""
    return LurkerError(
        f"The process of task {index} {how}, {n_deaths} times in a row.{hint}",
        "Run fewer at once (`--workers 1`), then run the same command to resume.",
    )


@contextmanager
def _main_script_hidden() -> Iterator[None]:
    """Keep a process that starts here from running the user's script again, as spawned processes do.

    Tasks are functions of importable modules, so a worker needs nothing of the script.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        vars(main).update(hidden)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay Ctrl-C. Processes started here inherit that until `_serve` ignores it, so none dies half-started."""
    resource_tracker.ensure_running()  # starting it inside would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """Run tasks until the other end closes."""
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the parent stops its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that tasks clean up
    while True:
        try:
            pickled = connection.recv_bytes()
        except (EOFError, OSError):
            return
        connection.send_bytes(portable(call(_call_pickled, {"pickled": pickled})))


def _call_pickled(pickled: bytes) -> Any:
    function, task = pickle.loads(pickled)
    return function(**task)
