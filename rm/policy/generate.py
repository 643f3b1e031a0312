"""Sampling from a causal language model: one pass over each prompt, then all its samples token by token.

Prompts are padded on the left, so that the tokens of all rows that are drawn together stand in one column. The keys and
values of a prompt are computed once and copied for its samples; rows that have ended leave the batch. Each row has its
own random numbers, so results do not depend on how rows are batched, up to the rounding of matrix products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rm.models import shared_attention
from rm.models.layers import classifier_of

ROWS_PER_BATCH = 256
"""Samples drawn together, at least those of one prompt: they bound the memory of keys and values."""
COMPACT_BELOW = 0.75
"""Ended rows leave the batch when at most this share of its rows is left: copying what they attend to costs, too."""
BLOCK = 64
"""Tokens of the vocabulary whose weights are summed first when one is drawn."""
MASKED_ATTENTION = ("eager", "sdpa", shared_attention.NAME)
"""Attention of transformers that takes a mask over (query, key) cells."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Samples of some prompts; the rows of a prompt follow each other. On the CPU."""

    tokens: Tensor
    """[n, max_new] int64, padding after the end"""
    mask: Tensor
    """[n, max_new] bool, true up to the end token, and with it"""
    log_probs: Tensor
    """[n, max_new] float32, log-probability of each token under the model at temperature 1, nats; 0 after the end"""

    @property
    def n_tokens(self) -> Tensor:
        """[n] tokens of each sample, its end token included."""
        return self.mask.sum(dim=1)

    def is_finished(self, eos_token_id: int) -> Tensor:
        """[n] whether the sample ended by itself."""
        last = self.tokens.gather(1, self.n_tokens.clamp(min=1)[:, None] - 1)[:, 0]
        return last == eos_token_id


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n_per_prompt: int,
    max_new_tokens: int,
    eos_token_id: int,
    pad_token_id: int,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | Sequence[torch.Generator],
    rows_per_batch: int = ROWS_PER_BATCH,
) -> Generated:
    """Draw samples for each prompt.

    Args:
        model: Causal language model of transformers, on its device.
        prompts: Token ids of each prompt, at least one each.
        n_per_prompt: Samples of each prompt.
        max_new_tokens: Maximum tokens of a sample, its end token included.
        eos_token_id: The token that ends a sample.
        pad_token_id: The token that fills rows.
        temperature: Logits are divided by it; 0 takes the most probable token.
        top_p: Only the most probable tokens that together have this probability are drawn.
        generator: Source of randomness, on the CPU: one for all prompts, or one for each, so that a prompt's samples
            depend on no other prompt.
        rows_per_batch: Samples drawn together.

    Returns:
        The samples, `n_per_prompt` rows for each prompt in order.

    Raises:
        ValueError: A prompt is empty, or a number is out of its range.
    """
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError("a prompt needs at least one token")
    if n_per_prompt < 1 or max_new_tokens < 1 or temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"n_per_prompt={n_per_prompt} and max_new_tokens={max_new_tokens} must be at least 1, temperature="
            f"{temperature} at least 0, and top_p={top_p} in (0, 1]"
        )
    uniforms = _uniforms(len(prompts), n_per_prompt, max_new_tokens, generator)
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))  # similar lengths need little padding
    prompts_per_batch = max(1, rows_per_batch // n_per_prompt)
    shape = len(prompts), n_per_prompt, max_new_tokens
    tokens = torch.full(shape, pad_token_id)
    mask, log_probs = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), prompts_per_batch):
            members = order[start : start + prompts_per_batch]
            batch = _Batch(model, [prompts[number] for number in members], n_per_prompt, max_new_tokens, pad_token_id)
            parts = batch.draw(uniforms[members].flatten(0, 1), eos_token_id, temperature, top_p)
            for whole, part in zip((tokens, mask, log_probs), parts, strict=True):
                whole[members] = part.cpu().unflatten(0, (len(members), n_per_prompt))
    finally:
        model.train(was_training)
    return Generated(tokens.flatten(0, 1), mask.flatten(0, 1), log_probs.flatten(0, 1))


def _uniforms(
    n_prompts: int, n_per_prompt: int, n_tokens: int, generator: torch.Generator | Sequence[torch.Generator]
) -> Tensor:
    """[n_prompts, n_per_prompt, n_tokens] uniform random numbers, float64: one decides one token."""
    if isinstance(generator, torch.Generator):
        return torch.rand(n_prompts, n_per_prompt, n_tokens, dtype=torch.float64, generator=generator)
    if len(generator) != n_prompts:
        raise ValueError(f"{len(generator)} generators for {n_prompts} prompts")
    return torch.stack([torch.rand(n_per_prompt, n_tokens, dtype=torch.float64, generator=one) for one in generator])


class _Batch:
    """Rows that are drawn together: which of them have not ended, and the keys and values that they attend to."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], n_per_prompt: int, max_new_tokens: int, pad_token_id: int
    ) -> None:
        """Run the prompts, once each."""
        self.model = model
        self.device = next(model.parameters()).device
        self.pad_token_id = pad_token_id
        self.max_new_tokens = max_new_tokens
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        width = int(lengths.max())
        padded = [[pad_token_id] * (width - len(prompt)) + [*prompt] for prompt in prompts]
        is_token = torch.arange(width, device=self.device)[None] >= width - lengths[:, None]
        self.cache = _cache(model, width + max_new_tokens)
        self.is_padded = bool((lengths < width).any())
        positions = (is_token.cumsum(1) - 1).clamp(min=0)
        logits = self._run(torch.tensor(padded, device=self.device), positions, is_token)
        self.cache.batch_repeat_interleave(n_per_prompt)
        self.logits = logits.repeat_interleave(n_per_prompt, dim=0)
        self.n_before = lengths.repeat_interleave(n_per_prompt)
        self.is_key = torch.ones(self.n_before.numel(), width + max_new_tokens, dtype=torch.bool, device=self.device)
        self.is_key[:, :width] = is_token.repeat_interleave(n_per_prompt, dim=0)
        self.width = width

    def draw(
        self, uniforms: Tensor, eos_token_id: int, temperature: float, top_p: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, mask and log-probabilities of all rows, [n, max_new] each.

        Args:
            uniforms: [n, max_new] random numbers.
            eos_token_id, temperature, top_p: As in `generate`.
        """
        uniforms = uniforms.to(self.device)
        tokens = torch.full(uniforms.shape, self.pad_token_id, device=self.device)
        mask = torch.zeros(uniforms.shape, dtype=torch.bool, device=self.device)
        log_probs = torch.zeros(uniforms.shape, device=self.device)
        rows = torch.arange(uniforms.shape[0], device=self.device)  # those in the batch
        is_open = torch.ones_like(rows, dtype=torch.bool)
        for column in range(self.max_new_tokens):
            drawn, log_prob = draw_tokens(self.logits, uniforms[rows, column], temperature, top_p)
            drawn = drawn.masked_fill(~is_open, self.pad_token_id)
            tokens[rows, column], mask[rows, column] = drawn, is_open
            log_probs[rows, column] = log_prob.masked_fill(~is_open, 0.0)
            is_open = is_open & (drawn != eos_token_id)
            n_open = int(is_open.sum())
            if not n_open or column + 1 == self.max_new_tokens:
                break
            if n_open <= COMPACT_BELOW * rows.numel():
                self._keep(is_open.nonzero()[:, 0])
                rows, drawn = rows[is_open], drawn[is_open]
                is_open = torch.ones_like(rows, dtype=torch.bool)
            is_key = self.is_key[:, : self.width + column + 1]
            self.logits = self._run(drawn[:, None], (self.n_before + column)[:, None], is_key)
        return tokens, mask, log_probs

    def _keep(self, rows: Tensor) -> None:
        """Drop all rows of the batch but these."""
        self.cache.batch_select_indices(rows)
        self.is_key, self.n_before = self.is_key[rows], self.n_before[rows]

    def _run(self, ids: Tensor, positions: Tensor, is_key: Tensor) -> Tensor:
        """Logits after the last of some tokens, which join the cache: [rows, vocabulary] float32.

        Args:
            ids: [rows, t] the tokens.
            positions: [rows, t] their positions.
            is_key: [rows, t + tokens in the cache] whether a token is no padding.
        """
        out = self.model(
            input_ids=ids,
            attention_mask=self._attention_mask(is_key, ids.shape[1]),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()  # type: ignore[no-any-return]

    def _attention_mask(self, is_key: Tensor, n_queries: int) -> Tensor | None:
        """The mask as the model takes it; made here, because transformers' own takes longer than a layer of a small
        model."""
        if n_queries > 1 or getattr(self.model.config, "_attn_implementation", "") not in MASKED_ATTENTION:
            return is_key.long()
        if not self.is_padded or _has_windows(self.model):
            return is_key.long() if self.is_padded else None
        bias = torch.zeros(is_key.shape, dtype=self.model.dtype, device=self.device)
        return bias.masked_fill_(~is_key, torch.finfo(bias.dtype).min)[:, None, None]


def draw_tokens(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """One token a row by inverting the cumulative distribution, and its log-probability at temperature 1.

    Args:
        logits: [rows, vocabulary] float32.
        uniforms: [rows] float64 in [0, 1).
        temperature, top_p: As in `generate`.

    Source: Holtzman et al. 2020, "The curious case of neural text degeneration", for top-p sampling.
    """
    logits = logits - logits.amax(dim=1, keepdim=True)
    if temperature == 0:
        tokens = logits.argmax(dim=1)
        return tokens, logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)
    weights = (logits if temperature == 1 else logits / temperature).exp()
    if temperature == 1 and top_p == 1:
        tokens, total = _invert(weights, uniforms)
        return tokens, logits.gather(1, tokens[:, None])[:, 0] - total.log().float()
    weights, ids = weights.sort(dim=1, descending=True, stable=True)
    before = weights.cumsum(1, dtype=torch.float64) - weights
    weights = weights.masked_fill(before >= top_p * weights.sum(1, dtype=torch.float64)[:, None], 0.0)
    tokens = ids.gather(1, _invert(weights, uniforms)[0][:, None])[:, 0]
    return tokens, logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)


def _invert(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """The place at which each row's cumulative weight passes its share of the total, [rows], and the total, [rows].

    Sums of blocks come first, then the weights of one block: a cumulative sum over a vocabulary takes ten times longer
    than a sum.
    """
    blocks = pad(weights, (0, -weights.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    cumulative = blocks.sum(2).cumsum(1, dtype=torch.float64)
    total = cumulative[:, -1]
    place = _first_above(cumulative, uniforms * total)
    before = torch.where(place > 0, cumulative.gather(1, (place - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    inner = blocks[torch.arange(place.numel(), device=place.device), place]
    return place * BLOCK + _first_above(inner.cumsum(1, dtype=torch.float64), uniforms * total - before), total


def _first_above(cumulative: Tensor, targets: Tensor) -> Tensor:
    """The first place in each row that exceeds its target; the last with weight if rounding left none, [rows]."""
    places = torch.searchsorted(cumulative, targets[:, None], right=True)
    with_weight = (cumulative < cumulative[:, -1:]).sum(dim=1, keepdim=True)
    return torch.minimum(places, with_weight)[:, 0]


def _has_windows(model: Any) -> bool:
    """Whether some layers attend to the last tokens only, or have no keys at all."""
    config = classifier_of(model).config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return bool(getattr(config, "sliding_window", None)) or not kinds <= {"full_attention"}


def _cache(model: Any, n_tokens: int) -> Any:
    """An empty cache of keys and values; of full attention, with room for n_tokens, so that it never moves."""
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

    config = classifier_of(model).config
    if _has_windows(model):
        return DynamicCache(config=config)

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]
        """Keys and values in a buffer with room for the tokens to come; transformers' own copies all at each token."""

        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
                self.n_held = 0
                self.buffers = [part.new_empty(*part.shape[:2], n_tokens, part.shape[3]) for part in (keys, values)]
            end = self.n_held + keys.shape[2]
            for buffer, part in zip(self.buffers, (keys, values), strict=True):
                buffer[:, :, self.n_held : end] = part
            self.n_held = end
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
            return self.keys, self.values

        def batch_repeat_interleave(self, repeats: int) -> None:
            self._move(lambda part: part.repeat_interleave(repeats, dim=0))

        def batch_select_indices(self, indices: Tensor) -> None:
            self._move(lambda part: part.index_select(0, indices))

        def _move(self, change: Any) -> None:
            parts = [change(part) for part in (self.keys, self.values)]
            self.buffers = [part.new_empty(*part.shape[:2], n_tokens, part.shape[3]) for part in parts]
            for buffer, part in zip(self.buffers, parts, strict=True):
                buffer[:, :, : self.n_held] = part
            self.keys, self.values = (buffer[:, :, : self.n_held] for buffer in self.buffers)

    return Cache(layer_class_to_replicate=RoomyLayer)
