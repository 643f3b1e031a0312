"""Rewards of token sequences: the prompt once for all its responses where the model allows it, else unique sequences.

Models run on packs without padding (`rm.models.packing`) through `rm.models.shared_attention`: a decoder's responses share their
prompt, an encoder's, whose prompt sees the response, share nothing. A model that this cannot serve runs on unique
sequences sorted by length into batches padded on the right. All give the same rewards.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lurker.progress import ignore
from rm.models import shared_attention
from rm.models.layers import (
    backbone_of,
    classifier_of,
    fed,
    first_tokens,
    has_fast_bfloat16,
    layers_of,
    left_out,
    read_only,
    read_only_modules,
)
from rm.models.packing import Pack, pack_sequences
from rm.pairs.tokens import Indices, Sequences

TOKENS_PER_BATCH = 8192
NONE = np.empty(0, dtype=np.int64)
PROBE_TOLERANCE = 1e-4
"""Packed and plain rewards of the probe may differ by so much, relative to their spread."""
FAST_BFLOAT16_FROM = 2_000_000
"""Parameters from which a processor with instructions for bfloat16 trains faster in it: below, casting costs more."""
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


def training_dtype(precision: str, device: torch.device, n_parameters: int) -> torch.dtype:
    """What matrices are multiplied in while training. precision: auto | float32 | bfloat16; judging is in float32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    is_fast = (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)) or (
        device.type == "cpu" and n_parameters >= FAST_BFLOAT16_FROM and has_fast_bfloat16()
    )
    return torch.bfloat16 if is_fast else torch.float32


def describe_device(device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """The device in words, with what decides its speed."""
    number = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {number}"
    if device.type == "mps":
        return f"the Apple GPU, {number}"
    return f"CPU, {torch.get_num_threads()} of {os.cpu_count()} cores, {number}"


@dataclass(frozen=True, slots=True)
class States:
    """What the first n_layers give for each row: tokens [n_rows], hidden [n_rows, width] float16 (on disk)."""

    n_layers: int
    tokens: Indices
    hidden: NDArray[np.float16]

    def rows(self, numbers: Indices) -> Tensor:
        """[len(numbers), width] float32."""
        return torch.from_numpy(self.hidden[numbers]).float()


class Scorer(nn.Module):
    """Rewards of sequences by one model; a module, so that it can be wrapped as a whole for several devices.

    is_packed: whether sequences run without padding; if not, `reason` says why. is_causal: whether they share prompts.
    reads_last_only: whether the last layer computes only the tokens that carry a reward. dtype: what matrices are
    multiplied in. states: what the lower layers give, where they are frozen and were computed before; sequences then
    hold rows of it instead of tokens. n_rounds: how many packs to compute, of those there are: for processes that must
    all compute as many.
    """

    def __init__(self, model: Any, pad_token_id: int, max_tokens: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = model
        self.pad_token_id = pad_token_id
        self.reads_last_only = True
        self.dtype = torch.float32
        self.states: States | None = None
        self.n_rounds: Callable[[int], int] | None = None
        self.is_causal = isinstance(getattr(classifier_of(model), "score", None), nn.Module)
        self.reason = _why_not_packed(self, max_tokens)
        self.is_packed = not self.reason
        self.dtype = dtype

    def forward(self, sequences: Sequences, tokens_per_batch: int = TOKENS_PER_BATCH) -> Tensor:
        """The reward of each sequence: [n] float32, in the order given, on the model's device, with its graph."""
        places, parts = zip(*self._parts(sequences, tokens_per_batch), strict=True)
        order = torch.from_numpy(np.concatenate(places)).to(parts[0].device)
        rewards = torch.empty(len(sequences), device=order.device)
        rewards = rewards.index_put((order,), torch.cat(parts)[: order.numel()])
        for spare in (part for place, part in zip(places, parts, strict=True) if not place.size):
            rewards = rewards + 0.0 * spare.sum()  # its gradient is 0, but it is computed
        return rewards

    @torch.no_grad()
    def embeddings(
        self,
        head: nn.Module,
        sequences: Sequences,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        advance: Callable[[float], None] = ignore,
    ) -> Tensor:
        """What the model's reward head reads of each sequence: [n, width] float32, in the order given.

        advance: told about tokens done.
        """
        read: list[Tensor] = []
        places: list[Indices] = []
        hook = head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
        try:
            for place, _ in self._parts(sequences, tokens_per_batch):
                places.append(place)
                advance(int(sequences.n_tokens[place].sum()))
        finally:
            hook.remove()
        for number, (place, features) in enumerate(zip(places, read, strict=True)):
            if features.ndim == 3:  # a decoder that is not packed: its head sees every token, its reward is the last's
                last = torch.from_numpy(sequences.n_tokens[place] - 1).to(features.device)
                read[number] = features[torch.arange(place.size, device=features.device), last]
        order = torch.from_numpy(np.argsort(np.concatenate(places))).to(read[0].device)
        return torch.cat(read).float()[order]

    @torch.no_grad()
    def lower_states(self, tokens: Indices, rows: Sequences, n_layers: int, tokens_per_batch: int) -> Iterator[Any]:
        """Run the first n_layers on sequences of rows, whose tokens are tokens[row]: yields rows, states [T, width].

        Errors: ValueError when the model is not packed.
        """
        if not self.is_packed:
            raise ValueError("only a packed model's lower layers can be computed apart")
        layers = layers_of(classifier_of(self.model))
        device = next(self.model.parameters()).device
        seen: list[Tensor] = []

        def keep(states: Tensor) -> Tensor:
            seen.append(states[0].float())
            return states

        with left_out(layers[n_layers:]), fed(layers[n_layers], keep):
            for pack in pack_sequences(rows, tokens_per_batch, self.is_causal):
                with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                    self._packed(pack, device, tokens)
                yield pack.ids, seen.pop()[: pack.ids.size].cpu()

    def _parts(self, sequences: Sequences, tokens_per_batch: int) -> Iterator[tuple[Indices, Tensor]]:
        """Which sequences are computed together, and their rewards."""
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            if self.is_packed:
                packs = pack_sequences(sequences, tokens_per_batch, self.is_causal)
                for number in range(self._n_rounds(len(packs))):
                    pack = packs[number % len(packs)]
                    yield pack.members if number < len(packs) else NONE, self._packed(pack, device).float()
            else:
                batches = micro_batches(sequences.n_tokens, tokens_per_batch)
                for number in range(self._n_rounds(len(batches))):
                    batch = batches[number % len(batches)]
                    yield batch if number < len(batches) else NONE, self._padded(sequences, batch, device).float()

    def _n_rounds(self, n_there: int) -> int:
        return n_there if self.n_rounds is None else self.n_rounds(n_there)

    def _packed(self, pack: Pack, device: torch.device, tokens: Indices | None = None) -> Tensor:
        """[n] rewards of the pack's responses, in its order. tokens: of rows, where the pack holds rows."""
        classifier = classifier_of(self.model)
        backbone, layers = backbone_of(classifier), layers_of(classifier)
        is_checkpointed = any(getattr(layer, "gradient_checkpointing", False) for layer in layers) and self.training
        # recomputed layers must not see other hooks, nor a layer that is left out
        reads_last_only = self.reads_last_only and not is_checkpointed and tokens is None
        n_read = pack.read.size
        pack, mask = shared_attention.serve(pack, device, len(layers) - 1 if reads_last_only else None)
        rows, states = pack.ids, self.states
        if states is not None:
            tokens = states.tokens
        ids, positions, read = (
            torch.from_numpy(array).to(device)
            for array in (rows if tokens is None else tokens[rows], pack.positions, pack.read)
        )
        with ExitStack() as within:
            within.enter_context(shared_attention.masked(mask))
            if reads_last_only:
                within.enter_context(read_only(read_only_modules(layers[-1]), read, ids.numel()))
            if states is not None:
                hidden = states.rows(rows).to(device)[None]
                within.enter_context(left_out(layers[: states.n_layers]))
                within.enter_context(fed(layers[states.n_layers], lambda _: hidden))
            if self.is_causal:
                out = backbone(input_ids=ids[None], position_ids=positions[None], use_cache=False).last_hidden_state
                scores: Tensor = classifier.score(out[0, read])
                return scores[:n_read, 0]
            within.enter_context(first_tokens(backbone, read))
            scores = classifier(input_ids=ids[None], position_ids=positions[None] + _first_position(backbone)).logits
            return scores[:n_read, 0]

    def _padded(self, sequences: Sequences, batch: Indices, device: torch.device) -> Tensor:
        """[n] rewards of the batch's sequences, in its order."""
        lengths = sequences.n_tokens[batch]
        is_token = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.full(is_token.shape, self.pad_token_id, dtype=np.int64)
        ids[is_token] = np.concatenate([sequences.tokens[number] for number in batch])
        mask = torch.from_numpy(is_token.astype(np.int64)).to(device)
        logits: Tensor = self.model(input_ids=torch.from_numpy(ids).to(device), attention_mask=mask).logits
        return logits[:, 0]


def micro_batches(lengths: Indices, tokens_per_batch: int) -> list[Indices]:
    """Indices of each micro-batch: neighbours in length, at most tokens_per_batch with padding (or one sequence).

    lengths: [n] tokens of each sequence.
    """
    batches: list[Indices] = []
    start = 0
    order = np.argsort(lengths, kind="stable")
    for position in range(1, order.size + 1):
        is_full = position < order.size and (position - start + 1) * lengths[order[position]] > tokens_per_batch
        if position == order.size or is_full:
            batches.append(order[start:position])
            start = position
    return batches


def _first_position(backbone: Any) -> int:
    """The position of a sequence's first token: RoBERTa and its like count on from the padding token's number."""
    padding = getattr(getattr(backbone, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _why_not_packed(scorer: Scorer, max_tokens: int) -> str:
    """Why the model cannot run on packs; empty when it can, as a probe of two prompts has shown."""
    classifier = classifier_of(scorer.model)
    config = getattr(classifier, "config", None)
    window = getattr(config, "sliding_window", None)
    if not layers_of(classifier):
        return "its layers are held in a way of its own"
    if (
        window
        and window < max_tokens
        and "".join(set(getattr(config, "layer_types", None) or [""])) != "full_attention"
    ):
        return f"its attention sees the last {window:,} tokens only"
    shared_attention.register()
    before = config._attn_implementation  # type: ignore[union-attr]
    device = next(scorer.model.parameters()).device
    try:
        classifier.set_attn_implementation(shared_attention.NAME)
        error = _probe(scorer, device)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as raised:
        error = f"its attention cannot be replaced ({type(raised).__name__})"
    if error:
        classifier.set_attn_implementation(before)
    return error


@torch.no_grad()
def _probe(scorer: Scorer, device: torch.device) -> str:
    """What differs between packed and plain rewards of two prompts with three responses each; empty if nothing."""
    vocabulary = int(classifier_of(scorer.model).config.vocab_size)
    rng = np.random.default_rng(0)
    others = np.setdiff1d(np.arange(vocabulary), [scorer.pad_token_id])
    prompts = [rng.choice(others, size) for size in (9, 5)]
    tokens = [np.append(prompts[n // 3], rng.choice(others, 2 + n)).astype(np.int32) for n in range(6)]
    sequences = Sequences(tokens, np.arange(6) // 3, np.array([9, 9, 9, 5, 5, 5]))
    was_training, scorer.is_packed = scorer.model.training, True
    scorer.model.eval()
    packed = scorer(sequences)
    scorer.is_packed = False
    plain = scorer(sequences)
    scorer.model.train(was_training)
    tolerance = 0.05 if device.type == "cuda" else PROBE_TOLERANCE  # bfloat16 has 8 bits
    difference = float((packed - plain).abs().max()) / max(float(plain.std()), 1e-6)
    return (
        "" if difference <= tolerance else f"packed rewards differ from plain ones by {difference:.1g} of their spread"
    )
