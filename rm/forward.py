"""Rewards of token sequences: sorted by length into micro-batches, padded on the right."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rm.data import Tokens

TOKENS_PER_BATCH = 8192
ONE_THREAD_BELOW = 500_000
"""Parameters below which a model trains on one thread."""


def choose_device() -> torch.device:
    """The accelerator of this machine, or its processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def place(model: Any, n_parameters: int) -> torch.device:
    """Move the model to the device and take as many processor threads as its size is worth; the device.

    n_parameters: without embeddings. A step of a small model is too short to be shared: threads that wait for each
    other slow it down, above all beside other work.
    """
    device = choose_device()
    model.to(device)
    if device.type == "cpu" and n_parameters < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    return device


def describe_device(device: torch.device) -> str:
    """The device in words, with what decides its speed."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} in bfloat16"
    if device.type == "mps":
        return "the Apple GPU in float32"
    return f"CPU, {torch.get_num_threads()} of {os.cpu_count()} cores, float32"


def micro_batches(lengths: NDArray[np.int64], tokens_per_batch: int) -> list[NDArray[np.int64]]:
    """Indices of each micro-batch: neighbours in length, at most tokens_per_batch with padding (or one sequence).

    lengths: [n] tokens of each sequence.
    """
    batches: list[NDArray[np.int64]] = []
    start = 0
    order = np.argsort(lengths, kind="stable")
    for position in range(1, order.size + 1):
        is_full = position < order.size and (position - start + 1) * lengths[order[position]] > tokens_per_batch
        if position == order.size or is_full:
            batches.append(order[start:position])
            start = position
    return batches


def rewards(
    model: Any, sequences: Sequence[Tokens], pad_token_id: int, tokens_per_batch: int = TOKENS_PER_BATCH
) -> Tensor:
    """The reward of each sequence: [n] float32, in the order given, on the model's device, with its graph.

    On a GPU the model computes in bfloat16; on a CPU, where that is slower, in float32.
    """
    device = next(model.parameters()).device
    lengths = np.array([sequence.size for sequence in sequences], dtype=np.int64)
    batches = micro_batches(lengths, tokens_per_batch)
    parts = []
    for batch in batches:
        ids = np.full((batch.size, int(lengths[batch].max())), pad_token_id, dtype=np.int64)
        for row, number in enumerate(batch):
            ids[row, : lengths[number]] = sequences[number]
        mask = np.arange(ids.shape[1])[None, :] < lengths[batch][:, None]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            out = model(
                input_ids=torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
            )
        parts.append(out.logits[:, 0].float())
    order = torch.from_numpy(np.concatenate(batches)).to(device)
    return torch.empty(len(sequences), device=device).index_put((order,), torch.cat(parts))
