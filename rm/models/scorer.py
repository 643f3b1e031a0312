"""Rewards of token sequences: a prompt runs once for all its responses where the model allows it.

Models run on packs without padding (`rm.models.packing`, `rm.models.shared_attention`). Responses to one prompt share
it in a decoder; in an encoder, whose prompt attends to the response, they share nothing. Models that cannot run on
packs get unique sequences, sorted by length, in padded batches. Rewards are the same either way.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rm.models import shared_attention
from rm.models.layers import (
    backbone_of,
    classifier_of,
    compute_only_at,
    has_fast_bfloat16,
    layers_of,
    replace_input,
    selectable_modules,
    skip_layers,
    split_first_tokens,
)
from rm.models.limits import first_position
from rm.models.packing import Pack, pack_sequences
from rm.pairs.tokens import Indices, Sequences

TOKENS_PER_BATCH = 8192
NO_SEQUENCES = np.empty(0, dtype=np.int64)
PACKING_TOLERANCE = 1e-4
"""Largest difference between packed and padded rewards of test sequences, relative to their standard deviation."""
CUDA_PACKING_TOLERANCE = 0.05
"""The same on CUDA, where matrix products may have the 8 bits of bfloat16."""
FAST_BFLOAT16_FROM = 2_000_000
"""Parameters from which a CPU with bfloat16 instructions trains faster in bfloat16: below, casting costs more."""
ONE_THREAD_BELOW = 500_000
"""Parameters below which a model runs on one CPU thread."""


def choose_device() -> torch.device:
    """This machine's accelerator, or its CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def move_to_device(model: Any, n_parameters: int) -> torch.device:
    """Move the model to this machine's device, and use one CPU thread for a small model.

    A step of a small model is too short to divide: threads that wait for each other slow it down, above all when the
    machine is busy.

    Args:
        model: The model to move.
        n_parameters: Its parameters without embeddings.
    """
    device = choose_device()
    model.to(device)
    if device.type == "cpu" and n_parameters < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    return device


def training_dtype(precision: str, device: torch.device, n_parameters: int) -> torch.dtype:
    """Data type of matrix products in training; evaluation uses float32.

    Args:
        precision: "auto", "float32" or "bfloat16"; auto takes bfloat16 where the hardware is fast in it.
        device: Device that trains.
        n_parameters: Parameters without embeddings.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    is_fast = (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)) or (
        device.type == "cpu" and n_parameters >= FAST_BFLOAT16_FROM and has_fast_bfloat16()
    )
    return torch.bfloat16 if is_fast else torch.float32


def describe_device(device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """The device and what determines its speed, in words."""
    precision = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    if device.type == "mps":
        return f"Apple GPU, {precision}"
    return f"CPU, {torch.get_num_threads()} of {os.cpu_count()} cores, {precision}"


@dataclass(frozen=True, slots=True)
class CachedStates:
    """Outputs of a model's first layers, row by row."""

    n_layers: int
    """number of layers they come from"""
    tokens: Indices
    """[n_rows] token id of each row"""
    hidden: NDArray[np.float16]
    """[n_rows, width], on disk"""

    def take(self, rows: Indices) -> Tensor:
        """The states of these rows, [len(rows), width] float32."""
        return torch.from_numpy(self.hidden[rows]).float()


class Scorer(nn.Module):
    """Rewards of sequences by one model; a module, so that it can be wrapped for several devices."""

    def __init__(self, model: Any, pad_token_id: int, max_tokens: int, dtype: torch.dtype = torch.float32) -> None:
        """Find out whether the model can run on packs.

        Args:
            model: A sequence classifier with one output.
            pad_token_id: Its padding token.
            max_tokens: Maximum tokens of a sequence.
            dtype: Data type of matrix products.
        """
        super().__init__()
        self.model = model
        self.pad_token_id = pad_token_id
        self.reads_last_only = True
        """whether the last layer computes only the tokens that carry a reward"""
        self.dtype = torch.float32
        self.states: CachedStates | None = None
        """outputs of frozen lower layers; if set, sequences hold their rows in place of tokens"""
        self.n_batches_to_run: Callable[[int], int] | None = None
        """maps this process's number of batches to the number to run, for processes that must run equally many"""
        self.is_causal = isinstance(getattr(classifier_of(model), "score", None), nn.Module)
        """whether the model is a decoder, whose responses share their prompt"""
        self.reason_not_packed = _reason_not_packed(self, max_tokens)
        self.is_packed = not self.reason_not_packed
        self.needs_equal_lengths = not self.is_packed and _depends_on_padding(self, max_tokens)
        """whether padding would change rewards, so that only sequences of one length share a batch"""
        self.dtype = dtype

    def forward(self, sequences: Sequences, tokens_per_batch: int = TOKENS_PER_BATCH) -> Tensor:
        """Reward of each sequence, [n] float32 in the given order, on the model's device, with its graph."""
        return in_place(self._batches(sequences, tokens_per_batch), len(sequences))

    def _batches(self, sequences: Sequences, tokens_per_batch: int) -> Iterator[tuple[Indices, Tensor]]:
        """Yields the indices of sequences computed together and their rewards; no indices for a repeated batch."""
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            if self.is_packed:
                packs = pack_sequences(sequences, tokens_per_batch, self.is_causal)
                for number in range(self._n_batches(len(packs))):
                    pack = packs[number % len(packs)]
                    rewards = self.run_pack(pack, device).float()
                    yield pack.members if number < len(packs) else NO_SEQUENCES, rewards
            else:
                batches = micro_batches(sequences.n_tokens, tokens_per_batch, equal_lengths=self.needs_equal_lengths)
                for number in range(self._n_batches(len(batches))):
                    batch = batches[number % len(batches)]
                    rewards = self.run_padded(sequences, batch, device).float()
                    yield batch if number < len(batches) else NO_SEQUENCES, rewards

    def _n_batches(self, n_own: int) -> int:
        return n_own if self.n_batches_to_run is None else self.n_batches_to_run(n_own)

    def run_pack(
        self, pack: Pack, device: torch.device, tokens: Indices | None = None, *, reads_last_only: bool = True
    ) -> Tensor:
        """Rewards of the pack's responses, in its order, [n].

        Args:
            pack: what the model reads.
            device: the model's.
            tokens: of each row, if the pack holds rows.
            reads_last_only: whether the last layer may compute only the tokens that carry a reward.
        """
        classifier = classifier_of(self.model)
        backbone, layers = backbone_of(classifier), layers_of(classifier)
        is_checkpointed = any(getattr(layer, "gradient_checkpointing", False) for layer in layers) and self.training
        # a recomputed layer must run under the same hooks as before
        reads_last_only = reads_last_only and self.reads_last_only and not is_checkpointed
        n_responses = pack.read.size
        pack, mask = shared_attention.prepare_pack(pack, device, len(layers) - 1 if reads_last_only else None)
        rows, states = pack.ids, self.states
        if states is not None:
            tokens = states.tokens
        ids, positions, read = (
            torch.from_numpy(array).to(device)
            for array in (rows if tokens is None else tokens[rows], pack.positions, pack.read)
        )
        with ExitStack() as contexts:
            contexts.enter_context(shared_attention.use_mask(mask))
            if reads_last_only:
                contexts.enter_context(compute_only_at(selectable_modules(layers[-1]), read, ids.numel()))
            if states is not None:
                hidden = states.take(rows).to(device)[None]
                contexts.enter_context(skip_layers(layers[: states.n_layers]))
                contexts.enter_context(replace_input(layers[states.n_layers], lambda _: hidden))
            if self.is_causal:
                out = backbone(input_ids=ids[None], position_ids=positions[None], use_cache=False).last_hidden_state
                scores: Tensor = classifier.score(out[0, read])
                return scores[:n_responses, 0]
            contexts.enter_context(split_first_tokens(backbone, read))
            scores = classifier(input_ids=ids[None], position_ids=positions[None] + first_position(classifier)).logits
            return scores[:n_responses, 0]

    def run_padded(self, sequences: Sequences, batch: Indices, device: torch.device) -> Tensor:
        """Rewards of the batch's sequences, in its order, [n]."""
        lengths = sequences.n_tokens[batch]
        is_token = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.full(is_token.shape, self.pad_token_id, dtype=np.int64)
        ids[is_token] = np.concatenate([sequences.tokens[number] for number in batch])
        mask = torch.from_numpy(is_token.astype(np.int64)).to(device)
        logits: Tensor = self.model(input_ids=torch.from_numpy(ids).to(device), attention_mask=mask).logits
        return logits[:, 0]


def in_place(batches: Iterable[tuple[Indices, Tensor]], n: int) -> Tensor:
    """The rows of batches in the order of their sequences, with their graph.

    Args:
        batches: indices of sequences and a row for each; no indices for a batch that only keeps processes in step.
        n: sequences.

    Returns:
        [n, ...] on the batches' device.
    """
    members, parts = zip(*batches, strict=True)
    own = torch.cat([part for numbers, part in zip(members, parts, strict=True) if numbers.size])
    order = torch.from_numpy(np.concatenate(members)).to(own.device)
    rows = torch.zeros(n, *own.shape[1:], dtype=own.dtype, device=own.device).index_copy(0, order, own)
    for repeated in (part for numbers, part in zip(members, parts, strict=True) if not numbers.size):
        rows = rows + 0.0 * repeated.sum()  # keeps it in the graph, with gradient 0
    return rows


def micro_batches(lengths: Indices, tokens_per_batch: int, *, equal_lengths: bool = False) -> list[Indices]:
    """Group sequences of similar length into batches.

    Args:
        lengths: [n] tokens of each sequence.
        tokens_per_batch: Maximum tokens of a batch, padding included; a longer sequence gets its own batch.
        equal_lengths: Put only sequences of one length into a batch, for models whose rewards padding changes.

    Returns:
        Indices of the sequences in each batch.
    """
    batches: list[Indices] = []
    start = 0
    order = np.argsort(lengths, kind="stable")
    for position in range(1, order.size + 1):
        is_full = position < order.size and (position - start + 1) * lengths[order[position]] > tokens_per_batch
        is_other = position < order.size and equal_lengths and lengths[order[position]] != lengths[order[start]]
        if position == order.size or is_full or is_other:
            batches.append(order[start:position])
            start = position
    return batches


def _reason_not_packed(scorer: Scorer, max_tokens: int) -> str:
    """Why the model cannot run on packs; empty if it can. Switches its attention over if it can."""
    classifier = classifier_of(scorer.model)
    config = getattr(classifier, "config", None)
    window = getattr(config, "sliding_window", None)
    if not layers_of(classifier):
        return "its layers are not stored as transformers models store them"
    if (
        window
        and window < max_tokens
        and "".join(set(getattr(config, "layer_types", None) or [""])) != "full_attention"
    ):
        return f"its attention covers only the last {window:,} tokens"
    shared_attention.register()
    before = config._attn_implementation  # type: ignore[union-attr]
    device = next(scorer.model.parameters()).device
    try:
        classifier.set_attn_implementation(shared_attention.NAME)
        reason = _compare_packed_and_alone(scorer, device, max_tokens)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = f"its attention cannot be replaced ({type(error).__name__})"
    if reason:
        classifier.set_attn_implementation(before)
    return reason


@torch.no_grad()
def _compare_packed_and_alone(scorer: Scorer, device: torch.device, max_tokens: int) -> str:
    """How rewards in one pack and alone differ; empty if they agree."""
    sequences = _probe(scorer, max_tokens)
    was_training, scorer.is_packed = scorer.model.training, True
    scorer.model.eval()
    packed = scorer(sequences, 2 * max(TOKENS_PER_BATCH, int(sequences.n_tokens.sum())))
    scorer.is_packed = False
    difference = _relative_difference(packed, _alone(scorer, sequences, device))
    scorer.model.train(was_training)
    if difference <= _tolerance(device):
        return ""
    return f"rewards in a pack and alone differ by {difference:.1g} of their standard deviation"


@torch.no_grad()
def _depends_on_padding(scorer: Scorer, max_tokens: int) -> bool:
    """Whether a reward alone and padded alongside a text of max_tokens differ, as with FNet or Phi-3's longrope."""
    device = next(scorer.model.parameters()).device
    was_training = scorer.model.training
    scorer.model.eval()
    try:
        sequences = _probe(scorer, max_tokens)
        padded = scorer.run_padded(sequences, np.arange(len(sequences)), device).float()
        return not _relative_difference(padded, _alone(scorer, sequences, device)) <= _tolerance(device)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # training names what is wrong
    finally:
        scorer.model.train(was_training)


def _probe(scorer: Scorer, max_tokens: int) -> Sequences:
    """Two prompts with three random responses each, and a text of max_tokens, which short texts must not notice."""
    config = classifier_of(scorer.model).config
    rng = np.random.default_rng(0)
    others = np.setdiff1d(np.arange(int(config.vocab_size)), [scorer.pad_token_id])
    prompts = [rng.choice(others, size) for size in (9, 5)]
    tokens = [np.append(prompts[n // 3], rng.choice(others, 2 + n)).astype(np.int32) for n in range(6)]
    tokens.append(rng.choice(others, max(max_tokens, 16)).astype(np.int32))
    return Sequences(tokens, np.array([0, 0, 0, 1, 1, 1, 2]), np.array([9, 9, 9, 5, 5, 5, 4]))


def _alone(scorer: Scorer, sequences: Sequences, device: torch.device) -> Tensor:
    """[n] rewards of sequences computed one at a time, without padding."""
    return torch.cat([scorer.run_padded(sequences, np.array([n]), device).float() for n in range(len(sequences))])


def _relative_difference(rewards: Tensor, alone: Tensor) -> float:
    return float((rewards - alone).abs().max()) / max(float(alone.std()), 1e-6)


def _tolerance(device: torch.device) -> float:
    return CUDA_PACKING_TOLERANCE if device.type == "cuda" else PACKING_TOLERANCE
