"""Attention over a pack through transformers' attention interface, without copies of model code.

A model passes the pack's own mask to each of its layers: `RowMask` on a CPU, where rows of attention are batched into
calls of SDPA, or FlexAttention's `BlockMask` on a GPU. Calls without such a mask use SDPA as usual.
Source: https://huggingface.co/docs/transformers/attention_interface.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention

from rm.models.packing import Pack
from rm.pairs.tokens import Indices

NAME = "shared_prefix"
MAX_PADDING_RATIO = 1.3
"""Largest ratio of padded to needed (query, key) cells in a batch of rows."""
SMALL_BATCH = 1 << 15
"""Cells up to which rows share a batch whatever the padding: a call of their own would cost more."""
FLEX_BLOCK = 128
SIZES_PER_DOUBLING = 16
"""Number of pack sizes between one power of two and the next: see `prepare_pack`."""
GPU_PAD_TOKENS = 1024
"""On a GPU, packs are padded to a multiple of this, so that FlexAttention compiles for few sizes."""
_mask: ContextVar[Any] = ContextVar("mask", default=None)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """R rows of attention of similar size."""

    queries: Tensor
    """[R, Q] indices into the pack"""
    keys: Tensor
    """[R, K] indices into the pack"""
    bias: Tensor
    """[R, 1, Q, K] 0 where the query attends to the key, otherwise -inf"""


@dataclass(frozen=True, slots=True)
class Rows:
    """What one layer attends to on a CPU."""

    batches: list[RowBatch]
    """all rows of attention"""
    source: Tensor
    """[T] index of each token of the pack among the concatenated queries of all batches"""


@dataclass(frozen=True)
class RowMask:
    """The mask of one pack on a CPU; what no layer asks for is not made: a model of one layer needs `last` alone."""

    pack: Pack
    device: torch.device
    last_layer: int | None
    """index of the layer in which only tokens that carry a reward are queries, if any"""

    @cached_property
    def full(self) -> Rows:
        """Every token is a query."""
        return _rows(self.pack, self.pack.rows, self.device)

    @cached_property
    def last(self) -> Rows:
        """Only tokens that carry a reward are queries."""
        return _rows(self.pack, self.pack.read_rows(), self.device)

    def of(self, layer: int | None) -> Rows:
        """The rows of a layer, by its index if it has one."""
        return self.last if layer is not None and layer == self.last_layer else self.full


def register() -> None:
    """Register the attention with transformers; further calls change nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def mask(*args: Any, **kwargs: Any) -> Any:
        current = _mask.get()
        return sdpa_mask(*args, **kwargs) if current is None else current

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)


@contextmanager
def use_mask(mask: Any) -> Iterator[None]:
    """Within the context, layers of models with this attention get this mask."""
    token = _mask.set(mask)
    try:
        yield
    finally:
        _mask.reset(token)


def attention(
    module: nn.Module,
    query: Tensor,  # [1, n_heads, T, width]
    key: Tensor,  # [1, n_key_heads, T, width]
    value: Tensor,  # [1, n_key_heads, T, width]
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls.

    Returns:
        The attention output, [1, T, n_heads, width], and None in place of attention weights.
    """
    from torch.nn.attention.flex_attention import BlockMask
    from transformers.integrations.flex_attention import flex_attention_forward
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if isinstance(attention_mask, BlockMask):
        out, _ = flex_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return out, None
    if not isinstance(attention_mask, RowMask):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    rows = attention_mask.of(getattr(module, "layer_idx", None))
    return _attend(query, key, value, rows, dropout, scaling), None


def _attend(query: Tensor, key: Tensor, value: Tensor, rows: Rows, dropout: float, scaling: float | None) -> Tensor:
    """Gather each batch of rows, attend, and return tokens to the pack's order; tokens that are no query get 0.

    Gathering is an embedding lookup because its backward pass sums rows quickly on a CPU. Attention is in float32 even
    if a CPU computes the rest in bfloat16, in which SDPA's backward pass is three times slower there.
    """
    n_heads, dtype = query.shape[1], query.dtype
    query, key, value = (part.float() for part in (query, key, value))
    if n_heads != key.shape[1]:
        key, value = (part.repeat_interleave(n_heads // key.shape[1], dim=1) for part in (key, value))
    tables = [part[0].transpose(0, 1).reshape(-1, n_heads * part.shape[3]) for part in (query, key, value)]
    outputs = []
    for batch in rows.batches:
        q, k, v = (
            embedding(indices, table).unflatten(-1, (n_heads, -1)).transpose(1, 2)
            for indices, table in zip((batch.queries, batch.keys, batch.keys), tables, strict=True)
        )
        with torch.autocast(q.device.type, enabled=False):
            out = scaled_dot_product_attention(q, k, v, attn_mask=batch.bias, dropout_p=dropout, scale=scaling)
        outputs.append(out.transpose(1, 2).reshape(-1, n_heads * value.shape[3]))
    outputs.append(outputs[0].new_zeros(1, n_heads * value.shape[3]))
    return embedding(rows.source, torch.cat(outputs)).view(1, -1, n_heads, value.shape[3]).to(dtype)


def prepare_pack(pack: Pack, device: torch.device, last_layer: int | None) -> tuple[Pack, Any]:
    """Pad the pack to one of few sizes and make its mask: for FlexAttention on CUDA, for rows of SDPA elsewhere.

    Padding adds a sixteenth at most. With a different size for every pack, oneDNN would keep a kernel of 1.6 MB for
    each, and freed memory would fit no later pack: training a model of 10 M parameters grew to 10 GB.

    Args:
        pack: The pack to compute.
        device: Where it is computed.
        last_layer: As in `RowMask`; FlexAttention, whose mask is per model, ignores it.
    """
    if device.type == "cuda":
        pack = pack.padded(pack.ids.size + -pack.ids.size % GPU_PAD_TOKENS, pack.read.size)
        return pack, block_mask(pack, device)
    n_read = padded_size(pack.read.size)
    pack = pack.padded(padded_size(pack.ids.size + n_read - pack.read.size), n_read)
    return pack, RowMask(pack, device, last_layer)


def padded_size(size: int) -> int:
    """Round up to one of SIZES_PER_DOUBLING sizes between two powers of two."""
    step = max(1, (1 << (size - 1).bit_length()) // (2 * SIZES_PER_DOUBLING)) if size else 1
    return size + -size % step


def _rows(pack: Pack, rows: Sequence[tuple[Indices, Indices]], device: torch.device) -> Rows:
    batches, end = [], 0
    source = np.full(pack.ids.size, -1)
    for batch in _batches(rows):
        queries, is_query = _padded([rows[number][0] for number in batch])
        keys, is_key = _padded([rows[number][1] for number in batch])
        source[queries[is_query]] = end + np.flatnonzero(is_query)
        end += queries.size
        q, k = queries[:, :, None], keys[:, None, :]
        attends = _attends(pack.is_causal, pack.branch, pack.visible, pack.positions, q, k) & is_key[:, None, :]
        attends[..., 0] |= ~is_query  # padding needs a key: a softmax over nothing is NaN
        bias = torch.zeros(attends.shape).masked_fill_(torch.from_numpy(~attends), float("-inf"))
        parts = (torch.from_numpy(queries), torch.from_numpy(keys), bias.unsqueeze(1))
        batches.append(RowBatch(*(part.to(device) for part in parts)))
    source[source < 0] = end  # the row of zeros after all outputs
    return Rows(batches, torch.from_numpy(source).to(device))


def _attends(is_causal: bool, branch: Any, visible: Any, positions: Any, query: Any, key: Any) -> Any:
    """Whether token `query` attends to token `key` of the same group; takes NumPy arrays or tensors of indices."""
    if not is_causal:
        return branch[key] == branch[query]
    in_trunk = (branch[key] == 0) & (positions[key] < visible[query])
    return in_trunk | ((branch[key] == branch[query]) & (positions[key] <= positions[query]))


def _batches(rows: Sequence[tuple[Indices, Indices]]) -> list[list[int]]:
    """Indices of the rows in each batch: rows of similar size, as long as padding stays small."""
    sizes = [(keys.size, queries.size) for queries, keys in rows]
    batches: list[list[int]] = []
    n_needed = n_queries = n_keys = 0
    for number in sorted(range(len(rows)), key=lambda number: sizes[number]):
        keys, queries = sizes[number]
        if not queries:
            continue
        n_queries, n_keys, n_needed = max(n_queries, queries), max(n_keys, keys), n_needed + queries * keys
        n_padded = (len(batches[-1]) + 1) * n_queries * n_keys if batches else 0
        if not batches or n_padded > max(MAX_PADDING_RATIO * n_needed, SMALL_BATCH):
            batches.append([])
            n_queries, n_keys, n_needed = queries, keys, queries * keys
        batches[-1].append(number)
    return batches


def _padded(parts: Sequence[Indices]) -> tuple[Indices, Any]:
    """The parts as rows of one array, padded with 0, and a mask of their cells."""
    sizes = np.array([part.size for part in parts])
    is_part = np.arange(sizes.max())[None, :] < sizes[:, None]
    padded = np.zeros(is_part.shape, dtype=np.int64)
    padded[is_part] = np.concatenate(parts)
    return padded, is_part


def block_mask(pack: Pack, device: torch.device) -> Any:
    """The pack's mask for FlexAttention.

    Source: Dong et al. 2024, "Flex Attention: a programming model for generating optimized attention kernels".
    """
    from torch.nn.attention.flex_attention import create_block_mask

    arrays = (pack.group, pack.branch, pack.visible, pack.positions)
    group, branch, visible, positions = (torch.from_numpy(array).to(device) for array in arrays)

    def attends(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        within: Tensor = _attends(pack.is_causal, branch, visible, positions, query, key)
        return (group[query] == group[key]) & within

    n_tokens = pack.ids.size
    return create_block_mask(attends, None, None, n_tokens, n_tokens, device=device, BLOCK_SIZE=FLEX_BLOCK)
