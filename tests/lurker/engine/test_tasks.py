"""Behaviour that both engines share, and that of tasks which run in this process."""

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from lurker.engine import Engine, Resources, map_in_order, run_tasks, running, write_behind
from lurker.errors import CallError

ENGINES: tuple[Engine, ...] = ("local", "ray")


@pytest.fixture(scope="module", autouse=True)
def _one_cluster() -> Iterator[None]:
    """Keep one cluster up for all tests here."""
    with running("ray"):
        yield


def square(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def refuse(x: int) -> int:
    if x < 0:
        raise CallError(f"no {x}", "try another")
    return x


def interrupt(x: int) -> NoReturn:
    raise KeyboardInterrupt


def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.parametrize("n_workers", [1, 2])
def test_outcomes_carry_the_index_of_their_task(n_workers: int) -> None:
    outcomes = dict(run_tasks(square, [{"x": 2}, {"x": 3}, {"x": 4}], engine="local", n_workers=n_workers))
    assert {index: outcome.result()[0] for index, outcome in outcomes.items()} == {0: 4, 1: 9, 2: 16}
    is_here = {outcome.value[1] == os.getpid() for outcome in outcomes.values()}
    assert is_here == {n_workers == 1}


@pytest.mark.parametrize(("engine", "n_workers"), [("local", 1), ("local", 2), ("ray", None)])
def test_one_failing_task_does_not_stop_the_others(engine: Engine, n_workers: int | None) -> None:
    outcomes = dict(run_tasks(refuse, [{"x": 1}, {"x": -2}, {"x": 3}], engine=engine, n_workers=n_workers))
    assert (outcomes[0].value, outcomes[2].value) == (1, 3)
    error = outcomes[1].error
    assert isinstance(error, CallError)
    assert (error.message, error.next_step) == ("no -2", "try another")
    with pytest.raises(CallError, match="no -2"):
        outcomes[1].result()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_task_that_never_fits_is_an_error_before_any_task_starts(engine: Engine) -> None:
    tasks = run_tasks(square, [{"x": 2}, {"x": 3}], engine=engine, resources=[Resources(), Resources(cpus=10_000)])
    with pytest.raises(CallError, match="A task needs 10000 CPUs, 0 GPUs, and "):
        next(tasks)


def test_memory_that_the_machine_does_not_have_is_an_error() -> None:
    with pytest.raises(CallError, match=r"1000000\.0 GB"):
        list(run_tasks(square, [{"x": 2}], engine="local", resources=Resources(memory_bytes=10**15)))


def test_resources_are_one_per_task() -> None:
    with pytest.raises(ValueError, match="1 resources for 2 tasks"):
        list(run_tasks(square, [{"x": 2}, {"x": 3}], engine="local", resources=[Resources()]))


def test_no_tasks_have_no_outcomes() -> None:
    assert list(run_tasks(square, [], engine="local")) == []


def test_an_interrupt_is_not_an_outcome() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(interrupt, [{"x": 1}, {"x": 2}], engine="local", n_workers=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_keeps_its_order_and_raises_the_first_error(engine: Engine) -> None:
    tasks = ({"x": x} for x in range(20))
    assert list(map_in_order(add, tasks, engine=engine, shared={"y": 100})) == [*range(100, 120)]
    with pytest.raises(CallError, match="no -1"):
        list(map_in_order(refuse, [{"x": 1}, {"x": -1}], engine=engine))


def test_items_are_written_in_order_and_the_first_error_stops_both_sides() -> None:
    written: list[int] = []
    write_behind(written.append, iter(range(50)))
    assert written == [*range(50)]

    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    def fail_at_three(number: int) -> None:
        if number == 3:
            raise OSError("disk full")
        written.append(number)

    written.clear()
    with pytest.raises(OSError, match="disk full"):
        write_behind(fail_at_three, make())
    assert written[:3] == [0, 1, 2]
    assert len(made) < 50
