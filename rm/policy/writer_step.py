"""Training a writer: the log loss of response tokens, each prompt computed once for all its responses.

Sequences run in packs without padding where the model allows it (`rm.models.packing`), else in padded batches; the
losses are the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rm.models import shared_attention
from rm.models.layers import classifier_of, layers_of
from rm.models.packing import Pack, pack_sequences
from rm.models.scorer import NO_SEQUENCES, in_place, micro_batches
from rm.pairs.tokens import Indices, Sequences
from rm.policy.writer_config import WriterConfig
from rm.training.distributed import current_processes

PACKING_TOLERANCE = 1e-3
"""Largest difference of a response's log-probability in a pack and alone, nats."""
CUDA_PACKING_TOLERANCE = 0.5
"""The same on CUDA, where matrix products may have the 8 bits of bfloat16."""
PROMPT, RESPONSE, CORRECT = 0, 1, 2
"""Columns of what `TokenLoss` returns."""


class TokenLoss(nn.Module):
    """Log-probabilities of prompts and responses by one language model; a module, so that it can be distributed."""

    def __init__(self, model: Any, pad_token_id: int, n_separator: int, dtype: torch.dtype = torch.float32) -> None:
        """Find out whether the model can run on packs.

        Args:
            model: a causal language model of transformers.
            pad_token_id: its padding token.
            n_separator: tokens between prompt and response.
            dtype: data type of matrix products.
        """
        super().__init__()
        self.model = model
        self.pad_token_id = pad_token_id
        self.n_separator = n_separator
        self.learns_prompt = False
        """whether log-probabilities of prompts are computed"""
        self.dtype = torch.float32
        self.n_batches_to_run: Callable[[int], int] | None = None
        """as of `rm.models.scorer.Scorer`"""
        self.reason_not_packed = _reason_not_packed(self)
        self.is_packed = not self.reason_not_packed
        self.dtype = dtype

    def forward(self, sequences: Sequences, tokens_per_batch: int) -> Tensor:
        """Sums over the tokens of each sequence, in the given order.

        Returns:
            [n, 3] float32 with its graph: log-probability of the prompt's tokens after the first one (0 unless
            learns_prompt) and of the response's and end token, nats; and how many of the latter were the likeliest.
        """
        return in_place(self._batches(sequences, tokens_per_batch), len(sequences))

    def _batches(self, sequences: Sequences, tokens_per_batch: int) -> Iterator[tuple[Indices, Tensor]]:
        """Yields the indices of sequences computed together and their sums; no indices for a repeated batch."""
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            packs = pack_sequences(sequences, tokens_per_batch) if self.is_packed else []
            padded = [] if packs else micro_batches(sequences.n_tokens, tokens_per_batch)
            n_own = len(packs) + len(padded)
            for number in range(n_own if self.n_batches_to_run is None else self.n_batches_to_run(n_own)):
                if packs:
                    pack = packs[number % n_own]
                    members, sums = pack.members, self._run_pack(pack, sequences, device)
                else:
                    members = padded[number % n_own]
                    sums = self._run_padded(sequences.take(members), device)
                yield members if number < n_own else NO_SEQUENCES, sums

    def _run_pack(self, pack: Pack, sequences: Sequences, device: torch.device) -> Tensor:
        """Sums of the pack's sequences, in its order."""
        n_prefix, branch = sequences.n_prefix[pack.members], pack.branch
        is_own = branch > 0
        own = np.flatnonzero(is_own)
        responses = own[pack.positions[own] - n_prefix[branch[own] - 1] >= self.n_separator]
        prompts = np.flatnonzero(~is_own & (pack.positions > 0)) if self.learns_prompt else NO_SEQUENCES
        targets = np.concatenate([prompts, responses])
        padded, mask = shared_attention.prepare_pack(pack, device, None)
        ids, positions, read = (torch.from_numpy(one).to(device) for one in (padded.ids, padded.positions, targets))
        with shared_attention.use_mask(mask):  # the token before each target predicts it: both are in one part
            nats, is_likeliest = self._nats(ids[None], positions[None], read - 1, ids[read])
        sums = torch.zeros(pack.members.size, 3, device=device)
        row = torch.from_numpy(branch[responses] - 1).to(device)
        n_prompt = prompts.size
        sums[:, RESPONSE] = sums[:, RESPONSE].index_add(0, row, nats[n_prompt:])
        sums[:, CORRECT] = sums[:, CORRECT].index_add(0, row, is_likeliest[n_prompt:])
        if n_prompt:
            group_of_member = pack.group[np.flatnonzero(np.diff(branch, prepend=0) > 0)]
            reads = (pack.group[prompts][None] == group_of_member[:, None]) & (
                pack.positions[prompts][None] < n_prefix[:, None]
            )
            sums[:, PROMPT] = torch.from_numpy(reads.astype(np.float32)).to(device) @ nats[:n_prompt]
        return sums

    def _run_padded(self, sequences: Sequences, device: torch.device) -> Tensor:
        """Sums of sequences in one padded batch."""
        lengths = sequences.n_tokens
        position = np.arange(lengths.max())[None]
        is_token = position < lengths[:, None]
        ids = np.full(is_token.shape, self.pad_token_id, dtype=np.int64)
        ids[is_token] = np.concatenate(sequences.tokens)
        is_response = is_token & (position >= (sequences.n_prefix + self.n_separator)[:, None])
        is_prompt = (position > 0) & (position < sequences.n_prefix[:, None]) & self.learns_prompt
        targets = torch.from_numpy(np.flatnonzero(is_response | is_prompt)).to(device)
        tokens = torch.from_numpy(ids).to(device)
        nats, is_likeliest = self._nats(tokens, None, targets - 1, tokens.ravel()[targets])
        row = targets // tokens.shape[1]
        in_response = torch.from_numpy(is_response.ravel()).to(device)[targets].float()
        values = torch.stack([nats * (1 - in_response), nats * in_response, is_likeliest * in_response], dim=1)
        return torch.zeros(len(sequences), 3, device=device).index_add(0, row, values)

    def _nats(self, ids: Tensor, positions: Tensor | None, read: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each target by the logits at `read`, and whether it is the likeliest, [n] float32 each.

        Only the logits that are read are computed: over a large vocabulary they take most of the memory.
        """
        model = classifier_of(self.model)
        extra = {} if positions is None else {"position_ids": positions}
        if positions is not None and model._supports_logits_to_keep():
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=read, **extra).logits[0]
        else:
            logits = self.model(input_ids=ids, use_cache=False, **extra).logits.flatten(0, 1)[read]
        logits = logits.float()
        return -cross_entropy(logits, targets, reduction="none"), (logits.argmax(-1) == targets).float()


@dataclass(frozen=True, slots=True)
class WriterStep:
    """The `Objective` of a writer: mean log loss per token of its responses, and of their prompts where wanted."""

    network: Any
    """a `TokenLoss`"""
    training: Sequences
    validation: Sequences
    config: WriterConfig
    post_ids: list[str]
    """[n] post of each training sequence"""

    @property
    def auxiliary(self) -> nn.Module | None:
        """Nothing is trained alongside."""
        return None

    @property
    def auxiliary_learning_rate(self) -> float:
        """Unused, as there are no auxiliary weights."""
        return 0.0

    def epoch_steps(self, epoch: int) -> list[Indices]:
        """Whole posts in random order; the responses of one that is larger than a step are spread over several."""
        rng, size = np.random.default_rng([self.config.seed, epoch]), self.config.responses_per_step
        order = np.lexsort((rng.permutation(len(self.training)), self.training.prompt))
        parts = np.split(order, np.flatnonzero(np.diff(self.training.prompt[order])) + 1)
        chunks = [chunk for part in parts for chunk in np.split(part, range(size, part.size, size))]
        steps: list[list[Indices]] = [[]]
        for number in rng.permutation(len(chunks)):
            if steps[-1] and sum(part.size for part in steps[-1]) + chunks[number].size > size:
                steps.append([])
            steps[-1].append(chunks[number])
        return [np.concatenate(step) for step in steps if step]

    def loss(self, network: nn.Module, examples: Indices, step: Indices) -> tuple[Tensor, int]:
        """Negative log-probability of these responses in nats, divided by the tokens of the step, and tokens read."""
        sequences, whole = self.training.take(examples), self.training.take(step)
        sums = network(sequences, self.config.tokens_per_batch)
        n_targets = int(self._n_targets(whole).sum())
        nats = sums[:, RESPONSE]
        if self.config.learns_prompt:  # a prompt counts once, however many of its responses are in the step
            _, code, count = np.unique(whole.prompt, return_inverse=True, return_counts=True)
            share = 1 / count[code].astype(np.float32)
            n_targets += int(np.rint((share * np.maximum(whole.n_prefix - 1, 0)).sum()))
            of_example = dict(zip(step.tolist(), share.tolist(), strict=True))
            weight = torch.tensor([of_example[one] for one in examples.tolist()], device=nats.device)
            nats = nats + weight * sums[:, PROMPT]
        return -nats.sum() / n_targets, int(sequences.n_tokens.sum())

    def validate(self) -> tuple[float, float]:
        """Mean log loss per response token of the validation responses, nats, and share of tokens that come first."""
        sums = response_sums(self.network, self.validation, self.config.tokens_per_batch)
        n_tokens = float(self._n_targets(self.validation).sum())
        return -float(sums[:, RESPONSE].sum()) / n_tokens, float(sums[:, CORRECT].sum()) / n_tokens

    def describe(self, examples: Indices) -> str:
        """The posts of these responses."""
        return f"the responses to posts {', '.join(sorted({self.post_ids[one] for one in examples}))}"

    def _n_targets(self, sequences: Sequences) -> Indices:
        return n_response_tokens(sequences, self.network.n_separator)


def n_response_tokens(sequences: Sequences, n_separator: int) -> Indices:
    """[n] tokens of each response with its end token."""
    return sequences.n_own - n_separator


@torch.no_grad()
def response_sums(network: Any, sequences: Sequences, tokens_per_batch: int) -> Tensor:
    """What `TokenLoss` returns of sequences, in evaluation mode, by all processes together; [n, 3] on the CPU."""
    network.model.eval()
    processes, indices = current_processes(), np.arange(len(sequences))
    own = processes.share(indices)
    scored = own if own.size else indices[:1]  # all processes must take part
    sums = torch.zeros(indices.size, 3)
    sums[torch.from_numpy(scored)] = network(sequences.take(scored), tokens_per_batch).cpu()
    if not own.size:
        sums.zero_()
    return processes.sum_tensor(sums)


def _reason_not_packed(network: TokenLoss) -> str:
    """Why the model cannot run on packs; empty if it can. Switches its attention over if it can."""
    model = classifier_of(network.model)
    config = model.config
    if not layers_of(model):
        return "its layers are not stored as transformers models store them"
    if getattr(config, "sliding_window", None) and "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        return "its attention covers a window only"
    shared_attention.register()
    before, device = config._attn_implementation, next(network.model.parameters()).device
    try:
        model.set_attn_implementation(shared_attention.NAME)
        reason = _compare_packed_and_alone(network, device)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = f"its attention cannot be replaced ({type(error).__name__})"
    if reason:
        model.set_attn_implementation(before)
    return reason


@torch.no_grad()
def _compare_packed_and_alone(network: TokenLoss, device: torch.device) -> str:
    """How log-probabilities in one pack and alone differ; empty if they agree."""
    rng = np.random.default_rng(0)
    others = np.setdiff1d(np.arange(int(network.model.get_input_embeddings().num_embeddings)), [network.pad_token_id])
    prompts = [rng.choice(others, size) for size in (9, 5)]
    own = [network.n_separator + 2 + n for n in range(6)]
    tokens = [np.append(prompts[n // 3], rng.choice(others, own[n])).astype(np.int32) for n in range(6)]
    sequences = Sequences(tokens, np.array([0, 0, 0, 1, 1, 1]), np.array([9, 9, 9, 5, 5, 5]))
    was_training = network.model.training
    network.model.eval()
    packed = network._run_pack(pack_sequences(sequences, 10_000)[0], sequences, device)
    alone = torch.cat([network._run_padded(sequences.take(np.array([n])), device) for n in range(6)])
    network.model.train(was_training)
    difference = float((packed - alone)[:, RESPONSE].abs().max())
    tolerance = CUDA_PACKING_TOLERANCE if device.type == "cuda" else PACKING_TOLERANCE
    return "" if difference <= tolerance else f"log-probabilities in a pack and alone differ by {difference:.1g} nats"
