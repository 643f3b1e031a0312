"""Pairing, ours against pandas' merge of all pairs of a post; run `python benchmarks/bench_pairs.py --help`.

Both sides find the pairs within |Δt| <= 1 h and a length ratio <= 1.25 among the same synthetic responses, one thread
of which is huge, each in a process of its own. Ours looks at the next 8 neighbours in time; merge looks at all pairs.
"""

import argparse
import math
import multiprocessing
import resource
import time
from typing import Any

import numpy as np
import polars as pl


def synthetic_responses(n_comments: int, n_huge_thread: int) -> pl.DataFrame:
    """Eligible responses without texts: one thread of n_huge_thread, the others of about 12."""
    rng = np.random.default_rng(0)
    n_posts = max(1, (n_comments - n_huge_thread) // 12)
    post = np.concatenate([np.zeros(n_huge_thread, np.int64), 1 + rng.integers(0, n_posts, n_comments - n_huge_thread)])
    frame = pl.DataFrame({"post": post, "n": np.arange(n_comments)}).select(
        comment_id=pl.format("c{}", "n"),
        post_id=pl.format("p{}", "post"),
        subreddit=pl.lit("synthetic"),
        split=pl.lit("train"),
        delay_s=pl.Series(np.exp(rng.uniform(3, 12, n_comments)).astype(np.int64)),
        score=pl.Series(rng.negative_binomial(1, 0.1, n_comments)),
        n_chars=pl.Series(np.exp(rng.normal(5, 1, n_comments)).astype(np.int64) + 1),
        text_hash=pl.col("n").cast(pl.UInt64),
    )
    return frame.with_columns(log_delay=pl.col("delay_s").log1p(), log_chars=pl.col("n_chars").log())


def ours(responses: pl.DataFrame) -> int:
    """Pairs found by `features.matching`."""
    from features.matching import match_pairs
    from features.recipes import Recipe

    recipe = Recipe(
        name="bench",
        neighbour_order="delay",
        n_neighbours=8,
        max_delay_difference_s=3_600,
        max_log_length_difference=math.log(1.25),
    )
    return match_pairs(responses, recipe)[0].height


def pandas_merge(responses: pl.DataFrame) -> int:
    """Pairs found by merging a post's responses with themselves, the usual notebook way."""
    columns = ["comment_id", "post_id", "delay_s", "score", "log_chars"]
    frame = responses.select(columns).to_pandas()
    met = frame.merge(frame, on="post_id", suffixes=("_a", "_b"))
    met = met[met["score_a"] > met["score_b"]]
    met = met[(met["delay_s_a"] - met["delay_s_b"]).abs() <= 3_600]
    return len(met[(met["log_chars_a"] - met["log_chars_b"]).abs() <= math.log(1.25)])


CONTENDERS = {"ours": ours, "pandas merge": pandas_merge}


def measure(name: str, n_comments: int, n_huge_thread: int) -> dict[str, Any]:
    """Seconds, peak memory over the input's (GB) and pairs found, of one contender in this process."""
    responses = synthetic_responses(n_comments, n_huge_thread)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    n_pairs = CONTENDERS[name](responses)
    time_s = time.perf_counter() - started
    peak_gb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1e6
    return {"name": name, "n_comments": n_comments, "time_s": time_s, "peak_gb": peak_gb, "n_pairs": n_pairs}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comments", type=int, nargs="+", default=[200_000], help="sizes; several show the growth")
    parser.add_argument("--huge-thread", type=int, default=10_000, help="responses of the one huge thread")
    parser.add_argument("--ours-only", action="store_true", help="leave pandas out (it needs about 10 GB)")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for n_comments in options.comments:
        results = []
        for name in ["ours"] if options.ours_only else list(CONTENDERS):
            with context.Pool(1) as pool:
                results.append(pool.apply(measure, (name, n_comments, options.huge_thread)))
            line = "{name:>13}: {n_comments:>11,} comments  {time_s:>7.2f} s  {peak_gb:>6.2f} GB  {n_pairs:>11,} pairs"
            print(line.format(**results[-1]), flush=True)  # noqa: T201 - a benchmark's output
        if len(results) == 2:
            first, second = results
            print(f"{second['time_s'] / first['time_s']:.0f} times as fast as {second['name']}")  # noqa: T201


if __name__ == "__main__":
    main()
