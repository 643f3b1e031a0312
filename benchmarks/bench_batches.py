"""Accuracy by pairs seen, for steps of whole posts and of shuffled pairs; `python benchmarks/bench_batches.py --help`.

    lurker --workspace DIR ingest simulate && lurker --workspace DIR pairs build matched --recipe matched
    python benchmarks/bench_batches.py --workspace DIR --pairs matched

Steps of whole posts let pairs share prompts (`rm.training.reward_step`); this measures whether they cost accuracy. Both
kinds of step read the same pairs, equally many per step, at the best of the same learning rates by validation log loss.
The test split is then read once for each, averaged over seeds.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from lurker.pair_sets import read_pairs, split_of
from lurker.stats import mean_interval
from lurker.workspace import open_workspace
from rm.evaluation.metrics import Margins, is_correct, model_margins
from rm.models.ladder import build
from rm.pairs.subsets import subset, texts
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.training.config import TrainConfig
from rm.training.reward_step import train_rewards

SETTINGS: dict[str, dict[str, Any]] = {
    "whole posts, pairs weigh 1/sqrt(n)": {"steps_of": "posts", "post_weight": "root"},
    "whole posts, pairs weigh 1": {"steps_of": "posts", "post_weight": "pair"},
    "shuffled pairs, each weighs 1": {"steps_of": "pairs", "post_weight": "pair"},
    "shuffled pairs, pairs weigh 1/sqrt(n)": {"steps_of": "pairs", "post_weight": "root"},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of one training."""

    log_losses: list[float]
    """validation log loss at each evaluation, nats"""
    n_pairs_seen: list[int]
    """training pairs seen at each evaluation"""
    is_correct: Margins
    """[n_test_pairs] whether the best weights rank the pair correctly; 0.5 for a tie"""
    time_s: float
    """training time"""

    @property
    def best(self) -> float:
        """The lowest validation log loss."""
        return min(self.log_losses)


def train_once(model: str, frames: dict[str, pl.DataFrame], config: TrainConfig) -> Outcome:
    """Train a model from scratch; config.seed determines initial weights and order."""
    reward_model = build(model, texts(frames["train"]), config.vocabulary_size, config.seed)
    pairs: dict[str, TokenisedPairs] = {
        name: tokenise(frame, reward_model.tokenizer, config.max_tokens) for name, frame in frames.items()
    }
    scorer = reward_model.scorer(config.max_tokens)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train_rewards(scorer, pairs["train"], pairs["validation"], config, Path(folder))
        rows = [orjson.loads(line) for line in (Path(folder) / "metrics.jsonl").read_bytes().splitlines()]
    time_s = time.perf_counter() - started
    evaluated = [row for row in rows if "validation_log_loss" in row]
    per_step = frames["train"].height * config.epochs / len(rows)
    margins = model_margins(scorer, pairs["test"], config.tokens_per_batch)
    return Outcome(
        [row["validation_log_loss"] for row in evaluated],
        [round(row["step"] * per_step) for row in evaluated],
        is_correct(margins),
        time_s,
    )


def main() -> None:
    """Search learning rates and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--pairs", default="matched", help="pair set")
    parser.add_argument("--model", default="scratch-50k", help="SPEC of the ladder")
    parser.add_argument("--n-pairs", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rates", default="5e-4,1e-3,2e-3,4e-3", help="comma-separated learning rates")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    stored = read_pairs(workspace, options.pairs)
    frames = {split: split_of(stored, options.pairs, split) for split in ("train", "validation", "test")}
    frames["train"] = subset(frames["train"], min(options.n_pairs, frames["train"].height), seed=0)
    posts = frames["test"]["post_id"].to_numpy()
    say(", ".join(f"{frame.height:,} {split} pairs" for split, frame in frames.items()))
    say(f"{'':38}{'rate':>8}{'validation':>12}{'test accuracy [95 %]':>26}{'s per run':>10}  validation by pairs seen")
    correct: dict[str, Margins] = {}
    for name, fields in SETTINGS.items():
        base = TrainConfig(
            learning_rate=1.0, epochs=options.epochs, evaluations_per_epoch=2, patience=100, max_tokens=256, **fields
        )
        runs = {
            rate: [
                train_once(options.model, frames, replace(base, learning_rate=rate, seed=seed))
                for seed in range(options.seeds)
            ]
            for rate in map(float, options.rates.split(","))
        }
        rate, best = min(runs.items(), key=lambda item: float(np.mean([run.best for run in item[1]])))
        correct[name] = np.mean([run.is_correct for run in best], axis=0)
        estimate = mean_interval(correct[name], posts)
        seen = zip(best[0].n_pairs_seen, np.mean([run.log_losses for run in best], axis=0), strict=True)
        curve = "  ".join(f"{n:,}: {value:.4f}" for n, value in seen)
        interval = f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
        loss, time_s = (float(np.mean([getattr(run, field) for run in best])) for field in ("best", "time_s"))
        say(f"{name:38}{rate:8.0e}{loss:12.4f}{interval:>26}{time_s:10.1f}  {curve}")
    names = list(SETTINGS)
    difference = mean_interval(correct[names[0]] - correct[names[2]], posts)
    say(
        f"{names[0]} minus {names[2]}: test accuracy {difference.value:+.4f} "
        f"[{difference.low:+.4f}, {difference.high:+.4f}], paired, clustered by post"
    )


def say(line: str) -> None:
    """Print one line immediately."""
    print(line, flush=True)  # noqa: T201 - a benchmark's output


if __name__ == "__main__":
    main()
