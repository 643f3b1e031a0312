"""Rewards of token sequences: the prompt once for all its responses where the model allows it, else unique sequences.

A decoder runs on packs (`rm.packing`) through `rm.shared_attention`. Encoders, and decoders that this cannot serve, run
on unique sequences sorted by length into batches padded on the right. Both give the same rewards.
"""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rm import shared_attention
from rm.packing import Pack, pack_sequences
from rm.tokens import Indices, Sequences

TOKENS_PER_BATCH = 8192
GPU_PAD_TOKENS = 1024
"""A pack on a GPU is filled up to a multiple of this, so that FlexAttention is compiled for few sizes."""
PROBE_TOLERANCE = 1e-4
"""Packed and plain rewards of the probe may differ by so much, relative to their spread."""
READ_ONLY = ("mlp", "q_proj", "o_proj", "out_proj", "c_proj", "dense")
"""Names of the modules of a decoder layer, and of its attention, that work token by token."""
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


class Scorer(nn.Module):
    """Rewards of sequences by one model; a module, so that it can be wrapped as a whole for several devices.

    is_packed: whether prompts are shared; if not, `reason` says why. reads_last_only: whether the last layer computes
    only the tokens that carry a reward.
    """

    def __init__(self, model: Any, pad_token_id: int, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.pad_token_id = pad_token_id
        self.reads_last_only = True
        self.reason = _why_not_packed(self, max_tokens)
        self.is_packed = not self.reason

    def forward(self, sequences: Sequences, tokens_per_batch: int = TOKENS_PER_BATCH) -> Tensor:
        """The reward of each sequence: [n] float32, in the order given, on the model's device, with its graph.

        On a GPU the model computes in bfloat16; on a CPU, where that is slower, in float32.
        """
        places, parts = zip(*self._parts(sequences, tokens_per_batch), strict=True)
        order = torch.from_numpy(np.concatenate(places)).to(parts[0].device)
        return torch.empty(len(sequences), device=order.device).index_put((order,), torch.cat(parts))

    @torch.no_grad()
    def embeddings(self, head: nn.Module, sequences: Sequences, tokens_per_batch: int = TOKENS_PER_BATCH) -> Tensor:
        """What the model's reward head reads of each sequence: [n, width] float32, in the order given."""
        read: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
        try:
            places = [place for place, _ in self._parts(sequences, tokens_per_batch)]
        finally:
            hook.remove()
        for number, (place, features) in enumerate(zip(places, read, strict=True)):
            if features.ndim == 3:  # a decoder that is not packed: its head sees every token, its reward is the last's
                last = torch.from_numpy(sequences.n_tokens[place] - 1).to(features.device)
                read[number] = features[torch.arange(place.size, device=features.device), last]
        order = torch.from_numpy(np.argsort(np.concatenate(places))).to(read[0].device)
        return torch.cat(read).float()[order]

    def _parts(self, sequences: Sequences, tokens_per_batch: int) -> Iterator[tuple[Indices, Tensor]]:
        """Which sequences are computed together, and their rewards."""
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            if self.is_packed:
                for pack in pack_sequences(sequences, tokens_per_batch):
                    yield pack.members, self._packed(pack, device).float()
            else:
                for batch in micro_batches(sequences.n_tokens, tokens_per_batch):
                    yield batch, self._padded(sequences, batch, device).float()

    def _packed(self, pack: Pack, device: torch.device) -> Tensor:
        """[n] rewards of the pack's responses, in its order."""
        classifier = _classifier(self.model)
        decoder = getattr(classifier, classifier.base_model_prefix)
        layers = decoder_layers(classifier)
        is_checkpointed = any(getattr(layer, "gradient_checkpointing", False) for layer in layers) and self.training
        reads_last_only = self.reads_last_only and not is_checkpointed  # recomputed layers must not see other hooks
        if device.type == "cpu":
            dtype = next(decoder.parameters()).dtype
            mask: Any = shared_attention.row_mask(pack, dtype, len(layers) - 1 if reads_last_only else None)
        else:
            pack = pack.padded(GPU_PAD_TOKENS)
            mask = shared_attention.block_mask(pack, device)
        ids, positions, read = (torch.from_numpy(a).to(device) for a in (pack.ids, pack.positions, pack.read))
        modules = _read_only_modules(layers[-1]) if reads_last_only else []
        with shared_attention.masked(mask), shared_attention.read_only(modules, read) if modules else nullcontext():
            hidden = decoder(input_ids=ids[None], position_ids=positions[None], use_cache=False).last_hidden_state
        scores: Tensor = classifier.score(hidden[0, read])
        return scores[:, 0]

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


def decoder_layers(classifier: Any) -> Any:
    """The layers of a decoder, first to last; empty when it holds them in another way than transformers' decoders."""
    n_layers = getattr(classifier.config, "num_hidden_layers", None)
    decoder = getattr(classifier, getattr(classifier, "base_model_prefix", ""), None)
    children = decoder.children() if isinstance(decoder, nn.Module) else ()
    return next((child for child in children if isinstance(child, nn.ModuleList) and len(child) == n_layers), ())


def _classifier(model: Any) -> Any:
    """The sequence classifier inside an adapter of PEFT, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _read_only_modules(layer: nn.Module) -> list[nn.Module]:
    """What the last layer need compute for the read tokens only."""
    attention = next((child for child in layer.children() if hasattr(child, "layer_idx")), None)
    named = [*layer.named_children(), *(attention.named_children() if attention is not None else ())]
    return [module for name, module in named if name in READ_ONLY]


def _why_not_packed(scorer: Scorer, max_tokens: int) -> str:
    """Why the model cannot share prompts; empty when it can, as a probe of two prompts has shown."""
    classifier = _classifier(scorer.model)
    config = getattr(classifier, "config", None)
    window = getattr(config, "sliding_window", None)
    if not isinstance(getattr(classifier, "score", None), nn.Module) or not decoder_layers(classifier):
        return "it is no decoder with a reward read at the last token"
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
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as raised:
        error = f"its attention cannot be replaced ({type(raised).__name__})"
    if error:
        classifier.set_attn_implementation(before)
    return error


@torch.no_grad()
def _probe(scorer: Scorer, device: torch.device) -> str:
    """What differs between packed and plain rewards of two prompts with three responses each; empty if nothing."""
    vocabulary = int(_classifier(scorer.model).config.vocab_size)
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
