"""Which pairs each optimiser step of an epoch reads."""

import numpy as np

from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices


def shuffled_steps(pairs: TokenisedPairs, pairs_per_step: int, seed: int, epoch: int) -> list[Indices]:
    """Single pairs in random order: the usual batches, which `post_steps` is compared with.

    Returns:
        Pair indices of each step. Pairs with two equal sides are left out.
    """
    usable = np.random.default_rng([seed, epoch]).permutation(np.flatnonzero(~pairs.is_equal))
    return np.split(usable, range(pairs_per_step, usable.size, pairs_per_step)) if usable.size else []


def post_steps(pairs: TokenisedPairs, pairs_per_step: int, seed: int, epoch: int, min_posts: int = 1) -> list[Indices]:
    """Whole posts in random order, so that the pairs of a step share prompts and responses.

    A post with more than pairs_per_step / min_posts pairs is spread over several steps, cut so that each part has few
    distinct responses. The order depends on seed and epoch only.

    Args:
        pairs: Pairs of an epoch.
        pairs_per_step: Largest number of pairs in a step.
        seed: Seed of the order.
        epoch: Number of the epoch, from 0.
        min_posts: Posts that a full step mixes at least.

    Returns:
        Pair indices of each step. Pairs with two equal sides are left out.
    """
    usable = np.flatnonzero(~pairs.is_equal)
    rng = np.random.default_rng([seed, epoch])
    rank = rng.permutation(len(pairs.sequences))
    last = np.maximum(rank[pairs.chosen], rank[pairs.rejected])
    ordered = usable[np.lexsort((last[usable], pairs.post[usable]))]
    chunk_size = max(1, pairs_per_step // min_posts)
    chunks = []
    for post in np.split(ordered, np.flatnonzero(np.diff(pairs.post[ordered])) + 1) if ordered.size else []:
        chunks += np.split(post, range(chunk_size, post.size, chunk_size))
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
