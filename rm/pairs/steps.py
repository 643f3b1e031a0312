"""Training steps: which pairs each optimiser step reads, whole posts together."""

import numpy as np

from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices


def shuffled_steps(pairs: TokenisedPairs, pairs_per_step: int, seed: int, epoch: int) -> list[Indices]:
    """Pair indices of each step of one epoch, single pairs in random order: what `epoch_steps` is compared with."""
    usable = np.random.default_rng([seed, epoch]).permutation(np.flatnonzero(~pairs.is_equal))
    return np.split(usable, range(pairs_per_step, usable.size, pairs_per_step)) if usable.size else []


def epoch_steps(pairs: TokenisedPairs, pairs_per_step: int, seed: int, epoch: int, min_posts: int = 1) -> list[Indices]:
    """Pair indices of each step of one epoch: posts in random order, whole, up to pairs_per_step pairs a step.

    A post with more than pairs_per_step / min_posts pairs is spread over several steps, so cut that a part holds few
    responses. Pairs whose sides are equal are left out. The order depends on seed and epoch only.
    """
    usable = np.flatnonzero(~pairs.is_equal)
    rng = np.random.default_rng([seed, epoch])
    rank = rng.permutation(len(pairs.sequences))
    last = np.maximum(rank[pairs.chosen], rank[pairs.rejected])
    ordered = usable[np.lexsort((last[usable], pairs.post[usable]))]
    share = max(1, pairs_per_step // min_posts)
    chunks = []
    for group in np.split(ordered, np.flatnonzero(np.diff(pairs.post[ordered])) + 1) if ordered.size else []:
        chunks += np.split(group, range(share, group.size, share))
    steps: list[Indices] = []
    current: list[Indices] = []
    n_pairs = 0
    for number in rng.permutation(len(chunks)):
        if n_pairs + chunks[number].size > pairs_per_step:
            steps.append(np.concatenate(current))
            current, n_pairs = [], 0
        current.append(chunks[number])
        n_pairs += chunks[number].size
    return [*steps, np.concatenate(current)] if current else steps
