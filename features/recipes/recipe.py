"""A recipe: the rules that turn responses into pairs, as one dataclass, so that a study changes one rule at a time.

`None` switches a rule off. Lengths are those of the cleaned text (features/text/clean.py).
"""

from dataclasses import dataclass
from typing import Literal

MIN_TEST_FRACTION = 0.1
"""Posts in this lowest fraction of the hash feed the frozen hard test; no recipe may train on them."""

MIN_COPY_SIMILARITY = 0.5
"""Below this, the search for copies (features/text/near_duplicates.py) would miss more of them than it finds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The rules, in the order in which they are applied: posts and responses, candidate pairs, caps, splits."""

    name: str
    """Name of the rules, written to every pair's `recipe` column."""
    seed: int = 0
    """Seed of random neighbours, of the pairs that caps keep, of folds and thinning; never of the splits, integer."""

    min_post_score: int | None = None
    """Lowest score of a post, votes."""
    require_self_post: bool = False
    """Text posts only, no links."""
    exclude_deleted_posts: bool = True
    """Leave out posts that were deleted or removed: their prompt is not what the responses answered."""
    exclude_nsfw: bool = False
    """Leave out posts marked over 18."""
    created_before_utc: int | None = None
    """Only posts written before this time, seconds since 1970."""
    min_score: int | None = None
    """Lowest score of either response, votes."""
    min_chars: int = 1
    """Shortest response, characters."""
    max_chars: int | None = None
    """Longest response, characters."""
    min_words: int = 0
    """Shortest response, words (runs between white space)."""
    max_words: int | None = None
    """Longest response, words."""
    exclude_op: bool = False
    """Leave out responses by the post's own author."""
    exclude_edited_posts: bool = False
    """Leave out posts that were edited."""
    exclude_edited: bool = False
    """Leave out responses that were edited, which Reddit marks from the third minute on. The tables record whether, not
    when: edits before and after the votes are treated alike."""
    exclude_distinguished: bool = True
    """Leave out responses written as moderator or admin."""
    exclude_controversial: bool = False
    """Leave out responses that Reddit flags as controversial: at least 7 votes of which 40-60 % are up."""
    exclude_stickied: bool = True
    """Leave out responses pinned to the top of the thread."""
    exclude_deleted_authors: bool = False
    """Leave out responses and posts whose author is deleted, although the text is available."""
    exclude_bots: bool = False
    """Leave out responses by well-known bots, and those that say they were written by a bot."""
    exclude_link_only: bool = False
    """Leave out responses that consist of links only."""
    language: str | None = None
    """Leave out responses and posts that are, with confidence, in another language; ISO 639 code; needs py3langid."""
    min_language_probability: float = 0.9
    """Minimum probability of the other language, 0.5-1."""
    exclude_near_duplicates: bool = False
    """Leave out all but one of near-duplicate responses anywhere in the workspace; one that answers a test post is
    kept."""
    min_copy_similarity: float = 0.8
    """Minimum Jaccard similarity of word 5-grams for two responses, or two posts, to count as near-duplicates, 0-1."""
    min_copy_words: int = 10
    """Shorter texts never count as near-duplicates, words; the same post by the same author always does."""
    min_maturity_s: int = 0
    """Minimum age of a response when its score was retrieved, seconds; above 0, an unknown age is dropped too."""

    neighbour_order: Literal["delay", "random"] = "random"
    """Order of a post's responses for pairing neighbours: by time, or by a hash of the id (a fair sample)."""
    n_neighbours: int = 8
    """Number of following responses, in that order, that each response is paired with, responses."""
    min_score_gap: int = 1
    """Smallest difference of the two scores, votes; at least 1, because equal scores have no winner."""
    min_score_ratio: float = 1.0
    """Smallest ratio of the higher to the lower score, both taken as at least 1, ratio."""
    min_held_out_score_gap: int = 1
    """Smallest difference of the two scores in validation and test, votes."""
    min_held_out_rank_gap: float = 0.0
    """Smallest difference of the two scores' ranks among the post's distinct scores in validation and test, 0-1."""
    max_delay_difference_s: int | None = None
    """Caliper: largest difference of the two delays, seconds."""
    max_log_delay_difference: float | None = None
    """Caliper: largest |difference| of log(1 + delay in seconds), nats; 0.223 is a ratio of 1.25."""
    max_log_length_difference: float | None = None
    """Caliper: largest |difference| of log(characters), nats."""
    newer_must_win: bool = False
    """Keep only pairs whose chosen response was written no earlier than the rejected one."""
    label_look: Literal["last", "first"] = "last"
    """Look at a response that gives its score and its flag. first: of responses seen twice, so that the votes cast
    afterwards judge the labels (`second_window` of the manifest)."""
    require_agreeing_looks: bool = False
    """Keep only pairs of which the first and the last look prefer the same response."""
    label_model: Literal["score", "votes"] = "score"
    """What label_confidence reads. score: the two scores. votes: the scores and Reddit's controversial flag, which says
    how many votes were cast."""
    exposure_luck: float = 0.0
    """label_model=votes: standard deviation of the log of readers from one window of votes to the next, nats; 0.75 was
    measured on r/LocalLLaMA."""
    controversial_drift: float = 0.0
    """label_model=votes: how much less favourable votes are after a flag than before it, log-odds of an upvote;
    0.375 was measured on r/LocalLLaMA."""
    exposure: Literal["equal", "fitted"] = "equal"
    """Readers of a response, for label_confidence: equal for all, or as predicted by delay, post score and thread size,
    and with label_model=votes also by its age when it was looked at
    (use that as weight or soft label; a filter on it makes time predict the winner)."""
    vote_fuzz: float = 0.0
    """Noise that Reddit adds to the scores it shows, standard deviation, votes."""
    min_label_confidence: float = 0.5
    """Smallest label_confidence, 0.5-1."""
    weight_by_confidence: bool = False
    """Weigh pairs by 2 · label_confidence - 1, at least 0.01: a label that is a coin counts for nothing. The weights
    come after balancing and favour wide gaps, which the earlier response wins more often: audit such a set."""
    length_symmetric: bool = False
    """Thin until chosen is longer as often as shorter, at every size of the length difference."""
    balance_signs: bool = False
    """Thin until chosen is earlier as often as later and longer as often as shorter, in every subreddit and at every
    size of the log delay difference."""

    deconfound: Literal["none", "balance", "adjust"] = "none"
    """balance: thin and weight until the confounders do not predict the outcome; adjust: publish their prediction for
    every training pair as confounder_log_odds, and hold out balanced pairs."""
    max_pool_pairs_per_response: int | None = None
    """Maximum candidate pairs per response, before outcomes are looked at, pairs."""
    max_pool_pairs_per_post: int | None = None
    """Maximum candidate pairs per post, before thinning, pairs."""
    max_expected_pairs_per_response: float | None = None
    """balance: maximum pairs per response that thinning is expected to keep, pairs. How many it actually keeps depends
    on the outcomes: more of those that went against the odds. A cap on the kept pairs would drop more of these and
    undo the thinning; a cap on the expected number does not depend on outcomes."""
    max_expected_pairs_per_post: float | None = None
    """balance: maximum pairs per post that thinning is expected to keep, pairs."""
    max_confounder_probability: float = 0.85
    """Drop pairs whose outcome the confounders predict with a higher probability: they lack a counterpart, 0.5-1."""
    n_balance_rounds: int = 3
    """balance: maximum rounds of probing the kept pairs and thinning them again if the probe beats one half, rounds."""
    weighting: Literal["none", "cross-fitted"] = "none"
    """balance: weights all 1, or overlap weights from a last probe fitted to other posts."""

    max_pairs_per_response: int | None = None
    """Maximum pairs per response, pairs."""
    max_pairs_per_post: int | None = None
    """Maximum pairs per post, pairs."""

    split_by: Literal["post", "author", "time"] = "post"
    """What is held out. post: posts by a hash of their id. author: the same, and nobody who wrote a held-out post or
    responded to one is trained on. time: the posts written last."""
    validation_from_utc: int | None = None
    """split_by=time: posts from this time on are held out, seconds since 1970; None: by validation_fraction."""
    test_from_utc: int | None = None
    """split_by=time: posts from this time on are the test, seconds since 1970; None: by test_fraction."""
    keep_copies_together: bool = True
    """Leave out posts with a copy (crosspost, repost) in a more held-out split."""
    validation_fraction: float = 0.1
    """Fraction of posts held out for choosing settings, 0-1."""
    test_fraction: float = 0.1
    """Fraction of posts held out for the final figure, 0.1-1; at least the part that feeds the frozen hard test."""
    test_posts_only: bool = False
    """Keep only pairs of test posts."""

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "n_neighbours", "min_score_gap", "min_held_out_score_gap", "min_score_ratio")
        _require_at_least(self, 1, "max_pool_pairs_per_response", "max_pool_pairs_per_post")
        _require_at_least(self, 1, "max_pairs_per_response", "max_pairs_per_post", "min_chars", "min_copy_words")
        _require_at_least(self, 1, "max_expected_pairs_per_response", "max_expected_pairs_per_post")
        _require_at_least(self, 0, "max_delay_difference_s", "max_log_delay_difference", "max_log_length_difference")
        _require_at_least(self, 0, "min_words", "min_maturity_s", "min_held_out_rank_gap", "validation_fraction")
        _require_at_least(self, 0, "max_words", "max_chars", "validation_from_utc", "test_from_utc", "vote_fuzz")
        _require_at_least(self, 0, "n_balance_rounds", "exposure_luck", "controversial_drift")
        _require_at_least(self, MIN_COPY_SIMILARITY, "min_copy_similarity")
        _require_at_least(self, 0.5, "min_label_confidence", "max_confounder_probability", "min_language_probability")
        _require_at_least(self, MIN_TEST_FRACTION, "test_fraction")
        if self.n_neighbours > 64:
            raise ValueError(f"n_neighbours is at most 64, got {self.n_neighbours}")
        for low, high in (("min_chars", "max_chars"), ("min_words", "max_words")):
            bound = getattr(self, high)
            if bound is not None and bound < getattr(self, low):
                raise ValueError(f"{high} must not be below {low} ({getattr(self, low)}), got {bound}")
        for field in (
            "min_label_confidence",
            "min_held_out_rank_gap",
            "max_confounder_probability",
            "min_copy_similarity",
            "min_language_probability",
        ):
            if getattr(self, field) > 1:
                raise ValueError(f"{field} must be at most 1, got {getattr(self, field)}")
        for name in ("validation_from_utc", "test_from_utc"):
            if getattr(self, name) is not None and self.split_by != "time":
                raise ValueError(f"{name} needs split_by=time, got split_by={self.split_by}")
        for name in ("exposure_luck", "controversial_drift"):
            if getattr(self, name) > 0 and self.label_model != "votes":
                raise ValueError(f"{name} needs label_model=votes, got label_model={self.label_model}")
        if self.validation_fraction + self.test_fraction >= 1 and not self.test_posts_only:
            held_out = self.validation_fraction + self.test_fraction
            raise ValueError(f"validation_fraction + test_fraction must leave posts to train on, got {held_out:g}")


def _require_at_least(recipe: Recipe, bound: float, *fields: str) -> None:
    for field in fields:
        value = getattr(recipe, field)
        if value is not None and not value >= bound:  # rejects NaN too
            raise ValueError(f"{field} must be at least {bound:g}, got {value}")
