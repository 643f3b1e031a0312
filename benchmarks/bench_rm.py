"""Training on vote pairs, ours against a plain loop and TRL's RewardTrainer; `python benchmarks/bench_rm.py --help`.

    python benchmarks/bench_rm.py --workspace DIR --pairs naive          # the data's own density
    python benchmarks/bench_rm.py --workspace DIR --pairs naive --dense  # posts with many pairs only

All train the same model from the same weights on the same pairs and tokens in one process, gradient checkpointing off.
The contenders of ours take turns step by step, so that other work on the machine meets them alike; TRL runs after them.
TRL shuffles single pairs, so texts of many posts meet in a batch and it pads more than the plain loop, which gets its
pairs post by post: part of its distance is padding, and "vs plain" is the careful figure. TRL is an optional
dependency of this file: `pip install -c constraints.txt trl datasets`.

Memory is the peak of a process of its own that trains one contender on the same steps, less what it held when training
began. Accuracy against wall-clock trains ours and TRL for the same seconds with the same constant rate from the same
weights, on all training pairs, and judges both on the same validation pairs; judging does not count.
"""

import argparse
import copy
import gc
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lurker.pair_sets import read_pairs, split_of
from lurker.workspace import open_workspace
from rm.evaluation.metrics import is_correct, model_margins
from rm.models.ladder import RewardModel, build
from rm.models.scorer import Scorer
from rm.pairs.steps import epoch_steps
from rm.pairs.subsets import stable_hash, subset, texts
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.pairs.tokens import Sequences
from rm.training.config import TrainConfig
from rm.training.loop import pair_targets
from rm.training.loss import pair_losses

Indices = NDArray[np.int64]
CONFIG = TrainConfig(learning_rate=1e-4, pairs_per_step=64, post_weight="pair")
OURS, TRL = "+ last layer where read", "TRL RewardTrainer"
N_MARKS = 5
N_TRAINING_PAIRS, N_VALIDATION_PAIRS = 20_000, 2_000
"""Pairs that train and judge where accuracy is held against the clock."""
PAIRS_PER_BATCH = 8
"""Pairs of a forward pass of the plain loop and of TRL (its default)."""


@dataclass(slots=True)
class Contender:
    """A way to score the responses of a step's pairs, and what it has taken so far."""

    name: str
    scorer: Scorer
    score: Callable[[Scorer, TokenisedPairs, Indices], list[tuple[Indices, torch.Tensor, torch.Tensor]]]
    time_s: float = 0.0
    processor_s: float = 0.0
    n_tokens: int = 0


def per_pair(scorer: Scorer, pairs: TokenisedPairs, step: Indices) -> list[tuple[Indices, torch.Tensor, torch.Tensor]]:
    """Both sides of each pair, a few pairs a batch, padded to the batch's longest."""
    parts = []
    for part in np.array_split(step, max(1, round(step.size / PAIRS_PER_BATCH))):
        sides = pairs.sequences.take(np.concatenate([pairs.chosen[part], pairs.rejected[part]]))
        rewards = scorer._padded(sides, np.arange(len(sides)), torch.device("cpu"))
        chosen, rejected = rewards.chunk(2)
        parts.append((part, chosen, rejected))
    return parts


def unique(scorer: Scorer, pairs: TokenisedPairs, step: Indices) -> list[tuple[Indices, torch.Tensor, torch.Tensor]]:
    """Each response of the step once."""
    used, place = np.unique(np.stack([pairs.chosen[step], pairs.rejected[step]]), return_inverse=True)
    rewards = scorer(pairs.sequences.take(used))
    chosen, rejected = rewards[torch.from_numpy(place.reshape(2, -1))]
    return [(step, chosen, rejected)]


def unshared(scorer: Scorer, pairs: TokenisedPairs, step: Indices) -> list[tuple[Indices, torch.Tensor, torch.Tensor]]:
    """Each response of the step once, packed, with a prompt of its own."""
    alone = Sequences(pairs.sequences.tokens, np.arange(len(pairs.sequences)), np.zeros_like(pairs.sequences.prompt))
    return unique(scorer, replace(pairs, sequences=alone), step)


def contenders(reward_model: RewardModel, max_tokens: int) -> list[Contender]:
    """From the plain loop to ours, one idea more each."""

    def scorer(is_packed: bool, reads_last_only: bool = False) -> Scorer:
        made = Scorer(copy.deepcopy(reward_model.model), reward_model.tokenizer.pad_token_id, max_tokens)
        made.is_packed, made.reads_last_only = is_packed and made.is_packed, reads_last_only
        return made

    return [
        Contender("plain, per pair", scorer(False), per_pair),
        Contender("unique + sorted by length", scorer(False), unique),
        Contender("unique + packed", scorer(True), unshared),
        Contender("prefix-shared + packed", scorer(True), unique),
        Contender(OURS, scorer(True, True), unique),
    ]


def run_steps(rivals: list[Contender], pairs: TokenisedPairs, steps: list[Indices]) -> list[float]:
    """Train every contender on the steps, in turn; the largest difference of their losses at each step."""
    targets = pair_targets(pairs, CONFIG)
    optimisers = [torch.optim.AdamW(rival.scorer.parameters(), lr=CONFIG.learning_rate, fused=True) for rival in rivals]
    spread = []
    for number, step in enumerate(steps):
        losses = []
        for rival, optimiser in zip(rivals, optimisers, strict=True):
            wall, processor = time.perf_counter(), time.process_time()
            optimiser.zero_grad(set_to_none=True)
            total = torch.zeros(())
            for part, chosen, rejected in rival.score(rival.scorer, pairs, step):
                loss = pair_losses(chosen, rejected, targets.take(part)).sum() / step.size
                loss.backward()
                total += loss.detach()
            optimiser.step()
            losses.append(float(total))
            if number:  # the first step warms up
                rival.time_s += time.perf_counter() - wall
                rival.processor_s += time.process_time() - processor
        spread.append(max(losses) - min(losses))
    return spread


def run_trl(
    reward_model: RewardModel,
    pairs: TokenisedPairs,
    steps: list[Indices],
    max_tokens: int,
    callbacks: list[Any] | None = None,
    n_epochs: int = 1,
) -> dict[str, float]:
    """TRL's trainer on the pairs of the steps: seconds, processor seconds, pairs."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    numbers = np.concatenate(steps)
    rows = {
        f"{side}_ids": [pairs.sequences.tokens[number].tolist() for number in places[numbers]]
        for side, places in (("chosen", pairs.chosen), ("rejected", pairs.rejected))
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            output_dir=folder,
            per_device_train_batch_size=PAIRS_PER_BATCH,
            gradient_accumulation_steps=CONFIG.pairs_per_step // PAIRS_PER_BATCH,
            max_length=max_tokens,
            learning_rate=CONFIG.learning_rate,
            num_train_epochs=n_epochs,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = RewardTrainer(
            model=copy.deepcopy(reward_model.model),
            args=arguments,
            train_dataset=Dataset.from_dict(rows),
            processing_class=reward_model.tokenizer,
            callbacks=callbacks,
        )
        wall, processor = time.perf_counter(), time.process_time()
        trainer.train()
        return {
            "time_s": time.perf_counter() - wall,
            "processor_s": time.process_time() - processor,
            "n_pairs": len(trainer.train_dataset),
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every contender trains on."""

    reward_model: RewardModel
    pairs: TokenisedPairs
    steps: list[Indices]
    max_tokens: int


def peak_mb(name: str, ready: Prepared) -> float:
    """MB that training one contender adds to this process at its peak."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory_kb("VmRSS")
    if name == TRL:
        run_trl(ready.reward_model, ready.pairs, ready.steps, ready.max_tokens)
    else:
        rivals = [rival for rival in contenders(ready.reward_model, ready.max_tokens) if rival.name == name]
        run_steps(rivals, ready.pairs, ready.steps)
    return (_memory_kb("VmHWM") - before) / 1024


def _memory_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def in_own_process(name: str) -> float:
    """`peak_mb` of a contender in a process that does nothing else, called as this one was."""
    call = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()[-1])


def judged(scorer: Scorer, validation: TokenisedPairs) -> float:
    """The share of validation pairs that the model gets right."""
    return float(is_correct(model_margins(scorer, validation, CONFIG.tokens_per_batch)).mean())


def ours_against_time(ready: Prepared, validation: TokenisedPairs, marks: list[float]) -> list[tuple[int, float]]:
    """Train ours until the last mark; pairs seen and validation accuracy at each mark of training seconds."""
    rival = contenders(ready.reward_model, ready.max_tokens)[-1]
    targets = pair_targets(ready.pairs, CONFIG)
    optimiser = torch.optim.AdamW(rival.scorer.parameters(), lr=CONFIG.learning_rate, fused=True)
    found: list[tuple[int, float]] = []
    taken, n_pairs = 0.0, 0
    for epoch in itertools.count():
        for step in epoch_steps(ready.pairs, CONFIG.pairs_per_step, 0, epoch, CONFIG.min_posts_per_step):
            rival.scorer.model.train()
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            for part, chosen, rejected in rival.score(rival.scorer, ready.pairs, step):
                (pair_losses(chosen, rejected, targets.take(part)).sum() / step.size).backward()
            torch.nn.utils.clip_grad_norm_(rival.scorer.parameters(), CONFIG.max_grad_norm)
            optimiser.step()
            taken += time.perf_counter() - started
            n_pairs += step.size
            while taken >= marks[len(found)]:
                found.append((n_pairs, judged(rival.scorer, validation)))
                if len(found) == len(marks):
                    return found
    raise AssertionError("itertools.count ended")


def trl_against_time(ready: Prepared, validation: TokenisedPairs, marks: list[float]) -> list[tuple[int, float]]:
    """The same for TRL, whose trainer stops at the last mark."""
    from transformers import TrainerCallback

    found: list[tuple[int, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        taken = started = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, _args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.taken += time.perf_counter() - self.started
            while len(found) < len(marks) and self.taken >= marks[len(found)]:
                scorer = Scorer(copy.deepcopy(model), ready.reward_model.tokenizer.pad_token_id, ready.max_tokens)
                found.append((state.global_step * CONFIG.pairs_per_step, judged(scorer, validation)))
            control.should_training_stop = len(found) == len(marks)

    run_trl(ready.reward_model, ready.pairs, [np.arange(ready.pairs.post.size)], ready.max_tokens, [Clock()], 1000)
    return found


def against_time(ready: Prepared, validation: TokenisedPairs, seconds: float, with_trl: bool) -> None:
    """Print accuracy at the same seconds, and how long each took to the lower of the two best."""
    marks = [seconds * part / N_MARKS for part in range(1, N_MARKS + 1)]
    curves = {OURS: ours_against_time(ready, validation, marks)}
    if with_trl:
        curves[TRL] = trl_against_time(ready, validation, marks)
    say(f"\n{validation.post.size:,} validation pairs, rate {CONFIG.learning_rate:g} for all; accuracy (pairs seen)")
    say(f"{'seconds of training':28}" + "".join(f"{mark:>16.0f}" for mark in marks))
    for name, curve in curves.items():
        say(f"{name:28}" + "".join(f"{f'{value:.3f} ({n:,})':>16}" for n, value in curve))
    goal = min(max(value for _, value in curve) for curve in curves.values())
    for name, curve in curves.items():
        first = next(mark for mark, (_, value) in zip(marks, curve, strict=True) if value >= goal)
        say(f"{name} reaches {goal:.3f} within {first:.0f} s")


def chosen_pairs(frame: pl.DataFrame, n_pairs: int, max_per_post: int, min_per_post: int) -> pl.DataFrame:
    """About n_pairs pairs of whole posts, at most max_per_post of each, from posts with at least min_per_post."""
    rank = pl.DataFrame({"pair_id": frame["pair_id"], "rank": [stable_hash(0, name) for name in frame["pair_id"]]})
    ranked = frame.join(rank, on="pair_id").filter(pl.len().over("post_id") >= min_per_post)
    kept = ranked.filter(pl.col("rank").rank("ordinal").over("post_id") <= max_per_post).drop("rank")
    return subset(kept, min(n_pairs, kept.height), seed=0)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--pairs", default="naive", help="pair set")
    parser.add_argument("--model", default="scratch-1m", help="SPEC")
    parser.add_argument("--n-pairs", type=int, default=512)
    parser.add_argument("--max-per-post", type=int, default=30, help="pairs kept of a post")
    parser.add_argument("--dense", action="store_true", help="only posts with 40 pairs and more, all of them kept")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=45.0, help="training of each against the clock; 0: none")
    parser.add_argument("--without-trl", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    ready, frame, validation = prepared(options)
    if options.memory_of:
        say(f"{peak_mb(options.memory_of, ready):.1f}")
        return
    n_pairs = sum(step.size for step in ready.steps[1:])
    compare_speed(ready, frame, n_pairs, options)
    if options.seconds:
        everything = replace(ready, pairs=tokenise(validation[0], ready.reward_model.tokenizer, ready.max_tokens))
        held_out = tokenise(validation[1], ready.reward_model.tokenizer, ready.max_tokens)
        against_time(everything, held_out, options.seconds, not options.without_trl)


def prepared(options: argparse.Namespace) -> tuple[Prepared, pl.DataFrame, tuple[pl.DataFrame, pl.DataFrame]]:
    """The model, the pairs whose speed is measured, and (training, validation) pairs for accuracy."""
    workspace = open_workspace(options.workspace)
    stored = read_pairs(workspace, options.pairs)
    training = split_of(stored, options.pairs, "train")
    limits = (10_000, 40) if options.dense else (options.max_per_post, 1)
    frame = chosen_pairs(training, options.n_pairs, *limits)
    vocabulary = subset(training, min(5_000, training.height), seed=1)  # enough text for a tokenizer
    reward_model = build(options.model, texts(vocabulary), CONFIG.vocabulary_size, seed=0)
    pairs = tokenise(frame, reward_model.tokenizer, options.max_tokens)
    steps = epoch_steps(pairs, CONFIG.pairs_per_step, 0, 0, CONFIG.min_posts_per_step)
    ready = Prepared(reward_model, pairs, steps, options.max_tokens)
    if options.memory_of or not options.seconds:
        return ready, frame, (frame, frame)
    validation = split_of(stored, options.pairs, "validation")
    held_out = subset(validation, min(N_VALIDATION_PAIRS, validation.height), seed=0)
    return ready, frame, (chosen_pairs(training, N_TRAINING_PAIRS, *limits), held_out)


def compare_speed(ready: Prepared, frame: pl.DataFrame, n_pairs: int, options: argparse.Namespace) -> None:
    """Print pairs a second and peak memory of every contender, and the ratios."""
    pairs = ready.pairs
    n_tokens = sum(
        int(pairs.sequences.n_tokens[pairs.chosen[step]].sum() + pairs.sequences.n_tokens[pairs.rejected[step]].sum())
        for step in ready.steps[1:]
    )
    say(
        f"{options.model}: {ready.reward_model.n_parameters:,} parameters; {frame.height:,} pairs of "
        f"{frame['post_id'].n_unique():,} posts, {len(pairs.sequences):,} responses, "
        f"{n_tokens / n_pairs:.0f} tokens a pair with its prompts"
    )
    rivals = contenders(ready.reward_model, ready.max_tokens)
    spread = run_steps(rivals, pairs, ready.steps)
    rows: list[dict[str, Any]] = [
        {"name": r.name, "time_s": r.time_s, "processor_s": r.processor_s, "n_pairs": n_pairs} for r in rivals
    ]
    if not options.without_trl:
        rows.append({"name": TRL, **run_trl(ready.reward_model, pairs, ready.steps, ready.max_tokens)})
    plain = rows[0]["time_s"] / rows[0]["n_pairs"]
    say(f"{'':28}{'pairs/s':>9}{'vs plain':>10}{'by processor time':>19}{'peak MB':>9}")
    for row in rows:
        ratio = plain / (row["time_s"] / row["n_pairs"])
        by_processor = rows[0]["processor_s"] / rows[0]["n_pairs"] / (row["processor_s"] / row["n_pairs"])
        memory = in_own_process(row["name"])
        say(f"{row['name']:28}{row['n_pairs'] / row['time_s']:9.1f}{ratio:10.2f}{by_processor:19.2f}{memory:9.0f}")
    if not options.without_trl:
        ours, trl = rows[-2], rows[-1]
        faster = trl["time_s"] / trl["n_pairs"] / (ours["time_s"] / ours["n_pairs"])
        by_processor = trl["processor_s"] / trl["n_pairs"] / (ours["processor_s"] / ours["n_pairs"])
        say(f"ours trains {faster:.1f} times the pairs of TRL a second ({by_processor:.1f} by processor time)")
    say(f"largest difference of the contenders' losses at a step: {max(spread):.1e}")


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)  # noqa: T201 - a benchmark's output


if __name__ == "__main__":
    main()
