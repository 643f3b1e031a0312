"""Responses packed into one row without padding: each prompt appears once, and its responses branch off it.

A group is a prompt (the trunk) and its responses (the branches). A token of a branch attends to the part of the trunk
that its own sequence contains and to its branch up to itself, and positions continue from that part. So every reward
equals that of its sequence alone, while the prompt is computed once.
Source: Ouyang et al. 2022 (InstructGPT), section 3.5, scores the K responses of a prompt in one batch; the tree mask
is that of Cai et al. 2024 (Medusa).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rm.pairs.tokens import Indices, Sequences, Tokens

BRANCH_TOKENS_PER_ROW = 192
"""Maximum branch tokens in one row of attention (or the trunk's length, if larger): attention is quadratic within a
row, so a post with many responses becomes several rows."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One packed row of T tokens that holds n responses."""

    ids: Indices
    """[T] token ids"""
    positions: Indices
    """[T] position of the token in its own sequence"""
    group: Indices
    """[T] number of the token's group"""
    branch: Indices
    """[T] 0 in a trunk, otherwise unique in the pack"""
    visible: Indices
    """[T] number of trunk tokens that the token attends to"""
    read: Indices
    """[n] index in the pack of the token that carries each response's reward: the last of a decoder, the first of an
    encoder"""
    members: Indices
    """[n] index of each response among the sequences that were packed"""
    rows: list[tuple[Indices, Indices]]
    """(queries, keys) of each row of attention as indices into the pack; every token is a query of one row"""
    is_causal: bool = True
    """whether a token attends to earlier tokens of its branch only; encoders also share no trunk"""

    def read_rows(self) -> list[tuple[Indices, Indices]]:
        """The rows of attention in which only the tokens that carry a reward are queries."""
        is_read = np.zeros(self.ids.size, dtype=bool)
        is_read[self.read] = True
        return [(queries[is_read[queries]], keys) for queries, keys in self.rows]

    def padded(self, n_tokens: int, n_read: int) -> "Pack":
        """Append tokens that neither attend nor are attended to; the first of them are read like the others.

        Args:
            n_tokens: Tokens of the padded pack; it gains at least as many as `read` does.
            n_read: Tokens read in the padded pack.
        """
        n_more, end = n_tokens - self.ids.size, self.ids.size
        zeros = np.zeros(n_more, dtype=np.int64)
        return replace(
            self,
            ids=np.append(self.ids, zeros),
            positions=np.append(self.positions, zeros),
            group=np.append(self.group, zeros - 1),
            branch=np.append(self.branch, zeros),
            visible=np.append(self.visible, zeros + 1),
            read=np.append(self.read, np.arange(end, end + n_read - self.read.size)),
        )


def pack_sequences(sequences: Sequences, tokens_per_pack: int, is_causal: bool = True) -> list[Pack]:
    """Pack sequences; each is in exactly one pack.

    A group that does not fit is split into several, each with the trunk, so memory is bounded for a post of any size.

    Args:
        sequences: Sequences to pack.
        tokens_per_pack: Maximum tokens of a pack; a longer response gets its own pack.
        is_causal: False for encoders, whose sequences share nothing.
    """
    if not is_causal:
        numbers = np.arange(len(sequences))
        sequences = Sequences(sequences.tokens, numbers, np.zeros_like(numbers))
    n_own = sequences.n_own  # computed once: an encoder has as many groups as sequences
    packs: list[Pack] = []
    current: list[tuple[Tokens, Indices]] = []
    n_tokens = 0
    for trunk, members in _groups(sequences, n_own, tokens_per_pack):
        size = trunk.size + int(n_own[members].sum())
        if current and n_tokens + size > tokens_per_pack:
            packs.append(_pack(sequences, n_own, current, is_causal))
            current, n_tokens = [], 0
        current.append((trunk, members))
        n_tokens += size
    return [*packs, _pack(sequences, n_own, current, is_causal)] if current else packs


def _groups(sequences: Sequences, n_own: Indices, tokens_per_pack: int) -> Iterator[tuple[Tokens, Indices]]:
    """Yields trunks, the longest prefix of each prompt, with the responses that fit into one pack."""
    order = np.argsort(sequences.prompt, kind="stable")
    ends = np.flatnonzero(np.diff(sequences.prompt[order])) + 1
    for group in np.split(order, ends) if order.size else []:
        longest = group[np.argmax(sequences.n_prefix[group])]
        trunk = sequences.tokens[longest][: sequences.n_prefix[longest]]
        for members in _split(group, n_own[group], tokens_per_pack - trunk.size):
            yield trunk, members


def _split(members: Indices, sizes: Indices, max_size: int) -> list[Indices]:
    """Split into runs of neighbours whose sizes add up to at most max_size, with at least one member each."""
    if sizes.sum() <= max_size:
        return [members]
    starts, filled = [0], 0
    for index, size in enumerate(sizes):
        if index > starts[-1] and filled + size > max_size:
            starts.append(index)
            filled = 0
        filled += int(size)
    return np.split(members, starts[1:])


def _pack(sequences: Sequences, n_own: Indices, groups: list[tuple[Tokens, Indices]], is_causal: bool) -> Pack:
    """One pack of these (trunk, members) groups."""
    ids, positions, group_of, branch_of, visible = [], [], [], [], []
    read: list[int] = []
    rows: list[tuple[Indices, Indices]] = []
    end = n_branches = 0
    for number, (trunk, members) in enumerate(groups):
        trunk_indices = np.arange(end, end + trunk.size)
        ids.append(trunk)
        positions.append(np.arange(trunk.size))
        branch_of.append(np.zeros(trunk.size, dtype=np.int64))
        visible.append(np.arange(1, trunk.size + 1))
        end += trunk.size
        first = end
        for member in members:
            n_prefix, own = int(sequences.n_prefix[member]), sequences.tokens[member][sequences.n_prefix[member] :]
            n_branches += 1
            ids.append(own)
            positions.append(np.arange(n_prefix, n_prefix + own.size))
            branch_of.append(np.full(own.size, n_branches))
            visible.append(np.full(own.size, n_prefix))
            end += own.size
            read.append(end - 1 if is_causal else end - own.size)
        group_of.append(np.full(end - first + trunk.size, number))
        sizes = n_own[members]
        for part in _split(np.arange(members.size), sizes, max(BRANCH_TOKENS_PER_ROW, trunk.size)):
            start = first + int(sizes[: part[0]].sum())
            own_indices = np.arange(start, start + int(sizes[part].sum()))
            keys = np.concatenate([trunk_indices, own_indices])
            rows.append((keys if part[0] == 0 else own_indices, keys))
    return Pack(
        ids=np.concatenate(ids).astype(np.int64),
        positions=np.concatenate(positions),
        group=np.concatenate(group_of),
        branch=np.concatenate(branch_of),
        visible=np.concatenate(visible),
        read=np.array(read, dtype=np.int64),
        members=np.concatenate([members for _, members in groups]),
        rows=rows,
        is_causal=is_causal,
    )
