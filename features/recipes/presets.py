"""Recipes by name: each published one, and ours, is a preset of which any field can be overridden."""

import dataclasses
import math
from collections.abc import Callable

from features.recipes.recipe import Recipe
from lurker.errors import CallError


def naive() -> Recipe:
    """Any two responses to a post whose scores differ: what one gets without a thought for time or length.

    Random neighbours sample the pairs of each post fairly; the cap keeps a huge thread from being the whole set.
    """
    return Recipe(name="naive", max_pairs_per_post=50)


def shp() -> Recipe:
    """Stanford Human Preferences: the preferred comment was written no earlier, so more time cannot explain its score.

    Source: the dataset card of stanfordnlp/SHP; the ratio of 2 and the five pairs a post are its advice for training.
    Where this deviates: moderators are known by distinguished comments only, and not at all as authors of posts; the
    card's 50 scraped comments a post are all comments here, whose pairs come from 32 random neighbours rather than all
    siblings; its rewording of abbreviations and removal of addresses are left out; splits are Lurker's 80/10/10 for
    its 90/5/5, so that recipes share one test.
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
    """DialogRPT's `updown`: neighbours in time within an hour, short texts; held-out pairs are easy ones.

    Source: src/attic/data.py of golsun/DialogRPT (`match_time`, `clean`); its readers ask for the hour and the gaps.
    Where this deviates: top-level responses only, where DialogRPT takes every depth; long texts go before neighbours
    are met, not after; texts with a quote and prompts of more than 30 words stay, and addresses stay as written;
    validation and test are Lurker's, where DialogRPT holds out 1 % of the posts.
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
    """LitBench: well-voted long answers, the newer one wins, length differences symmetric around 0.

    Source: arXiv 2507.00769. Where this deviates: its 2,048 tokens are taken as 8,192 characters; pairs come from 32
    random neighbours rather than all siblings; lengths are made symmetric within splits; any subreddit, not only
    r/WritingPrompts.
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

    Source: the hard test set of Ward 2021, whose calipers are not published; these are ours.
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


def hard_test() -> Recipe:
    """The frozen test: test posts, close in time and length, labels that two noisy scores make likely, thinned as
    `balanced` is, balanced signs. Its pairs weigh 1, so every accuracy on it is a plain share."""
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


def balanced() -> Recipe:
    """Ours: loose calipers on delay and length, then thinned until no confounder of the audit names the winner.

    Thinning takes away what length says on average, not what it says among responses of one quality: a model that reads
    quality can learn that rest. The caliper on length leaves little of it (simulated: a reward's partial correlation
    with length at fixed quality was .08 without it, .00 with it).
    """
    return Recipe(
        name="balanced",
        min_chars=20,
        exclude_op=True,
        exclude_bots=True,
        exclude_link_only=True,
        exclude_near_duplicates=True,
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
    """Ours: nearly all pairs, each with the log-odds that its confounders alone give the winner; held out, `balanced`.

    For training that adds the log-odds to the margin, so that the reward need not learn them.
    """
    return Recipe(
        name="adjusted",
        min_chars=20,
        exclude_op=True,
        exclude_bots=True,
        exclude_link_only=True,
        exclude_near_duplicates=True,
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
    "hard-test": hard_test,
}


def preset(name: str) -> Recipe:
    """The recipe of that name.

    Errors: CallError that lists the known recipes.
    """
    if name not in PRESETS:
        raise CallError(f"Unknown recipe {name!r}.", f"Take one of: {', '.join(PRESETS)}.")
    return PRESETS[name]()
