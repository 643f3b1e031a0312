"""The parameters of the simulated Reddit, each with its unit."""

from dataclasses import dataclass
from typing import Literal, get_args

from ingest.simulator.words import SUBJECT_WORDS, TASTE_WORDS

SUBREDDIT_NAMES = ("SimStories", "SimAdvice", "SimScience", "SimGames", "SimMusic", "SimTravel", "SimFood", "SimFilms")
TasteLayout = Literal["equal", "chain"]
MIN_WORDS_OF_PHRASES = 6
"""Shortest comment that has room for a phrase and the name of a subject, words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """How scores arise in a simulated Reddit; with the defaults, shortcuts are as strong as on the real one."""

    seed: int = 0
    """Random seed; the thread of a post does not depend on the number of posts."""
    n_posts: int = 3_000
    """Posts over all communities."""
    seconds_between_posts: int = 600
    """Average time from one post to the next, seconds."""
    n_subreddits: int = 3
    """Communities, 1–8."""
    word_share: float = 1.0
    """Share of quality's variance from liked words wherever they stand, which a bag of words can hold, 0–1; the three
    shares sum to 1."""
    phrase_share: float = 0.0
    """Share from phrases "a … yet … b", which are liked if b is liked more than a, 0–1: order matters, so that "b … yet
    … a" is disliked as much."""
    uptake_share: float = 0.0
    """Share from how much of what a comment names is the subject of its post, 0–1."""
    n_subjects: int = 12
    """Subjects that posts have, 2–24; used with uptake only."""
    subject_word_share: float = 0.15
    """Share of a comment's words that name a subject, its post's or another one, 0–0.25; used with uptake only."""
    taste_shared: float = 0.5
    """Correlation between the tastes of two communities, 0–1."""
    taste_layout: TasteLayout = "equal"
    """equal: any two communities share as much; chain: those n steps apart correlate at `taste_shared`ⁿ, so that near
    ones share more than far ones."""
    n_taste_words: int = 120
    """Words that carry taste, 20–120."""
    taste_word_share: float = 1 / 3
    """Share of a comment's words that carry taste, 0–1."""
    taste_tilt: float = 0.7
    """How much writers differ in their use of liked words: log-odds per standard deviation of weight and of writer."""
    median_comments: float = 8.0
    """Median comments per post, before `max_comments` applies."""
    comments_sigma: float = 1.1
    """Spread of comments per post, standard deviation of the log."""
    max_comments: int = 400
    """Largest thread, comments."""
    reply_share: float = 0.35
    """Share of comments that reply to a comment instead of the post, 0–1."""
    median_delay_s: float = 5_400.0
    """Median time from post to comment, seconds."""
    delay_sigma: float = 1.5
    """Spread of delays, standard deviation of the log."""
    max_delay_s: float = 259_200.0
    """Latest comment, seconds after its post."""
    median_words: float = 20.0
    """Median words per comment."""
    words_sigma: float = 0.55
    """Spread of lengths, standard deviation of the log."""
    min_words: int = 6
    """Shortest comment, words."""
    max_words: int = 60
    """Longest comment, words."""
    readers: float = 200.0
    """Readers of an undelayed comment in a thread of median size."""
    size_effect: float = 0.8
    """Effect of thread size on readers: log readers per log of size over median size."""
    delay_effect: float = 1.4
    """Effect of delay on readers: log readers lost per log of (1 + delay / 10 minutes)."""
    reply_effect: float = 0.5
    """Log readers lost by a comment below top level."""
    up_rate: float = 0.10
    """Upvotes per reader for a comment of average quality."""
    down_rate: float = 0.004
    """Downvotes per reader for a comment of average quality."""
    quality_effect: float = 0.9
    """Log upvotes gained, and log downvotes lost, per standard deviation of quality."""
    length_effect: float = 0.8
    """Log votes per log of words over median words."""
    vote_spread: float = 2.5
    """Shape of the gamma noise on expected votes: its variance is 1 / vote_spread."""
    herding_effect: float = 0.0
    """Herding (voters follow the visible score): log later votes per log of early upvotes over their mean."""
    early_share: float = 0.1
    """Share of a comment's readers who vote before a score is visible, 0–1; used with herding only."""
    contest_share: float = 0.0
    """Share of posts in contest mode, whose comments are read in random order with hidden scores, 0–1."""
    contest_delay_effect: float = 0.0
    """`delay_effect` in contest mode; herding has no effect there."""
    hidden_share: float = 0.0
    """Share of posts whose comments' scores are hidden at first, 0–1; herding has no effect there, and the order is as
    usual. Dumps tell it by first looks only."""
    hidden_minutes: int = 360
    """How long after a comment its score is hidden, minutes; used with hidden_share only."""
    first_look_share: float = 0.0
    """Share of a comment's readers who voted before a first look, 0–1; 0: every comment is seen once, at the end."""
    vote_fuzzing: float = 0.0
    """Standard deviation of the noise that Reddit adds to visible scores, in square roots of 1 + |score|."""
    deleted_share: float = 0.03
    """Share of comments of average quality whose text was deleted or removed, 0–1."""
    deletion_effect: float = 0.0
    """Log-odds of deletion or removal lost per standard deviation of quality."""
    no_author_share: float = 0.03
    """Share of comments with a deleted author but a visible text, 0–1."""
    op_share: float = 0.06
    """Share of comments by the post's author, 0–1."""
    edited_share: float = 0.04
    """Share of edited comments, 0–1."""
    sticky_share: float = 0.15
    """Share of posts with a comment pinned by moderators, 0–1."""
    nsfw_share: float = 0.01
    """Share of posts marked over 18, 0–1."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a value outside the range of its field."""
        shares = ("word_share", "phrase_share", "uptake_share", "taste_shared", "taste_word_share", "reply_share")
        others = ("deleted_share", "no_author_share", "op_share", "early_share", "edited_share", "sticky_share")
        looks = ("contest_share", "hidden_share", "first_look_share")
        for name in (*shares, *others, *looks, "nsfw_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name in (
            "n_posts",
            "median_comments",
            "median_delay_s",
            "median_words",
            "readers",
            "vote_spread",
            "seconds_between_posts",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        spreads = ("comments_sigma", "delay_sigma", "words_sigma", "vote_fuzzing")
        for name in (*spreads, "up_rate", "down_rate", "hidden_minutes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 1 <= self.n_subreddits <= len(SUBREDDIT_NAMES):
            raise ValueError(f"n_subreddits must be 1–{len(SUBREDDIT_NAMES)}, got {self.n_subreddits}")
        if not 20 <= self.n_taste_words <= len(TASTE_WORDS):
            raise ValueError(f"n_taste_words must be 20–{len(TASTE_WORDS)}, got {self.n_taste_words}")
        self._check_taste()
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(f"1 ≤ min_words ≤ max_words is required, got {self.min_words} and {self.max_words}")
        if self.max_comments < 1 or self.max_delay_s < 60:
            raise ValueError(
                f"max_comments ≥ 1 and max_delay_s ≥ 60 are required, got {self.max_comments} and {self.max_delay_s}"
            )

    def _check_taste(self) -> None:
        """Check what quality is made of, and that phrases and subjects have room in the shortest comment."""
        parts = {name: getattr(self, name) for name in ("word_share", "phrase_share", "uptake_share")}
        if abs(sum(parts.values()) - 1) > 1e-6:
            described = ", ".join(f"{name}={value}" for name, value in parts.items())
            raise ValueError(f"word_share, phrase_share and uptake_share must sum to 1, got {described}")
        if self.taste_layout not in get_args(TasteLayout):
            raise ValueError(f"taste_layout must be one of {', '.join(get_args(TasteLayout))}, got {self.taste_layout}")
        if not 2 <= self.n_subjects <= len(SUBJECT_WORDS):
            raise ValueError(f"n_subjects must be 2–{len(SUBJECT_WORDS)}, got {self.n_subjects}")
        if not 0 <= self.subject_word_share <= 0.25:
            raise ValueError(f"subject_word_share must be between 0 and 0.25, got {self.subject_word_share}")
        if self.word_share < 1 and (self.min_words < MIN_WORDS_OF_PHRASES or self.taste_word_share > 0.5):
            raise ValueError(
                f"phrases and uptake need min_words ≥ {MIN_WORDS_OF_PHRASES} and taste_word_share ≤ 0.5, "
                f"got {self.min_words} and {self.taste_word_share}"
            )
