"""Every table of a workspace: its columns with types, units and meanings.

Packages exchange data only through these tables, and check what they read and write with `check`. Times are seconds
since 1970 in UTC (`*_utc`) or durations in seconds (`*_s`). Ids are Reddit's base-36 ids without the `t1_`/`t3_`
prefix. Author names are in no table, only hashes salted per workspace.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from lurker.errors import LurkerError

SCHEMA_VERSION = 3
READABLE_VERSIONS = (2, 3)
"""Versions of workspaces that can be read: columns that are newer than a workspace read as null."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    """with its unit"""
    nullable: bool = False
    default: float | None = None
    """value of the column in older tables that lack it"""
    since: int = 1
    """SCHEMA_VERSION that added the column; older tables that lack it read as null"""


@dataclass(frozen=True, slots=True)
class Table:
    """A named set of columns, in writing order."""

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...]

    @property
    def schema(self) -> pl.Schema:
        """The Polars schema of the table."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    def empty(self) -> pl.DataFrame:
        """The table without rows."""
        return pl.DataFrame(schema=self.schema)


_ITEM = {
    "author_hash": Column(pl.String, "salted hash of the author's name; null if deleted or missing", nullable=True),
    "created_utc": Column(pl.Int64, "time of writing, seconds since 1970"),
    "score": Column(pl.Int64, "upvotes minus downvotes at the latest observation", nullable=True),
    "is_edited": Column(pl.Boolean, "edited after it was first written"),
    "is_deleted": Column(pl.Boolean, "deleted by its author or removed by a moderator"),
    "source": Column(pl.String, "origin of the row: dump | reddit | archive | simulator"),
    "retrieved_utc": Column(pl.Int64, "time of the latest observation, seconds since 1970, or null", nullable=True),
}

_VOTES = {
    "ups": Column(
        pl.Int64, "upvotes, where the row tells both counts (Reddit did until 2014, with noise)", nullable=True, since=3
    ),
    "downs": Column(pl.Int64, "downvotes, where the row tells both counts", nullable=True, since=3),
    "first_retrieved_utc": Column(
        pl.Int64,
        "time of the earlier retrieval that the text comes from, seconds since 1970; null if it is retrieved_utc",
        nullable=True,
        since=3,
    ),
}
_IS_CONTROVERSIAL = (
    "Reddit's mark of at least 7 votes of which 40–60 % are up, the author's own upvote among them; null if not known"
)

POSTS = Table(
    "posts",
    {
        "post_id": Column(pl.String, "base-36 id"),
        "subreddit": Column(pl.String, "display name without r/"),
        "title": Column(pl.String, "title as written"),
        "body": Column(pl.String, "text as written (Markdown); empty for links"),
        "author_hash": _ITEM["author_hash"],
        "created_utc": _ITEM["created_utc"],
        "score": _ITEM["score"],
        "upvote_ratio": Column(pl.Float64, "upvotes divided by votes, 0–1", nullable=True),
        "n_comments": Column(pl.Int64, "comments on the post, as Reddit counts them", nullable=True),
        "is_self": Column(pl.Boolean, "text post, not a link"),
        "is_nsfw": Column(pl.Boolean, "marked over 18"),
        "is_edited": _ITEM["is_edited"],
        "is_deleted": _ITEM["is_deleted"],
        "flair": Column(pl.String, "link flair", nullable=True),
        "crosspost_of": Column(pl.String, "post_id of the crossposted post; null if not a crosspost", nullable=True),
        "source": _ITEM["source"],
        "retrieved_utc": _ITEM["retrieved_utc"],
        "is_contest": Column(
            pl.Boolean,
            "contest mode: comments in random order, scores hidden; null if not known",
            nullable=True,
            since=3,
        ),
        "suggested_sort": Column(
            pl.String,
            "order of comments that moderators set for the post: top | new | qa ...",
            nullable=True,
            since=3,
        ),
        "is_score_hidden": Column(
            pl.Boolean, "Reddit hid the score at the latest observation; null if not known", nullable=True, since=3
        ),
        **_VOTES,
    },
    key=("post_id",),
)

COMMENTS = Table(
    "comments",
    {
        "comment_id": Column(pl.String, "base-36 id"),
        "post_id": Column(pl.String, "post_id of its post"),
        "parent_id": Column(pl.String, "id of the comment or post it replies to, without prefix"),
        "is_top_level": Column(pl.Boolean, "replies to the post itself, so it is a response"),
        "subreddit": Column(pl.String, "display name without r/"),
        "body": Column(pl.String, "text as written (Markdown)"),
        "author_hash": _ITEM["author_hash"],
        "created_utc": _ITEM["created_utc"],
        "score": _ITEM["score"],
        "is_score_hidden": Column(pl.Boolean, "Reddit hid the score at the latest observation"),
        "is_edited": _ITEM["is_edited"],
        "is_deleted": _ITEM["is_deleted"],
        "is_stickied": Column(pl.Boolean, "pinned to the top of the thread"),
        "is_distinguished": Column(pl.Boolean, "marked as written by a moderator or admin"),
        "is_by_op": Column(pl.Boolean, "written by the author of the post"),
        "source": _ITEM["source"],
        "retrieved_utc": _ITEM["retrieved_utc"],
        "is_controversial": Column(pl.Boolean, _IS_CONTROVERSIAL, nullable=True, since=3),
        **_VOTES,
    },
    key=("comment_id",),
)

OBSERVATIONS = Table(
    "observations",
    {
        "item_id": Column(pl.String, "post_id or comment_id"),
        "kind": Column(pl.String, "post | comment, as ids of the two overlap"),
        "subreddit": Column(pl.String, "display name without r/"),
        "observed_utc": Column(pl.Int64, "time of the observation, seconds since 1970"),
        "score": Column(pl.Int64, "upvotes minus downvotes at that time"),
        "is_controversial": Column(
            pl.Boolean, "is_controversial of the comment at that time; null if not known", nullable=True, since=3
        ),
    },
    key=("item_id", "kind", "observed_utc"),
)

TRUTH = Table(
    "truth",
    {
        "comment_id": Column(pl.String, "id of a simulated comment"),
        "post_id": Column(pl.String, "post_id of its post"),
        "subreddit": Column(pl.String, "community whose taste determines its quality"),
        "quality": Column(pl.Float64, "how much the community truly likes the text, in standard deviations"),
        "log_exposure": Column(pl.Float64, "log of the number of readers"),
        "expected_score": Column(pl.Float64, "expected value of the drawn score, without herding and fuzz"),
        "log_herding": Column(pl.Float64, "log of the factor that early votes applied to later upvotes", default=0.0),
        "fuzz": Column(pl.Int64, "votes that fuzzing added to the displayed score", default=0),
        "net_vote_rate": Column(
            pl.Float64,
            "expected score given readers, noise on its vote rates and herding; without counting noise and fuzz",
            nullable=True,
            since=3,
        ),
    },
    key=("comment_id",),
)

TASTES = Table(
    "tastes",
    {
        "subreddit": Column(pl.String, "simulated community"),
        "word": Column(pl.String, "word that the community likes or dislikes"),
        "weight": Column(pl.Float64, "how much the community likes it; negative if it dislikes it"),
    },
    key=("subreddit", "word"),
)

PAIRS = Table(
    "pairs",
    {
        "pair_id": Column(pl.String, "the two response ids, sorted and joined by '-'; the same in every recipe"),
        "post_id": Column(pl.String, "post_id of the post that both reply to"),
        "subreddit": Column(pl.String, "display name without r/"),
        "split": Column(pl.String, "train | validation | test, by hash of post_id"),
        "prompt": Column(pl.String, "title and text of the post, as given to models"),
        "chosen": Column(pl.String, "text of the response with the higher score"),
        "rejected": Column(pl.String, "text of the response with the lower score"),
        "chosen_id": Column(pl.String, "comment_id of chosen"),
        "rejected_id": Column(pl.String, "comment_id of rejected"),
        "chosen_score": Column(pl.Int64, "score of chosen"),
        "rejected_score": Column(pl.Int64, "score of rejected"),
        "chosen_delay_s": Column(pl.Int64, "seconds from post to chosen"),
        "rejected_delay_s": Column(pl.Int64, "seconds from post to rejected"),
        "chosen_chars": Column(pl.Int64, "length of chosen in characters"),
        "rejected_chars": Column(pl.Int64, "length of rejected in characters"),
        "label_confidence": Column(
            pl.Float64, "P(chosen is truly liked more | scores), 0.5–1; with label_model=votes also given flags, 0–1"
        ),
        "weight": Column(pl.Float64, "weight in training and audits, > 0"),
        "confounder_log_odds": Column(
            pl.Float64,
            "log-odds that chosen wins given confounders alone, cross-fitted; 0 if unknown",
            default=0.0,
        ),
        "recipe": Column(pl.String, "recipe that built the pair"),
    },
    key=("pair_id",),
)

PREDICTIONS = Table(
    "predictions",
    {
        "pair_id": Column(pl.String, "pair_id of the tested pair"),
        "margin": Column(pl.Float64, "reward of chosen minus reward of rejected, in log-odds"),
        "is_correct": Column(pl.Float64, "1 if margin > 0, 0 if margin < 0, 0.5 if 0"),
    },
    key=("pair_id",),
)

_ACCURACY = {
    "n_test_pairs": Column(pl.Int64, "pairs tested on"),
    "n_test_posts": Column(pl.Int64, "posts of these pairs, the clusters of the interval"),
    "accuracy": Column(pl.Float64, "share of pairs in which the reward of chosen is higher, 0–1"),
    "accuracy_low": Column(pl.Float64, "lower end of the 95 % interval, clustered by post"),
    "accuracy_high": Column(pl.Float64, "upper end of the 95 % interval, clustered by post"),
    "log_loss": Column(pl.Float64, "mean negative log-likelihood, nats; null without a probability", nullable=True),
}

EVALUATIONS = Table(
    "evaluations",
    {
        "run_id": Column(pl.String, "run that was tested"),
        "pairs": Column(pl.String, "pair set tested on"),
        "split": Column(pl.String, "split tested on"),
        "subreddit": Column(pl.String, "subreddit, or 'all'"),
        "predictor": Column(pl.String, "'model', or a baseline: length | time | both | tfidf"),
        **_ACCURACY,
    },
    key=("run_id", "pairs", "split", "subreddit", "predictor"),
)

SCALING = Table(
    "scaling",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "test_pairs": Column(pl.String, "pair set tested on"),
        "predictor": Column(pl.String, "model SPEC, or a baseline: length | time | both | tfidf"),
        "is_baseline": Column(pl.Boolean, "whether it is a baseline and not a model"),
        "n_parameters": Column(pl.Int64, "parameters without embeddings; null for baselines", nullable=True),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "seed": Column(pl.Int64, "seed of the subset, initial weights and order"),
        "run_id": Column(pl.String, "name of the run; null for baselines", nullable=True),
        "train_time_s": Column(pl.Float64, "wall-clock time of training in seconds; null for baselines", nullable=True),
        **_ACCURACY,
    },
    key=("predictor", "n_train_pairs", "seed"),
)

TRANSFER = Table(
    "transfer",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "test_pairs": Column(pl.String, "pair set tested on"),
        "predictor": Column(pl.String, "model SPEC, or a baseline: length | time | both | tfidf"),
        "is_baseline": Column(pl.Boolean, "whether it is a baseline and not a model"),
        "source": Column(pl.String, "subreddit trained on"),
        "target": Column(pl.String, "subreddit tested on"),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "seed": Column(pl.Int64, "seed of the subset, initial weights and order"),
        "run_id": Column(pl.String, "name of the run; null for baselines", nullable=True),
        **_ACCURACY,
    },
    key=("predictor", "source", "target", "seed"),
)

_DIFFERENCE = {
    "difference_low": Column(pl.Float64, "lower end of the 95 % interval: posts, and seeds if several", nullable=True),
    "difference_high": Column(pl.Float64, "upper end of the 95 % interval: posts, and seeds if several", nullable=True),
    "smallest_effect": Column(
        pl.Float64, "difference from 0 that 80 % of such tests would tell; null without an interval", nullable=True
    ),
    "posts_needed": Column(
        pl.Int64, "test posts that tell a difference of `effect` from 0 in 80 % of tests", nullable=True
    ),
    "effect": Column(pl.Float64, "difference that posts_needed is for"),
}

TRANSFER_DIFFERENCES = Table(
    "transfer_differences",
    {
        **{name: TRANSFER.columns[name] for name in ("predictor", "is_baseline", "source", "target", "n_train_pairs")},
        "n_seeds": Column(pl.Int64, "seeds, whose mean this is"),
        "n_test_pairs": _ACCURACY["n_test_pairs"],
        "n_test_posts": _ACCURACY["n_test_posts"],
        "accuracy": Column(pl.Float64, "share of pairs in which the reward of chosen is higher, mean over seeds"),
        "accuracy_low": Column(pl.Float64, "lower end of the 95 % interval: posts, and seeds if several"),
        "accuracy_high": Column(pl.Float64, "upper end of the 95 % interval: posts, and seeds if several"),
        "shortcut": Column(pl.Float64, "accuracy of time and length, fitted on the same source", nullable=True),
        "shortcut_low": Column(pl.Float64, "lower end of its 95 % interval", nullable=True),
        "shortcut_high": Column(pl.Float64, "upper end of its 95 % interval", nullable=True),
        "difference": Column(
            pl.Float64, "accuracy minus that of the predictor trained on the target, on the same pairs", nullable=True
        ),
        **_DIFFERENCE,
    },
    key=("predictor", "source", "target"),
)

FEW_SHOT = Table(
    "few_shot",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "test_pairs": Column(pl.String, "pair set tested on"),
        "target": Column(pl.String, "subreddit tuned and tested on, or 'external': judgements from outside"),
        "start": Column(pl.String, "what is tuned: nothing, others (a model of other subreddits), a run, a SPEC"),
        "is_baseline": Column(pl.Boolean, "whether it is a baseline and not a model"),
        "n_target_pairs": Column(pl.Int64, "pairs of the target trained on"),
        "n_validation_pairs": Column(pl.Int64, "pairs of the target that chose the best step"),
        "n_source_pairs": Column(pl.Int64, "pairs of other subreddits that the start was trained on", nullable=True),
        "seed": Column(pl.Int64, "seed of the subset, initial weights and order"),
        "run_id": Column(pl.String, "name of the run; null for baselines", nullable=True),
        **_ACCURACY,
    },
    key=("start", "n_target_pairs", "n_source_pairs", "seed"),
)

FEW_SHOT_DIFFERENCES = Table(
    "few_shot_differences",
    {
        **{name: FEW_SHOT.columns[name] for name in ("start", "is_baseline", "n_target_pairs", "n_validation_pairs")},
        "n_source_pairs": FEW_SHOT.columns["n_source_pairs"],
        **{
            name: TRANSFER_DIFFERENCES.columns[name]
            for name in ("n_seeds", "n_test_pairs", "n_test_posts", "accuracy", "accuracy_low", "accuracy_high")
        },
        "difference": Column(
            pl.Float64, "accuracy minus that of the start `nothing`, on the same pairs and seeds", nullable=True
        ),
        **_DIFFERENCE,
    },
    key=("start", "n_target_pairs", "n_source_pairs"),
)

RECIPES = Table(
    "recipes",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "recipe": Column(pl.String, "recipe of that pair set"),
        "predictor": Column(pl.String, "tfidf, a model SPEC, or a baseline: length | time | both"),
        "is_baseline": Column(pl.Boolean, "whether it is a baseline that reads no text"),
        "max_pairs": Column(pl.Int64, "limit on training pairs; null for no limit", nullable=True),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "seed": Column(pl.Int64, "seed of the subset, initial weights and order"),
        "measure": Column(pl.String, "accuracy, or the reward's correlation with quality | length | delay"),
        "measured_on": Column(pl.String, "pair set tested on, or truth: the simulator's"),
        "part": Column(pl.String, "all, or a subset of pairs: gap >= N | better is shorter | better is later"),
        "value": Column(pl.Float64, "accuracy, 0–1, or Spearman correlation, -1 to 1"),
        "low": Column(pl.Float64, "lower end of the 95 % interval, clustered by post"),
        "high": Column(pl.Float64, "upper end of the 95 % interval, clustered by post"),
        "standard_error": Column(pl.Float64, "standard error of value, clustered by post"),
        "n": Column(pl.Int64, "pairs tested, or responses correlated"),
        "n_posts": Column(pl.Int64, "posts of these, the clusters"),
        "run_id": Column(pl.String, "name of the run; null for baselines and TF-IDF", nullable=True),
    },
    key=("pairs", "predictor", "max_pairs", "seed", "measure", "measured_on", "part"),
)

RECIPE_DIFFERENCES = Table(
    "recipe_differences",
    {
        "reference": Column(pl.String, "pair set trained on, compared with the others"),
        "pairs": Column(pl.String, "other pair set trained on"),
        "predictor": Column(pl.String, "tfidf, or a model SPEC"),
        "max_pairs": Column(pl.Int64, "limit on training pairs; null for no limit", nullable=True),
        "measure": RECIPES.columns["measure"],
        "measured_on": RECIPES.columns["measured_on"],
        "part": RECIPES.columns["part"],
        "difference": Column(
            pl.Float64, "reference minus the other, means over seeds; for length and delay of absolute values"
        ),
        "low": Column(pl.Float64, "lower end of the 95 % interval, clustered by post"),
        "high": Column(pl.Float64, "upper end of the 95 % interval, clustered by post"),
        "mcnemar_p": Column(
            pl.Float64, "McNemar's two-sided p, which assumes independent pairs; null for correlations", nullable=True
        ),
    },
    key=("pairs", "predictor", "max_pairs", "measure", "measured_on", "part"),
)

SEARCH = Table(
    "search",
    {
        "stage": Column(pl.Int64, "1, 2, ...; each starts from the best of the previous stage"),
        "candidate": Column(pl.String, "field=value settings added in this stage"),
        "settings": Column(pl.String, "all field=value settings of the training"),
        "run_id": Column(pl.String, "name of the run"),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "n_validation_pairs": Column(pl.Int64, "validation pairs tested on"),
        "log_loss": Column(pl.Float64, "nats per validation pair, at the best scale of the margins"),
        "excess": Column(pl.Float64, "log loss minus that of the candidate kept in its stage, on the same pairs"),
        "excess_low": Column(pl.Float64, "lower end of the 95 % interval of excess, clustered by post"),
        "excess_high": Column(pl.Float64, "upper end of the 95 % interval of excess, clustered by post"),
        "accuracy": _ACCURACY["accuracy"],
        "accuracy_low": _ACCURACY["accuracy_low"],
        "accuracy_high": _ACCURACY["accuracy_high"],
        "best_step": Column(pl.Int64, "step whose weights were kept"),
        "steps": Column(pl.Int64, "training steps"),
        "train_time_s": Column(pl.Float64, "wall-clock time of training in seconds"),
        "is_kept": Column(pl.Boolean, "whether it is the best of its stage"),
    },
    key=("stage", "candidate"),
)

CEILING = Table(
    "ceiling",
    {
        "estimator": Column(pl.String, "how it was estimated, or truth: the simulator's"),
        "ceiling": Column(pl.String, "vote: accuracy of an oracle of the vote rates | text: of one of the texts alone"),
        "value": Column(pl.Float64, "accuracy, 0–1; null for a bracket, or if it cannot tell", nullable=True),
        "low": Column(pl.Float64, "lower end of the 95 % interval or of the bracket, clustered by post", nullable=True),
        "high": Column(pl.Float64, "upper end, likewise", nullable=True),
        "n_pairs": Column(pl.Int64, "pairs that it uses"),
        "n_posts": Column(pl.Int64, "posts of these, the clusters"),
        "assumption": Column(pl.String, "what must hold, and what happens otherwise"),
        "reason": Column(pl.String, "why a value or an end is missing, and the next command", nullable=True),
    },
    key=("estimator", "ceiling"),
)

WORKSPACE_TABLES = (POSTS, COMMENTS, OBSERVATIONS, TRUTH)
"""Tables stored as Parquet by subreddit."""


def check(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return `frame` with exactly the table's columns, in order; newer ones that it lacks get their default or null.

    Raises:
        LurkerError: a column is missing, has another type, or has nulls and may not.
    """
    defaults = {name: column.default for name, column in table.columns.items() if column.default is not None}
    frame = with_newer_columns(frame, table)
    frame = frame.with_columns(pl.col(name).fill_null(value) for name, value in defaults.items())
    missing = [name for name in table.columns if name not in frame.columns]
    if missing:
        raise LurkerError(f"Table {table.name} lacks the columns {', '.join(missing)}.")
    if faults := column_faults(frame, table.columns):
        raise LurkerError(f"Table {table.name}: {faults[0]}.")
    return frame.select(list(table.columns))


def with_newer_columns(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows written by any readable version, with null in the columns that are newer; pure."""
    newer = {
        name: pl.lit(None, column.dtype)
        for name, column in table.columns.items()
        if name not in frame.columns and (column.since > 1 or column.default is not None)
    }
    return frame.with_columns(**newer) if newer else frame


def column_faults(frame: pl.DataFrame, columns: Mapping[str, Column]) -> list[str]:
    """What is wrong with these columns of a frame: their types, and nulls where there may be none."""
    faults = []
    for name, column in columns.items():
        if frame.schema[name] != column.dtype:
            faults.append(f"column {name} is {frame.schema[name]}, expected {column.dtype}")
        elif not column.nullable and (n_nulls := frame[name].null_count()):
            faults.append(f"column {name} has {n_nulls:,} missing values")
    return faults
