"""How each rater errs: a slope, a side bias, and the items' difficulty, fitted to all votes at once.

P(rater r prefers the first response of item i) = σ(a_r · d_i + b_r · s), where s is 1 if the first is shown as A, else
-1, and d_i ~ N(0, 1) is how much better the first is: items near 0 are hard. a_r is large for a careful rater, 0 for a
careless one and negative for a contrarian; b_r is the preference for A. d_i is integrated out.

Source: Dawid & Skene 1979, Applied Statistics 28(1), 20-28, for judging raters without known answers; the logistic
form with a slope per rater is that of Whitehill et al. 2009 (GLAD), eq. 1, with d_i on both sides of 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.hashing import hash_ids
from lurker.decimals import difference
from lurker.stats import ACCURACY_GAIN, Estimate, mean_interval

N_NODES = 21
SLOPE_MEAN, SLOPE_SD, BIAS_SD = 1.0, 1.5, 1.0
"""Normal priors, wide: they keep a rater with few votes near an ordinary one."""
N_FOLDS = 5
SALT = "vote-folds"
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The fitted model."""

    raters: pl.DataFrame
    """rater, n_votes, slope and bias with their 95 % intervals"""
    items: pl.DataFrame
    """item_id, n_votes, p_chosen: P(d > 0 | votes), quality: E(d | votes)"""


def fit_mistakes(votes: pl.DataFrame) -> Mistakes:
    """Fit slopes and biases by maximum posterior likelihood; intervals from the items' scores.

    Args:
        votes: rater, item_id, outcome (1, 0, or 0.5, which counts half for each side) and side (1 or -1).
    """
    data = _Data.of(votes)
    slopes, biases, posterior, covariance = _fit(data)
    errors = Z * np.sqrt(np.diag(covariance))
    n = len(slopes)
    raters = pl.DataFrame(
        {
            "rater": data.raters,
            "n_votes": np.bincount(data.rater, minlength=n),
            "slope": slopes,
            "slope_low": slopes - errors[:n],
            "slope_high": slopes + errors[:n],
            "bias": biases,
            "bias_low": biases - errors[n:],
            "bias_high": biases + errors[n:],
        }
    )
    nodes, _ = _nodes()
    items = pl.DataFrame(
        {
            "item_id": data.items,
            "n_votes": np.bincount(data.item, minlength=len(data.items)),
            "p_chosen": posterior @ np.where(nodes > 0, 1.0, np.where(nodes < 0, 0.0, 0.5)),
            "quality": posterior @ nodes,
        }
    )
    return Mistakes(raters, items)


def vote_confidence(votes: pl.DataFrame, mistakes: Mistakes) -> pl.DataFrame:
    """The votes with `confidence`: P(the response voted for is the better one | all votes), 0.5 for a tie."""
    known = votes.join(mistakes.items.select("item_id", "p_chosen"), on="item_id", how="left", maintain_order="left")
    outcome, p = pl.col("outcome"), pl.col("p_chosen")
    return known.with_columns(confidence=outcome * p + (1 - outcome) * (1 - p)).drop("p_chosen")


def predict_held_out(votes: pl.DataFrame) -> dict[str, Any] | None:
    """Does the model predict votes it has not seen better than the majority of the others on the item?

    Votes are hidden a fifth at a time. The majority's probability is (votes for + 1) / (votes + 2).

    Returns:
        n, and gain_log_loss (nats) and gain_accuracy of the model over the majority, each with value, low and high
        (paired, clustered by post), and `sentence`; None where no item has two votes.
    """
    sided = votes.filter(pl.col("outcome") != 0.5)
    sided = sided.filter(pl.len().over("item_id") >= 2)
    if sided["post_id"].n_unique() < 2:
        return None
    fold = hash_ids(sided["vote_id"], SALT) % N_FOLDS
    own, others = np.zeros(sided.height), np.zeros(sided.height)
    for number in range(N_FOLDS):
        hidden = sided.filter(fold == number)
        seen = votes.join(hidden.select("vote_id"), on="vote_id", how="anti")
        if hidden.is_empty() or seen.is_empty():
            continue
        own[fold == number] = _foretell(seen, hidden)
        counts = seen.group_by("item_id").agg(n=pl.len(), first=pl.col("outcome").sum())
        known = hidden.join(counts, on="item_id", how="left", maintain_order="left").fill_null(0)
        others[fold == number] = ((known["first"] + 1) / (known["n"] + 2)).to_numpy()
    outcome, posts = sided["outcome"].to_numpy(), sided["post_id"].to_numpy()
    losses = [-np.where(outcome == 1, np.log(p), np.log1p(-p)) for p in (own, others)]
    rights = [np.where(p == 0.5, 0.5, (p > 0.5) == (outcome == 1)) for p in (own, others)]
    gain = mean_interval(losses[1] - losses[0], posts)
    gain_accuracy = mean_interval(rights[0] - rights[1], posts, bounds=ACCURACY_GAIN)
    return {
        "n": sided.height,
        "log_loss": float(losses[0].mean()),
        "log_loss_majority": float(losses[1].mean()),
        "gain_log_loss": {"value": gain.value, "low": gain.low, "high": gain.high},
        "gain_accuracy": {"value": gain_accuracy.value, "low": gain_accuracy.low, "high": gain_accuracy.high},
        "sentence": _sentence(gain),
    }


def _sentence(gain: Estimate) -> str:
    shown = f"{difference(gain.value, gain.low, gain.high)} nats a vote"
    if gain.low > 0:
        return f"The mistake model predicts hidden votes better than the majority does, by {shown}."
    if gain.high < 0:
        return f"The mistake model predicts hidden votes worse than the majority does ({shown}): use the majority."
    return f"The mistake model and the majority are not told apart in predicting hidden votes ({shown})."


@dataclass(frozen=True, slots=True)
class _Data:
    raters: list[str]
    items: list[str]
    rater: NDArray[np.int64]
    item: NDArray[np.int64]
    outcome: NDArray[np.float64]
    side: NDArray[np.float64]

    @classmethod
    def of(cls, votes: pl.DataFrame) -> "_Data":
        raters, rater = np.unique(votes["rater"].to_numpy(), return_inverse=True)
        items, item = np.unique(votes["item_id"].to_numpy(), return_inverse=True)
        return cls(list(raters), list(items), rater, item, votes["outcome"].to_numpy(), votes["side"].to_numpy())


def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and log weights of N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
    return nodes, np.log(weights / weights.sum())


def _posterior(
    data: _Data, slopes: NDArray[np.float64], biases: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """P(d at each node | votes) [n_items, n_nodes], P(first) at each node [n_votes, n_nodes], log likelihood."""
    nodes, log_weights = _nodes()
    z = slopes[data.rater, None] * nodes + (biases[data.rater] * data.side)[:, None]
    outcome = data.outcome[:, None]
    by_vote = -(outcome * np.logaddexp(0, -z) + (1 - outcome) * np.logaddexp(0, z))
    joint = np.tile(log_weights, (len(data.items), 1))
    np.add.at(joint, data.item, by_vote)
    top = joint.max(axis=1, keepdims=True)
    posterior = np.exp(joint - top)
    total = posterior.sum(axis=1, keepdims=True)
    return posterior / total, 1 / (1 + np.exp(-z)), float((np.log(total) + top).sum())


def _scores(data: _Data, posterior: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivatives of the log likelihood by the slope and the bias of each vote's rater, [n_votes, 2]."""
    nodes, _ = _nodes()
    residual = posterior[data.item] * (data.outcome[:, None] - p)
    return np.column_stack([residual @ nodes, residual.sum(axis=1) * data.side])


def _fit(
    data: _Data,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Slopes, biases, the posterior of the items, and the covariance of slopes and biases together."""
    from scipy.optimize import minimize
    from scipy.sparse import coo_matrix

    n = len(data.raters)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slopes, biases = parameters[:n], parameters[n:]
        posterior, p, likelihood = _posterior(data, slopes, biases)
        by_vote = _scores(data, posterior, p)
        gradient = np.concatenate([np.bincount(data.rater, by_vote[:, side], n) for side in (0, 1)])
        prior = ((slopes - SLOPE_MEAN) ** 2).sum() / SLOPE_SD**2 / 2 + (biases**2).sum() / BIAS_SD**2 / 2
        pull = np.concatenate([(slopes - SLOPE_MEAN) / SLOPE_SD**2, biases / BIAS_SD**2])
        return prior - likelihood, pull - gradient

    start = np.concatenate([np.full(n, SLOPE_MEAN), np.zeros(n)])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    slopes, biases = best[:n], best[n:]
    posterior, p, _ = _posterior(data, slopes, biases)
    by_vote = _scores(data, posterior, p)
    rows, columns = np.tile(data.item, 2), np.concatenate([data.rater, data.rater + n])
    scores = coo_matrix((by_vote.T.ravel(), (rows, columns)), shape=(len(data.items), 2 * n)).tocsr()
    precision = np.concatenate([np.full(n, 1 / SLOPE_SD**2), np.full(n, 1 / BIAS_SD**2)])
    information = (scores.T @ scores).toarray() + np.diag(precision)
    return slopes, biases, posterior, np.linalg.inv(information)


def _foretell(seen: pl.DataFrame, hidden: pl.DataFrame) -> NDArray[np.float64]:
    """P(the first response is preferred) of each hidden vote, by a model fitted to the votes seen."""
    data = _Data.of(seen)
    slopes, biases, posterior, _ = _fit(data)
    nodes, log_weights = _nodes()
    rater_of = {name: index for index, name in enumerate(data.raters)}
    item_of = {name: index for index, name in enumerate(data.items)}
    slopes, biases = np.append(slopes, SLOPE_MEAN), np.append(biases, 0.0)  # the last is a rater not seen
    posterior = np.vstack([posterior, np.exp(log_weights)])
    rater = np.array([rater_of.get(name, -1) for name in hidden["rater"]])
    item = np.array([item_of.get(name, -1) for name in hidden["item_id"]])
    z = slopes[rater, None] * nodes + (biases[rater] * hidden["side"].to_numpy())[:, None]
    return np.asarray((posterior[item] / (1 + np.exp(-z))).sum(axis=1))
