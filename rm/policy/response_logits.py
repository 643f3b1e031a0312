"""Logits before each token of drawn responses; a prompt runs once for all its responses where the model allows it.

A response is read as the last token of its prompt and its own tokens but the last: each of them predicts the next. The
other tokens of the prompt are the trunk that its responses share (`rm.models.packing`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rm.models import shared_attention
from rm.models.packing import pack_sequences
from rm.models.scorer import micro_batches
from rm.pairs.tokens import Indices, Sequences


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Responses that are computed together, as token sequences and as what must be predicted."""

    ids: Tensor
    """[1, T] of a pack, or [rows, length] padded"""
    positions: Tensor | None
    """[1, T] position of each token in its own sequence, of a pack"""
    mask: Any
    """attention of a pack"""
    read: Tensor
    """[n] index among the flattened ids of the token before each target"""
    targets: Tensor
    """[n] tokens of the responses"""
    response: Tensor
    """[n] number of each target's response"""


class ResponseLogits(nn.Module):
    """Logits of one language model; a module, so that it can be distributed."""

    def __init__(self, model: Any, *, is_packed: bool, dtype: torch.dtype = torch.float32) -> None:
        """Wrap.

        Args:
            model: a causal language model of transformers.
            is_packed: whether its attention is `rm.models.shared_attention`'s, so that it can run on packs.
            dtype: data type of matrix products.
        """
        super().__init__()
        self.model = model
        self.is_packed = is_packed
        self.dtype = dtype

    def forward(self, batches: Sequence[ReadBatch]) -> list[Tensor]:
        """[n, vocabulary] float32 logits before each target of each batch, with their graph."""
        return [self._logits(batch) for batch in batches]

    def _logits(self, batch: ReadBatch) -> Tensor:
        device = batch.ids.device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            if self.is_packed:
                with shared_attention.use_mask(batch.mask):
                    out = self.model(
                        input_ids=batch.ids, position_ids=batch.positions, use_cache=False, logits_to_keep=batch.read
                    )
                return out.logits[0].float()  # type: ignore[no-any-return]
            logits = self.model(input_ids=batch.ids, use_cache=False).logits
            return logits.flatten(0, 1)[batch.read].float()  # type: ignore[no-any-return]

    def batches(self, sequences: Sequences, pad_token_id: int, tokens_per_batch: int) -> Iterator[ReadBatch]:
        """Yields the responses in batches, on the model's device.

        Args:
            sequences: as returned by `read_sequences`.
            pad_token_id: fills rows of unequal length.
            tokens_per_batch: tokens computed together.
        """
        device = next(self.model.parameters()).device
        make = _packs if self.is_packed else _padded
        yield from make(sequences, pad_token_id, tokens_per_batch, device)


def read_sequences(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Sequences:
    """Each prompt with its response; equal prompts share their tokens.

    Args:
        prompts: [n] token ids, at least one each.
        responses: [n] token ids, at least one each.
    """
    codes: dict[tuple[int, ...], int] = {}
    tokens = [np.array([*one, *two], dtype=np.int32) for one, two in zip(prompts, responses, strict=True)]
    code = np.array([codes.setdefault(tuple(prompt), len(codes)) for prompt in prompts], dtype=np.int64)
    return Sequences(tokens, code, np.array([len(prompt) - 1 for prompt in prompts], dtype=np.int64))


@torch.no_grad()
def response_log_probs(
    network: ResponseLogits,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_token_id: int,
    tokens_per_batch: int,
) -> NDArray[np.float64]:
    """Log-probability of each response to its prompt, nats, [n].

    Args:
        network: of the model, in evaluation mode.
        prompts: [n] token ids, at least one each.
        responses: [n] token ids, at least one each.
        pad_token_id: fills rows of unequal length.
        tokens_per_batch: tokens computed together.
    """
    total = torch.zeros(len(responses), dtype=torch.float64)
    for batch in network.batches(read_sequences(prompts, responses), pad_token_id, tokens_per_batch):
        (logits,) = network([batch])
        nats = -torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        total.index_add_(0, batch.response.cpu(), nats.double().cpu())
    return total.numpy()


def _targets(sequences: Sequences, members: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
    """The tokens of these responses, one after the other, and the response of each."""
    parts = [sequences.tokens[one][sequences.n_prefix[one] + 1 :] for one in members]
    response = np.repeat(members, [part.size for part in parts])
    tokens = np.concatenate(parts).astype(np.int64)
    return torch.from_numpy(tokens).to(device), torch.from_numpy(response).to(device)


def _packs(sequences: Sequences, pad_token_id: int, tokens_per_batch: int, device: torch.device) -> Iterator[ReadBatch]:
    shorter = Sequences([one[:-1] for one in sequences.tokens], sequences.prompt, sequences.n_prefix)
    for pack in pack_sequences(shorter, tokens_per_batch):
        read = np.flatnonzero(pack.branch > 0)  # in the order of pack.members: the tokens before their targets
        padded, mask = shared_attention.prepare_pack(pack, device, None)
        ids, positions, before = (torch.from_numpy(one).to(device) for one in (padded.ids, padded.positions, read))
        yield ReadBatch(ids[None], positions[None], mask, before, *_targets(sequences, pack.members, device))


def _padded(
    sequences: Sequences, pad_token_id: int, tokens_per_batch: int, device: torch.device
) -> Iterator[ReadBatch]:
    lengths = sequences.n_tokens - 1
    for members in micro_batches(lengths, tokens_per_batch):
        place = np.arange(lengths[members].max())[None]
        is_token = place < lengths[members, None]
        ids = np.full(is_token.shape, pad_token_id, dtype=np.int64)
        ids[is_token] = np.concatenate([sequences.tokens[one][:-1] for one in members])
        read = np.flatnonzero(is_token & (place >= sequences.n_prefix[members, None]))
        yield ReadBatch(
            torch.from_numpy(ids).to(device),
            None,
            None,
            torch.from_numpy(read).to(device),
            *_targets(sequences, members, device),
        )
