import os

import pytest

from lurker.engine import Engine, run_tasks
from lurker.errors import CallError


def square(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def refuse(x: int) -> None:
    raise CallError(f"no {x}", "try another")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_carry_their_index(n_workers: int) -> None:
    found = dict(run_tasks(square, [{"x": 2}, {"x": 3}, {"x": 4}], n_workers=n_workers))
    assert {index: value for index, (value, _) in found.items()} == {0: 4, 1: 9, 2: 16}
    is_here = {process == os.getpid() for _, process in found.values()}
    assert is_here == {n_workers == 1}


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_an_error_of_a_task_arrives_whole(engine: Engine) -> None:
    with pytest.raises(CallError) as caught:
        list(run_tasks(refuse, [{"x": 1}, {"x": 2}], engine=engine, n_workers=2))
    assert (caught.value.message[:2], caught.value.next_step) == ("no", "try another")


def test_ray_gives_the_same_results() -> None:
    found = dict(run_tasks(square, [{"x": 2}, {"x": 3}], engine="ray"))
    assert {index: value for index, (value, _) in found.items()} == {0: 4, 1: 9}
