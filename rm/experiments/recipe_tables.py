"""From the rewards of each cell to RECIPES and RECIPE_DIFFERENCES: accuracies, correlations, differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.comparison import mcnemar_p
from lurker.schema import RECIPE_DIFFERENCES, RECIPES, check
from lurker.stats import ACCURACY_GAIN, Estimate, accuracy_interval, clustered_standard_error, mean_interval
from lurker.workspace import Workspace
from rm.evaluation.baselines import fit_length_and_time, length_margins, time_margins
from rm.evaluation.metrics import is_correct
from rm.evaluation.simulator_truth import TRAITS, RewardCorrelations, reward_correlations, true_pairs, with_quality
from rm.experiments.cells import Cell
from rm.pairs.subsets import stable_hash
from rm.pairs.tokenised import both_sides

Rewards = NDArray[np.float64]
CellKey = tuple[str, str, int | None, int]
"""pair set, model, maximum number of training pairs (None: all), seed"""
ScoresKey = tuple[str, str, int | None]
"""pair set, model, maximum number of training pairs"""
TRUTH_NAME = "truth"
RESPONSE = ("key", "response_id", "post_id", "prompt", "text", "n_chars", "delay_s")


@dataclass(frozen=True, slots=True)
class Trial:
    """Pairs of responses that a reward ranks right or wrong."""

    measured_on: str
    """test pair set, or TRUTH_NAME"""
    part: str
    """which of its pairs"""
    chosen: NDArray[np.int64]
    """index of the response that should have the higher reward, [n_pairs]"""
    rejected: NDArray[np.int64]
    """index of the other one, [n_pairs]"""
    posts: NDArray[np.str_]
    """[n_pairs]"""
    weight: NDArray[np.float64]
    """[n_pairs]"""

    def correct(self, rewards: Rewards) -> NDArray[np.float64]:
        """1, 0, or 0.5 for a tie, [n_pairs]."""
        return is_correct(rewards[self.chosen] - rewards[self.rejected])


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What every cell of a comparison is tested on."""

    responses: pl.DataFrame
    """RESPONSE, one row per distinct text of a response"""
    trials: list[Trial]
    known: pl.DataFrame | None
    """responses whose true quality is known, with quality and index (into responses); None without truth"""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the cells of one pair set, model and size reached, one entry per seed."""

    correct: dict[tuple[str, str], list[NDArray[np.float64]]] = field(default_factory=dict)
    """(measured_on, part) of a trial -> is_correct per seed, [n_pairs] each"""
    correlations: list[RewardCorrelations] = field(default_factory=list)


def make_benchmark(
    workspace: Workspace, tests: Mapping[str, pl.DataFrame], others: Sequence[pl.DataFrame], min_gaps: Sequence[int]
) -> Benchmark:
    """The benchmark of test pairs and, where the workspace has it, of the simulator's truth.

    Args:
        workspace: may hold TRUTH.
        tests: PAIRS by name of their set.
        others: more PAIRS of test posts, whose responses are tested against truth only.
        min_gaps: each test is evaluated on its pairs with at least this score gap, votes.
    """
    responses = distinct_responses(list(tests.values()))
    known = with_quality(workspace, distinct_responses([*tests.values(), *others]))
    if known is not None:
        known = known.unique("response_id", keep="first", maintain_order=True)
        responses = pl.concat([responses, known.select(RESPONSE)]).unique("key", keep="first").sort("key")
        known = known.join(_indices(responses), on="key", how="left", maintain_order="left")
    trials = [trial for name, frame in tests.items() for trial in _test_trials(name, frame, responses, min_gaps)]
    return Benchmark(responses, trials + (_truth_trials(known) if known is not None else []), known)


def distinct_responses(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """RESPONSE of PAIRS, sorted by key: one row per response and text (cleaning may differ between pair sets)."""
    sides = [side for frame in frames for side in both_sides(frame)]
    distinct = pl.concat(sides).unique(["response_id", "prompt", "text"], keep="first", maintain_order=True)
    return distinct.with_columns(key=_keys(distinct, "response_id", "text")).select(RESPONSE).sort("key")


def _keys(frame: pl.DataFrame, response_id: str, text: str) -> pl.Series:
    rows = frame.select(response_id, "prompt", text).iter_rows()
    return pl.Series([f"{response}-{stable_hash(0, '/'.join(texts)):x}" for response, *texts in rows], dtype=pl.String)


def _indices(responses: pl.DataFrame) -> pl.DataFrame:
    """key -> index into responses."""
    return responses.select("key", index=pl.int_range(pl.len()))


def _test_trials(name: str, frame: pl.DataFrame, responses: pl.DataFrame, min_gaps: Sequence[int]) -> list[Trial]:
    """One trial per minimum score gap, except where fewer than two posts are left: they have no interval."""
    chosen, rejected = (
        pl.DataFrame({"key": _keys(frame, f"{side}_id", side), "post_id": frame["post_id"]})
        .join(_indices(responses), on="key", how="left", maintain_order="left")["index"]
        .to_numpy()
        for side in ("chosen", "rejected")
    )
    gap = (frame["chosen_score"] - frame["rejected_score"]).to_numpy()
    posts, weight = frame["post_id"].to_numpy(), frame["weight"].to_numpy()
    parts = {"all" if least == 1 else f"gap >= {least}": gap >= least for least in sorted(min_gaps)}
    trials = (
        Trial(name, part, chosen[rows], rejected[rows], posts[rows], weight[rows]) for part, rows in parts.items()
    )
    return [trial for trial in trials if np.unique(trial.posts).size > 1]


def _truth_trials(known: pl.DataFrame) -> list[Trial]:
    pairs = true_pairs(known)
    index = known["index"].to_numpy()
    better, worse = index[pairs.better], index[pairs.worse]
    trials = (
        Trial(TRUTH_NAME, part, better[rows], worse[rows], pairs.posts[rows], np.ones(int(rows.sum())))
        for part, rows in pairs.parts.items()
    )
    return [trial for trial in trials if np.unique(trial.posts).size > 1]


def recipe_table(
    benchmark: Benchmark,
    cells: Mapping[CellKey, Cell],
    rewards: Mapping[CellKey, Rewards],
    training: Mapping[str, pl.DataFrame],
    recipes: Mapping[str, str],
) -> tuple[pl.DataFrame, dict[ScoresKey, Scores]]:
    """RECIPES, and the scores that differences are computed from.

    Args:
        benchmark: what the cells are tested on.
        cells: the finished cells.
        rewards: of each cell, [n_responses] in the benchmark's order.
        training: the training pairs of each pair set, for the baseline `both`.
        recipes: the recipe of each pair set.
    """
    rows: list[dict[str, Any]] = []
    scores: dict[ScoresKey, Scores] = {}
    for (pairs, model, size, seed), cell in cells.items():
        seeds = scores.setdefault((pairs, model, size), Scores())
        names = {"pairs": pairs, "predictor": model, "is_baseline": False, "max_pairs": size, "seed": seed}
        names |= {"n_train_pairs": cell.n_train_pairs, "run_id": cell.run_id if cell.is_run else None}
        rows += [names | row for row in _figures(benchmark, rewards[pairs, model, size, seed], seeds)]
    for pairs, frame in training.items():
        names = {"pairs": pairs, "is_baseline": True, "max_pairs": None, "seed": 0}
        names |= {"n_train_pairs": frame.height, "run_id": None}
        for name, values in _baseline_rewards(benchmark, frame).items():
            rows += [names | {"predictor": name} | row for row in _figures(benchmark, values, Scores())]
    named = [row | {"recipe": recipes[row["pairs"]]} for row in rows]
    return check(pl.DataFrame(named, schema=RECIPES.schema), RECIPES), scores


def _baseline_rewards(benchmark: Benchmark, training: pl.DataFrame) -> dict[str, Rewards]:
    """Rewards of the baselines that read no text, [n_responses] each.

    Their margins are linear in the two sides, so the margin over an empty response without delay is a reward.
    """
    against_nothing = benchmark.responses.select(
        chosen_chars="n_chars", chosen_delay_s="delay_s", rejected_chars=pl.lit(0), rejected_delay_s=pl.lit(0)
    )
    predictors = {"length": length_margins, "time": time_margins, "both": fit_length_and_time(training)}
    return {name: predict(against_nothing) for name, predict in predictors.items()}


def _figures(benchmark: Benchmark, rewards: Rewards, scores: Scores) -> list[dict[str, Any]]:
    """The rows of RECIPES for one reward, without its names; what it reached is added to the scores."""
    rows = []
    for trial in benchmark.trials:
        correct = trial.correct(rewards)
        scores.correct.setdefault((trial.measured_on, trial.part), []).append(correct)
        estimate = accuracy_interval(correct, trial.posts, trial.weight)
        clusters = np.unique(trial.posts, return_inverse=True)[1].astype(np.int64)
        error = clustered_standard_error(correct, clusters, trial.weight)
        rows.append(_row("accuracy", trial.measured_on, trial.part, estimate, error))
    if benchmark.known is None:
        return rows
    correlations = reward_correlations(benchmark.known, rewards[benchmark.known["index"].to_numpy()])
    if correlations is None:
        return rows
    scores.correlations.append(correlations)
    n, n_posts = benchmark.known.height, benchmark.known["post_id"].n_unique()
    for number, name in enumerate(TRAITS):
        low, high = np.quantile(correlations.draws[:, number], (0.025, 0.975))
        estimate = Estimate(float(correlations.values[number]), float(low), float(high), n, n_posts)
        rows.append(_row(name, TRUTH_NAME, "all", estimate, float(correlations.draws[:, number].std())))
    return rows


def _row(measure: str, measured_on: str, part: str, estimate: Estimate, standard_error: float) -> dict[str, Any]:
    return {
        "measure": measure,
        "measured_on": measured_on,
        "part": part,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "standard_error": standard_error,
        "n": estimate.n,
        "n_posts": estimate.n_clusters,
    }


def difference_table(benchmark: Benchmark, scores: Mapping[ScoresKey, Scores], reference: str) -> pl.DataFrame:
    """RECIPE_DIFFERENCES: the reference minus every other pair set, on the same pairs and the same resampled posts.

    Models and sizes that the reference lacks, because its cells failed, are left out.
    """
    rows: list[dict[str, Any]] = []
    for (pairs, model, size), other in scores.items():
        if pairs == reference or (reference, model, size) not in scores:
            continue
        ours = scores[reference, model, size]
        names = {"reference": reference, "pairs": pairs, "predictor": model, "max_pairs": size}
        for trial in benchmark.trials:
            first, second = (np.mean(one.correct[trial.measured_on, trial.part], axis=0) for one in (ours, other))
            estimate = mean_interval(first - second, trial.posts, trial.weight, bounds=ACCURACY_GAIN)
            rows.append(names | _difference("accuracy", trial.measured_on, trial.part, estimate))
            rows[-1]["mcnemar_p"] = mcnemar_p(first - second)
        if ours.correlations and other.correlations:
            rows += [names | row for row in _correlation_differences(ours.correlations, other.correlations)]
    return check(pl.DataFrame(rows, schema=RECIPE_DIFFERENCES.schema), RECIPE_DIFFERENCES)


def _correlation_differences(
    ours: Sequence[RewardCorrelations], others: Sequence[RewardCorrelations]
) -> list[dict[str, Any]]:
    """Difference of each correlation's mean over seeds; of length and delay in absolute value, as either sign is a
    shortcut.
    """
    sides = []
    for seeds in (ours, others):
        values = np.mean([one.values for one in seeds], axis=0)
        draws = np.mean([one.draws for one in seeds], axis=0)
        stacked = np.vstack([values, draws])
        stacked[:, 1:] = np.abs(stacked[:, 1:])
        sides.append(stacked)
    difference = sides[0] - sides[1]
    rows = []
    for number, name in enumerate(TRAITS):
        low, high = np.quantile(difference[1:, number], (0.025, 0.975))
        estimate = Estimate(float(difference[0, number]), float(low), float(high), 0, 0)
        rows.append(_difference(name, TRUTH_NAME, "all", estimate) | {"mcnemar_p": None})
    return rows


def _difference(measure: str, measured_on: str, part: str, estimate: Estimate) -> dict[str, Any]:
    return {
        "measure": measure,
        "measured_on": measured_on,
        "part": part,
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }
