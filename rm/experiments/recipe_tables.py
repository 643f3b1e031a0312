"""From the rewards of each cell to the tables of an experiment over recipes: accuracies, leanings, differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.schema import RECIPE_DIFFERENCES, RECIPES, check
from lurker.stats import Estimate, accuracy_interval, clustered_standard_error, mean_interval
from lurker.workspace import Workspace
from rm.evaluation.baselines import fit_both, length, time
from rm.evaluation.compare import mcnemar_p
from rm.evaluation.metrics import is_correct
from rm.evaluation.simulator_truth import FOLLOWED, Following, following, true_pairs, with_quality
from rm.experiments.cells import Cell
from rm.pairs.subsets import stable_hash
from rm.pairs.tokenised import both_sides

Rewards = NDArray[np.float64]
Place = tuple[str, str, int | None, int]
"""pair set, model, most training pairs (None: all), seed"""
TRUTH_NAME = "truth"
RESPONSE = ("key", "response_id", "post_id", "prompt", "text", "n_chars", "delay_s")


@dataclass(frozen=True, slots=True)
class Trial:
    """Pairs on which a reward is right or wrong; all [n], first and second as places in the responses.

    chosen: the one that should have the higher reward.
    """

    measured_on: str
    part: str
    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    posts: NDArray[np.str_]
    weight: NDArray[np.float64]

    def correct(self, rewards: Rewards) -> NDArray[np.float64]:
        """1, 0, or 0.5 for a tie. [n]."""
        return is_correct(rewards[self.chosen] - rewards[self.rejected])


@dataclass(frozen=True, slots=True)
class Judge:
    """What every cell is judged on.

    responses: RESPONSE, a row a distinct text of a response. known: those whose true quality is known, with quality
    and their place in the responses; None without truth.
    """

    responses: pl.DataFrame
    trials: list[Trial]
    known: pl.DataFrame | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one pair set's cells of a model and size said: of each trial [n] per seed, and what each seed follows."""

    correct: dict[tuple[str, str], list[NDArray[np.float64]]] = field(default_factory=dict)
    follows: list[Following] = field(default_factory=list)


def make_judge(
    workspace: Workspace, tests: Mapping[str, pl.DataFrame], others: Sequence[pl.DataFrame], min_gaps: Sequence[int]
) -> Judge:
    """The judge of test pairs (by name of their set), and of the truth where the workspace has it.

    tests, others: PAIRS of test posts; the truth is asked about every response that any of them holds.
    """
    responses = judged_responses(list(tests.values()))
    known = with_quality(workspace, judged_responses([*tests.values(), *others]))
    if known is not None:
        known = known.unique("response_id", keep="first", maintain_order=True)
        responses = pl.concat([responses, known.select(RESPONSE)]).unique("key", keep="first").sort("key")
        known = known.join(_places(responses), on="key", how="left", maintain_order="left")
    trials = [trial for name, frame in tests.items() for trial in _test_trials(name, frame, responses, min_gaps)]
    return Judge(responses, trials + (_truth_trials(known) if known is not None else []), known)


def judged_responses(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """RESPONSE of PAIRS, sorted by key: a row a response and text (cleaning may differ between pair sets)."""
    sides = [side for frame in frames for side in both_sides(frame)]
    distinct = pl.concat(sides).unique(["response_id", "prompt", "text"], keep="first", maintain_order=True)
    return distinct.with_columns(key=_keys(distinct, "response_id", "text")).select(RESPONSE).sort("key")


def _keys(frame: pl.DataFrame, response_id: str, text: str) -> pl.Series:
    rows = frame.select(response_id, "prompt", text).iter_rows()
    return pl.Series([f"{response}-{stable_hash(0, '/'.join(texts)):x}" for response, *texts in rows], dtype=pl.String)


def _places(responses: pl.DataFrame) -> pl.DataFrame:
    return responses.select("key", place=pl.int_range(pl.len()))


def _test_trials(name: str, frame: pl.DataFrame, responses: pl.DataFrame, min_gaps: Sequence[int]) -> list[Trial]:
    """The test's pairs with each least score gap; one that has a single post left has no interval and is no trial."""
    places = [
        pl.DataFrame({"key": _keys(frame, f"{side}_id", side), "post_id": frame["post_id"]})
        .join(_places(responses), on="key", how="left", maintain_order="left")["place"]
        .to_numpy()
        for side in ("chosen", "rejected")
    ]
    gap = (frame["chosen_score"] - frame["rejected_score"]).to_numpy()
    posts, weight = frame["post_id"].to_numpy(), frame["weight"].to_numpy()
    parts = {"all" if least == 1 else f"gap >= {least}": gap >= least for least in sorted(min_gaps)}
    trials = (Trial(name, part, places[0][of], places[1][of], posts[of], weight[of]) for part, of in parts.items())
    return [trial for trial in trials if np.unique(trial.posts).size > 1]


def _truth_trials(known: pl.DataFrame) -> list[Trial]:
    pairs = true_pairs(known)
    place = known["place"].to_numpy()
    better, worse = place[pairs.better], place[pairs.worse]
    trials = (
        Trial(TRUTH_NAME, part, better[of], worse[of], pairs.posts[of], np.ones(int(of.sum())))
        for part, of in pairs.parts.items()
    )
    return [trial for trial in trials if np.unique(trial.posts).size > 1]


# --- tables ----------------------------------------------------------------------------------------------------------


def recipe_table(
    judge: Judge,
    cells: Mapping[Place, Cell],
    rewards: Mapping[Place, Rewards],
    trained: Mapping[str, pl.DataFrame],
    recipes: Mapping[str, str],
) -> tuple[pl.DataFrame, dict[tuple[str, str, int | None], Answer]]:
    """RECIPES, and the answers that differences are taken of, by pair set, model and size.

    trained: the training pairs of each pair set, on which the baseline `both` is fitted.
    """
    rows: list[dict[str, Any]] = []
    answers: dict[tuple[str, str, int | None], Answer] = {}
    for place, ran in cells.items():
        pairs, model, size, seed = place
        answer = answers.setdefault((pairs, model, size), Answer())
        names = {"pairs": pairs, "predictor": model, "is_baseline": False, "max_pairs": size, "seed": seed}
        names |= {"n_train_pairs": ran.n_train_pairs, "run_id": ran.run_id if ran.is_run else None}
        rows += [names | row for row in _figures(judge, rewards[place], answer)]
    for pairs, training in trained.items():
        shown = judge.responses.select(chosen_chars="n_chars", chosen_delay_s="delay_s").with_columns(
            rejected_chars=pl.lit(0), rejected_delay_s=pl.lit(0)
        )
        for name, predict in (("length", length), ("time", time), ("both", fit_both(training))):
            names = {"pairs": pairs, "predictor": name, "is_baseline": True, "max_pairs": None, "seed": 0}
            names |= {"n_train_pairs": training.height, "run_id": None}
            # Each is linear in the two sides, so against a response of nothing at no delay it is a reward.
            rows += [names | row for row in _figures(judge, predict(shown), Answer())]
    named = [row | {"recipe": recipes[row["pairs"]]} for row in rows]
    return check(pl.DataFrame(named, schema=RECIPES.schema), RECIPES), answers


def _figures(judge: Judge, rewards: Rewards, answer: Answer) -> list[dict[str, Any]]:
    """The rows of RECIPES that one reward gives, without its names; what it said is added to the answer."""
    rows = []
    for trial in judge.trials:
        correct = trial.correct(rewards)
        answer.correct.setdefault((trial.measured_on, trial.part), []).append(correct)
        estimate = accuracy_interval(correct, trial.posts, trial.weight)
        clusters = np.unique(trial.posts, return_inverse=True)[1].astype(np.int64)
        error = clustered_standard_error(correct, clusters, trial.weight)
        rows.append(_row("accuracy", trial.measured_on, trial.part, estimate, error))
    if judge.known is None:
        return rows
    found = following(judge.known, rewards[judge.known["place"].to_numpy()])
    if found is None:
        return rows
    answer.follows.append(found)
    n, n_posts = judge.known.height, judge.known["post_id"].n_unique()
    for number, name in enumerate(FOLLOWED):
        low, high = np.quantile(found.draws[:, number], (0.025, 0.975))
        estimate = Estimate(float(found.values[number]), float(low), float(high), n, n_posts)
        rows.append(_row(name, TRUTH_NAME, "all", estimate, float(found.draws[:, number].std())))
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


def difference_table(
    judge: Judge, answers: Mapping[tuple[str, str, int | None], Answer], reference: str
) -> pl.DataFrame:
    """RECIPE_DIFFERENCES: the reference against every other pair set, on the same pairs and the same drawn posts."""
    rows: list[dict[str, Any]] = []
    for (pairs, model, size), other in answers.items():
        if pairs == reference:
            continue
        ours = answers[reference, model, size]
        names = {"reference": reference, "pairs": pairs, "predictor": model, "max_pairs": size}
        for trial in judge.trials:
            first, second = (np.mean(one.correct[trial.measured_on, trial.part], axis=0) for one in (ours, other))
            estimate = mean_interval(first - second, trial.posts, trial.weight)
            rows.append(names | _difference("accuracy", trial.measured_on, trial.part, estimate))
            rows[-1]["mcnemar_p"] = mcnemar_p(first - second)
        if ours.follows and other.follows:
            rows += [names | row for row in _following_differences(ours.follows, other.follows)]
    return check(pl.DataFrame(rows, schema=RECIPE_DIFFERENCES.schema), RECIPE_DIFFERENCES)


def _following_differences(ours: list[Following], others: list[Following]) -> list[dict[str, Any]]:
    """Of each correlation's mean over seeds; of length and delay the sizes, for to lean on either side is to lean."""
    sides = []
    for seeds in (ours, others):
        values = np.mean([one.values for one in seeds], axis=0)
        draws = np.mean([one.draws for one in seeds], axis=0)
        stacked = np.vstack([values, draws])
        stacked[:, 1:] = np.abs(stacked[:, 1:])
        sides.append(stacked)
    difference = sides[0] - sides[1]
    rows = []
    for number, name in enumerate(FOLLOWED):
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


# --- what a person reads ---------------------------------------------------------------------------------------------


def accuracy_summary(table: pl.DataFrame, test: str) -> list[dict[str, Any]]:
    """A row a pair set, predictor and size: accuracy on every part of the test, means over seeds, s.e. beside."""
    shown = table.filter(pl.col("measured_on") == test)
    sizes = dict(shown.select("part", "n").unique(maintain_order=True).iter_rows())
    rows = []
    for names, part in _rows_of(shown):
        row = dict(names)
        for name, n in sizes.items():
            title = f"{'any gap' if name == 'all' else name} (n = {n:,})"
            row |= {title: _mean(part.filter(pl.col("part") == name), with_error=True)}
        rows.append(row)
    return rows


def truth_summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """A row a pair set, model and size: accuracy on pairs by true quality, all and where a shortcut points away."""
    shown = table.filter((pl.col("measured_on") == TRUTH_NAME) & (pl.col("measure") == "accuracy"))
    parts = shown["part"].unique(maintain_order=True)
    return [
        names | {part: _mean(rows.filter(pl.col("part") == part)) for part in parts}
        for names, rows in _rows_of(shown.filter(~pl.col("is_baseline")))
    ]


def following_summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """A row a pair set, model and size: what its reward follows within posts."""
    shown = table.filter(pl.col("measure") != "accuracy")
    return [
        names | {name: _mean(rows.filter(pl.col("measure") == name)) for name in FOLLOWED}
        for names, rows in _rows_of(shown.filter(~pl.col("is_baseline")))
    ]


def difference_summary(differences: pl.DataFrame, *, of_truth: bool) -> list[dict[str, Any]]:
    """A row a pair set, model and size: the reference's lead over it, on the tests or against the truth."""
    rows = []
    is_shown = (pl.col("measured_on") == TRUTH_NAME) & (pl.col("part") == "all")
    shown = differences.filter(is_shown if of_truth else pl.col("measured_on") != TRUTH_NAME)
    for (pairs, predictor, size), part in shown.group_by("pairs", "predictor", "max_pairs", maintain_order=True):
        row: dict[str, Any] = {"than": pairs, "predictor": predictor, "at most": "all" if size is None else f"{size:,}"}
        for line in part.to_dicts():
            title = line["measured_on"] if line["part"] == "all" else f"{line['measured_on']}, {line['part']}"
            if line["measure"] != "accuracy":
                title = {"quality": "quality", "length": "|length|", "delay": "|delay|"}[line["measure"]]
            row[title] = f"{line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"
        rows.append(row)
    return rows


def _rows_of(table: pl.DataFrame) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """The names of each row and its part of the table; length and time are the same for every pair set: once."""
    fitted = table.filter(~pl.col("predictor").is_in(["length", "time"]))
    fixed = table.filter(pl.col("predictor").is_in(["length", "time"]) & (pl.col("pairs") == table["pairs"].first()))
    keys = ("pairs", "predictor", "max_pairs", "n_train_pairs")
    for (pairs, predictor, size, n_pairs), part in fitted.group_by(*keys, maintain_order=True):
        yield (
            {
                "trained on": pairs,
                "predictor": predictor,
                "at most": "all" if size is None else f"{size:,}",
                "pairs": n_pairs,
                "seeds": part["seed"].n_unique(),
            },
            part,
        )
    for (predictor,), part in fixed.group_by("predictor", maintain_order=True):
        yield {"trained on": "–", "predictor": predictor, "at most": "–", "pairs": None, "seeds": 1}, part


def _mean(rows: pl.DataFrame, *, with_error: bool = False) -> str:
    """The mean over seeds of a figure, of the ends of its interval and of its standard error."""
    if rows.is_empty():
        return "–"
    value, low, high, error = rows.select("value", "low", "high", "standard_error").mean().row(0)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" + (f" s.e. {error:.3f}" if with_error else "")
