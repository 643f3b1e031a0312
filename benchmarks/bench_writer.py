"""Supervised fine-tuning of a writer: our steps, packed and padded, against TRL's SFTTrainer.

    python benchmarks/bench_writer.py --workspace DIR --pairs naive

All train the same model from the same weights on the same responses in one process, in float32 and without gradient
checkpointing, and the loss is on the responses alone. Ours take turns step by step; TRL, which shuffles responses, runs
after them. The first step of each is not counted. Processor time is what other work on the machine disturbs least.
TRL is an optional dependency of this benchmark: `pip install -c constraints.txt trl datasets`.
"""

import argparse
import copy
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lurker.machine import processor
from lurker.pair_sets import read_pair_set
from lurker.progress import quiet
from lurker.workspace import open_workspace
from rm.pairs.tokens import Sequences, layout
from rm.policy.causal import CausalModel, build_causal
from rm.policy.writer_config import WriterConfig, writer_config
from rm.policy.writer_data import read_writer_texts, writer_sequences
from rm.policy.writer_step import TokenLoss, WriterStep

OURS = ("ours, packed", "ours, padded")
TRL = "TRL SFTTrainer"


def main() -> None:
    """Measure and print one row per contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--pairs", default="naive", help="pair set")
    parser.add_argument("--model", default="scratch-1m", help="SPEC")
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps of each, the first one uncounted")
    parser.add_argument("--without-trl", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = (f"max_responses={32 * (options.steps + 4)}", "max_held_out_responses=2")
    config = writer_config(options.model, 0, settings)
    with quiet():
        texts = read_writer_texts(read_pair_set(open_workspace(options.workspace), options.pairs), config)
    words = sorted({*texts.training["prompt"], *texts.training["response"]})
    causal = build_causal(options.model, words, config.vocabulary_size, 0)
    sequences = writer_sequences(texts.training, causal.tokenizer, config)
    posts = texts.training["post_id"].to_list()
    seconds = our_seconds(causal, sequences, config, posts, options.steps)
    if not options.without_trl:
        seconds[TRL] = trl_seconds(causal, sequences, config, options.steps)
    say(f"{processor()}, 1 thread, {causal.n_parameters:,} parameters, {len(sequences):,} responses")
    for name, (wall, cpu) in seconds.items():
        ratio = cpu / seconds[OURS[0]][1]
        say(f"{name:16} {wall:6.3f} s a step, {cpu:6.3f} s of processor time, {ratio:.2f} times {OURS[0]}")


def our_seconds(
    causal: CausalModel, sequences: Sequences, config: WriterConfig, posts: list[str], n_steps: int
) -> dict[str, tuple[float, float]]:
    """Seconds and processor seconds of a step, by contender."""
    steps, networks = [], []
    for name in OURS:
        model = copy.deepcopy(causal.model)
        network = TokenLoss(model, causal.tokenizer.pad_token_id, len(layout(causal.tokenizer).separator))
        network.is_packed = network.is_packed and name == OURS[0]
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
        networks.append((name, network, optimiser))
        steps.append(WriterStep(network, sequences, sequences, config, posts))
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in OURS}
    for examples in steps[0].epoch_steps(0)[:n_steps]:
        for (name, network, optimiser), objective in zip(networks, steps, strict=True):
            started = time.perf_counter(), time.process_time()
            network.model.train()
            optimiser.zero_grad(set_to_none=True)
            objective.loss(network, examples, examples)[0].backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
            optimiser.step()
            spent[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return {name: _means(times) for name, times in spent.items()}


def trl_seconds(causal: CausalModel, sequences: Sequences, config: WriterConfig, n_steps: int) -> tuple[float, float]:
    """Seconds and processor seconds of a step of SFTTrainer, which reads the same tokens."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    starts = sequences.n_prefix + len(layout(causal.tokenizer).separator)
    rows = [
        {"input_ids": tokens.tolist(), "completion_mask": (np.arange(tokens.size) >= start).astype(int).tolist()}
        for tokens, start in zip(sequences.tokens, starts, strict=True)
    ]
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append((time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=config.responses_per_step,
            max_steps=n_steps,
            learning_rate=1e-3,
            weight_decay=0.1,
            completion_only_loss=True,
            max_length=None,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        )
        trainer = SFTTrainer(
            copy.deepcopy(causal.model),
            arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=causal.tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    return _means([(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)], first=0)


def _means(times: list[tuple[float, float]], first: int = 1) -> tuple[float, float]:
    wall, cpu = np.mean(times[first:], axis=0)
    return float(wall), float(cpu)


def say(line: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
