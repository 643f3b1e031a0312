"""One pass of an untrained model over sequences, which yields all that later steps read of it.

Frozen lower layers' outputs, what the reward head reads, and the mean last-layer state of each response come from the
same computation.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.progress import advance
from rm.models.layers import backbone_of, classifier_of, layers_of, replace_input, skip_layers
from rm.models.packing import Pack, pack_sequences
from rm.models.scorer import Scorer, micro_batches
from rm.pairs.tokens import Indices, Sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a pass yields."""

    head: nn.Module | None = None
    """the reward head, whose input is yielded"""
    has_means: bool = False
    """whether the mean last-layer state of each response is yielded"""
    has_pooling_layer: bool = False
    """whether the model's last layer was added by `rm.models.mean_pooling`, so that means are taken below it"""


@dataclass(frozen=True, slots=True)
class FrozenBatch:
    """Sequences computed together."""

    members: Indices
    """[n] index of each sequence"""
    rows: Indices
    """[T] the ids of the pack: tokens, or rows of a cache"""
    states: Tensor | None
    """[T, width] float32 on the CPU: output of the first n_layers"""
    features: Tensor | None
    """[n, width] float32: what the head reads"""
    means: Tensor | None
    """[n, width] float32: mean last-layer state of the tokens after the prompt; None where states are not tokens'"""


Outputs = tuple[Tensor | None, NDArray[np.float16] | None]
"""Features [n, width] float32 and means [n, width] of all sequences in order; None where they are not wanted or the
model has none."""


@dataclass(slots=True)
class _Captured:
    lower: Tensor | None = None
    features: Tensor | None = None
    last: Tensor | None = None


@torch.no_grad()
def frozen_batches(
    scorer: Scorer,
    sequences: Sequences,
    tokens_per_batch: int,
    wanted: Wanted,
    *,
    n_layers: int | None = None,
    tokens: Indices | None = None,
) -> Iterator[FrozenBatch]:
    """Run the model; moves the innermost progress bar by tokens.

    Args:
        scorer: the model.
        sequences: what it reads; rows of a cache if `tokens` is given or the scorer has cached states.
        tokens_per_batch: tokens computed together.
        wanted: what is yielded.
        n_layers: also yield the output of this many layers, in float16 steps: the layers above read it as later
            runs do, from the cache. Packed models only.
        tokens: token of each row, [n_rows].
    """
    scorer.model.eval()
    is_lower_only = n_layers is not None and wanted.head is None and not wanted.has_means
    layers = layers_of(classifier_of(scorer.model))
    device = next(scorer.model.parameters()).device
    with ExitStack() as contexts:
        captured = contexts.enter_context(_captures(scorer, wanted, n_layers))
        if is_lower_only:
            contexts.enter_context(skip_layers(layers[n_layers:]))
        contexts.enter_context(torch.autocast(device.type, dtype=scorer.dtype, enabled=scorer.dtype != torch.float32))
        reads_last_only = not is_lower_only and (not wanted.has_means or wanted.has_pooling_layer)
        if scorer.is_packed:
            for pack in pack_sequences(sequences, tokens_per_batch, scorer.is_causal):
                scorer.run_pack(pack, device, tokens, reads_last_only=reads_last_only)
                yield _of_pack(captured, pack, sequences)
                advance(pack.ids.size)
            return
        for batch in micro_batches(sequences.n_tokens, tokens_per_batch, equal_lengths=scorer.needs_equal_lengths):
            scorer.run_padded(sequences, batch, device)
            yield _of_padded(captured, batch, sequences)
            advance(int(sequences.n_tokens[batch].sum()))


def collect(batches: Iterator[FrozenBatch], n_sequences: int) -> Outputs:
    """What the batches hold of all sequences, in order."""
    members, features, means = [], [], []
    for batch in batches:
        members.append(batch.members)
        features.append(batch.features)
        means.append(None if batch.means is None else batch.means.cpu().numpy().astype(np.float16))
    order = np.argsort(np.concatenate(members)) if members else np.empty(0, dtype=np.int64)
    if order.size != n_sequences:
        raise ValueError(f"{order.size} of {n_sequences} sequences were computed")
    known = [part for part in features if part is not None]
    found = [part for part in means if part is not None]
    return (
        torch.cat(known)[torch.from_numpy(order).to(known[0].device)] if known else None,
        np.concatenate(found)[order] if found and len(found) == len(means) else None,
    )


@contextmanager
def _captures(scorer: Scorer, wanted: Wanted, n_layers: int | None) -> Iterator[_Captured]:
    """Hooks that keep what a pass yields."""
    classifier, captured = classifier_of(scorer.model), _Captured()
    layers = layers_of(classifier)

    def keep_lower(states: Tensor) -> Tensor:
        captured.lower = states[0].float()
        return captured.lower.half().to(states.dtype)[None]

    def keep_features(_module: Any, args: tuple[Any, ...]) -> None:
        captured.features = args[0].float()

    def keep_input(_module: Any, args: tuple[Any, ...]) -> None:
        captured.last = args[0].float()

    def keep_output(_module: Any, _args: Any, out: Any) -> None:
        captured.last = out[0].float()

    with ExitStack() as contexts:
        if n_layers is not None:
            contexts.enter_context(replace_input(layers[n_layers], keep_lower))
        if wanted.head is not None:
            contexts.callback(wanted.head.register_forward_pre_hook(keep_features).remove)
        if wanted.has_means and wanted.has_pooling_layer:
            contexts.callback(layers[-1].register_forward_pre_hook(keep_input).remove)
        elif wanted.has_means:
            contexts.callback(backbone_of(classifier).register_forward_hook(keep_output).remove)
        yield captured


def _of_pack(captured: _Captured, pack: Pack, sequences: Sequences) -> FrozenBatch:
    n_tokens, n = pack.ids.size, pack.members.size
    means = None
    if captured.last is not None:
        own = (pack.branch > 0) & (pack.positions >= sequences.n_prefix[pack.members][pack.branch - 1])
        slot = torch.from_numpy(np.where(own, pack.branch, 0)).to(captured.last.device)
        states = captured.last[0, :n_tokens]
        sums = states.new_zeros(n + 1, states.shape[1]).index_add(0, slot, states)[1:]
        means = sums / torch.bincount(slot, minlength=n + 1)[1:, None]
    features = None if captured.features is None else captured.features[:n]
    lower = None if captured.lower is None else captured.lower[:n_tokens].cpu()
    return FrozenBatch(pack.members, pack.ids, lower, features, means)


def _of_padded(captured: _Captured, batch: Indices, sequences: Sequences) -> FrozenBatch:
    lengths = sequences.n_tokens[batch]
    features, means = captured.features, None
    if features is not None and features.ndim == 3:  # a decoder's head reads every token, the last gives the reward
        last = torch.from_numpy(lengths - 1).to(features.device)
        features = features[torch.arange(batch.size, device=features.device), last]
    if captured.last is not None and captured.last.shape[:2] == (batch.size, int(lengths.max())):
        position = np.arange(lengths.max())[None, :]
        own = (position >= sequences.n_prefix[batch][:, None]) & (position < lengths[:, None])
        weight = torch.from_numpy(own.astype(np.float32)).to(captured.last.device)
        means = (captured.last * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
    return FrozenBatch(batch, np.empty(0, dtype=np.int64), None, features, means)
