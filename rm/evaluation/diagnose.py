"""What stands behind an accuracy: calibration, where it is high and low, and what the reward follows besides taste."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.stats import accuracy_interval
from lurker.workspace import Workspace, read_json, write_json
from rm.evaluation.counterfactual import counterfactuals
from rm.evaluation.metrics import Margins, is_correct, model_rewards
from rm.evaluation.score import Reader, score_texts
from rm.models.ladder import load
from rm.models.scorer import move_to_device
from rm.pairs.tokenised import both_sides, with_delays
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import finished_run, read_run_pairs, run_config

N_BINS = 10
LENGTH_BINS = (
    ("chosen 2 times shorter", -np.inf, -np.log(2)),
    ("chosen shorter", -np.log(2), -np.log(1.25)),
    ("within 1.25 times", -np.log(1.25), np.log(1.25)),
    ("chosen longer", np.log(1.25), np.log(2)),
    ("chosen 2 times longer", np.log(2), np.inf),
)
LONGER_BINS = (
    ("under 200 characters", 0, 200),
    ("200 to 499", 200, 500),
    ("500 to 999", 500, 1000),
    ("1,000 to 1,999", 1000, 2000),
    ("2,000 and more", 2000, np.inf),
)
DELAY_BINS = (
    ("chosen over 1 h earlier", -np.inf, -3600),
    ("chosen 15 min to 1 h earlier", -3600, -900),
    ("within 15 min", -900, 900),
    ("chosen 15 min to 1 h later", 900, 3600),
    ("chosen over 1 h later", 3600, np.inf),
)
GAP_BINS = (("1", 0, 2), ("2 to 4", 2, 5), ("5 to 9", 5, 10), ("10 to 49", 10, 50), ("50 and more", 50, np.inf))
TENTHS = (0.5, 0.6, 0.7, 0.8, 0.9)
CONFIDENCE_BINS = tuple((f"{low:.1f} to {low + 0.1:.1f}", low, round(low + 0.1, 1)) for low in TENTHS)


def diagnose_run(workspace: Workspace, run_id: str, pairs_name: str, split: str) -> dict[str, Any]:
    """What stands behind a run's accuracy on a split: calibration, strata, what the reward follows, counterfactuals.

    Written into the run's folder. A pairwise model has no reward that could follow anything. The response's delay,
    where the model reads it, is left as it was when texts change.
    Errors: as `evaluate_run`.
    """
    folder = finished_run(workspace, run_id)
    config = run_config(read_json(folder / "config.json"))
    frame = split_of(read_pairs(workspace, pairs_name), pairs_name, split)
    require_disjoint(read_run_pairs(workspace, config).training, frame, pairs_name)
    reward_model = load(folder / "model")
    move_to_device(reward_model.model, reward_model.n_parameters)
    tokenised = tokenise_for_model(frame, reward_model.tokenizer, config.train)
    rewards = model_rewards(reward_model.scorer(config.train.max_tokens), tokenised, config.train.tokens_per_batch)
    margins = rewards[tokenised.chosen] - rewards[tokenised.rejected]
    found: dict[str, Any] = {
        "run_id": run_id,
        "pairs": pairs_name,
        "split": split,
        "calibration": calibration(margins, frame["post_id"].to_list()),
        "strata": strata(frame, margins),
    }
    if config.train.reads == "one":
        reader = Reader.of(reward_model, config.train)
        told = with_delays(frame) if config.train.with_delay else frame
        answered = responses(told, rewards, tokenised.chosen, tokenised.rejected)
        found["reward_correlations_within_posts"] = correlations(answered)
        found["counterfactuals"] = counterfactuals(answered, partial(score_texts, reader))
    write_json(found, folder / "diagnoses" / f"{pairs_name}-{split}.json")
    return found


def calibration(margins: Margins, posts: Sequence[str], n_bins: int = N_BINS) -> dict[str, Any]:
    """How often the model is right when it says p: bins of equal size by p = σ(|margin|), from 0.5 to 1.

    Returns bins (n_pairs, confidence, accuracy with its interval clustered by post) and the expected calibration
    error: the mean |accuracy - confidence| over bins, weighted by pairs.
    Source: Guo et al. 2017, "On calibration of modern neural networks", eq. 3; equal bins as in Nixon et al. 2019.
    """
    confidence = 1 / (1 + np.exp(-np.abs(margins)))
    correct, clusters = is_correct(margins), np.asarray(posts)
    bins = []
    for part in np.array_split(np.argsort(confidence, kind="stable"), min(n_bins, margins.size)):
        estimate = accuracy_interval(correct[part], clusters[part])
        bins.append(
            {
                "n_pairs": int(part.size),
                "confidence": float(confidence[part].mean()),
                "accuracy": estimate.value,
                "accuracy_low": estimate.low,
                "accuracy_high": estimate.high,
            }
        )
    error = sum(row["n_pairs"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / margins.size
    return {"expected_calibration_error": float(error), "bins": bins}


def strata(frame: pl.DataFrame, margins: Margins) -> list[dict[str, Any]]:
    """Accuracy and log loss by what pairs differ in and by subreddit: one row a part that has pairs.

    frame: PAIRS, [n_pairs]. Length and delay keep their sign: a model that took a shortcut is right where the shortcut
    points to the chosen response and wrong where it does not. The longer response's length shows what long texts do.
    """
    length = np.log(frame["chosen_chars"].clip(1).to_numpy() / frame["rejected_chars"].clip(1).to_numpy())
    longer = frame.select(pl.max_horizontal("chosen_chars", "rejected_chars")).to_series().to_numpy()
    delay = (frame["chosen_delay_s"] - frame["rejected_delay_s"]).to_numpy()
    gap = (frame["chosen_score"] - frame["rejected_score"]).to_numpy()
    parts: list[tuple[str, str, NDArray[np.bool_]]] = []
    for by, values, bins in (
        ("length", length, LENGTH_BINS),
        ("longer response", longer, LONGER_BINS),
        ("delay", delay, DELAY_BINS),
        ("score gap", gap, GAP_BINS),
        ("label confidence", frame["label_confidence"].to_numpy(), CONFIDENCE_BINS),
    ):
        parts += [(by, name, (values >= low) & ((values < high) | (high == 1.0))) for name, low, high in bins]
    subreddits = frame["subreddit"].to_numpy()
    parts += [("subreddit", name, subreddits == name) for name in sorted(set(subreddits))]
    posts = frame["post_id"].to_numpy()
    rows = []
    for by, name, of in parts:
        if not of.any():
            continue
        estimate = accuracy_interval(is_correct(margins[of]), posts[of])
        rows.append(
            {
                "by": by,
                "part": name,
                "n_pairs": estimate.n,
                "n_posts": estimate.n_clusters,
                "accuracy": estimate.value,
                "accuracy_low": estimate.low,
                "accuracy_high": estimate.high,
                "log_loss": float(np.logaddexp(0.0, -margins[of]).mean()),
            }
        )
    return rows


def responses(frame: pl.DataFrame, rewards: NDArray[np.float64], chosen: Any, rejected: Any) -> pl.DataFrame:
    """The distinct responses of PAIRS: response_id, post_id, prompt, text, n_chars, delay_s, reward.

    rewards: of each sequence. chosen, rejected: [n_pairs] index into rewards.
    """
    sides = [
        side.with_columns(reward=pl.Series(rewards[places], dtype=pl.Float64))
        for side, places in zip(both_sides(frame), (chosen, rejected), strict=True)
    ]
    return pl.concat(sides).unique("response_id", keep="first", maintain_order=True).sort("response_id")


def correlations(answered: pl.DataFrame) -> dict[str, float]:
    """Spearman's correlation of the reward with log length and log delay within posts; absent where one is constant.

    answered: as `responses` gives them. Each value is less its post's mean, for rewards compare within a post only.
    Source: the reward-length correlation of Chen et al. 2024 (ODIN), section 3.
    """
    within = answered.select(
        (values - values.mean().over("post_id")).alias(name)
        for name, values in (
            ("reward", pl.col("reward")),
            ("length", pl.col("n_chars").log1p()),
            ("delay", pl.col("delay_s").log1p()),
        )
    )
    reward = within["reward"].to_numpy().round(9)
    found = {}
    for name in ("length", "delay"):
        values = within[name].to_numpy().round(9)
        if np.ptp(values) > 0 and np.ptp(reward) > 0:
            found[name] = float(spearmanr(reward, values).statistic)
    return found
