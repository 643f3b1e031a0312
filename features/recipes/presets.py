"""Recipes by name: published ones and ours. Any field of a preset can be overridden."""

import dataclasses
import math
from collections.abc import Callable

from features.recipes.recipe import Recipe
from lurker.errors import CallError


def naive() -> Recipe:
    """Any two responses to a post whose scores differ, whatever their time and length.

    Random neighbours sample the pairs of each post fairly; the cap keeps a huge thread from dominating the set.
    """
    return Recipe(name="naive", max_pairs_per_post=50)


def shp() -> Recipe:
    """Stanford Human Preferences: the preferred comment was written no earlier, so more time cannot explain its score.

    Deviations: moderators are recognised by distinguished comments only, and not at all as authors of posts; all
    comments of a post are used instead of 50 scraped ones, paired with 32 random neighbours rather than all siblings;
    abbreviations are not expanded and addresses not removed; splits are Lurker's 80/10/10 instead of 90/5/5, so that
    recipes share one test.

    Source: the dataset card of stanfordnlp/SHP; the ratio of 2 and five pairs per post are its advice for training.
    """
    return Recipe(
        name="shp",
        min_post_score=10,
        require_self_post=True,
        exclude_nsfw=True,
        created_before_utc=1_672_531_200,  # 2023-01-01
        min_score=2,
        exclude_op=True,
        exclude_edited_posts=True,
        exclude_deleted_authors=True,
        n_neighbours=32,
        min_score_ratio=2.0,
        newer_must_win=True,
        max_pairs_per_post=5,
    )


def dialogrpt() -> Recipe:
    """DialogRPT's `updown`: neighbours in time within an hour, short texts; held-out pairs have large score gaps.

    Deviations: only top-level responses instead of every depth; long texts are dropped before matching, not after;
    texts with a quote, prompts of more than 30 words, and addresses are kept; validation and test are Lurker's instead
    of 1 % of the posts.

    Source: src/attic/data.py of golsun/DialogRPT (`match_time`, `clean`), whose data loaders set the hour and the gaps.
    """
    return Recipe(
        name="dialogrpt",
        max_words=30,
        neighbour_order="delay",
        n_neighbours=1,
        max_delay_difference_s=3_600,
        min_held_out_score_gap=20,
        min_held_out_rank_gap=0.5,
    )


def litbench() -> Recipe:
    """LitBench: highly voted long answers, the newer one wins, length differences symmetric around 0.

    Deviations: its 2,048 tokens are taken as 8,192 characters; responses are paired with 32 random neighbours rather
    than all siblings; lengths are made symmetric within splits; any subreddit, not only r/WritingPrompts.

    Source: arXiv 2507.00769.
    """
    return Recipe(
        name="litbench",
        min_score=10,
        min_words=50,
        max_chars=8_192,
        n_neighbours=32,
        min_score_ratio=1.25,
        newer_must_win=True,
        length_symmetric=True,
    )


def matched() -> Recipe:
    """Ward's "roughly similar responses made at roughly the same time": calipers on delay and length within a post.

    Source: the hard test set of Ward 2021. Its calipers are not published; these are ours.
    """
    return Recipe(
        name="matched",
        neighbour_order="delay",
        n_neighbours=64,
        max_delay_difference_s=3_600,
        max_log_delay_difference=math.log(1.25),
        max_log_length_difference=math.log(1.25),
        max_pairs_per_response=8,
        max_pairs_per_post=50,
    )


def hard_test_recipe() -> Recipe:
    """The frozen test: test posts, close in time and length, confident labels, thinned as `balanced`, balanced signs.

    Every pair weighs 1, so an accuracy on it is a plain share.
    """
    return dataclasses.replace(
        matched(),
        name="hard-test",
        max_log_delay_difference=math.log(1.5),
        max_log_length_difference=math.log(1.5),
        min_label_confidence=0.7,
        max_pairs_per_response=3,
        max_pairs_per_post=20,
        min_chars=20,
        exclude_op=True,
        deconfound="balance",
        max_pool_pairs_per_response=6,
        max_pool_pairs_per_post=48,
        max_expected_pairs_per_response=2.8,
        max_expected_pairs_per_post=18.0,
        n_balance_rounds=0,
        balance_signs=True,
        test_posts_only=True,
    )


def _ours(name: str) -> Recipe:
    """The responses that our recipes pair: of readable length, by people other than the asker, and not copies."""
    return Recipe(
        name=name,
        min_chars=20,
        exclude_op=True,
        exclude_bots=True,
        exclude_link_only=True,
        exclude_near_duplicates=True,
    )


def balanced() -> Recipe:
    """Ours: loose calipers on delay and length, then thinned until no confounder of the audit names the winner.

    Thinning removes the average effect of length, not its effect among responses of equal quality, which a model that
    reads quality could learn. The caliper on length leaves little of that (simulated: a reward's partial correlation
    with length at fixed quality was .08 without it, .00 with it).
    """
    return dataclasses.replace(
        _ours("balanced"),
        neighbour_order="delay",
        n_neighbours=64,
        max_log_delay_difference=1.5,
        max_log_length_difference=0.8,
        deconfound="balance",
        max_pool_pairs_per_response=6,
        max_pool_pairs_per_post=24,
        max_expected_pairs_per_response=2.8,
        max_expected_pairs_per_post=9.0,
        max_pairs_per_response=3,
        max_pairs_per_post=10,
    )


def adjusted() -> Recipe:
    """Ours: nearly all pairs, each with the log-odds of its outcome given the confounders; held out as `balanced`.

    For training that adds the log-odds to the margin, so that the reward does not learn them.
    """
    return dataclasses.replace(
        _ours("adjusted"),
        deconfound="adjust",
        max_pairs_per_response=8,
        max_pairs_per_post=50,
    )


PRESETS: dict[str, Callable[[], Recipe]] = {
    "naive": naive,
    "shp": shp,
    "dialogrpt": dialogrpt,
    "litbench": litbench,
    "matched": matched,
    "balanced": balanced,
    "adjusted": adjusted,
    "hard-test": hard_test_recipe,
}


def preset(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        CallError: the name is unknown; the message lists the known ones.
    """
    if name not in PRESETS:
        raise CallError(f"Unknown recipe {name!r}.", f"Use one of: {', '.join(PRESETS)}.")
    return PRESETS[name]()
