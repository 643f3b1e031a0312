"""Probes: classifiers that predict which of two responses was chosen, tested on posts they have not seen.

Posts are put into an order of folds by a hash of their id, and each fold is predicted by probes trained on the folds
before it. Each fold is as large as all before it together, so few fits predict most posts. In cross-validation, where
each fold is predicted from all others, the results on two folds depend on each other, because each was trained on the
other: on noise, the nominal 95 % intervals of such a probe missed one half 18 times in 100. Trained forward, a correct
guess on noise is independent of all earlier ones, and an interval clustered by post has its nominal coverage.

Source: Dawid 1984, JRSS A 147(2), 278-292 (prequential); Bengio & Grandvalet 2004, JMLR 5, 1089-1105 (the variance of
cross-validation cannot be estimated without bias).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.confounders.measures import (
    GROUPS,
    Group,
    columns_for_trees,
    columns_of,
    confounder_matrix,
    is_chosen_first,
)
from features.hashing import hash_ids
from lurker.pair_sets import SPLITS
from lurker.progress import advance
from lurker.threads import single_thread_pool


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """How the probes are trained."""

    n_folds: int = 4
    """Folds of the training posts, each but the first as large as all before it, which predict it: with 4, an eighth,
    an eighth, a quarter and a half, folds."""
    n_repeats: int = 3
    """Number of random re-splits of a small set, whose results are averaged: one split of 1,700 pairs varies by .02."""
    max_repeated_pairs: int = 12_000
    """Larger sets are split once, pairs."""
    max_split_pairs: int = 20_000
    """A larger split is sampled: complete posts in the order of their hash, up to about this many, pairs."""
    max_text_pairs: int = 12_000
    """Maximum pairs the text baseline is trained and tested on, sampled by hash, pairs."""
    n_boosting_rounds: int = 30
    """Maximum number of trees of the boosted probe, trees."""
    min_pairs_per_tree: int = 100
    """Small sets have fewer trees: one tree per this many pairs, pairs."""
    learning_rate: float = 0.15
    """Shrinkage of each tree."""
    max_leaves: int = 15
    """Leaves of each tree."""
    max_text_features: int = 30_000
    """Vocabulary of the text baseline, the most frequent words."""

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds must be at least 2, got {self.n_folds}")
        if self.n_repeats < 1:
            raise ValueError(f"n_repeats must be at least 1, got {self.n_repeats}")


def forward_probabilities(pairs: pl.DataFrame, config: ProbeConfig, groups: Sequence[Group] = GROUPS) -> pl.DataFrame:
    """Predict every pair by probes trained on earlier posts.

    The innermost progress bar advances by 1 for each finished probe, `n_probes(groups)` in total.

    Args:
        pairs: with the columns of `add_confounders`.
        groups: confounders to probe.

    Returns:
        confounders, probe, resplit (0, 1, ...), row (of `pairs`), p_first: P(the response presented first was chosen).
        Pairs of the first fold have no row, and the text baseline only has rows of the pairs it was tested on, in
        re-split 0.

    Raises:
        ValueError: all posts fall into one fold.
    """
    resplits = _resplits(pairs, config)
    if not resplits:
        raise ValueError(f"all {pairs['post_id'].n_unique()} posts fall into one fold")
    chosen_first = is_chosen_first(pairs["pair_id"])
    order = np.argsort(hash_ids(pairs["pair_id"], "probe-sample"), kind="stable")
    weight = pairs["weight"].to_numpy()
    X = confounder_matrix(pairs, "joint", chosen_first)
    codes = _quantile_codes(X)
    n_trees = max(1, min(config.n_boosting_rounds, pairs.height // config.min_pairs_per_tree))
    models: dict[str, Callable[[], Any]] = {"logistic": _logistic, "boosting": partial(_boosting, config, n_trees)}

    def predict(task: tuple[Group | Literal["text"], str]) -> pl.DataFrame:
        group, probe = task
        if group == "text":
            return _table(group, probe, [_text_probabilities(pairs, resplits[0], order, chosen_first, config)])
        seen = codes[:, columns_for_trees(group)] if probe == "boosting" else X[:, columns_of(group)]
        model = models[probe]()
        predictions = [predict_forward(model, seen, chosen_first, weight, folds, order) for folds in resplits]
        return _table(group, probe, predictions)

    tasks: list[tuple[Group | Literal["text"], str]] = [("text", "tfidf")]
    tasks += [(group, probe) for group in reversed(groups) for probe in reversed(models)]  # the slowest first
    with single_thread_pool() as pool:
        running = {task: pool.submit(predict, task) for task in tasks}
        for done in as_completed(running.values()):
            done.result()
            advance(1)
    return pl.concat([running[task].result() for task in [*reversed(tasks[1:]), tasks[0]]])


def predict_forward(
    model: Any,
    X: Any,
    labels: NDArray[np.bool_],
    weight: NDArray[np.float64],
    folds: NDArray[np.int64],
    order: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Predict every row by the model fitted to the rows of lower folds.

    Args:
        X: shape [n, k].
        labels, weight, folds: shape [n] each.
        order: row numbers in the order in which the model sees them, shape [n].

    Returns:
        P(label), NaN in the lowest fold. Shape [n].
    """
    p = np.full(labels.size, np.nan)
    is_weighted = bool((weight != 1).any())
    for fold in np.unique(folds)[1:]:
        past, current = order[folds[order] < fold], folds == fold
        if np.unique(labels[past]).size < 2:  # a single label: predict it
            p[current] = float(labels[past][0])
            continue
        weights = {f"{model.steps[-1][0]}__sample_weight": weight[past]} if is_weighted else {}
        model.fit(X[past], labels[past], **weights)
        p[current] = model.predict_proba(X[current])[:, 1]
    return p


def _resplits(pairs: pl.DataFrame, config: ProbeConfig) -> list[NDArray[np.int64]]:
    """The fold of every pair in each re-split that has more than one fold, shape [n] each.

    Training posts come first, in several folds; the held-out posts are one fold after them, so all of it is predicted.
    """
    n_repeats = config.n_repeats if pairs.height <= config.max_repeated_pairs else 1
    salts = ["fold", *(f"fold-{number}" for number in range(2, n_repeats + 1))]
    numbers = {split: number for number, split in enumerate(SPLITS)}
    splits = pairs["split"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy()
    is_held_out = splits > splits.min(initial=2)
    starts = 2 ** np.arange(config.n_folds - 1)  # in units of the first fold: 1, 2, 4, ...
    resplits = []
    for salt in salts:
        units = hash_ids(pairs["post_id"], salt) % (2 ** (config.n_folds - 1))
        folds = np.searchsorted(starts, units.astype(np.int64), side="right")
        resplits.append(np.where(is_held_out, config.n_folds, folds))
    return [folds for folds in resplits if np.unique(folds).size > 1]


def _quantile_codes(X: NDArray[np.float64], n_codes: int = 255) -> NDArray[np.float32]:
    """Every column as the number of its value's quantile, at most n_codes different ones. Shape [n, k].

    Trees bin their columns at every fit, slowly where pairs have weights; few distinct values are bins already.
    """
    codes = np.empty(X.shape, dtype=np.float32)
    for column, values in enumerate(X.T):
        edges = np.unique(np.quantile(values, np.linspace(0, 1, n_codes), method="higher")) if len(X) else values
        codes[:, column] = np.searchsorted(edges, values)
    return codes


def sample_posts(pairs: pl.DataFrame, config: ProbeConfig) -> pl.DataFrame:
    """The pairs to audit: of every split complete posts in the order of their hash, until max_split_pairs are reached.

    The interval of 20,000 pairs is about .01 wide; more pairs would cost time without changing the conclusion. The
    order is kept.
    """
    sizes = pairs.group_by("split", "post_id").len()
    ranked = sizes.with_columns(_hash=pl.Series(hash_ids(sizes["post_id"], "audit-sample"))).sort("_hash", "post_id")
    before = pl.col("len").cum_sum().over("split") - pl.col("len")
    sampled = ranked.filter(before < config.max_split_pairs)
    return pairs.join(sampled.select("post_id"), on="post_id", how="semi", maintain_order="left")


def n_probes(groups: Sequence[Group] = GROUPS) -> int:
    """The number of probes that `forward_probabilities` trains."""
    return 2 * len(groups) + 1


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Confounders are nearly collinear: second-order steps take 5 iterations where L-BFGS takes hundreds.
    return make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))


def _boosting(config: ProbeConfig, n_trees: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    model = HistGradientBoostingClassifier(
        max_iter=n_trees,
        learning_rate=config.learning_rate,
        max_leaf_nodes=config.max_leaves,
        early_stopping=False,
        random_state=0,
    )
    return make_pipeline(model)


def _text_probabilities(
    pairs: pl.DataFrame,
    folds: NDArray[np.int64],
    order: NDArray[np.int64],
    chosen_first: NDArray[np.bool_],
    config: ProbeConfig,
) -> NDArray[np.float64]:
    """Logistic regression on the difference of the two TF-IDF vectors; NaN for pairs not predicted. Shape [n]."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    used = np.sort(order[: config.max_text_pairs])
    part = pairs[used]
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=3, max_features=config.max_text_features, dtype=np.float32)
    p_first = np.full(pairs.height, np.nan)
    try:
        vectors = vectorizer.fit_transform(pl.concat([part["chosen"], part["rejected"]]).to_list())
    except ValueError:  # scikit-learn raises it for an empty vocabulary: such texts say nothing
        p_first[used] = 0.5
        return p_first
    X = (
        (vectors[: part.height] - vectors[part.height :])
        .multiply(np.where(chosen_first[used], 1.0, -1.0)[:, None])
        .tocsr()
    )
    part_order = np.searchsorted(used, order[: config.max_text_pairs])
    weight = part["weight"].to_numpy()
    model = make_pipeline(LogisticRegression(fit_intercept=False))
    p_first[used] = predict_forward(model, X, chosen_first[used], weight, folds[used], part_order)
    return p_first


def _table(group: str, probe: str, predictions: list[NDArray[np.float64]]) -> pl.DataFrame:
    """The predictions as rows.

    Args:
        predictions: p_first in each re-split, shape [n], NaN where not predicted.
    """
    rows = [np.flatnonzero(~np.isnan(p_first)) for p_first in predictions]
    columns = {
        "resplit": np.repeat(np.arange(len(rows)), [len(numbers) for numbers in rows]),
        "row": np.concatenate(rows),
        "p_first": np.concatenate([p_first[numbers] for p_first, numbers in zip(predictions, rows, strict=True)]),
    }
    return pl.DataFrame(columns).select(pl.lit(group).alias("confounders"), pl.lit(probe).alias("probe"), pl.all())
