"""Packing and failures of worker processes, with pretended GPUs: a worker only ever sees their names."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lurker.engine import THREAD_VARIABLES, Resources, run_tasks
from lurker.engine.local import run_local
from lurker.engine.outcome import MAX_RETRIES
from lurker.engine.resources import Machine, n_cores
from lurker.errors import LurkerError


def hold_gpus(seconds: float = 0.05) -> dict[str, Any]:
    """The GPUs and threads that this process was started with, and when the task ran."""
    started = time.monotonic()
    time.sleep(seconds)
    gpus = tuple(name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name)
    threads = {os.environ[name] for name in THREAD_VARIABLES}
    return {"gpus": gpus, "threads": threads, "times": (started, time.monotonic()), "process": os.getpid()}


def die(marker: Path, n_times: int) -> int:
    """Kill this process, as the kernel does when memory runs out, the first times; the number of deaths."""
    n_deaths = marker.stat().st_size if marker.exists() else 0
    if n_deaths < n_times:
        with marker.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return n_deaths


class WontUnpickleError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def fail_badly() -> None:
    raise WontUnpickleError("not", "readable")


def return_a_lambda() -> Any:
    return lambda: None


def wait_or_return(seconds: float, started: Path) -> None:
    temporary = started.with_suffix(".tmp")
    temporary.write_text(str(os.getpid()))
    temporary.rename(started)
    time.sleep(seconds)


INTERRUPTED = """
import sys, time
from pathlib import Path
from lurker.engine import run_tasks
from tests.lurker.engine.test_local import wait_or_return

if __name__ == "__main__":
    root = Path(sys.argv[1])
    tasks = [{"seconds": 0.0, "started": root / "0"}, *({"seconds": 600.0, "started": root / x} for x in "12")]
    try:
        for index, _ in run_tasks(wait_or_return, tasks, engine="local", n_workers=2):
            (root / f"finished-{index}").touch()
    except KeyboardInterrupt:
        sys.exit(130)
"""


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_tasks_never_share_a_gpu_and_all_gpus_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LURKER_GPUS", "3, GPU-abc")
    machine = Machine(cpus=8, gpus=["3", "GPU-abc"])
    needs = [Resources(gpus=n) for n in (1, 1, 2, 1, 1, 1, 0, 0)]
    tasks: list[dict[str, Any]] = [{}] * len(needs)
    outcomes = dict(run_local(hold_gpus, tasks, needs, machine=machine, n_workers=None))
    results = [outcomes[index].result() for index in range(len(needs))]
    assert [len(result["gpus"]) for result in results] == [need.gpus for need in needs]
    assert {gpu for result in results for gpu in result["gpus"]} == {"3", "GPU-abc"}
    for number, one in enumerate(results):
        for other in results[:number]:
            assert not (set(one["gpus"]) & set(other["gpus"]) and overlap(one["times"], other["times"]))
    assert os.environ.get("CUDA_VISIBLE_DEVICES", "unset") != "3"


def test_a_worker_is_used_again_and_the_cores_are_shared() -> None:
    machine = Machine(cpus=6, gpus=["0", "1"])
    outcomes = run_local(hold_gpus, [{}] * 6, [Resources(gpus=1)] * 6, machine=machine, n_workers=None)
    results = [outcome.result() for _, outcome in outcomes]
    assert len({result["process"] for result in results}) == 2
    assert {threads for result in results for threads in result["threads"]} == {"3"}


@pytest.mark.parametrize(
    ("need", "machine"),
    [
        (Resources(cpus=2), Machine(cpus=3)),
        (Resources(memory_bytes=600), Machine(cpus=8, memory_bytes=1000)),
    ],
)
def test_cores_and_memory_bound_the_number_at_once(need: Resources, machine: Machine) -> None:
    outcomes = run_local(hold_gpus, [{}] * 3, [need] * 3, machine=machine, n_workers=None)
    times = sorted(outcome.result()["times"] for _, outcome in outcomes)
    assert all(one[1] <= other[0] for one, other in pairwise(times))


def test_gpus_of_this_machine_are_those_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LURKER_GPUS", "5")
    (outcome,) = (outcome for _, outcome in run_tasks(hold_gpus, [{}], engine="local", resources=Resources(gpus=1)))
    assert outcome.result()["gpus"] == ("5",)
    monkeypatch.setenv("LURKER_GPUS", "")
    with pytest.raises(LurkerError, match="A task needs 1 CPUs, 1 GPUs, and this machine has"):
        list(run_tasks(hold_gpus, [{}], engine="local", resources=Resources(gpus=1)))


def test_a_killed_worker_is_started_again_and_others_are_not_disturbed(tmp_path: Path) -> None:
    machine = Machine(cpus=2)
    tasks = [
        {"marker": tmp_path / "once", "n_times": 1},
        {"marker": tmp_path / "never", "n_times": 0},
        {"marker": tmp_path / "always", "n_times": 99},
    ]
    outcomes = dict(run_local(die, tasks, [Resources()] * 3, machine=machine, n_workers=2))
    assert (outcomes[0].result(), outcomes[1].result()) == (1, 0)
    with pytest.raises(LurkerError, match=f"task 2 was killed by SIGKILL, {MAX_RETRIES + 1} times in a row"):
        outcomes[2].result()


def test_what_cannot_be_pickled_is_an_error_with_its_traceback() -> None:
    machine = Machine(cpus=1)
    ((_, outcome),) = run_local(fail_badly, [{}], [Resources()], machine=machine, n_workers=1)
    assert "WontUnpickleError: not readable" in str(outcome.error) and "fail_badly" in str(outcome.error)
    ((_, outcome),) = run_local(return_a_lambda, [{}], [Resources()], machine=machine, n_workers=1)
    assert "a function" in str(outcome.error)


def test_leaving_the_loop_stops_what_still_runs(tmp_path: Path) -> None:
    machine = Machine(cpus=2)
    tasks = [{"seconds": 0.0, "started": tmp_path / "short"}, {"seconds": 600.0, "started": tmp_path / "long"}]
    outcomes = run_local(wait_or_return, tasks, [Resources()] * 2, machine=machine, n_workers=2)
    assert next(outcomes)[0] == 0
    while not (tmp_path / "long").exists():
        time.sleep(0.01)
    outcomes.close()  # type: ignore[attr-defined]  # joins the worker, which sleeps for ten minutes


@pytest.mark.skipif(n_cores() < 2, reason="needs two tasks at once")
def test_an_interrupt_stops_all_workers_and_keeps_finished_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    while not ((tmp_path / "1").exists() and (tmp_path / "2").exists()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert [path.name for path in tmp_path.glob("finished-*")] == ["finished-0"]
    for name in "012":
        with pytest.raises(ProcessLookupError):  # its worker has ended
            os.kill(int((tmp_path / name).read_text()), 0)


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    """Spawned processes import the parent's script; workers must not, for it would start workers of its own."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('top')\n"
        "from lurker.engine import run_tasks\n"
        "from lurker.digest import frame_sha256\n"
        "import polars as pl\n"
        "tasks = [{'frame': pl.DataFrame({'a': [n]})} for n in range(3)]\n"
        "print(len({one.result() for _, one in run_tasks(frame_sha256, tasks, engine='local', n_workers=2)}))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["top", "3"]
