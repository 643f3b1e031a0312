"""What each stage costs on one core, in processor seconds: the rates that docs/scale.md plans with.

    python benchmarks/stage_rates.py /data/RC_college.zst /data/RS_college.zst [--json]

Processor time, user and system, depends little on other work on the machine; wall-clock time does. Ingest is measured
on the dumps as they are, whose rows may have fewer fields than a monthly dump (bench_ingest.py --era-fields measures
that), and once more with their threads spread over many communities, which tells what a community costs. Commands run
in processes of their own, their start included.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import zstandard
from own_process import run_alone

from ingest.dump_files.blocks import blocks
from lurker.files import read_object
from lurker.machine import processor
from lurker.pair_sets import read_pairs
from lurker.progress import say
from lurker.report import print_json, print_table
from lurker.schema import COMMENTS
from lurker.workspace import open_workspace

N_COMMUNITIES = 3_000
"""Communities that threads are spread over."""
N_BUCKETS = 64
"""Buckets that the shuffle writes."""
N_SCORED = 400
"""Pairs that a model scores."""
N_TRAINED = (400, 2_000)
"""Pairs that a model trains on."""
MODELS = ("scratch-1m", "minilm")
Row = dict[str, Any]


def main() -> None:
    """Measure every stage and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dumps", nargs="+", type=Path, help="dumps of posts and comments")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.dumps, Path(folder))
    load = f"load {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    if options.json:
        print_json({"processor": processor(), "load": load, "stages": rows})
        return
    print_table(f"{processor()}; {load}", rows)


def measure(dumps: list[Path], folder: Path) -> list[Row]:
    """One row per stage: amount, unit, cpu_s, and rate per processor second."""
    root = folder / "workspace"
    names = [str(path.resolve()) for path in dumps]
    megabytes = sum(run_alone(json_bytes, path).value for path in dumps) / 1e6
    rows = [row("ingest", megabytes, "MB of JSON", *lurker(root, "ingest", "dump", *names))]
    spread = [str(run_alone(spread_out, path, folder).value) for path in dumps]
    many_s, many_gb = lurker(folder / "many", "ingest", "dump", *spread)
    more = len(open_workspace(folder / "many").subreddits(COMMENTS)) - len(open_workspace(root).subreddits(COMMENTS))
    rows.append(
        row("ingest: communities beyond the first", more, "communities", max(many_s - rows[0]["cpu_s"], 0.0), many_gb)
    )
    shuffled = run_alone(shuffle, root, folder / "buckets").value
    rows.append(row("shuffle: read, split by post, write", shuffled["megabytes"], "MB of Parquet", shuffled["cpu_s"]))
    built = lurker(root, "pairs", "build", "balanced", "--recipe", "balanced")
    comments = sum(
        open_workspace(root).manifest(COMMENTS, one)["n_rows"] for one in open_workspace(root).subreddits(COMMENTS)
    )
    n_pairs = read_object(root / "pairs" / "balanced" / "manifest.json")["n_pairs"]
    rows.append(row("pairs build balanced, hard test included", comments, "comments", *built))
    rows.append(row("pairs audit", n_pairs, "pairs", *lurker(root, "pairs", "audit", "balanced")))
    for model in MODELS:
        scored = run_alone(score, root, model).value
        rows.append(row(f"{model}: score", scored["tokens"], "tokens", scored["cpu_s"]))
    trained = run_alone(train, root, MODELS[0]).value
    rows.append(row(f"{MODELS[0]}: train", trained["tokens"], "tokens", trained["cpu_s"]))
    facts = {"comments_per_MB": comments / megabytes, "pairs_per_comment": n_pairs / comments}
    facts |= {"parquet_per_json": shuffled["megabytes"] / megabytes, "tokens_per_pair": trained["tokens_per_pair"]}
    return [
        *rows,
        *(
            {"stage": name, "amount": value, "unit": "", "cpu_s": None, "per_core_s": None, "peak_GB": None}
            for name, value in facts.items()
        ),
    ]


def row(stage: str, amount: float, unit: str, cpu_s: float, peak_gb: float | None = None) -> Row:
    """A stage's amount of work, its rate on one core and its peak of memory."""
    rate = amount / cpu_s if cpu_s else None
    say(f"{stage}: {amount:,.0f} {unit} in {cpu_s:.1f} s of processor time")
    return {"stage": stage, "amount": amount, "unit": unit, "cpu_s": cpu_s, "per_core_s": rate, "peak_GB": peak_gb}


def lurker(root: Path, *arguments: str) -> tuple[float, float]:
    """Processor seconds of a command, its child processes included, and its peak of memory in GB."""
    line = [sys.executable, "-m", "lurker", "--workspace", str(root), *arguments]
    to_stderr = [(os.POSIX_SPAWN_DUP2, sys.stderr.fileno(), sys.stdout.fileno())]
    process = os.posix_spawn(sys.executable, line, os.environ, file_actions=to_stderr)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"lurker {' '.join(arguments)} failed.")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def json_bytes(path: Path) -> int:
    """Uncompressed size of a dump's lines."""
    return sum(len(block.data) for block in blocks(path))


def spread_out(path: Path, folder: Path) -> Path:
    """A copy of a dump whose threads are spread over N_COMMUNITIES communities."""
    copy = folder / f"{path.name[:2]}_many.zst"
    with copy.open("wb") as stored, zstandard.ZstdCompressor(level=1).stream_writer(stored) as out:
        for block in blocks(path):
            for line in bytes(block.data).splitlines():
                item = orjson.loads(line)
                post = str(item.get("link_id") or item.get("id")).removeprefix("t3_")
                number = int.from_bytes(hashlib.blake2b(post.encode(), digest_size=4).digest()) % N_COMMUNITIES
                out.write(orjson.dumps(item | {"subreddit": f"community{number}"}) + b"\n")
    return copy


def shuffle(root: Path, folder: Path) -> dict[str, float]:
    """Split all comments by a hash of their post into N_BUCKETS Parquet files."""
    folder.mkdir()
    workspace = open_workspace(root)
    paths = [path for name in workspace.subreddits(COMMENTS) for path in workspace.files(COMMENTS, [name])]
    started = time.process_time()
    frame = pl.concat([pl.read_parquet(path) for path in paths])
    bucket = (pl.col("post_id").hash(seed=0) % N_BUCKETS).alias("bucket")
    for number, part in frame.with_columns(bucket).partition_by("bucket", as_dict=True, include_key=False).items():
        part.sort("post_id", "comment_id").write_parquet(folder / f"{number[0]}.parquet", compression_level=1)
    cpu_s = time.process_time() - started
    return {"megabytes": sum(path.stat().st_size for path in paths) / 1e6, "cpu_s": cpu_s}


def score(root: Path, model: str) -> dict[str, float]:
    """Rewards of the responses of N_SCORED test pairs, by an untrained model of this size."""
    from rm.evaluation.metrics import model_rewards
    from rm.models.ladder import build
    from rm.models.scorer import Scorer
    from rm.pairs.subsets import texts
    from rm.training.reward_step import tokenise_for_model
    from rm.training.trainable import train_config

    frame = read_pairs(open_workspace(root), "balanced").filter(pl.col("split") == "test").head(N_SCORED)
    config = train_config(model, 0, ())
    reward_model = build(model, texts(frame), config.vocabulary_size, seed=0)
    pairs = tokenise_for_model(frame, reward_model.tokenizer, config)
    scorer = Scorer(reward_model.model, reward_model.tokenizer.pad_token_id, config.max_tokens)
    started = time.process_time()
    model_rewards(scorer, pairs, config.tokens_per_batch)
    return {"tokens": int(pairs.sequences.n_tokens.sum()), "cpu_s": time.process_time() - started}


def train(root: Path, model: str) -> dict[str, float]:
    """Train one epoch on both numbers of pairs: what the larger takes more, as both validate and test alike."""
    import rm

    pairs = open_pair_set(root)
    tokens, cpu_s = [], []
    for n_pairs in N_TRAINED:
        started = time.process_time()
        run = rm.train(pairs, model, max_pairs=n_pairs, epochs=1, min_steps=1, tests=["hard-test"], baselines="none")
        cpu_s.append(time.process_time() - started)
        tokens.append(run.result["tokens_per_s"] * run.result["train_time_s"])
    more = {"tokens": tokens[1] - tokens[0], "cpu_s": cpu_s[1] - cpu_s[0]}
    return more | {"tokens_per_pair": more["tokens"] / (N_TRAINED[1] - N_TRAINED[0])}


def open_pair_set(root: Path) -> Any:
    """The pair set that the stages built."""
    from lurker.pair_sets import read_pair_set

    return read_pair_set(open_workspace(root), "balanced")


if __name__ == "__main__":
    main()
