"""Numerical libraries on one thread each, so sums have one order on every machine."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def single_threaded() -> Iterator[None]:
    """Numerical libraries use one thread until this ends, in all threads of the process.

    Enter it before starting threads that compute. BLAS has one limit for the process, which only the thread that set
    it first may change: if each thread set and lifted its own, the first to leave would lift that of the others, and
    the last digits of their sums would depend on who was faster. Only libraries that are loaded can be limited, so
    scikit-learn is imported first.
    """
    import sklearn.ensemble  # noqa: F401

    with threadpool_limits(1):
        yield


@contextmanager
def single_thread_pool(n_workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool for model fits that each use one thread; OpenMP has a limit per thread, which each worker sets for itself.

    Args:
        n_workers: threads of the pool; one per core when None.
    """
    n_workers = n_workers or os.cpu_count()
    with single_threaded(), ThreadPoolExecutor(n_workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        yield pool
