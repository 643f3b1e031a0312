"""Memory of training and evaluation on one huge post, over many steps; `python benchmarks/bench_memory.py --help`.

    python benchmarks/bench_memory.py                  # peaks for a post of 100, 1,000 and 10,000 responses
    python benchmarks/bench_memory.py --model minilm   # the same for a model whose memory once grew to 10 GB

Texts are random words, with lengths as skewed as those of comments. Each size runs in a separate process. Printed is
the memory that training (the same number of steps) and then evaluation of the complete post add at their peaks, and
what is held after a quarter of the steps and after all of them. Tokens, which grow with the post, do not count.
"""

import argparse
import contextlib
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from lurker.schema import PAIRS, check
from rm.evaluation.metrics import model_margins
from rm.models.ladder import build
from rm.models.scorer import Scorer, move_to_device, training_dtype
from rm.pairs.subsets import texts
from rm.pairs.tokenised import tokenise
from rm.training.config import TrainConfig
from rm.training.reward_step import train_rewards
from rm.training.trainable import make_trainable

WORDS = [
    "tea",
    "road",
    "rain",
    "exam",
    "dorm",
    "class",
    "money",
    "week",
    "friend",
    "study",
    "not",
    "very",
    "you",
    "the",
]
PAIRS_PER_RESPONSE = 3
SIDES = ("chosen", "rejected")
N_SMALL_POSTS = 40
"""Posts of 10 responses next to the huge one, because a step mixes posts."""


def make_pairs(n_responses: int) -> pl.DataFrame:
    """PAIRS of one post with n_responses and N_SMALL_POSTS with 10, in which the longer response wins."""
    rng = np.random.default_rng(0)
    rows = []
    for post in range(N_SMALL_POSTS + 1):
        n_here = 10 if post else n_responses
        sizes = np.clip(rng.lognormal(3.5, 1.0, n_here), 1, 400).astype(int)
        bodies = [" ".join(rng.choice(WORDS, size)) for size in sizes]
        prompt = " ".join(rng.choice(WORDS, 120))
        for first, step in itertools.product(range(n_here), range(1, PAIRS_PER_RESPONSE + 1)):
            second = (first + step) % n_here
            chosen, rejected = (first, second) if sizes[first] > sizes[second] else (second, first)
            rows.append(
                {
                    "pair_id": f"{post}-{first}-{step}",
                    "post_id": f"post{post}",
                    "subreddit": "made",
                    "split": "train",
                    "prompt": prompt,
                    "chosen": bodies[chosen],
                    "rejected": bodies[rejected],
                    **{
                        f"{side}_id": f"{post}c{number}" for side, number in zip(SIDES, (chosen, rejected), strict=True)
                    },
                    **{f"{side}_score": score for side, score in zip(SIDES, (9, 1), strict=True)},
                    **{f"{side}_delay_s": 60 for side in SIDES},
                    "chosen_chars": len(bodies[chosen]),
                    "rejected_chars": len(bodies[rejected]),
                    "label_confidence": 0.9,
                    "weight": 1.0,
                    "recipe": "made",
                }
            )
    return check(pl.DataFrame(rows, schema=PAIRS.schema), PAIRS)


def memory_mb(field: str) -> float:
    """A memory field of this process, such as VmRSS (now) or VmHWM (peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def reset_peak() -> None:
    """Reset VmHWM."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(model: str, n_responses: int, n_steps: int) -> tuple[float, float, float, float]:
    """MB added at the peak of training, after a quarter of its steps, after all, and at the peak of evaluation."""
    frame = make_pairs(n_responses)
    config = TrainConfig(learning_rate=1e-4, pairs_per_step=32, max_tokens=256, epochs=1, patience=10**6)
    reward_model = build(model, texts(frame.head(3000)), config.vocabulary_size, seed=0)
    device = move_to_device(reward_model.model, reward_model.n_parameters)
    dtype = training_dtype("auto", device, reward_model.n_parameters)
    pairs = tokenise(frame, reward_model.tokenizer, config.max_tokens)
    few = tokenise(frame.tail(60), reward_model.tokenizer, config.max_tokens)
    trainable = make_trainable(reward_model.model, model, config)
    scorer = Scorer(trainable, reward_model.tokenizer.pad_token_id, config.max_tokens, dtype)
    before, held = memory_mb("VmRSS"), []
    reset_peak()

    def measure_and_stop(*_: object) -> None:
        if scorer.model.training:  # one forward pass per step
            held.append(memory_mb("VmRSS") - before)
        if len(held) > n_steps:
            raise StopIteration

    hook = scorer.register_forward_pre_hook(measure_and_stop)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(StopIteration):
        train_rewards(scorer, pairs, few, config, Path(folder))
    hook.remove()
    trained = memory_mb("VmHWM") - before
    reset_peak()
    model_margins(scorer, pairs, config.tokens_per_batch)
    return trained, held[n_steps // 4 + 1], held[n_steps], memory_mb("VmHWM") - before


def main() -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="scratch-200k", help="SPEC")
    parser.add_argument("--responses", default="100,1000,10000", help="sizes of the huge post, comma-separated")
    parser.add_argument("--steps", type=int, default=40, help="training steps")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        say(" ".join(f"{value:.0f}" for value in measure(options.model, options.one, options.steps)))
        return
    say(f"{options.model}, {options.steps} steps of 32 pairs; MB above the memory held before")
    say(f"{'responses':>10}{'training, peak':>16}{'held, 1st quarter':>19}{'held, end':>15}{'evaluation, peak':>18}")
    for size in (int(part) for part in options.responses.split(",")):
        call = [sys.executable, __file__, "--model", options.model, "--steps", str(options.steps), "--one", str(size)]
        measured = subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()[-4:]
        say(f"{size:>10,}{measured[0]:>16}{measured[1]:>19}{measured[2]:>15}{measured[3]:>18}")


def say(line: str) -> None:
    """Print one line immediately."""
    print(line, flush=True)  # noqa: T201 - a benchmark's output


if __name__ == "__main__":
    main()
