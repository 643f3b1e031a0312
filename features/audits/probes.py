"""Classifiers that say which of two responses was chosen, judged on posts they have not seen: what a shortcut is worth.

The posts come in parts, fixed by a hash of the post's id, and each part is judged by what was learned from those before
it. Judged by all other parts, as in cross-validation, the verdicts on two parts hang together, for each was learned
from the other: on noise the intervals of such a probe missed one half 18 times in 100, where they promise 5. Learned
forward, a right or wrong guess of a coin is independent of all before it, and an interval clustered by post is honest.
Source: Dawid 1984, JRSS A 147(2), 278-292 (prequential); Bengio & Grandvalet 2004, JMLR 5, 1089-1105 (the variance of
cross-validation cannot be estimated without bias).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.confounders.measures import GROUPS, Group, confounder_matrix, orientation
from features.hashing import hash_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """How the probes are trained."""

    n_folds: int = 8
    """Parts the training posts come in; all but the first are judged by probes that saw those before, parts."""
    n_repeats: int = 5
    """Times a small set's posts are cut anew, the figures averaged: one cut moves 1,700 pairs by .02, times."""
    max_repeated_pairs: int = 12_000
    """Larger sets are cut once, pairs."""
    max_split_pairs: int = 20_000
    """Of a larger split whole posts are judged, in the order of their hash, up to about this many, pairs."""
    max_text_pairs: int = 12_000
    """Most pairs the text baseline is trained and judged on, chosen by hash, pairs."""
    n_boosting_rounds: int = 40
    """Trees of the boosted probe, trees."""
    max_text_features: int = 30_000
    """Words the text baseline knows, the most frequent ones, words."""
    seed: int = 0
    """Seed of the boosted probe's early-stopping split."""

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds must be at least 2, got {self.n_folds}")
        if self.n_repeats < 1:
            raise ValueError(f"n_repeats must be at least 1, got {self.n_repeats}")


def forward_probabilities(
    pairs: pl.DataFrame, config: ProbeConfig, advance: Callable[[float], None] = lambda _: None
) -> pl.DataFrame:
    """P(the response shown first was chosen), by probes of earlier posts: confounders, probe, cut, row, p_first.

    pairs: as of `add_confounders`. row: of pairs. cut: 0, 1 ... for each time the posts are put in order. Pairs of
    its first part have no row, and a text row exists only for pairs that the baseline was judged on, of cut 0.
    advance: told of each finished probe, `n_probes()` in all.
    Errors: ValueError when all posts fall into one fold.
    """
    cuts = _cuts(pairs, config)
    if not cuts:
        raise ValueError(f"all {pairs['post_id'].n_unique()} posts fall into one fold")
    chosen_first = orientation(pairs["pair_id"])
    order = np.argsort(hash_ids(pairs["pair_id"], "probe-sample"), kind="stable")
    weight = pairs["weight"].to_numpy()
    makers = {"logistic": _logistic, "boosting": _boosting}

    def judge(task: tuple[Group | Literal["text"], str]) -> pl.DataFrame:
        group, probe = task
        # One thread a probe: sums in one order, so figures are the same on every machine.
        with threadpool_limits(1):
            if group == "text":
                return _table(group, probe, [_text_probabilities(pairs, cuts[0], order, chosen_first, config)])
            X = confounder_matrix(pairs, group, chosen_first)
            model = makers[probe](config)
            judged = [judge_forward(model, X, chosen_first, weight, folds, order) for folds in cuts]
        return _table(group, probe, judged)

    tasks: list[tuple[Group | Literal["text"], str]] = [("text", "tfidf")]
    tasks += [(group, probe) for group in reversed(GROUPS) for probe in reversed(makers)]  # the longest first
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {task: pool.submit(judge, task) for task in tasks}
        for done in as_completed(running.values()):
            done.result()
            advance(1)
    return pl.concat([running[task].result() for task in [*reversed(tasks[1:]), tasks[0]]])


def judge_forward(
    model: Any,
    X: Any,
    labels: NDArray[np.bool_],
    weight: NDArray[np.float64],
    folds: NDArray[np.int64],
    order: NDArray[np.int64],
) -> NDArray[np.float64]:
    """P(label) of every row from the model fitted to the rows of lower folds; NaN in the lowest. [n].

    X: [n, k]. labels, weight, folds: [n]. order: the rows as they are put before the model.
    """
    p = np.full(labels.size, np.nan)
    for fold in np.unique(folds)[1:]:
        learn, apply = order[folds[order] < fold], folds == fold
        if np.unique(labels[learn]).size < 2:  # only one label to learn: that label's share, 0 or 1
            p[apply] = float(labels[learn][0])
            continue
        model.fit(X[learn], labels[learn], **{f"{model.steps[-1][0]}__sample_weight": weight[learn]})
        p[apply] = model.predict_proba(X[apply])[:, 1]
    return p


def _cuts(pairs: pl.DataFrame, config: ProbeConfig) -> list[NDArray[np.int64]]:
    """The fold of every pair, of each time the posts are put in order, where there is more than one. [n] each.

    Training posts come first, in parts; what is held out comes whole after them, so that all of it is judged.
    """
    n_repeats = config.n_repeats if pairs.height <= config.max_repeated_pairs else 1
    salts = ["fold", *(f"fold-{number}" for number in range(2, n_repeats + 1))]
    places = pairs["split"].replace_strict({"train": 0, "validation": 1, "test": 2}, return_dtype=pl.Int64).to_numpy()
    held_out = places - places.min(initial=2)
    cuts = []
    for salt in salts:
        parts = hash_ids(pairs["post_id"], salt) % config.n_folds
        cuts.append(np.where(held_out > 0, config.n_folds + held_out, parts))
    return [folds for folds in cuts if np.unique(folds).size > 1]


def sample_posts(pairs: pl.DataFrame, config: ProbeConfig) -> pl.DataFrame:
    """The pairs to judge: of every split whole posts in the order of their hash, until max_split_pairs are reached.

    An interval of 20,000 pairs is about .01 wide; more would cost time and tell no more. The order is kept.
    """
    sizes = pairs.group_by("split", "post_id").len()
    ranked = sizes.with_columns(_place=pl.Series(hash_ids(sizes["post_id"], "audit-sample"))).sort("_place", "post_id")
    before = pl.col("len").cum_sum().over("split") - pl.col("len")
    taken = ranked.filter(before < config.max_split_pairs)
    return pairs.join(taken.select("post_id"), on="post_id", how="semi", maintain_order="left")


def n_probes() -> int:
    """How many probes `forward_probabilities` runs."""
    return 2 * len(GROUPS) + 1


def _logistic(_: ProbeConfig) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def _boosting(config: ProbeConfig) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    model = HistGradientBoostingClassifier(max_iter=config.n_boosting_rounds, random_state=config.seed)
    return make_pipeline(model)


def _text_probabilities(
    pairs: pl.DataFrame,
    folds: NDArray[np.int64],
    order: NDArray[np.int64],
    chosen_first: NDArray[np.bool_],
    config: ProbeConfig,
) -> NDArray[np.float64]:
    """Logistic regression on the difference of the two texts' TF-IDF vectors; NaN for the pairs not judged. [n]."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    used = np.sort(order[: config.max_text_pairs])
    part = pairs[used]
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=3, max_features=config.max_text_features, dtype=np.float32)
    p_first = np.full(pairs.height, np.nan)
    try:
        vectorizer.fit(pl.concat([part["chosen"], part["rejected"]]).to_list())
    except ValueError:  # scikit-learn's way to say that no word is left: such texts tell nothing
        p_first[used] = 0.5
        return p_first
    difference = vectorizer.transform(part["chosen"].to_list()) - vectorizer.transform(part["rejected"].to_list())
    X = difference.multiply(np.where(chosen_first[used], 1.0, -1.0)[:, None]).tocsr()
    part_order = np.searchsorted(used, order[: config.max_text_pairs])
    weight = part["weight"].to_numpy()
    model = make_pipeline(LogisticRegression(fit_intercept=False))
    p_first[used] = judge_forward(model, X, chosen_first[used], weight, folds[used], part_order)
    return p_first


def _table(group: str, probe: str, judged: list[NDArray[np.float64]]) -> pl.DataFrame:
    """Rows of the pairs that were judged. judged: of every cut p_first, [n], NaN where not judged."""
    rows = [np.flatnonzero(~np.isnan(p_first)) for p_first in judged]
    columns = {
        "cut": np.repeat(np.arange(len(rows)), [len(of_cut) for of_cut in rows]),
        "row": np.concatenate(rows),
        "p_first": np.concatenate([p_first[of_cut] for p_first, of_cut in zip(judged, rows, strict=True)]),
    }
    return pl.DataFrame(columns).select(pl.lit(group).alias("confounders"), pl.lit(probe).alias("probe"), pl.all())
