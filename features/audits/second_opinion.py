"""A second opinion on a pair set: other features, other models, other cuts; it shares no code with the first audit.

It reads the pair set's and the tables' Parquet with DuckDB (features/audits/second_features.py) and knows nothing else of this
room, so that what it agrees to was not agreed upon beforehand. A cut deals out anew, by its seed, which side of each
pair is shown first and in which order the posts come; every post but those of the first part is judged by models of
the posts before it, which makes right and wrong guesses of coins independent between posts (prequential: Dawid 1984,
JRSS A 147(2), 278-292).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from features.audits.second_features import Floats, read_sides, shown
from lurker.errors import LurkerError
from lurker.pair_sets import PAIRS_FILE, intact_digest
from lurker.progress import progress
from lurker.workspace import Workspace, write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondOpinionConfig:
    """How much is looked at, and what counts as agreement."""

    n_cuts: int = 3
    """Times that sides and order of posts are dealt out anew, times."""
    n_parts: int = 6
    """Parts the posts come in; each but the first is judged by models of those before it, parts."""
    max_pairs: int = 40_000
    """Of a larger set whole posts are drawn up to about this many, pairs."""
    n_trees: int = 100
    """Trees of the extra trees, trees."""
    n_draws: int = 2_000
    """Draws of signs behind the probability by chance, draws."""
    alpha: float = 0.05
    """A probability by chance below this is a shortcut found, 0-1."""
    max_clean_accuracy: float = 0.53
    """Where the worst interval ends above this, too little was seen to agree, accuracy 0.5-1."""
    seed: int = 0
    """Seed of cuts, models and draws; a cut adds its number."""

    def __post_init__(self) -> None:
        if self.n_cuts < 1:
            raise ValueError(f"cuts must be at least 1, got {self.n_cuts}")
        if self.n_parts < 2:
            raise ValueError(f"n_parts must be at least 2, got {self.n_parts}")


def second_opinion(workspace: Workspace, name: str, config: SecondOpinionConfig | None = None) -> dict[str, Any]:
    """Judge the pair set `name` anew, write its second-opinion.json and return it.

    Errors: LurkerError when there is no such set, or its posts are too few to learn from some and judge others.
    """
    config = config or SecondOpinionConfig()
    folder = workspace.folder("pairs", name)
    pairs_sha256 = intact_digest(workspace, name)
    pairs, sides = read_sides(workspace, folder / PAIRS_FILE, config.max_pairs)
    if pairs["post_id"].nunique() < config.n_parts:
        raise LurkerError(
            f"Pair set {name!r} has {pairs['post_id'].nunique()} posts, too few to learn from some and judge others.",
            "Build it from more posts, then audit it again.",
        )
    n_models = len(_models(0, config))
    rows: list[dict[str, Any]] = []
    chances: list[dict[str, float]] = []
    with progress(f"Second opinion on {name}", config.n_cuts * (n_models + 1), "models") as advance:
        for cut in range(config.n_cuts):
            seed = config.seed + cut
            judged = judge_cut(pairs, sides, seed, config, advance)
            rows += [row | {"cut": cut} for row in _summary(pairs, judged)]
            chances.append(_chance(pairs, judged, np.random.default_rng(seed), config))
    means = _over_cuts(rows)
    # Twice the median is a probability by chance again, however the cuts hang together.
    # Source: Meinshausen, Meier & Bühlmann 2009, JASA 104(488), 1671-1681, with gamma = 1/2.
    p = min(1.0, 2 * float(np.median([one["p"] for one in chances]))) if len(chances) > 1 else chances[0]["p"]
    chance = {"mean": float(np.mean([one["mean"] for one in chances])), "p": p}
    found = {
        "pairs": name,
        "pairs_sha256": pairs_sha256,
        "n_judged_pairs": len(pairs),
        "n_cuts": config.n_cuts,
        "models": means,
        "cuts": rows,
        "best_by_chance": chance,
    }
    found["agrees"] = _state(means, p, config) == "agrees"
    found["verdict"] = _verdict(means, chance, config)
    write_json(found, folder / "second-opinion.json")
    return found


# --- what it makes of it


def judge_cut(
    pairs: pd.DataFrame,
    sides: tuple[pd.DataFrame, pd.DataFrame],
    seed: int,
    config: SecondOpinionConfig,
    advance: Callable[[float], None] = lambda _: None,
) -> dict[str, Floats]:
    """model -> of every pair 1 where it names the winner, 0 where it does not, NaN where it was not judged. [n]."""
    rng = np.random.default_rng(seed)
    is_turned = rng.random(len(pairs)) < 0.5
    posts = pd.factorize(pairs["post_id"], sort=True)[0]
    part = rng.permutation(posts.max() + 1)[posts] * config.n_parts // (posts.max() + 1)
    weight = pairs["weight"].to_numpy()
    X = shown(pairs, sides, is_turned, style=False)
    models = _models(seed, config)
    X, of_style = (shown(pairs, sides, is_turned, style=style) for style in (False, True))
    tasks = {name: (model, X) for name, model in models.items()} | {"style": (models["quantile logistic"], of_style)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {name: pool.submit(_forward, *task, ~is_turned, weight, part) for name, task in tasks.items()}
        for done in as_completed(running.values()):
            done.result()
            advance(1)
    return {name: future.result() for name, future in running.items()}


def _models(seed: int, config: SecondOpinionConfig) -> dict[str, tuple[Callable[[], Any], str]]:
    """name -> (makes the model, how its `fit` calls the weights)."""
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


def _forward(
    model: tuple[Callable[[], Any], str],
    X: Floats,
    is_chosen: NDArray[np.bool_],
    weight: Floats,
    part: NDArray[np.int64],
) -> Floats:
    """Of every pair whether a model of the parts before its own is right; NaN in the first part. [n]."""
    make, weights = model
    right = np.full(len(part), np.nan)
    with threadpool_limits(1):  # sums in one order, so figures are the same on every machine
        for number in range(1, int(part.max()) + 1):
            past, now = part < number, part == number
            fitted = make().fit(X[past], is_chosen[past], **{weights: weight[past]})
            right[now] = (fitted.predict_proba(X[now])[:, 1] > 0.5) == is_chosen[now]
    return right


# --- what that says


def _summary(pairs: pd.DataFrame, judged: dict[str, Floats]) -> list[dict[str, Any]]:
    """Accuracy of every model, over all pairs and in every split, with a 95 % interval clustered by post."""
    rows = []
    for model, right in judged.items():
        for split in ("all", "train", "validation", "test"):
            mine = ~np.isnan(right) & (True if split == "all" else (pairs["split"] == split).to_numpy())
            if len(posts := pd.unique(pairs["post_id"][mine])) > 1:
                excess, total = _by_post(pairs[mine], right[mine])
                mean = excess.sum() / total
                own_weight = pairs["weight"][mine].groupby(pairs["post_id"][mine]).sum().to_numpy()
                error = np.sqrt(len(posts) / (len(posts) - 1) * np.sum((excess - mean * own_weight) ** 2)) / total
                half = student.ppf(0.975, len(posts) - 1) * error
                found = {"accuracy": 0.5 + mean, "low": 0.5 + mean - half, "high": 0.5 + mean + half}
                rows.append(
                    {"model": model, "split": split, "n_pairs": int(mine.sum()), "n_posts": len(posts), **found}
                )
    return rows


def _by_post(pairs: pd.DataFrame, right: Floats) -> tuple[Floats, float]:
    """Of every post the weight of right guesses beyond one half, by its id; and the weight of all pairs."""
    excess = (pairs["weight"] * (right - 0.5)).groupby(pairs["post_id"]).sum().to_numpy()
    return excess, float(pairs["weight"].sum())


def _over_cuts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all cuts averaged: an average varies no more than its terms do, so its interval is honest too."""
    table = pd.DataFrame(rows)
    means = table.groupby(["split", "model"], sort=False).mean().drop(columns="cut").reset_index()
    counts = ["n_pairs", "n_posts"]
    found: list[dict[str, Any]] = means.astype(dict.fromkeys(counts, int)).to_dict("records")
    return found


def _chance(
    pairs: pd.DataFrame, judged: dict[str, Floats], rng: np.random.Generator, config: SecondOpinionConfig
) -> dict[str, float]:
    """The most accurate model against chance: p, of an excess like its own where no model knows anything, and mean.

    Every draw turns all outcomes of a post round or not, which keeps how models and pairs of a post hang together. What
    is compared is the largest of the models' excesses over their standard errors: looking at several is paid for.
    Source: the sign-flip test of clusters, Canay, Romano & Shaikh 2017, Econometrica 85(3), 1013-1030; the maximum as
    in Romano & Wolf 2005, JASA 100(469), 94-108.
    """
    mine = ~np.isnan(judged["style"])
    of_models = [_by_post(pairs[mine], right[mine]) for model, right in judged.items() if model != "style"]
    excess, total = np.stack([one for one, _ in of_models]), of_models[0][1]
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
