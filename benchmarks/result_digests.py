"""Check that a change of the code changes no result: the same small workspace, one digest per result.

    git worktree add ../before COMMIT
    python benchmarks/result_digests.py run ../before /tmp/before   # 20 minutes on 2 cores
    python benchmarks/result_digests.py run . /tmp/after
    python benchmarks/result_digests.py digest /tmp/before > before.txt
    python benchmarks/result_digests.py digest /tmp/after | diff before.txt -

`diff` prints nothing when tables, pair sets, audits, losses, weights, evaluations and experiments are the same.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

RECIPES = ("naive", "shp", "dialogrpt", "litbench", "matched", "balanced", "adjusted")
COMMANDS = (
    "ingest simulate --seed 0 --posts 2500",
    *(f"pairs build {recipe} --recipe {recipe}" for recipe in RECIPES),
    *(f"pairs audit {name}" for name in ("naive", "balanced", "hard-test")),
    "rm train naive --model scratch-10k --max-pairs 600 --run a --seed 1",
    "rm train adjusted --model scratch-50k --max-pairs 600 --run b --set epochs=2",
    "experiment scaling naive --models scratch-10k --sizes 200,400 --seeds 2",
    "experiment transfer naive --model scratch-10k",
)
CHANGES_EVERY_RUN = ("author_hash", "retrieved_utc", "train_time_s")
"""Columns that depend on the workspace's salt or on the clock."""


def run(checkout: Path, workspace: Path) -> None:
    """Make the workspace with the code of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    for command in COMMANDS:
        call = [sys.executable, "-m", "lurker", "--workspace", str(workspace.resolve()), *command.split()]
        sys.stderr.write(f"{command}\n")
        subprocess.run(call, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, check=True)


def digests(workspace: Path) -> Iterator[tuple[str, str]]:
    """(file, digest) of each result: bytes of pair sets, audits and weights; content of tables; losses of metrics."""
    for pattern in ("pairs/*/pairs.parquet", "pairs/*/audit.json", "runs/*/model/model.safetensors"):
        for path in sorted(workspace.glob(pattern)):
            yield str(path.relative_to(workspace)), hashlib.sha256(path.read_bytes()).hexdigest()
    for kind in ("posts", "comments", "observations", "truth"):
        for folder in sorted((workspace / kind).glob("*/manifest.json")):
            frame = pl.concat([pl.read_parquet(path) for path in sorted(folder.parent.glob("*.parquet"))])
            yield str(folder.parent.relative_to(workspace)), _content(frame)
    for pattern in ("runs/*/evaluations.parquet", "experiments/*/*.parquet"):
        for path in sorted(workspace.glob(pattern)):
            yield str(path.relative_to(workspace)), _content(pl.read_parquet(path))
    for path in sorted(workspace.glob("runs/*/metrics.jsonl")):
        steps = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        losses = [{name: value for name, value in step.items() if name == "step" or "loss" in name} for step in steps]
        yield str(path.relative_to(workspace)), hashlib.sha256(json.dumps(losses).encode()).hexdigest()


def _content(frame: pl.DataFrame) -> str:
    rows = frame.drop(CHANGES_EVERY_RUN, strict=False)
    return hashlib.sha256(rows.sort(rows.columns).write_csv().encode()).hexdigest()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", checkout, workspace]:
            run(Path(checkout), Path(workspace))
        case ["digest", workspace]:
            sys.stdout.writelines(f"{digest[:16]}  {name}\n" for name, digest in digests(Path(workspace)))
        case _:
            sys.exit(__doc__)
