"""Every table of a workspace: its columns, their types, units and meanings.

Stages meet in these tables and never in imports: a stage checks what it reads and what it writes with `check`.
Times are whole seconds since 1970 in UTC (`*_utc`) or seconds (`*_s`); ids are Reddit's base-36 ids without the
`t1_`/`t3_` prefix; names of authors appear in no table, only a hash salted per workspace.
"""

from dataclasses import dataclass

import polars as pl

from lurker.errors import LurkerError

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Polars type, what it means (with its unit), and whether a value may be missing.

    default: what a table without the column is read as having, for columns that came later.
    """

    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    nullable: bool = False
    default: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A named set of columns, in the order in which they are written."""

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
    "author_hash": Column(pl.String, "salted hash of the author's name; null when deleted or absent", nullable=True),
    "created_utc": Column(pl.Int64, "when it was written, seconds since 1970"),
    "score": Column(pl.Int64, "ups minus downs at the newest observation", nullable=True),
    "is_edited": Column(pl.Boolean, "edited after it was written"),
    "is_deleted": Column(pl.Boolean, "deleted by its author or removed by a moderator"),
    "source": Column(pl.String, "where the row came from: dump | reddit | archive | simulator"),
    "retrieved_utc": Column(pl.Int64, "when the newest observation was made; null when unknown", nullable=True),
}

POSTS = Table(
    "posts",
    {
        "post_id": Column(pl.String, "base-36 id"),
        "subreddit": Column(pl.String, "display name without r/"),
        "title": Column(pl.String, "title as written"),
        "body": Column(pl.String, "self text as written; empty for links"),
        "author_hash": _ITEM["author_hash"],
        "created_utc": _ITEM["created_utc"],
        "score": _ITEM["score"],
        "upvote_ratio": Column(pl.Float64, "ups over votes, 0–1", nullable=True),
        "n_comments": Column(pl.Int64, "comments that Reddit counts below it", nullable=True),
        "is_self": Column(pl.Boolean, "a text post, not a link"),
        "is_nsfw": Column(pl.Boolean, "marked over 18"),
        "is_edited": _ITEM["is_edited"],
        "is_deleted": _ITEM["is_deleted"],
        "flair": Column(pl.String, "link flair", nullable=True),
        "crosspost_of": Column(
            pl.String, "post_id of the post that it shows again; null when it is none", nullable=True
        ),
        "source": _ITEM["source"],
        "retrieved_utc": _ITEM["retrieved_utc"],
    },
    key=("post_id",),
)

COMMENTS = Table(
    "comments",
    {
        "comment_id": Column(pl.String, "base-36 id"),
        "post_id": Column(pl.String, "the post it stands under"),
        "parent_id": Column(pl.String, "the comment or post it answers, without prefix"),
        "is_top_level": Column(pl.Boolean, "answers the post itself: a response"),
        "subreddit": Column(pl.String, "display name without r/"),
        "body": Column(pl.String, "text as written (Markdown)"),
        "author_hash": _ITEM["author_hash"],
        "created_utc": _ITEM["created_utc"],
        "score": _ITEM["score"],
        "is_score_hidden": Column(pl.Boolean, "Reddit hid the score when it was seen"),
        "is_edited": _ITEM["is_edited"],
        "is_deleted": _ITEM["is_deleted"],
        "is_stickied": Column(pl.Boolean, "pinned to the top of the thread"),
        "is_distinguished": Column(pl.Boolean, "written as moderator or admin"),
        "is_by_op": Column(pl.Boolean, "written by the author of the post"),
        "source": _ITEM["source"],
        "retrieved_utc": _ITEM["retrieved_utc"],
    },
    key=("comment_id",),
)

OBSERVATIONS = Table(
    "observations",
    {
        "item_id": Column(pl.String, "post_id or comment_id"),
        "kind": Column(pl.String, "post | comment: the two share one space of ids"),
        "subreddit": Column(pl.String, "display name without r/"),
        "observed_utc": Column(pl.Int64, "when the score was seen, seconds since 1970"),
        "score": Column(pl.Int64, "ups minus downs then"),
    },
    key=("item_id", "kind", "observed_utc"),
)

TRUTH = Table(
    "truth",
    {
        "comment_id": Column(pl.String, "a simulated comment"),
        "post_id": Column(pl.String, "the post it stands under"),
        "subreddit": Column(pl.String, "the community whose taste judged it"),
        "quality": Column(pl.Float64, "what the community truly thinks of the words, standard deviations"),
        "log_exposure": Column(pl.Float64, "log of the number of readers it had"),
        "expected_score": Column(pl.Float64, "the mean of the score that was drawn, without herding and fuzz"),
        "log_herding": Column(pl.Float64, "log of what early votes multiplied later upvotes by", default=0.0),
        "fuzz": Column(pl.Int64, "votes that fuzzing added to the score that is shown", default=0),
    },
    key=("comment_id",),
)

TASTES = Table(
    "tastes",
    {
        "subreddit": Column(pl.String, "a simulated community"),
        "word": Column(pl.String, "a word that carries taste"),
        "weight": Column(pl.Float64, "how much the community likes it"),
    },
    key=("subreddit", "word"),
)

PAIRS = Table(
    "pairs",
    {
        "pair_id": Column(pl.String, "the two response ids in order, joined by '-': the same in every recipe"),
        "post_id": Column(pl.String, "the post both answer"),
        "subreddit": Column(pl.String, "display name without r/"),
        "split": Column(pl.String, "train | validation | test, by hash of post_id"),
        "prompt": Column(pl.String, "title and body as a model reads them"),
        "chosen": Column(pl.String, "text of the response with the higher score"),
        "rejected": Column(pl.String, "text of the response with the lower score"),
        "chosen_id": Column(pl.String, "comment_id of chosen"),
        "rejected_id": Column(pl.String, "comment_id of rejected"),
        "chosen_score": Column(pl.Int64, "score of chosen"),
        "rejected_score": Column(pl.Int64, "score of rejected"),
        "chosen_delay_s": Column(pl.Int64, "seconds from post to chosen"),
        "rejected_delay_s": Column(pl.Int64, "seconds from post to rejected"),
        "chosen_chars": Column(pl.Int64, "characters of chosen"),
        "rejected_chars": Column(pl.Int64, "characters of rejected"),
        "label_confidence": Column(pl.Float64, "P(chosen is truly liked more | both scores), 0.5–1"),
        "weight": Column(pl.Float64, "weight in training and audits, > 0"),
        "confounder_log_odds": Column(
            pl.Float64, "log-odds that chosen wins by confounders alone, cross-fitted; 0 not estimated", default=0.0
        ),
        "recipe": Column(pl.String, "the recipe that made the pair"),
    },
    key=("pair_id",),
)

PREDICTIONS = Table(
    "predictions",
    {
        "pair_id": Column(pl.String, "the pair that was judged"),
        "margin": Column(pl.Float64, "reward of chosen minus reward of rejected, in log-odds"),
        "is_correct": Column(pl.Float64, "1 margin > 0, 0 margin < 0, 0.5 a tie"),
    },
    key=("pair_id",),
)

_ACCURACY = {
    "n_test_pairs": Column(pl.Int64, "pairs judged"),
    "n_test_posts": Column(pl.Int64, "posts they come from: the clusters of the interval"),
    "accuracy": Column(pl.Float64, "share of pairs whose chosen scores higher, 0–1"),
    "accuracy_low": Column(pl.Float64, "lower end of the 95 % interval, clustered by post"),
    "accuracy_high": Column(pl.Float64, "upper end of the 95 % interval, clustered by post"),
    "log_loss": Column(pl.Float64, "mean negative log-likelihood, nats; null without a probability", nullable=True),
}

EVALUATIONS = Table(
    "evaluations",
    {
        "run_id": Column(pl.String, "the run that was judged"),
        "pairs": Column(pl.String, "name of the pair set judged on"),
        "split": Column(pl.String, "its split"),
        "subreddit": Column(pl.String, "a community, or 'all'"),
        "predictor": Column(pl.String, "'model', or a baseline: length | time | both | tfidf"),
        **_ACCURACY,
    },
    key=("run_id", "pairs", "split", "subreddit", "predictor"),
)

SCALING = Table(
    "scaling",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "test_pairs": Column(pl.String, "pair set judged on"),
        "predictor": Column(pl.String, "model SPEC, or a baseline: length | time | both | tfidf"),
        "is_baseline": Column(pl.Boolean, "a trivial baseline, not a model"),
        "n_parameters": Column(pl.Int64, "parameters without embeddings; null for baselines", nullable=True),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "seed": Column(pl.Int64, "seed of subset, initial weights and order"),
        "run_id": Column(pl.String, "the run's folder; null for baselines", nullable=True),
        "train_time_s": Column(pl.Float64, "wall-clock seconds of training; null for baselines", nullable=True),
        **_ACCURACY,
    },
    key=("predictor", "n_train_pairs", "seed"),
)

TRANSFER = Table(
    "transfer",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "test_pairs": Column(pl.String, "pair set judged on"),
        "predictor": Column(pl.String, "model SPEC, or a baseline: length | time | both | tfidf"),
        "is_baseline": Column(pl.Boolean, "a trivial baseline, not a model"),
        "source": Column(pl.String, "community trained on"),
        "target": Column(pl.String, "community judged on"),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "seed": Column(pl.Int64, "seed of subset, initial weights and order"),
        "run_id": Column(pl.String, "the run's folder; null for baselines", nullable=True),
        **_ACCURACY,
    },
    key=("predictor", "source", "target", "seed"),
)

RECIPES = Table(
    "recipes",
    {
        "pairs": Column(pl.String, "pair set trained on"),
        "recipe": Column(pl.String, "the recipe that made it"),
        "predictor": Column(pl.String, "tfidf, a model's SPEC, or a baseline: length | time | both"),
        "is_baseline": Column(pl.Boolean, "a trivial baseline that reads no text"),
        "max_pairs": Column(pl.Int64, "most training pairs that were allowed; null for all", nullable=True),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "seed": Column(pl.Int64, "seed of subset, initial weights and order"),
        "measure": Column(
            pl.String, "accuracy; or, within posts, quality | length | delay: the reward's correlation with it"
        ),
        "measured_on": Column(pl.String, "a test pair set, or the simulator's truth"),
        "part": Column(pl.String, "all of it, or which pairs: gap >= N | better is shorter | better is later"),
        "value": Column(pl.Float64, "the accuracy, 0-1, or Spearman's correlation, -1 to 1"),
        "low": Column(pl.Float64, "lower end of the 95 % interval, clustered by post"),
        "high": Column(pl.Float64, "upper end of the 95 % interval, clustered by post"),
        "standard_error": Column(pl.Float64, "clustered by post"),
        "n": Column(pl.Int64, "pairs judged, or responses of a correlation"),
        "n_posts": Column(pl.Int64, "posts they come from: the clusters"),
        "run_id": Column(pl.String, "the run's folder; null for baselines and TF-IDF", nullable=True),
    },
    key=("pairs", "predictor", "max_pairs", "seed", "measure", "measured_on", "part"),
)

RECIPE_DIFFERENCES = Table(
    "recipe_differences",
    {
        "reference": Column(pl.String, "pair set trained on that is compared with the others"),
        "pairs": Column(pl.String, "the other pair set trained on"),
        "predictor": Column(pl.String, "tfidf, or a model's SPEC"),
        "max_pairs": Column(pl.Int64, "most training pairs that were allowed; null for all", nullable=True),
        "measure": RECIPES.columns["measure"],
        "measured_on": RECIPES.columns["measured_on"],
        "part": RECIPES.columns["part"],
        "difference": Column(
            pl.Float64, "reference minus the other, means over seeds; of length and delay the absolute values"
        ),
        "low": Column(pl.Float64, "lower end of its 95 % interval, clustered by post"),
        "high": Column(pl.Float64, "upper end of its 95 % interval, clustered by post"),
        "mcnemar_p": Column(
            pl.Float64, "McNemar's two-sided p, which takes pairs as independent; null for correlations", nullable=True
        ),
    },
    key=("pairs", "predictor", "max_pairs", "measure", "measured_on", "part"),
)

SEARCH = Table(
    "search",
    {
        "stage": Column(pl.Int64, "1, 2, ...: each goes on from the best of the one before"),
        "candidate": Column(pl.String, "field=value that it adds"),
        "settings": Column(pl.String, "all field=value it trained with"),
        "run_id": Column(pl.String, "the run's folder"),
        "n_train_pairs": Column(pl.Int64, "pairs trained on"),
        "n_validation_pairs": Column(pl.Int64, "pairs that judge it"),
        "log_loss": Column(pl.Float64, "nats a validation pair, at the best scale of its margins"),
        "excess": Column(pl.Float64, "its log loss less that of the one kept in its stage, on the same pairs"),
        "excess_low": Column(pl.Float64, "lower end of the 95 % interval of that, clustered by post"),
        "excess_high": Column(pl.Float64, "upper end of the 95 % interval of that, clustered by post"),
        "accuracy": _ACCURACY["accuracy"],
        "accuracy_low": _ACCURACY["accuracy_low"],
        "accuracy_high": _ACCURACY["accuracy_high"],
        "best_step": Column(pl.Int64, "step whose weights were kept"),
        "steps": Column(pl.Int64, "steps trained"),
        "train_time_s": Column(pl.Float64, "wall-clock seconds of training"),
        "is_kept": Column(pl.Boolean, "the best of its stage"),
    },
    key=("stage", "candidate"),
)

WORKSPACE_TABLES = (POSTS, COMMENTS, OBSERVATIONS, TRUTH)
"""Tables kept as Parquet by subreddit."""


def check(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return `frame` with exactly the table's columns in their order, or say what is wrong with it.

    A column that has a default is filled with it where it or a value of it is missing.
    Errors: LurkerError when a column is missing, has another type, or holds nulls it may not hold.
    """
    defaults = {name: column.default for name, column in table.columns.items() if column.default is not None}
    frame = frame.with_columns(
        (pl.col(name).fill_null(value) if name in frame else pl.lit(value, table.columns[name].dtype)).alias(name)
        for name, value in defaults.items()
    )
    missing = [name for name in table.columns if name not in frame.columns]
    if missing:
        raise LurkerError(f"Table {table.name} lacks the columns {', '.join(missing)}.")
    for name, column in table.columns.items():
        if frame.schema[name] != column.dtype:
            raise LurkerError(f"Table {table.name}: column {name} is {frame.schema[name]}, expected {column.dtype}.")
        if not column.nullable and (n_nulls := frame[name].null_count()):
            raise LurkerError(f"Table {table.name}: column {name} has {n_nulls:,} missing values.")
    return frame.select(list(table.columns))
