"""Responses packed into one row without padding: each prompt stands once, its responses branch off it.

A group is a prompt (the trunk) and its responses (the branches). A token of a branch sees the part of the trunk that
its own sequence holds and its branch up to itself; positions go on from that part. So every reward is what it is when
its sequence stands alone, and the prompt is computed once. Source: Ouyang et al. 2022 (InstructGPT), section 3.5 scores
the K responses of a prompt in one batch; the tree mask is that of Cai et al. 2024 (Medusa).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rm.pairs.tokens import Indices, Sequences, Tokens

BRANCH_TOKENS_PER_ROW = 192
"""Tokens of branches that share one row of attention (or the trunk's length, if that is more): within a row attention
is quadratic, so a dense post becomes several rows."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One packed row of T tokens that holds n responses.

    ids, positions: [T]. group: [T] the token's group. branch: [T] 0 in a trunk, else unique in the pack.
    visible: [T] how many tokens of its trunk the token sees. read: [n] place of each response's last token.
    members: [n] the response's index among the sequences that were packed.
    rows: (queries, keys) of attention, as places in the pack: every token is a query of one row.
    is_causal: a token sees no later one of its branch; not so for encoders, which share no trunk and are read at the
    first token of each response.
    """

    ids: Indices
    positions: Indices
    group: Indices
    branch: Indices
    visible: Indices
    read: Indices
    members: Indices
    rows: list[tuple[Indices, Indices]]
    is_causal: bool = True

    def read_rows(self) -> list[tuple[Indices, Indices]]:
        """The rows of attention when only the token that is read of each response asks."""
        is_read = np.zeros(self.ids.size, dtype=bool)
        is_read[self.read] = True
        return [(queries[is_read[queries]], keys) for queries, keys in self.rows]

    def padded(self, n_tokens: int, n_read: int) -> "Pack":
        """The pack with tokens at its end that see nothing and that nothing sees, the first of them read as the others.

        n_tokens, n_read: of the padded pack; there is a new token for each new one that is read.
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
    """Packs of at most tokens_per_pack tokens (or one response with its prompt): every sequence is in one of them.

    A group that does not fit is cut into several, each with the trunk: memory is bounded for a post of any size.
    Without is_causal, for encoders, a sequence shares nothing.
    """
    if not is_causal:
        numbers = np.arange(len(sequences))
        sequences = Sequences(sequences.tokens, numbers, np.zeros_like(numbers))
    n_own = sequences.n_own  # counted once: an encoder has as many groups as sequences
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
    """Each prompt's longest kept start, and the responses to it, cut into parts that fit."""
    order = np.argsort(sequences.prompt, kind="stable")
    ends = np.flatnonzero(np.diff(sequences.prompt[order])) + 1
    for group in np.split(order, ends) if order.size else []:
        longest = group[np.argmax(sequences.n_prefix[group])]
        trunk = sequences.tokens[longest][: sequences.n_prefix[longest]]
        for members in _cut(group, n_own[group], tokens_per_pack - trunk.size):
            yield trunk, members


def _cut(members: Indices, sizes: Indices, room: int) -> list[Indices]:
    """Neighbours together while their sizes fit the room; at least one each."""
    if sizes.sum() <= room:
        return [members]
    starts, filled = [0], 0
    for place, size in enumerate(sizes):
        if place > starts[-1] and filled + size > room:
            starts.append(place)
            filled = 0
        filled += int(size)
    return np.split(members, starts[1:])


def _pack(sequences: Sequences, n_own: Indices, groups: list[tuple[Tokens, Indices]], is_causal: bool) -> Pack:
    ids, positions, group_of, branch_of, visible = [], [], [], [], []
    read: list[int] = []
    rows: list[tuple[Indices, Indices]] = []
    end = n_branches = 0
    for number, (trunk, members) in enumerate(groups):
        trunk_places = np.arange(end, end + trunk.size)
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
        for part in _cut(np.arange(members.size), sizes, max(BRANCH_TOKENS_PER_ROW, trunk.size)):
            start = first + int(sizes[: part[0]].sum())
            own_places = np.arange(start, start + int(sizes[part].sum()))
            keys = np.concatenate([trunk_places, own_places])
            rows.append((keys if part[0] == 0 else own_places, keys))
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
