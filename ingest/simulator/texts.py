"""Texts of the simulated Reddit, and how much their community likes them.

A text's quality is a weighted sum of up to three independent parts, each about standard normal whatever the length:

- words: the mean weight of its taste words, wherever they stand;
- phrases: a text is one phrase "a … yet … b", and this part is the mean weight of the taste words of b minus that of a.
  Exchanging a and b turns the sign and leaves the bag of words as it is;
- uptake: a text names the subject of its post and one other subject, and this part is the share of the post's own.
  Whose subject it is, only the post tells.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.communities import N_TILTS, World
from ingest.simulator.draws import Floats, Ints, draw_columns, index_in_group, log_normal

Bools = NDArray[np.bool_]
SENTENCE_WORDS = 10
SUBJECT_WORDS_OF_A_BODY = 2
"""How often a post's body names its subject; its title names it once."""


def draw_texts(
    world: World, rng: np.random.Generator, part_rng: np.random.Generator, community: Ints, subject: Ints
) -> dict[str, Any]:
    """Comments of random length: number of words, text and quality.

    Args:
        world: the communities.
        rng: draws lengths and words.
        part_rng: draws what phrases and uptake add, so that a world without them keeps its draws.
        community: of each comment, [n].
        subject: number of the subject of each comment's post, [n].
    """
    config = world.config
    n_comments = len(community)
    n_words = log_normal(rng, n_comments, config.median_words, config.words_sigma, config.min_words, config.max_words)
    tilt, phase = rng.integers(0, N_TILTS, n_comments), rng.random(n_comments)
    comment, index = np.repeat(np.arange(n_comments), n_words), index_in_group(n_words)
    if config.phrase_share:
        n_half = np.clip(np.rint(config.taste_word_share * n_words / 2).astype(np.int64), 1, (n_words - 3) // 2)
        turn = 1 + (n_words - 3) // 2  # between two words without taste
        is_after = index > turn[comment]
        index_of_half = np.where(is_after, index - turn[comment] - 2, index)
        n_words_of_half = np.where(is_after, (n_words - turn - 2)[comment], turn[comment] - 1)
        in_half = (index_of_half >= 0) & (index_of_half < n_words_of_half)
        is_taste = in_half & _evenly(index_of_half, n_words_of_half, n_half[comment], phase[comment])
        tilt_of_word = np.where(is_after, part_rng.integers(0, N_TILTS, n_comments)[comment], tilt[comment])
        halves = [(n_half, is_taste & ~is_after), (n_half, is_taste & is_after)]
    else:
        n_taste = np.maximum(1, np.rint(config.taste_word_share * n_words).astype(np.int64))
        is_taste = _evenly(index, n_words[comment], n_taste[comment], phase[comment])
        tilt_of_word = tilt[comment]
        halves = [(n_taste, is_taste)]

    tokens = np.empty(len(comment), dtype=np.int64)
    rows = community[comment[is_taste]] * N_TILTS + tilt_of_word[is_taste]
    tokens[is_taste] = draw_columns(rng, world.tilt_cdf.reshape(-1, config.n_taste_words), rows)
    tokens[~is_taste] = config.n_taste_words + draw_columns(rng, world.neutral_cdf, community[comment[~is_taste]])
    means = [_standard_mean(world, community, comment, tokens, mask, count) for count, mask in halves]
    if len(means) == 1:
        quality = np.sqrt(config.word_share) * means[0]
    else:
        before, after = means
        quality = np.sqrt(config.word_share / 2) * (after + before) + np.sqrt(config.phrase_share / 2) * (
            after - before
        )
        tokens[index == turn[comment]] = world.turn
    if config.uptake_share:
        is_free = ~is_taste & (tokens != world.turn)
        uptake = _name_subjects(world, part_rng, comment, tokens, is_free, n_words, subject)
        quality = quality + np.sqrt(config.uptake_share) * uptake
    return {"n_words": n_words, "body": _sentences(world.words, tokens, n_words), "quality": quality}


def draw_prompts(
    world: World, rng: np.random.Generator, part_rng: np.random.Generator, community: Ints
) -> dict[str, Any]:
    """Posts: number of the subject, title and body without taste; with uptake, both name the subject.

    Args:
        world: the communities.
        rng: draws lengths and words.
        part_rng: draws subjects and where they stand.
        community: of each post, [n].
    """
    config, n_posts = world.config, len(community)
    subject = part_rng.integers(0, config.n_subjects, n_posts)
    texts = {}
    for part, low, high, n_named in (("title", 5, 9, 1), ("body", 10, 26, SUBJECT_WORDS_OF_A_BODY)):
        n_words = rng.integers(low, high, n_posts)
        tokens = config.n_taste_words + draw_columns(rng, world.neutral_cdf, np.repeat(community, n_words))
        if config.uptake_share:
            post, index = np.repeat(np.arange(n_posts), n_words), index_in_group(n_words)
            named = _evenly(index, n_words[post], np.full(len(post), n_named), part_rng.random(n_posts)[post])
            tokens[named] = world.first_subject + subject[post[named]]
        texts[part] = _sentences(world.words, tokens, n_words)
    return {"subject": subject, **texts}


def _standard_mean(
    world: World, community: Ints, comment: Ints, tokens: Ints, is_taste: Bools, n_taste: Ints
) -> Floats:
    """Mean weight of the marked words of each comment, minus its expectation, over its standard deviation, [n]."""
    weight = world.weights[community[comment[is_taste]], tokens[is_taste]]
    mean = np.bincount(comment[is_taste], weight, minlength=len(community)) / n_taste
    spread = np.sqrt(world.variance_between[community] + world.variance_within[community] / n_taste)
    standard: Floats = (mean - world.mean_weight[community]) / spread
    return standard


def _name_subjects(
    world: World, rng: np.random.Generator, comment: Ints, tokens: Ints, is_free: Bools, n_words: Ints, subject: Ints
) -> Floats:
    """Write the subject of each comment's post, or another one, over some of its free words.

    A comment of m names has from 0 to m of its post's subject, each as likely as the others, and one other subject in
    the rest. So the names alone tell nothing: with the other subject's post they would be as likely.

    Args:
        world: the communities.
        rng: draws all of it.
        comment: of each token, [tokens].
        tokens: the words, changed in place, [tokens].
        is_free: words that may be replaced, [tokens].
        n_words: of each comment, [n].
        subject: of each comment's post, [n].

    Returns:
        Share of the post's subject among the names, standardised, [n].
    """
    config, n_comments = world.config, len(n_words)
    n_free = np.bincount(comment[is_free], minlength=n_comments)
    n_names = np.clip(np.rint(config.subject_word_share * n_words).astype(np.int64), 1, n_free)
    free = np.flatnonzero(is_free)
    of = comment[free]
    named = _evenly(index_in_group(n_free), n_free[of], n_names[of], rng.random(n_comments)[of])
    names, of = free[named], of[named]
    other = (subject + rng.integers(1, config.n_subjects, n_comments)) % config.n_subjects
    is_own = rng.random(len(names)) < rng.random(n_comments)[of]
    tokens[names] = world.first_subject + np.where(is_own, subject[of], other[of])
    share = np.bincount(of, is_own, minlength=n_comments) / n_names
    uptake: Floats = (share - 0.5) / np.sqrt((1 + 2 / n_names) / 12)
    return uptake


def _evenly(index: Ints, size: Ints, n_chosen: Ints, phase: Floats) -> Bools:
    """Whether an item is one of n_chosen that are evenly spread over the `size` items of its group.

    Args:
        index: of the item in its group, from 0, [items].
        size: of its group, [items].
        n_chosen: of its group, [items].
        phase: of its group, from 0 to 1: where the first one stands, [items].
    """
    step = index * n_chosen + (phase * size).astype(np.int64)
    chosen: Bools = (step + n_chosen) // size > step // size
    return chosen


def _sentences(words: tuple[str, ...], tokens: Ints, n_words: Ints) -> list[str]:
    """Join the tokens of consecutive texts into sentences of ten words."""
    index = index_in_group(n_words)
    opens = index % SENTENCE_WORDS == 0
    closes = (index % SENTENCE_WORDS == SENTENCE_WORDS - 1) | (index == np.repeat(n_words, n_words) - 1)
    forms = [*words, *(word.capitalize() for word in words)]
    spellings = np.array([*forms, *(f"{form}." for form in forms)], dtype=object)
    spelled = spellings[tokens + len(words) * (opens + 2 * closes)].tolist()
    ends = np.cumsum(n_words).tolist()
    return [" ".join(spelled[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
