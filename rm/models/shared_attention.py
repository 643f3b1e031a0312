"""Attention over a pack, through transformers' own attention interface: no model code is copied.

The mask that a model hands to each of its layers is the pack's own: `RowMask` on a CPU, where each row of attention is
one call of SDPA, or FlexAttention's `BlockMask` on a GPU. Any other call goes to SDPA as ever.
Source: https://huggingface.co/docs/transformers/attention_interface.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention

from rm.models.packing import Pack
from rm.pairs.tokens import Indices

NAME = "shared_prefix"
WASTE = 1.3
"""Cells of a padded batch of rows, over cells that are needed, from which on a new batch begins."""
SMALL_BATCH = 1 << 15
"""Cells that cost less than a call of their own: rows are padded together up to here whatever is wasted."""
FLEX_BLOCK = 128
SIZES_PER_DOUBLING = 16
"""Sizes that packs are filled up to, from one power of two to the next: see `serve`."""
GPU_PAD_TOKENS = 1024
"""A pack on a GPU is filled up to a multiple of this, so that FlexAttention is compiled for few sizes."""
_mask: ContextVar[Any] = ContextVar("mask", default=None)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of attention of similar size: queries [R, Q] and keys [R, K] as places in the pack, bias [R, 1, Q, K]."""

    queries: Tensor
    keys: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class RowMask:
    """What one attention call needs.

    batches: the rows. source: [T] for each token of the pack, its place among all batches' queries, one after another.
    read, last_layer: in the layer of this number only the tokens `read` ask; None when all do.
    """

    batches: list[RowBatch]
    source: Tensor
    last: "RowMask | None" = None
    last_layer: int = -1


def register() -> None:
    """Make the attention known to transformers; a second call changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def mask(*args: Any, **kwargs: Any) -> Any:
        current = _mask.get()
        return sdpa_mask(*args, **kwargs) if current is None else current

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)


@contextmanager
def masked(mask: Any) -> Iterator[None]:
    """Within, models with this attention run on packs: their layers get this mask."""
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
    """Attention as transformers calls it; [1, T, n_heads, width]."""
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
    last = attention_mask.last if getattr(module, "layer_idx", None) == attention_mask.last_layer else None
    return _attend(query, key, value, last or attention_mask, dropout, scaling), None


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: RowMask, dropout: float, scaling: float | None) -> Tensor:
    """Gather each batch of rows, attend, and put the tokens back in the pack's order; a token that does not ask gets 0.

    Gathering is an embedding lookup because its backward pass adds rows up fast on a CPU. Attention itself is in
    float32 where a processor computes the rest in bfloat16: SDPA's backward pass in that is three times slower there.
    """
    n_heads, dtype = query.shape[1], query.dtype
    query, key, value = (part.float() for part in (query, key, value))
    if n_heads != key.shape[1]:
        key, value = (part.repeat_interleave(n_heads // key.shape[1], dim=1) for part in (key, value))
    tables = [part[0].transpose(0, 1).reshape(-1, n_heads * part.shape[3]) for part in (query, key, value)]
    asked = []
    for batch in mask.batches:
        q, k, v = (
            embedding(places, table).unflatten(-1, (n_heads, -1)).transpose(1, 2)
            for places, table in zip((batch.queries, batch.keys, batch.keys), tables, strict=True)
        )
        with torch.autocast(q.device.type, enabled=False):
            out = scaled_dot_product_attention(q, k, v, attn_mask=batch.bias, dropout_p=dropout, scale=scaling)
        asked.append(out.transpose(1, 2).reshape(-1, n_heads * value.shape[3]))
    asked.append(asked[0].new_zeros(1, n_heads * value.shape[3]))
    return embedding(mask.source, torch.cat(asked)).view(1, -1, n_heads, value.shape[3]).to(dtype)


def serve(pack: Pack, device: torch.device, last_layer: int | None) -> tuple[Pack, Any]:
    """The pack as this device computes it and its mask: FlexAttention's kernels on CUDA, rows of SDPA elsewhere.

    It is filled up to one of few sizes, a sixteenth longer at most. Where each pack had a size of its own, a processor
    kept a kernel for each (oneDNN, 1.6 MB apiece) and memory freed by one was of no use to the next: training a model
    of 10 M parameters grew to 10 GB.
    last_layer: as `row_mask` takes it; FlexAttention, whose masks are per model, has no use for it.
    """
    if device.type == "cuda":
        pack = pack.padded(pack.ids.size + -pack.ids.size % GPU_PAD_TOKENS, pack.read.size)
        return pack, block_mask(pack, device)
    n_read = filled_up(pack.read.size)
    pack = pack.padded(filled_up(pack.ids.size + n_read - pack.read.size), n_read)
    return pack, row_mask(pack, last_layer, device)


def filled_up(size: int) -> int:
    """The next of SIZES_PER_DOUBLING sizes between two powers of two that is at least this one."""
    step = max(1, (1 << (size - 1).bit_length()) // (2 * SIZES_PER_DOUBLING)) if size else 1
    return size + -size % step


def row_mask(pack: Pack, last_layer: int | None, device: torch.device) -> RowMask:
    """The pack's mask for SDPA. last_layer: the layer in which only the token read of each response asks, if any."""
    whole = _row_mask(pack, pack.rows, device)
    if last_layer is None:
        return whole
    return RowMask(whole.batches, whole.source, _row_mask(pack, pack.read_rows(), device), last_layer)


def _row_mask(pack: Pack, rows: Sequence[tuple[Indices, Indices]], device: torch.device) -> RowMask:
    batches, end = [], 0
    source = np.full(pack.ids.size, -1)
    for together in _batches(rows):
        queries, is_query = _padded([rows[number][0] for number in together])
        keys, is_key = _padded([rows[number][1] for number in together])
        source[queries[is_query]] = end + np.flatnonzero(is_query)
        end += queries.size
        q, k = queries[:, :, None], keys[:, None, :]
        is_seen = _is_seen(pack.is_causal, pack.branch, pack.visible, pack.positions, q, k) & is_key[:, None, :]
        is_seen[..., 0] |= ~is_query  # padding sees something, for a softmax over nothing is not a number
        bias = torch.zeros(is_seen.shape).masked_fill_(torch.from_numpy(~is_seen), float("-inf"))
        parts = (torch.from_numpy(queries), torch.from_numpy(keys), bias.unsqueeze(1))
        batches.append(RowBatch(*(part.to(device) for part in parts)))
    source[source < 0] = end  # the row of zeros that stands after all
    return RowMask(batches, torch.from_numpy(source).to(device))


def _is_seen(is_causal: bool, branch: Any, visible: Any, positions: Any, query: Any, key: Any) -> Any:
    """Whether the token at place `query` sees the one at `key` of the same group: arrays of NumPy or tensors."""
    if not is_causal:
        return branch[key] == branch[query]
    in_trunk = (branch[key] == 0) & (positions[key] < visible[query])
    return in_trunk | ((branch[key] == branch[query]) & (positions[key] <= positions[query]))


def _batches(rows: Sequence[tuple[Indices, Indices]]) -> list[list[int]]:
    """Numbers of the rows that are padded together: neighbours in size, while little is wasted."""
    sizes = [(keys.size, queries.size) for queries, keys in rows]
    batches: list[list[int]] = []
    n_needed = n_queries = n_keys = 0
    for number in sorted(range(len(rows)), key=lambda number: sizes[number]):
        keys, queries = sizes[number]
        if not queries:
            continue
        n_queries, n_keys, n_needed = max(n_queries, queries), max(n_keys, keys), n_needed + queries * keys
        n_padded = (len(batches[-1]) + 1) * n_queries * n_keys if batches else 0
        if not batches or n_padded > max(WASTE * n_needed, SMALL_BATCH):
            batches.append([])
            n_queries, n_keys, n_needed = queries, keys, queries * keys
        batches[-1].append(number)
    return batches


def _padded(parts: Sequence[Indices]) -> tuple[Indices, Any]:
    """The parts as rows of one array, filled with 0, and where they are."""
    sizes = np.array([part.size for part in parts])
    is_filled = np.arange(sizes.max())[None, :] < sizes[:, None]
    padded = np.zeros(is_filled.shape, dtype=np.int64)
    padded[is_filled] = np.concatenate(parts)
    return padded, is_filled


def block_mask(pack: Pack, device: torch.device) -> Any:
    """The pack's mask for FlexAttention; its places are those of the pack.

    Source: Dong et al. 2024, "Flex Attention: a programming model for generating optimized attention kernels".
    """
    from torch.nn.attention.flex_attention import create_block_mask

    arrays = (pack.group, pack.branch, pack.visible, pack.positions)
    group, branch, visible, positions = (torch.from_numpy(array).to(device) for array in arrays)

    def is_seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen: Tensor = (group[query] == group[key]) & _is_seen(pack.is_causal, branch, visible, positions, query, key)
        return seen

    n_tokens = pack.ids.size
    return create_block_mask(is_seen, None, None, n_tokens, n_tokens, device=device, BLOCK_SIZE=FLEX_BLOCK)
