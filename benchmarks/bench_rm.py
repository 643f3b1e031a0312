"""Training on vote pairs: ours against a plain loop and TRL's RewardTrainer; `python benchmarks/bench_rm.py --help`.

    python benchmarks/bench_rm.py --workspace DIR --pairs naive          # the data's own density
    python benchmarks/bench_rm.py --workspace DIR --pairs naive --dense  # posts with many pairs only

All contenders train the same model from the same weights on the same pairs and tokens in one process, without gradient
checkpointing. Ours take turns step by step, so that other work on the machine affects all alike; TRL runs after them.
TRL shuffles single pairs, so a batch mixes texts of many posts and needs more padding than the plain loop, which gets
its pairs post by post: part of TRL's distance is padding, and "vs plain" is the careful figure. TRL is an optional
dependency of this benchmark: `pip install -c constraints.txt trl datasets`.

Memory is the peak of a separate process that trains one contender on the same steps, minus its memory before training.
Accuracy against time trains ours and TRL for the same seconds with the same constant rate from the same weights on all
training pairs, and evaluates both on the same validation pairs; evaluation time does not count.
"""

import argparse
import copy
import gc
import itertools
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rm_contenders import CONFIG, OURS, TRL, Setup, backward, contenders, optimiser_of, run_steps, run_trl

from lurker.pair_sets import read_pairs, split_of
from lurker.workspace import open_workspace
from rm.evaluation.metrics import is_correct, model_margins
from rm.models.ladder import build
from rm.models.scorer import Scorer
from rm.pairs.steps import post_steps
from rm.pairs.subsets import stable_hash, subset, texts
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.training.reward_step import pair_targets

N_MARKS = 5
"""Times at which accuracy is taken."""
N_TRAINING_PAIRS, N_VALIDATION_PAIRS = 20_000, 2_000
"""Pairs to train and evaluate on in accuracy against time."""


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--pairs", default="naive", help="pair set")
    parser.add_argument("--model", default="scratch-1m", help="SPEC")
    parser.add_argument("--n-pairs", type=int, default=512, help="pairs in the comparison of speed")
    parser.add_argument("--max-per-post", type=int, default=30, help="maximum pairs per post")
    parser.add_argument("--dense", action="store_true", help="all pairs of posts with at least 40, and no other posts")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=45.0, help="training time in accuracy against time; 0: skip")
    parser.add_argument("--without-trl", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    setup, frame, accuracy_frames = prepare(options)
    if options.memory_of:
        say(f"{peak_mb(options.memory_of, setup):.1f}")
        return
    compare_speed(setup, frame, options)
    if options.seconds:
        training, validation = (
            tokenise(part, setup.reward_model.tokenizer, setup.max_tokens) for part in accuracy_frames
        )
        compare_accuracy(replace(setup, pairs=training), validation, options.seconds, not options.without_trl)


def prepare(options: argparse.Namespace) -> tuple[Setup, pl.DataFrame, tuple[pl.DataFrame, pl.DataFrame]]:
    """The setup and PAIRS for the comparison of speed, and (training, validation) PAIRS for accuracy."""
    workspace = open_workspace(options.workspace)
    stored = read_pairs(workspace, options.pairs)
    training = split_of(stored, options.pairs, "train")
    limits = (10_000, 40) if options.dense else (options.max_per_post, 1)
    frame = select_pairs(training, options.n_pairs, *limits)
    vocabulary = subset(training, min(5_000, training.height), seed=1)  # enough text for a tokenizer
    reward_model = build(options.model, texts(vocabulary), CONFIG.vocabulary_size, seed=0)
    pairs = tokenise(frame, reward_model.tokenizer, options.max_tokens)
    steps = post_steps(pairs, CONFIG.pairs_per_step, 0, 0, CONFIG.min_posts_per_step)
    setup = Setup(reward_model, pairs, steps, options.max_tokens)
    if options.memory_of or not options.seconds:
        return setup, frame, (frame, frame)
    validation = split_of(stored, options.pairs, "validation")
    held_out = subset(validation, min(N_VALIDATION_PAIRS, validation.height), seed=0)
    return setup, frame, (select_pairs(training, N_TRAINING_PAIRS, *limits), held_out)


def select_pairs(frame: pl.DataFrame, n_pairs: int, max_per_post: int, min_per_post: int) -> pl.DataFrame:
    """About n_pairs pairs of complete posts with at least min_per_post pairs, at most max_per_post from each."""
    rank = pl.DataFrame({"pair_id": frame["pair_id"], "rank": [stable_hash(0, name) for name in frame["pair_id"]]})
    ranked = frame.join(rank, on="pair_id").filter(pl.len().over("post_id") >= min_per_post)
    selected = ranked.filter(pl.col("rank").rank("ordinal").over("post_id") <= max_per_post).drop("rank")
    return subset(selected, min(n_pairs, selected.height), seed=0)


def compare_speed(setup: Setup, frame: pl.DataFrame, options: argparse.Namespace) -> None:
    """Print pairs per second and peak memory of every contender, and their ratios."""
    pairs = setup.pairs
    n_pairs = sum(step.size for step in setup.steps[1:])
    n_tokens = sum(
        int(pairs.sequences.n_tokens[pairs.chosen[step]].sum() + pairs.sequences.n_tokens[pairs.rejected[step]].sum())
        for step in setup.steps[1:]
    )
    say(
        f"{options.model}: {setup.reward_model.n_parameters:,} parameters; {frame.height:,} pairs of "
        f"{frame['post_id'].n_unique():,} posts, {len(pairs.sequences):,} responses, "
        f"{n_tokens / n_pairs:.0f} tokens per pair, prompts included"
    )
    rivals = contenders(setup.reward_model, setup.max_tokens)
    spread = run_steps(rivals, pairs, setup.steps)
    rows: list[dict[str, Any]] = [
        {"name": rival.name, "time_s": rival.time_s, "cpu_time_s": rival.cpu_time_s, "n_pairs": n_pairs}
        for rival in rivals
    ]
    if not options.without_trl:
        rows.append({"name": TRL, **run_trl(setup, setup.steps)})
    say(f"{'':28}{'pairs/s':>9}{'vs plain':>10}{'by CPU time':>13}{'peak MB':>9}")
    for row in rows:
        wall, cpu = (_speedup(row, rows[0], field) for field in ("time_s", "cpu_time_s"))
        memory = peak_mb_in_own_process(row["name"])
        say(f"{row['name']:28}{row['n_pairs'] / row['time_s']:9.1f}{wall:10.2f}{cpu:13.2f}{memory:9.0f}")
    if not options.without_trl:
        wall, cpu = (_speedup(rows[-2], rows[-1], field) for field in ("time_s", "cpu_time_s"))
        say(f"ours trains on {wall:.1f} times as many pairs per second as TRL ({cpu:.1f} times by CPU time)")
    say(f"largest difference of the contenders' losses at a step: {max(spread):.1e}")


def _speedup(row: dict[str, Any], baseline: dict[str, Any], field: str) -> float:
    """How many times as many pairs per second as the baseline."""
    return float(baseline[field] / baseline["n_pairs"] / (row[field] / row["n_pairs"]))


def peak_mb(name: str, setup: Setup) -> float:
    """Peak memory that training one contender adds to this process, in MB."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory_kb("VmRSS")
    if name == TRL:
        run_trl(setup, setup.steps)
    else:
        rivals = [rival for rival in contenders(setup.reward_model, setup.max_tokens) if rival.name == name]
        run_steps(rivals, setup.pairs, setup.steps)
    return (_memory_kb("VmHWM") - before) / 1024


def _memory_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peak_mb_in_own_process(name: str) -> float:
    """`peak_mb` of a contender in a new process with this one's arguments."""
    call = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()[-1])


def compare_accuracy(setup: Setup, validation: TokenisedPairs, seconds: float, with_trl: bool) -> None:
    """Print accuracy after the same training time, and the time each takes to reach the lower of the two best."""
    marks = [seconds * part / N_MARKS for part in range(1, N_MARKS + 1)]
    curves = {OURS: ours_over_time(setup, validation, marks)}
    if with_trl:
        curves[TRL] = trl_over_time(setup, validation, marks)
    say(f"\n{validation.post.size:,} validation pairs, learning rate {CONFIG.learning_rate:g}; accuracy (pairs seen)")
    say(f"{'seconds of training':28}" + "".join(f"{mark:>16.0f}" for mark in marks))
    for name, curve in curves.items():
        say(f"{name:28}" + "".join(f"{f'{value:.3f} ({n:,})':>16}" for n, value in curve))
    goal = min(max(value for _, value in curve) for curve in curves.values())
    for name, curve in curves.items():
        first = next(mark for mark, (_, value) in zip(marks, curve, strict=True) if value >= goal)
        say(f"{name} reaches {goal:.3f} within {first:.0f} s")


def ours_over_time(setup: Setup, validation: TokenisedPairs, marks: list[float]) -> list[tuple[int, float]]:
    """Train ours; returns pairs seen and validation accuracy at each mark, in seconds of training."""
    ours = contenders(setup.reward_model, setup.max_tokens)[-1]
    targets, optimiser = pair_targets(setup.pairs, CONFIG), optimiser_of(ours)
    curve: list[tuple[int, float]] = []
    trained_s, n_pairs = 0.0, 0
    for epoch in itertools.count():
        for step in post_steps(setup.pairs, CONFIG.pairs_per_step, 0, epoch, CONFIG.min_posts_per_step):
            ours.scorer.model.train()
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            backward(ours, setup.pairs, targets, step)
            torch.nn.utils.clip_grad_norm_(ours.scorer.parameters(), CONFIG.max_grad_norm)
            optimiser.step()
            trained_s += time.perf_counter() - started
            n_pairs += step.size
            while trained_s >= marks[len(curve)]:
                curve.append((n_pairs, accuracy(ours.scorer, validation)))
                if len(curve) == len(marks):
                    return curve
    raise AssertionError("itertools.count ended")


def trl_over_time(setup: Setup, validation: TokenisedPairs, marks: list[float]) -> list[tuple[int, float]]:
    """The same for TRL, whose trainer stops at the last mark."""
    from transformers import TrainerCallback

    curve: list[tuple[int, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        trained_s = started = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, _args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.trained_s += time.perf_counter() - self.started
            while len(curve) < len(marks) and self.trained_s >= marks[len(curve)]:
                scorer = Scorer(copy.deepcopy(model), setup.reward_model.tokenizer.pad_token_id, setup.max_tokens)
                curve.append((state.global_step * CONFIG.pairs_per_step, accuracy(scorer, validation)))
            control.should_training_stop = len(curve) == len(marks)

    run_trl(setup, [np.arange(setup.pairs.post.size)], [Clock()], n_epochs=1000)
    return curve


def accuracy(scorer: Scorer, validation: TokenisedPairs) -> float:
    """Fraction of validation pairs whose chosen response gets the higher reward."""
    return float(is_correct(model_margins(scorer, validation, CONFIG.tokens_per_batch)).mean())


def say(line: str) -> None:
    """Print one line immediately."""
    print(line, flush=True)  # noqa: T201 - a benchmark's output


if __name__ == "__main__":
    main()
