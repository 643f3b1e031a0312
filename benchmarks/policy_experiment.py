"""What deconfounding buys downstream, in a simulated Reddit whose truth is known: 18 agents, 6 controls, 6 long runs.

    python benchmarks/policy_experiment.py WORKSPACE [--workers 2] [--seeds 3] [--steps 48]

A writer of 1 M parameters learns by GRPO from a judge of `naive` or of `balanced` pairs (both of one half of the
posts), held back by β = 0, 0.02 or 0.1. A third judge, of the other half, never rewards: it selects the weights. Two
controls at β = 0 are rewarded by the truth, which must not fall, and by length. Agents run to their last step, so that
a fall is seen; those of LONG are trained again for more steps, to see what a larger distance brings. Every command is
printed; what is finished is not done again. Results: `benchmarks/policy_findings.py`.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lurker.machine import processor

WORLD = {
    "n_subreddits": 1,
    "word_share": 0.3,
    "phrase_share": 0.6,
    "uptake_share": 0.1,
    "n_taste_words": 40,
    "quality_effect": 1.3,
    "median_words": 14,
    "max_words": 30,
    "length_effect": 2.5,
}
"""The demo's world with one community, so that judges learn it from few pairs."""
N_POSTS = 16_000
WEIGHTS = (0.0, 0.02, 0.1)
HELD_OUT = "balanced-b"
JUDGES = {"naive-a": ("naive", "first"), "balanced-a": ("balanced", "first"), HELD_OUT: ("balanced", "second")}
"""Run -> pair set, and half of its posts."""
CONTROLS = ("truth", "length")
LONG = {("balanced-a", 0.0): 120, ("naive-a", 0.02): 120}
"""Judge and β -> steps of the long runs: those that stay near their writer or gain most."""
WRITER = (
    "--model scratch-1m --set selected_by=all --set top_share=1 --set max_responses=16000 --set max_prompt_tokens=48 "
    "--set max_response_tokens=48 --set n_memorisation_prompts=0"
)
JUDGE = "--model scratch-200k --max-pairs 12000 --baselines none --set epochs=3 --set max_validation_pairs=500"
AGENT = "learning_rate=4e-4 kl_limit=1000 evaluate_every=12 patience=1000 evaluation_prompts=96 evaluation_samples=2"
"""Half the default rate, so that the peak takes more than a few steps; more prompts than by default, for narrow
intervals; and no early end."""


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    for name, default in (("workers", 2), ("seeds", 3), ("steps", 48)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # each worker has a core of its own
    started = time.perf_counter()
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        for stage in stages(options.workspace, options.seeds, options.steps):
            futures = {pool.submit(run_command, options.workspace, command): command for command in stage}
            for future, command in futures.items():
                seconds, cpu_seconds = future.result()
                tell(f"{seconds:6.0f} s, {cpu_seconds:6.0f} s of processor  lurker {command}")
    tell(f"{(time.perf_counter() - started) / 60:.1f} min, {options.workers} processes, {processor()}")


def tell(line: str) -> None:
    """Print at once."""
    print(line, flush=True)  # noqa: T201 - a benchmark's output


def stages(workspace: Path, n_seeds: int, n_steps: int) -> list[list[str]]:
    """Commands that still have to run; those of a stage need all stages before it, and not each other."""
    world = " ".join(f"--set {name}={value}" for name, value in WORLD.items())
    simulate = [] if (workspace / "truth").exists() else [f"ingest simulate --seed 0 --posts {N_POSTS} {world}"]
    recipes = [name for name in ("naive", "balanced") if not (workspace / "pairs" / name / "pairs.parquet").exists()]
    return [
        simulate,
        *([f"pairs build {name} --recipe {name}"] for name in recipes),  # the first one freezes the hard test
        [
            f"policy train-writer naive --id writer {WRITER} --resume",
            *(
                f"rm train {pairs} --run {run} --set half={half} {JUDGE} --resume"
                for run, (pairs, half) in JUDGES.items()
            ),
        ],
        [agent_command(*one, n_steps) for one in agents(n_seeds)]
        + [
            agent_command(judge, weight, seed, steps, "-long")
            for seed in range(n_seeds)
            for (judge, weight), steps in LONG.items()
        ],
    ]


def agents(n_seeds: int) -> list[tuple[str, float, int]]:
    """Judge, β and seed of every agent, the first seed of all first."""
    planned = [(judge, weight) for weight in WEIGHTS for judge in JUDGES if judge != HELD_OUT]
    planned += [(control, 0.0) for control in CONTROLS]
    return [(judge, weight, seed) for seed in range(n_seeds) for judge, weight in planned]


def agent_id(judge: str, weight: float, seed: int, suffix: str = "") -> str:
    """Folder of an agent; suffix: "-long" for a long run."""
    return f"{judge}-beta{weight:g}-seed{seed}{suffix}"


def agent_command(judge: str, weight: float, seed: int, n_steps: int, suffix: str = "") -> str:
    """The command that trains an agent."""
    spec = judge if judge in CONTROLS else f"run:{judge}"
    settings = " ".join(f"--set {one}" for one in f"steps={n_steps} kl_weight={weight:g} {AGENT}".split())
    return (
        f"policy train-agent policy:writer --judge {spec} --held-out run:{HELD_OUT} --pairs balanced --seed {seed} "
        f"--id {agent_id(judge, weight, seed, suffix)} {settings} --resume"
    )


def run_command(workspace: Path, command: str) -> tuple[float, float]:
    """Run `lurker COMMAND` in this process, its output into a log; the seconds it took, and those of its processor."""
    from lurker.cli import run

    log = workspace.with_name(f"{workspace.name}.log")
    started, cpu_started = time.perf_counter(), time.process_time()
    with log.open("a", encoding="utf-8") as file:
        sys.stdout = sys.stderr = file
        code = run(["--workspace", str(workspace), *command.split()])
    if code:
        raise SystemExit(f"`lurker {command}` ended with code {code}: see {log}.")
    return time.perf_counter() - started, time.process_time() - cpu_started


def finished(
    workspace: Path, chosen: Sequence[tuple[str, float, int]], suffix: str = ""
) -> list[tuple[str, float, int]]:
    """Those of the agents that have a result."""
    return [one for one in chosen if (workspace / "policies" / agent_id(*one, suffix) / "result.json").exists()]


if __name__ == "__main__":
    main()
