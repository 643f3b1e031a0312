"""Model fits in a pool use one thread each, whatever the pool's size."""

from threadpoolctl import threadpool_info

from lurker.threads import single_thread_pool


def test_every_library_of_a_worker_is_limited_to_one_thread() -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    with single_thread_pool(3) as pool:
        limits = list(pool.map(lambda _: [library["num_threads"] for library in threadpool_info()], range(6)))
    assert limits[0] and all(number == 1 for numbers in limits for number in numbers)
    assert [library["num_threads"] for library in threadpool_info()][: len(before)] == before
