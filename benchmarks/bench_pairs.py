"""Selecting pairs: ours against a pandas merge of all pairs of a post; `python benchmarks/bench_pairs.py --help`.

Both read the same Parquet file of measured responses, without texts, and find the pairs within |Δt| <= 1 h and a length
ratio <= 1.25. Ours compares the next 8 neighbours in time and writes pairs to Parquet block by block; merge compares
all pairs in memory. Each runs in its own process; peak memory includes input and interpreter.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from own_process import run_alone

COLUMNS = ["comment_id", "post_id", "delay_s", "score", "log_chars"]


def write_responses(path: Path, n_comments: int, huge_threads: list[int]) -> None:
    """Write measured responses in random order: threads of the given sizes, and others of about 12 responses."""
    rng = np.random.default_rng(0)
    n_small = n_comments - sum(huge_threads)
    small = len(huge_threads) + rng.integers(0, max(1, n_small // 12), n_small)
    post = np.concatenate([*(np.full(size, n) for n, size in enumerate(huge_threads)), small])
    frame = pl.DataFrame({"post": rng.permutation(post)}).with_row_index("n")
    frame = frame.select(
        comment_id=pl.format("c{}", "n"),
        post_id=pl.format("p{}", "post"),
        subreddit=pl.lit("synthetic"),
        split=pl.lit("train"),
        delay_s=pl.Series(np.exp(rng.uniform(3, 12, n_comments)).astype(np.int64)),
        score=pl.Series(rng.negative_binomial(1, 0.1, n_comments)),
        n_chars=pl.Series(np.exp(rng.normal(5, 1, n_comments)).astype(np.int64) + 1),
        text_hash=pl.col("n").cast(pl.UInt64),
    )
    frame.with_columns(log_chars=pl.col("n_chars").log()).write_parquet(path)


def ours(path: Path, memory_limit: str) -> int:
    """Pairs found by `features.pairing.matching`, written next to the input."""
    from features.blocks import batches, parquet_sql, split_into_blocks
    from features.build_context import BuildOptions
    from features.databases import connect
    from features.pairing.label_noise import GammaPrior, VoteModel
    from features.pairing.matching import RESPONSE_COLUMNS, match_block
    from features.recipes.recipe import Recipe
    from lurker.engine import map_in_order

    recipe = Recipe(
        name="bench",
        neighbour_order="delay",
        n_neighbours=8,
        max_delay_difference_s=3_600,
        max_log_length_difference=math.log(1.25),
    )
    n_pairs = 0
    vote_models = {"synthetic": VoteModel(GammaPrior(shape=1.0, rate=0.1))}
    query = (
        "SELECT * REPLACE (subreddit::subreddit_word AS subreddit, split::split_word AS split) "
        f"FROM (SELECT {', '.join(RESPONSE_COLUMNS)} FROM {parquet_sql([path])}) "
        "ORDER BY subreddit, post_id, delay_s, comment_id"
    )
    with connect(BuildOptions(memory_limit=memory_limit, temp_folder=path.parent)) as connection:
        connection.execute("CREATE TYPE subreddit_word AS ENUM ('synthetic')")  # as the build does
        connection.execute("CREATE TYPE split_word AS ENUM ('train')")
        blocks = ({"block": block} for block in split_into_blocks(batches(connection, query), "post_id", "subreddit"))
        found = map_in_order(match_block, blocks, shared={"recipe": recipe, "vote_models": vote_models})
        for number, (pairs, _) in enumerate(found):
            pairs.write_parquet(path.with_name(f"pairs-{number}.parquet"))
            n_pairs += pairs.height
    return n_pairs


def pandas_merge(path: Path, memory_limit: str) -> int:
    """Number of pairs found by merging a post's responses with themselves, as notebooks usually do."""
    import pandas as pd

    frame = pd.read_parquet(path, columns=COLUMNS)
    merged = frame.merge(frame, on="post_id", suffixes=("_a", "_b"))
    merged = merged[merged["score_a"] > merged["score_b"]]
    merged = merged[(merged["delay_s_a"] - merged["delay_s_b"]).abs() <= 3_600]
    return len(merged[(merged["log_chars_a"] - merged["log_chars_b"]).abs() <= math.log(1.25)])


CONTENDERS = {"ours": ours, "pandas merge": pandas_merge}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comments", type=int, default=200_000, help="number of responses")
    parser.add_argument("--huge-threads", type=int, nargs="+", default=[10_000], help="responses of each huge thread")
    parser.add_argument("--memory-limit", default="700MB", help="of DuckDB, ours only")
    parser.add_argument("--ours-only", action="store_true", help="leave pandas out (it needs about 11 GB for 200,000)")
    options = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "responses.parquet"
        run_alone(write_responses, path, options.comments, options.huge_threads)
        for name in ["ours"] if options.ours_only else list(CONTENDERS):
            one = measured[name] = run_alone(CONTENDERS[name], path, options.memory_limit)
            figures = f"{one.time_s:>7.2f} s  {one.peak_gb:>6.2f} GB peak  {one.value:>11,} pairs"
            print(f"{options.comments:>11,} responses  {name:>13}: {figures}", flush=True)  # noqa: T201
    if len(measured) == 2:
        ours_took, peer_took = measured.values()
        print(f"{peer_took.time_s / ours_took.time_s:.0f} times as fast as {list(measured)[1]}")  # noqa: T201


if __name__ == "__main__":
    main()
