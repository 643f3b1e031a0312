"""What models and baselines predict, and what experiments find."""

import polars as pl

from lurker.schema.columns import Column, Table

PREDICTIONS = Table(
    "predictions",
    {
        "pair_id": Column(pl.String, "pair_id of the tested pair"),
        "margin": Column(pl.Float64, "reward of chosen minus reward of rejected, in log-odds"),
        "is_correct": Column(pl.Float64, "1 if margin > 0, 0 if margin < 0, 0.5 if 0"),
        "chosen_id": Column(
            pl.String,
            "chosen_id of the pair when it was tested; a set that is built again can name another winner",
            nullable=True,
            since=4,
        ),
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
        "n_tokens": Column(pl.Int64, "tokens read in training; null for baselines", nullable=True, since=4),
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
