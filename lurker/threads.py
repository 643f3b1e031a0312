"""A pool of threads in which numerical libraries run single-threaded, so sums have one order on every machine."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def single_thread_pool(n_workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool for model fits that each use one thread.

    Only libraries that are loaded can be limited, so scikit-learn is imported first. BLAS has one limit for the
    process, which is set for as long as the pool exists; OpenMP has one per thread, which each worker sets for itself.

    Args:
        n_workers: threads of the pool; one per core when None.
    """
    import sklearn.ensemble  # noqa: F401

    with (
        threadpool_limits(1),
        ThreadPoolExecutor(n_workers or os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool,
    ):
        yield pool
