"""A second opinion on a pair set: other features, models and splits; it shares no code with the first audit.

It reads the Parquet files of the pair set and the tables with DuckDB (features/audits/second_features.py) and imports
nothing else of `features`, so its agreement is independent. Each random re-split draws which response of a pair is
presented first and the order of the posts; every post after the first part is predicted by models of the posts before
it, so that correct guesses on noise are independent between posts.

Source: prequential evaluation, Dawid 1984, JRSS A 147(2), 278-292.
"""

from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from features.audits.second_features import Floats, pair_features, read_sides
from lurker.errors import LurkerError
from lurker.files import write_json
from lurker.pair_sets import PAIRS_FILE, intact_digest
from lurker.progress import advance, progress
from lurker.threads import single_thread_pool
from lurker.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondOpinionConfig:
    """How many pairs and models are used, and what counts as agreement."""

    n_cuts: int = 3
    """Number of random re-splits."""
    n_parts: int = 6
    """Parts of the posts; each but the first is predicted by models of those before it, parts."""
    max_pairs: int = 40_000
    """A larger set is sampled: complete posts up to about this many, pairs."""
    n_trees: int = 100
    """Trees of the extra-trees model."""
    n_draws: int = 2_000
    """Sign flips from which the p-value is estimated."""
    alpha: float = 0.05
    """A p-value below this counts as a shortcut, 0-1."""
    max_clean_accuracy: float = 0.53
    """If the best model's interval ends above this, the sample is too small to agree, accuracy 0.5-1."""
    seed: int = 0
    """Seed of the first re-split, its models and sign flips; each further re-split adds 1."""

    def __post_init__(self) -> None:
        if self.n_cuts < 1:
            raise ValueError(f"cuts must be at least 1, got {self.n_cuts}")
        if self.n_parts < 2:
            raise ValueError(f"n_parts must be at least 2, got {self.n_parts}")


def second_opinion(workspace: Workspace, name: str, config: SecondOpinionConfig | None = None) -> dict[str, Any]:
    """Audit the pair set `name` independently and write its second-opinion.json.

    Returns:
        The content of second-opinion.json.

    Raises:
        CallError: there is no such set.
        LurkerError: its posts are too few to train on some and test on others.
    """
    config = config or SecondOpinionConfig()
    folder = workspace.folder("pairs", name)
    pairs_sha256 = intact_digest(workspace, name)
    pairs, sides = read_sides(workspace, folder / PAIRS_FILE, config.max_pairs)
    if pairs["post_id"].nunique() < config.n_parts:
        raise LurkerError(
            f"Pair set {name!r} has {pairs['post_id'].nunique()} posts, too few to train on some and test on others.",
            "Build it from more posts, then audit it again.",
        )
    n_models = len(_models(0, config))
    rows: list[dict[str, Any]] = []
    chances: list[dict[str, float]] = []
    with progress(f"Second opinion on {name}", config.n_cuts * (n_models + 1), "models"):
        for cut in range(config.n_cuts):
            seed = config.seed + cut
            correct = evaluate_resplit(pairs, sides, seed, config)
            rows += [row | {"cut": cut} for row in _summary(pairs, correct)]
            chances.append(_chance(pairs, correct, np.random.default_rng(seed), config))
    means = _mean_over_resplits(rows)
    # Twice the median is a valid p-value whatever the dependence between re-splits.
    # Source: Meinshausen, Meier & Bühlmann 2009, JASA 104(488), 1671-1681, with gamma = 1/2.
    p = min(1.0, 2 * float(np.median([one["p"] for one in chances]))) if len(chances) > 1 else chances[0]["p"]
    chance = {"mean": float(np.mean([one["mean"] for one in chances])), "p": p}
    opinion = {
        "pairs": name,
        "pairs_sha256": pairs_sha256,
        "n_judged_pairs": len(pairs),
        "n_cuts": config.n_cuts,
        "models": means,
        "cuts": rows,
        "best_by_chance": chance,
    }
    opinion["agrees"] = _state(means, p, config) == "agrees"
    opinion["verdict"] = _verdict(means, chance, config)
    write_json(opinion, folder / "second-opinion.json")
    return opinion


def evaluate_resplit(
    pairs: pd.DataFrame,
    sides: tuple[pd.DataFrame, pd.DataFrame],
    seed: int,
    config: SecondOpinionConfig,
) -> dict[str, Floats]:
    """Train and test all models on one random re-split.

    The innermost progress bar advances by 1 for each finished model.

    Returns:
        model -> 1 if it predicts the winner of a pair, 0 if not, NaN if the pair was not predicted; shape [n] each.
    """
    rng = np.random.default_rng(seed)
    is_rejected_first = rng.random(len(pairs)) < 0.5
    posts = pd.factorize(pairs["post_id"], sort=True)[0]
    part = rng.permutation(posts.max() + 1)[posts] * config.n_parts // (posts.max() + 1)
    weight = pairs["weight"].to_numpy()
    models = _models(seed, config)
    X, style = (pair_features(pairs, sides, is_rejected_first, style=is_style) for is_style in (False, True))
    tasks = {name: (model, X) for name, model in models.items()} | {"style": (models["quantile logistic"], style)}
    with single_thread_pool() as pool:
        running = {
            name: pool.submit(_correct_forward, *task, ~is_rejected_first, weight, part) for name, task in tasks.items()
        }
        for done in as_completed(running.values()):
            done.result()
            advance(1)
    return {name: future.result() for name, future in running.items()}


def _models(seed: int, config: SecondOpinionConfig) -> dict[str, tuple[Callable[[], Any], str]]:
    """name -> (function that makes the model, name of the weights in its `fit`)."""
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    def trees() -> Any:
        return ExtraTreesClassifier(config.n_trees, min_samples_leaf=15, max_features=0.4, random_state=seed)

    def boosting() -> Any:
        return HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=20, early_stopping=False, random_state=seed
        )

    def on_normal_scores(*steps: Any) -> Any:
        scores = QuantileTransformer(n_quantiles=200, output_distribution="normal", random_state=seed)
        return make_pipeline(scores, StandardScaler(), *steps)

    def logistic() -> Any:
        return on_normal_scores(LogisticRegression(C=0.05, max_iter=300))

    def quadratic() -> Any:
        products = Nystroem(kernel="poly", degree=2, gamma=0.01, coef0=1.0, n_components=300, random_state=seed)
        return on_normal_scores(products, StandardScaler(), LogisticRegression(C=0.005, max_iter=300))

    def network() -> Any:
        return on_normal_scores(MLPClassifier((32,), alpha=0.1, early_stopping=True, max_iter=60, random_state=seed))

    return {
        "extra trees": (trees, "sample_weight"),
        "deep boosting": (boosting, "sample_weight"),
        "quantile logistic": (logistic, "logisticregression__sample_weight"),
        "quadratic logistic": (quadratic, "logisticregression__sample_weight"),
        "neural network": (network, "mlpclassifier__sample_weight"),
    }


def _correct_forward(
    model: tuple[Callable[[], Any], str],
    X: Floats,
    is_chosen_first: NDArray[np.bool_],
    weight: Floats,
    part: NDArray[np.int64],
) -> Floats:
    """Whether a model trained on the parts before a pair's own is right; NaN in the first part. Shape [n]."""
    make, weights = model
    correct = np.full(len(part), np.nan)
    is_weighted = bool((weight != 1).any())  # scikit-learn's binning is many times slower with weights, even if all 1
    for number in range(1, int(part.max()) + 1):
        past, now = part < number, part == number
        fitted = make().fit(X[past], is_chosen_first[past], **({weights: weight[past]} if is_weighted else {}))
        correct[now] = (fitted.predict_proba(X[now])[:, 1] > 0.5) == is_chosen_first[now]
    return correct


def _summary(pairs: pd.DataFrame, correct: dict[str, Floats]) -> list[dict[str, Any]]:
    """Accuracy of every model over all pairs and in each split, with a 95 % interval clustered by post."""
    rows = []
    for model, right in correct.items():
        for split in ("all", "train", "validation", "test"):
            mask = ~np.isnan(right) & (True if split == "all" else (pairs["split"] == split).to_numpy())
            if len(posts := pd.unique(pairs["post_id"][mask])) > 1:
                excess, total = _excess_by_post(pairs[mask], right[mask])
                mean = excess.sum() / total
                post_weight = pairs["weight"][mask].groupby(pairs["post_id"][mask]).sum().to_numpy()
                error = np.sqrt(len(posts) / (len(posts) - 1) * np.sum((excess - mean * post_weight) ** 2)) / total
                half = student.ppf(0.975, len(posts) - 1) * error
                interval = {"accuracy": 0.5 + mean, "low": 0.5 + mean - half, "high": 0.5 + mean + half}
                counts = {"n_pairs": int(mask.sum()), "n_posts": len(posts)}
                rows.append({"model": model, "split": split, **counts, **interval})
    return rows


def _excess_by_post(pairs: pd.DataFrame, correct: Floats) -> tuple[Floats, float]:
    """The weight of correct guesses beyond one half in every post, by its id; and the weight of all pairs."""
    excess = (pairs["weight"] * (correct - 0.5)).groupby(pairs["post_id"]).sum().to_numpy()
    return excess, float(pairs["weight"].sum())


def _mean_over_resplits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows averaged over re-splits: an average varies no more than its terms, so its interval is conservative."""
    table = pd.DataFrame(rows)
    means = table.groupby(["split", "model"], sort=False).mean().drop(columns="cut").reset_index()
    counts = ["n_pairs", "n_posts"]
    averaged: list[dict[str, Any]] = means.astype(dict.fromkeys(counts, int)).to_dict("records")
    return averaged


def _chance(
    pairs: pd.DataFrame, correct: dict[str, Floats], rng: np.random.Generator, config: SecondOpinionConfig
) -> dict[str, float]:
    """The most accurate model against chance.

    Each draw flips the outcomes of all pairs of a post together, which preserves the dependence between models and
    between pairs of a post. The statistic is the largest excess of the models over its standard error, which corrects
    for looking at several models.

    Returns:
        p: the p-value; mean: the accuracy that the best model would read by chance.

    Source: the sign-flip test of clusters, Canay, Romano & Shaikh 2017, Econometrica 85(3), 1013-1030; the maximum as
    in Romano & Wolf 2005, JASA 100(469), 94-108.
    """
    mask = ~np.isnan(correct["style"])
    by_model = [_excess_by_post(pairs[mask], right[mask]) for model, right in correct.items() if model != "style"]
    excess, total = np.stack([one for one, _ in by_model]), by_model[0][1]
    errors = np.sqrt(np.sum(excess**2, axis=1))
    drawn = np.stack([excess @ rng.choice([-1.0, 1.0], excess.shape[1]) for _ in range(config.n_draws)])
    observed = np.max(excess.sum(axis=1) / errors)
    n_beyond = int(np.sum(np.max(drawn / errors, axis=1) >= observed))
    return {"p": (1 + n_beyond) / (1 + config.n_draws), "mean": 0.5 + float(np.max(drawn, axis=1).mean()) / total}


def _best(means: list[dict[str, Any]]) -> dict[str, Any]:
    return max((row for row in means if row["split"] == "all" and row["model"] != "style"), key=lambda r: r["accuracy"])


def _state(means: list[dict[str, Any]], p: float, config: SecondOpinionConfig) -> str:
    if p < config.alpha:
        return "disagrees"
    return "agrees" if _best(means)["high"] <= config.max_clean_accuracy else "cannot tell"


def _verdict(means: list[dict[str, Any]], chance: dict[str, float], config: SecondOpinionConfig) -> str:
    best = "{model} names the winner {accuracy:.3f} [{low:.3f}, {high:.3f}] of the time".format(**_best(means))
    by_chance = f"the best of several would read {chance['mean']:.3f} by chance, p = {chance['p']:.3f}"
    return {
        "agrees": f"The second opinion agrees that the pairs are clean: {best}; {by_chance}.",
        "cannot tell": f"The second opinion cannot tell, its interval is too wide: {best}; {by_chance}.",
        "disagrees": f"The second opinion finds a shortcut: {best}; {by_chance}.",
    }[_state(means, chance["p"], config)]
