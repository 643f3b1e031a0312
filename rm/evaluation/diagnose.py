"""What an accuracy consists of: calibration, where it is high and low, and what the reward follows besides taste."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.decimals import accuracy_text
from lurker.files import read_json, write_json
from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.report import Displayed, ResultTable
from lurker.stats import accuracy_interval
from lurker.workspace import Workspace
from rm.evaluation.counterfactual import counterfactuals
from rm.evaluation.metrics import Margins, is_correct, model_rewards
from rm.evaluation.score import score_texts, text_scorer
from rm.evaluation.trained_run import load_trained
from rm.pairs.tokenised import both_sides, with_delays
from rm.pairs.tokens import Indices
from rm.training.identity import unseen_by_ancestors
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import CONFIG, finished_run, read_run_pairs, run_config

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


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis(Displayed):
    """What an accuracy consists of, as `diagnose_run` writes it into the run's folder."""

    report: dict[str, Any]
    """calibration and strata; for a model that scores single responses also correlations and counterfactuals"""

    def table(self) -> ResultTable:
        """Accuracy by what pairs differ in."""
        title = f"Run {self.report['run_id']} on {self.report['pairs']} ({self.report['split']})"
        return ResultTable(title, [_with_interval(row) for row in self.report["strata"]])

    def tables(self) -> Sequence[ResultTable]:
        """Strata, calibration, correlations and counterfactuals."""
        calibrated = self.report["calibration"]
        title = f"Calibration (error {calibrated['expected_calibration_error']:.3f})"
        shown = [self.table(), ResultTable(title, [_with_interval(row) for row in calibrated["bins"]])]
        if "counterfactuals" in self.report:
            values = self.report["reward_correlations_within_posts"].items()
            rows = [{"what": name, "Spearman": value} for name, value in values]
            shown += [
                ResultTable("Correlation of the reward within posts", rows),
                ResultTable(
                    "Change of the reward when the text changes, in its standard deviations",
                    self.report["counterfactuals"],
                ),
            ]
        return [table for table in shown if table.rows]


def diagnose_run(workspace: Workspace, run_id: str, pairs: str, split: str) -> Diagnosis:
    """Calibration, accuracy by stratum, correlations of the reward and counterfactuals, written into the run's folder.

    The last two need a model that scores single responses. Where the model reads the response's delay, the delay stays
    as it is when texts change.

    Raises:
        CallError: there is no such run or pair set.
        LurkerError: a post of the split was trained on, by the run or by a model it started from.
    """
    folder = finished_run(workspace, run_id)
    config = run_config(read_json(folder / CONFIG))
    frame = split_of(read_pairs(workspace, pairs), pairs, split)
    require_disjoint(read_run_pairs(workspace, config).training, frame, pairs)
    frame = unseen_by_ancestors(folder / "model", config.model, frame, pairs)
    run = load_trained(workspace, run_id)
    tokenised = tokenise_for_model(frame, run.reward_model.tokenizer, config.train)
    scorer = run.reward_model.scorer(config.train.max_tokens)
    rewards = model_rewards(scorer, tokenised, config.train.tokens_per_batch)
    margins = rewards[tokenised.chosen] - rewards[tokenised.rejected]
    report: dict[str, Any] = {
        "run_id": run_id,
        "pairs": pairs,
        "split": split,
        "calibration": calibration(margins, frame["post_id"].to_list()),
        "strata": strata(frame, margins),
    }
    if config.train.reads == "one":
        read = with_delays(frame) if config.train.with_delay else frame
        scored = scored_responses(read, rewards, tokenised.chosen, tokenised.rejected)
        report["reward_correlations_within_posts"] = correlations(scored)
        scorer_of_texts = text_scorer(run.reward_model, config.train)
        report["counterfactuals"] = counterfactuals(scored, partial(score_texts, scorer_of_texts))
    write_json(report, run.folder / "diagnoses" / f"{pairs}-{split}.json")
    return Diagnosis(report)


def calibration(margins: Margins, posts: Sequence[str], n_bins: int = N_BINS) -> dict[str, Any]:
    """How often the model is right at each confidence p = σ(|margin|), in bins with equal numbers of pairs.

    Args:
        margins: in log-odds, [n_pairs].
        posts: post of each pair, [n_pairs].
        n_bins: number of bins.

    Returns:
        `bins`: n_pairs, mean confidence (0.5-1), accuracy with its interval clustered by post;
        `expected_calibration_error`: the mean |accuracy - confidence| over bins, weighted by pairs.

    Source:
        Guo et al. 2017, "On calibration of modern neural networks", eq. 3; bins of equal mass as in Nixon et al. 2019.
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
    """Accuracy and log loss by what pairs differ in and by subreddit.

    Length and delay keep their sign: a model that took a shortcut is right where the shortcut points to the chosen
    response and wrong where it does not.

    Args:
        frame: PAIRS, [n_pairs].
        margins: in log-odds, [n_pairs].

    Returns:
        One row per stratum that has pairs.
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
    for by, name, is_in in parts:
        if not is_in.any():
            continue
        estimate = accuracy_interval(is_correct(margins[is_in]), posts[is_in])
        rows.append(
            {
                "by": by,
                "part": name,
                "n_pairs": estimate.n,
                "n_posts": estimate.n_clusters,
                "accuracy": estimate.value,
                "accuracy_low": estimate.low,
                "accuracy_high": estimate.high,
                "log_loss": float(np.logaddexp(0.0, -margins[is_in]).mean()),
            }
        )
    return rows


def scored_responses(
    frame: pl.DataFrame, rewards: NDArray[np.float64], chosen: Indices, rejected: Indices
) -> pl.DataFrame:
    """The distinct responses of PAIRS with their rewards.

    Args:
        frame: PAIRS, [n_pairs].
        rewards: of each sequence, [n_sequences].
        chosen, rejected: indices into rewards, [n_pairs].

    Returns:
        response_id, post_id, prompt, text, n_chars, delay_s, reward; sorted by response_id.
    """
    sides = [
        side.with_columns(reward=pl.Series(rewards[indices], dtype=pl.Float64))
        for side, indices in zip(both_sides(frame), (chosen, rejected), strict=True)
    ]
    return pl.concat(sides).unique("response_id", keep="first", maintain_order=True).sort("response_id")


def correlations(responses: pl.DataFrame) -> dict[str, float]:
    """Spearman's correlation of the reward with log length and log delay within posts; absent where one is constant.

    Each value is centred on its post's mean, because rewards are comparable within a post only.

    Args:
        responses: as returned by `scored_responses`.

    Source:
        The reward-length correlation of Chen et al. 2024 (ODIN), section 3.
    """
    from scipy.stats import spearmanr  # slow to import, and no training needs it

    within = responses.select(
        (values - values.mean().over("post_id")).alias(name)
        for name, values in (
            ("reward", pl.col("reward")),
            ("length", pl.col("n_chars").log1p()),
            ("delay", pl.col("delay_s").log1p()),
        )
    )
    reward = within["reward"].to_numpy().round(9)
    by_name = {}
    for name in ("length", "delay"):
        values = within[name].to_numpy().round(9)
        if np.ptp(values) > 0 and np.ptp(reward) > 0:
            by_name[name] = float(spearmanr(reward, values).statistic)
    return by_name


def _with_interval(row: dict[str, Any]) -> dict[str, Any]:
    """The row as people read it: accuracy and its interval as one text, last."""
    interval = accuracy_text(row)
    return {name: value for name, value in row.items() if not name.startswith("accuracy")} | {"accuracy": interval}
