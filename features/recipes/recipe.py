"""A recipe: the rules that turn responses into pairs, as one dataclass, so that a study changes one rule at a time.

`None` switches a rule off. Lengths are those of the cleaned text (features/clean.py).
"""

from dataclasses import dataclass
from typing import Literal

MIN_TEST_FRACTION = 0.1
"""Posts in this lowest share of the hash feed the frozen hard test; no recipe may train on them."""

MIN_COPY_SIMILARITY = 0.5
"""Below this the search for copies (features/near_duplicates.py) would miss more of them than it finds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The rules, in the order in which they are applied: posts and responses, candidate pairs, caps, splits."""

    name: str
    """Name of the rules; stands in every pair's `recipe` column."""
    seed: int = 0
    """Number of the draw: by another one the order of random neighbours, which pairs the caps keep, folds and thinning
    are drawn anew; never the splits, integer."""

    min_post_score: int | None = None
    """Lowest score of a post, votes."""
    require_self_post: bool = False
    """Text posts only, no links."""
    exclude_deleted_posts: bool = True
    """Leave out posts that were deleted or removed: their prompt is not what the answers saw."""
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
    """Leave out responses that were edited, which Reddit marks from the third minute on. The tables keep whether, not
    when: an edit after the votes came and one before them go alike."""
    exclude_distinguished: bool = True
    """Leave out responses written as moderator or admin."""
    exclude_stickied: bool = True
    """Leave out responses pinned to the top of the thread."""
    exclude_deleted_authors: bool = False
    """Leave out responses and posts whose author is gone, though the text is there."""
    exclude_bots: bool = False
    """Leave out responses by well-known bots, and those that say they were written by one."""
    exclude_link_only: bool = False
    """Leave out responses that hold nothing but addresses."""
    language: str | None = None
    """Leave out responses and posts that are surely in another language, ISO 639 code; needs py3langid."""
    min_language_probability: float = 0.9
    """How sure another language must be, probability 0.5-1."""
    exclude_near_duplicates: bool = False
    """Of responses that are nearly the same, anywhere in the workspace, leave out all but one; where one answers a test
    post that one stays."""
    min_copy_similarity: float = 0.8
    """Share of runs of five words by which two texts count as nearly the same, of responses and of posts, 0-1."""
    min_copy_words: int = 10
    """Shorter texts are nobody's copy, words; a post is also a copy of the same post by the same author."""
    min_maturity_s: int = 0
    """Shortest time from writing to the look at the score, seconds; above 0, an unknown time of the look fails too."""

    neighbour_order: Literal["delay", "random"] = "random"
    """Order of a post's responses in which neighbours are paired: by time, or by a hash of the id (a fair sample)."""
    n_neighbours: int = 8
    """Each response is paired with this many that follow it in that order, responses."""
    min_score_gap: int = 1
    """Smallest difference of the two scores, votes; at least 1, for equal scores choose nothing."""
    min_score_ratio: float = 1.0
    """Smallest ratio of the higher to the lower score, both counted as at least 1, ratio."""
    min_held_out_score_gap: int = 1
    """Smallest difference of the two scores in validation and test, votes."""
    min_held_out_rank_gap: float = 0.0
    """Smallest difference of the two scores' ranks among the post's different scores in validation and test, 0-1."""
    max_delay_difference_s: int | None = None
    """Caliper: largest difference of the two delays, seconds."""
    max_log_delay_difference: float | None = None
    """Caliper: largest |difference| of log(1 + delay in seconds), nats; 0.223 is a ratio of 1.25."""
    max_log_length_difference: float | None = None
    """Caliper: largest |difference| of log(characters), nats."""
    newer_must_win: bool = False
    """Keep only pairs whose chosen response was written no earlier than the rejected one."""
    exposure: Literal["equal", "fitted"] = "equal"
    """Readers of a response, for label_confidence: as many for each, or as delay, post score and thread size foretell
    (use that as weight or soft label; a filter on it makes time tell the winner)."""
    vote_fuzz: float = 0.0
    """Blur that Reddit lays on the scores it shows, standard deviation, votes."""
    min_label_confidence: float = 0.5
    """Smallest P(chosen is truly liked more | both scores), 0.5-1."""
    length_symmetric: bool = False
    """Thin until chosen is longer as often as shorter, at every size of the difference."""
    balance_signs: bool = False
    """Thin until chosen is earlier as often as later and longer as often as shorter, in every subreddit and at every
    size of the log delay difference."""

    deconfound: Literal["none", "balance", "adjust"] = "none"
    """balance: thin and weight until the confounders say nothing; adjust: publish what they say of every training
    pair as confounder_log_odds, and hold out balanced pairs."""
    max_pool_pairs_per_response: int | None = None
    """Most candidate pairs one response may be in, before anything is known of them, pairs."""
    max_pool_pairs_per_post: int | None = None
    """Most candidate pairs from one post, before thinning, pairs."""
    max_expected_pairs_per_response: float | None = None
    """Of balanced pairs: most pairs of one response that thinning is expected to leave, pairs. How many it leaves hangs
    on the outcomes: of who won or lost against the odds more stay. A cap on those that are left takes more of them, and
    brings back what thinning took out; a cap on those to be expected knows no outcome."""
    max_expected_pairs_per_post: float | None = None
    """Of balanced pairs: most pairs of one post that thinning is expected to leave, pairs."""
    max_confounder_probability: float = 0.85
    """Pairs whose outcome the confounders foretell more surely go: they have no mirror image, probability 0.5-1."""
    n_balance_rounds: int = 3
    """Most times the pairs that are kept are probed, thinned again where the probe beats one half, and weighted."""
    weighting: Literal["none", "cross-fitted"] = "none"
    """Of balanced pairs: all 1; or what a last probe, of other posts, says of those that are kept."""

    max_pairs_per_response: int | None = None
    """Most pairs one response may be in, pairs."""
    max_pairs_per_post: int | None = None
    """Most pairs from one post, pairs."""

    split_by: Literal["post", "author", "time"] = "post"
    """What decides who is held out. post: a hash of its id. author: the same, and nobody who stands under a held-out
    post, as its author or with a response, is trained on. time: the posts that were written last."""
    validation_from_utc: int | None = None
    """With split_by=time: posts from here on are not trained on, seconds since 1970; by its share of posts if None."""
    test_from_utc: int | None = None
    """With split_by=time: posts from here on are the test, seconds since 1970; by its share of posts if None."""
    keep_copies_together: bool = True
    """Leave out posts of which a copy (crosspost, repost) stands on a side that is held out more."""
    validation_fraction: float = 0.1
    """Share of posts held out for choosing settings, 0-1."""
    test_fraction: float = 0.1
    """Share of posts held out for the final figure, 0.1-1; never below what the frozen hard test draws on."""
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
        _require_at_least(self, 0, "n_balance_rounds")
        _require_at_least(self, MIN_COPY_SIMILARITY, "min_copy_similarity")
        _require_at_least(self, 0.5, "min_label_confidence", "max_confounder_probability", "min_language_probability")
        _require_at_least(self, MIN_TEST_FRACTION, "test_fraction")
        if self.n_neighbours > 64:
            raise ValueError(f"n_neighbours is at most 64, got {self.n_neighbours}")
        for low, high in (("min_chars", "max_chars"), ("min_words", "max_words")):
            bound = getattr(self, high)
            if bound is not None and bound < getattr(self, low):
                raise ValueError(f"{high} must not be below {low} ({getattr(self, low)}), got {bound}")
        for share in (
            "min_label_confidence",
            "min_held_out_rank_gap",
            "max_confounder_probability",
            "min_copy_similarity",
            "min_language_probability",
        ):
            if getattr(self, share) > 1:
                raise ValueError(f"{share} is a share of at most 1, got {getattr(self, share)}")
        for name in ("validation_from_utc", "test_from_utc"):
            if getattr(self, name) is not None and self.split_by != "time":
                raise ValueError(f"{name} needs split_by=time, got split_by={self.split_by}")
        if self.validation_fraction + self.test_fraction >= 1 and not self.test_posts_only:
            held_out = self.validation_fraction + self.test_fraction
            raise ValueError(f"validation_fraction + test_fraction must leave posts to train on, got {held_out:g}")


def _require_at_least(recipe: Recipe, bound: float, *fields: str) -> None:
    for field in fields:
        value = getattr(recipe, field)
        if value is not None and not value >= bound:  # refuses NaN too
            raise ValueError(f"{field} must be at least {bound:g}, got {value}")
