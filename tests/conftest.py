"""How tests share the machine: one worker more than there are cores, and one thread each for numerical libraries."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are slower than one; children inherit


@pytest.hookimpl(optionalhook=True)  # without xdist, pytest would refuse a hook that it does not know
def pytest_xdist_auto_num_workers() -> int:
    """Workers for `pytest -n auto`: tests that wait for a browser or a server leave a core idle."""
    return (os.cpu_count() or 1) + 1
