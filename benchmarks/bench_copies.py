"""Near-duplicate texts: ours against datasketch's MinHash LSH; `python benchmarks/bench_copies.py --help`.

Both read the same Parquet file and find texts that share 0.8 of their runs of five words with another text, with 40
hash functions in ten bands of four and an exact check of the candidates. A tenth of the texts are copies with a changed
end. Each runs in its own process; peak memory includes input and interpreter.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from own_process import run_alone

LEAST_SIMILARITY, LEAST_WORDS, RUN_WORDS = 0.8, 10, 5


def write_texts(path: Path, n_texts: int) -> None:
    """Write texts of about 60 words; every tenth is the one before it with the last two words changed."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"word{n}" for n in range(20_000)])
    texts: list[str] = []
    for n in range(n_texts):
        if n % 10 == 9:
            texts.append(" ".join([*texts[-1].split()[:-2], f"x{n}", f"y{n}"]))
        else:
            texts.append(" ".join(vocabulary[rng.zipf(1.3, rng.poisson(60) + 3) % 20_000]))
    pl.DataFrame({"id": [f"t{n:09}" for n in range(n_texts)], "text": texts}).write_parquet(path)


def ours(path: Path, memory_limit: str) -> int:
    """Texts that have a near-duplicate, by `features.text.near_duplicates`."""
    from features.blocks import batches, parquet_sql
    from features.build_context import BuildOptions
    from features.databases import connect
    from features.text.near_duplicates import DuplicateRule, near_duplicate_groups

    options = BuildOptions(memory_limit=memory_limit, temp_folder=path.parent)

    def parts() -> Iterator[pl.DataFrame]:
        with connect(options) as connection:
            yield from batches(connection, f"SELECT * FROM {parquet_sql([path])}")

    rule = DuplicateRule(min_similarity=LEAST_SIMILARITY, min_words=LEAST_WORDS, ngram_words=RUN_WORDS)
    return near_duplicate_groups(parts, rule, options).height


def datasketch(path: Path, memory_limit: str) -> int:
    """Number of texts with a near-duplicate, as in datasketch's documentation: insert and query, then compare."""
    from datasketch import MinHash, MinHashLSH

    frame = pl.read_parquet(path)
    runs: dict[str, set[bytes]] = {}
    for name, text in frame.iter_rows():
        words = re.sub(r"[^\w]+", " ", text.lower()).split()
        if len(words) >= LEAST_WORDS:
            runs[name] = {" ".join(words[n : n + RUN_WORDS]).encode() for n in range(len(words) - RUN_WORDS + 1)}
    copies: set[str] = set()
    index = MinHashLSH(num_perm=40, params=(10, 4))
    for name, signature in zip(runs, MinHash.generator(runs.values(), num_perm=40), strict=True):
        for other in index.query(signature):
            shared = len(runs[name] & runs[other])
            if shared / (len(runs[name]) + len(runs[other]) - shared) >= LEAST_SIMILARITY:
                copies |= {name, other}
        index.insert(name, signature)
    return len(copies)


CONTENDERS = {"ours": ours, "datasketch": datasketch}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000, help="number of texts")
    parser.add_argument("--memory-limit", default="700MB", help="of DuckDB, ours only")
    parser.add_argument("--ours-only", action="store_true", help="leave datasketch out")
    options = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.parquet"
        run_alone(write_texts, path, options.texts)
        for name in ["ours"] if options.ours_only else list(CONTENDERS):
            one = measured[name] = run_alone(CONTENDERS[name], path, options.memory_limit)
            figures = f"{one.time_s:>7.2f} s  {one.peak_gb:>6.2f} GB peak  {one.value:>9,} texts with a copy"
            print(f"{options.texts:>9,} texts  {name:>10}: {figures}", flush=True)  # noqa: T201
    if len(measured) == 2:
        ours_took, peer_took = measured.values()
        print(f"{peer_took.time_s / ours_took.time_s:.1f} times as fast as {list(measured)[1]}")  # noqa: T201


if __name__ == "__main__":
    main()
