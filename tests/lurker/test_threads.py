import threading

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from lurker.threads import single_thread_pool, single_threaded


def blas_threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def enter_and_leave() -> None:
    with threadpool_limits(1):
        blas_threads()


def test_threads_that_leave_their_own_limit_do_not_lift_that_of_the_others() -> None:
    with threadpool_limits(2, user_api="blas"):
        with single_threaded():
            threads = [threading.Thread(target=enter_and_leave) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
                assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_workers_of_the_pool_are_limited_and_the_limit_is_lifted_after_an_error() -> None:
    with threadpool_limits(2, user_api="blas"):
        try:
            with single_thread_pool(2) as pool:
                assert pool.submit(blas_threads).result() == {1}
                raise RuntimeError
        except RuntimeError:
            pass
        assert blas_threads() == {2}
