"""What a few-shot experiment shows: gains over starting from nothing, exchange rates, one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lurker.decimals import decimal, interval
from lurker.schema import FEW_SHOT, FEW_SHOT_DIFFERENCES, check
from rm.evaluation.metrics import ALL, evaluation_table
from rm.experiments.cells import Cell
from rm.experiments.exchange import in_words, worth
from rm.experiments.outcomes import Correct, Outcomes
from rm.experiments.paired import ACCURACY, Estimate, over_posts_and_seeds
from rm.experiments.starts import NOTHING
from rm.experiments.transfer_findings import difference_columns, ends
from rm.experiments.transfer_tables import difference_text
from rm.training.run_folder import MODEL

ARM = ("start", "n_target_pairs", "n_validation_pairs", "n_source_pairs")
RULES = ("length", "tfidf")
"""Baselines that the sentence compares every start with."""
RULE_NAMES = {"length": "the longer response", "tfidf": "TF-IDF"}


@dataclass(frozen=True, slots=True)
class Arm:
    """One start and number of pairs; its cells differ by seed."""

    start: str
    n_target: int
    """training pairs of the target"""
    n_validation: int
    """pairs of the target that chose the best step"""
    n_source: int | None
    """pairs of other communities that the start was trained on, in this experiment"""
    cell: Cell

    @property
    def name(self) -> str:
        """The same for all seeds."""
        return f"{self.start}, {self.n_target} after {self.n_source}"

    @property
    def key(self) -> dict[str, Any]:
        """The columns of ARM."""
        return dict(zip(ARM, (self.start, self.n_target, self.n_validation, self.n_source), strict=True))


@dataclass(frozen=True, slots=True)
class _Series:
    """The outcomes of one row of the tables: an arm's model, or a baseline fitted on the pairs of `nothing`."""

    key: dict[str, Any]
    is_baseline: bool
    correct: Correct


def few_shot_rows(outcomes: Outcomes, arms: Sequence[Arm], pairs: str, test_pairs: str, target: str) -> pl.DataFrame:
    """FEW_SHOT: one row per start, number of pairs and seed; baselines are those fitted on the pairs of `nothing`."""
    rows = []
    by_name = {arm.name: arm for arm in arms}
    keys = ["predictor", "is_baseline", "source", "seed", "run_id"]
    for values, part in outcomes.frame.group_by(keys, maintain_order=True):
        predictor, is_baseline, source, seed, run_id = values
        arm = by_name[str(source)]
        if is_baseline and arm.start != NOTHING:
            continue
        named = part.rename({"target": "subreddit"})
        table = evaluation_table(named, {str(predictor): part["margin"].to_numpy()}, "", test_pairs, "test")
        row = table.filter(subreddit=ALL).to_dicts()[0] | arm.key
        row |= {"pairs": pairs, "test_pairs": test_pairs, "target": target, "is_baseline": is_baseline, "seed": seed}
        row |= {"start": predictor, "run_id": None} if is_baseline else {"run_id": run_id}
        rows.append({name: row[name] for name in FEW_SHOT.columns})
    frame = check(pl.DataFrame(rows, schema=FEW_SHOT.schema), FEW_SHOT)
    return frame.sort("is_baseline", "start", "n_target_pairs", "n_source_pairs", "seed")


def few_shot_table(outcomes: Outcomes, arms: Sequence[Arm], effect: float) -> pl.DataFrame:
    """FEW_SHOT_DIFFERENCES: each start against nothing with as many target pairs, paired by test pair and seed."""
    series = _series(outcomes, arms)
    nothing = {one.key["n_target_pairs"]: one.correct for one in series if one.key["start"] == NOTHING}
    rows = []
    for one in series:
        reference = nothing.get(one.key["n_target_pairs"]) if one.key["start"] != NOTHING else None
        gain = one.correct.minus(reference) if reference is not None else None
        accuracy = over_posts_and_seeds(one.correct.values, one.correct.posts, ACCURACY)
        rows.append(
            {
                **one.key,
                "is_baseline": one.is_baseline,
                "n_seeds": len(one.correct.seeds),
                "n_test_pairs": len(one.correct.posts),
                "n_test_posts": accuracy.n_posts,
                **ends("accuracy", accuracy, unbounded=(0.0, 1.0)),
                **difference_columns(None if gain is None else over_posts_and_seeds(gain, one.correct.posts), effect),
            }
        )
    order = list(FEW_SHOT_DIFFERENCES.columns)
    frame = pl.DataFrame(rows, schema_overrides=dict(FEW_SHOT_DIFFERENCES.schema)).select(order)
    return check(frame, FEW_SHOT_DIFFERENCES)


def few_shot_findings(
    outcomes: Outcomes, arms: Sequence[Arm], differences: pl.DataFrame, target: str
) -> dict[str, Any]:
    """The content of findings.json."""
    series = [one for one in _series(outcomes, arms) if not one.is_baseline]
    rates = [*_source_rates(series), *_target_rates(series)]
    return {
        "sentence": _sentence(outcomes, arms, differences, rates, target),
        "exchange": rates,
        "pairs_left_out": outcomes.n_left_out,
    }


def arm_rows(differences: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """One row per start and one column per number of target pairs; column: accuracy, or difference."""
    sizes = sorted(differences["n_target_pairs"].unique())
    rows = []
    for start, n_source in differences.select("start", "n_source_pairs").unique(maintain_order=True).iter_rows():
        row: dict[str, Any] = {"start": start if n_source is None else f"{start}, {n_source:,} pairs"}
        for size in sizes:
            cells = differences.filter(
                pl.col("n_source_pairs").eq_missing(n_source), start=start, n_target_pairs=size
            ).to_dicts()
            row[f"{size:,} pairs"] = _figure(cells[0], column) if cells else "–"
        if any(value != "–" for name, value in row.items() if name != "start"):
            rows.append(row)
    return rows


def _figure(cell: dict[str, Any], column: str) -> str:
    value, low, high = (cell[name] for name in (column, f"{column}_low", f"{column}_high"))
    if value is None:
        return "–"
    return interval(value, low, high) if column == "accuracy" else difference_text(cell)


def _series(outcomes: Outcomes, arms: Sequence[Arm]) -> list[_Series]:
    """The outcomes of every arm, in order, then those of the baselines."""
    found, baselines = [], []
    for arm in {arm.name: arm for arm in arms}.values():
        rows = outcomes.frame.filter(source=arm.name)
        for predictor, is_baseline in rows.select("predictor", "is_baseline").unique().sort("predictor").iter_rows():
            correct = outcomes.correct(predictor, arm.name) if not is_baseline or arm.start == NOTHING else None
            if correct is not None and is_baseline:
                baselines.append(_Series({**arm.key, "start": predictor}, True, correct))
            elif correct is not None:
                found.append(_Series(arm.key, False, correct))
    return [*found, *baselines]


def _source_rates(series: Sequence[_Series]) -> list[dict[str, Any]]:
    """What target pairs alone are worth in pairs of the other communities, which are tested as they are."""
    curve = sorted(
        (one for one in series if one.key["n_target_pairs"] == 0 and one.key["n_source_pairs"] is not None),
        key=lambda one: one.key["n_source_pairs"],
    )
    sizes = [one.key["n_source_pairs"] for one in curve]
    rates = []
    for one in series:
        if one.key["start"] == NOTHING and curve:
            found = worth(sizes, [part.correct.values for part in curve], one.correct.values, one.correct.posts)
            n_target = one.key["n_target_pairs"]
            rates.append(_rate(f"{n_target:,} target pairs alone", found, sizes, "source pairs"))
    return rates


def _target_rates(series: Sequence[_Series]) -> list[dict[str, Any]]:
    """What each start, tested as it is, is worth in target pairs alone."""
    curve = sorted(
        (one for one in series if one.key["start"] == NOTHING), key=lambda one: int(one.key["n_target_pairs"])
    )
    sizes = [one.key["n_target_pairs"] for one in curve]
    untuned = [one for one in series if one.key["n_target_pairs"] == 0]
    most = max((one.key["n_source_pairs"] or 0 for one in untuned), default=0)
    rates = []
    for one in untuned:
        if (one.key["n_source_pairs"] or most) == most:
            found = worth(sizes, [part.correct.values for part in curve], one.correct.values, one.correct.posts)
            source = "" if one.key["n_source_pairs"] is None else f", {one.key['n_source_pairs']:,} pairs"
            rates.append(_rate(f"{one.key['start']}{source}, untuned", found, sizes, "target pairs"))
    return rates


def _rate(what: str, found: Any, sizes: Sequence[int], unit: str) -> dict[str, Any]:
    words = in_words(found, sizes)
    return {
        "what": what,
        "unit": unit,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "reason": found.reason,
        "words": words if words.startswith("cannot") else f"{words} {unit}",
    }


def _sentence(
    outcomes: Outcomes, arms: Sequence[Arm], differences: pl.DataFrame, rates: Sequence[dict[str, Any]], target: str
) -> str:
    """What the experiment shows, by rule: a gain is named only if its interval excludes 0."""
    models = differences.filter(~pl.col("is_baseline"))
    most = int(models["n_target_pairs"].max() or 0)  # type: ignore[arg-type]
    told = models.filter(pl.col("difference").is_not_null())
    gained = told.filter(pl.col("difference_low") > 0)
    lost = told.filter(pl.col("difference_high") < 0)
    parts = []
    for rows, verb in ((gained, "gains over"), (lost, "loses against")):
        if not rows.is_empty():
            named = "; ".join(
                f"{row['start']} with {row['n_target_pairs']:,} pairs {_figure(row, 'difference')}"
                for row in rows.to_dicts()
            )
            parts.append(f"On {target} a start {verb} nothing: {named}.")
    if told.height > 1 and not (gained.is_empty() and lost.is_empty()):
        n_named = gained.height + lost.height
        parts.append(
            f"That is {n_named} of {told.height} comparisons, where chance alone gives {0.05 * told.height:.1f}."
        )
    if gained.is_empty() and lost.is_empty() and not told.is_empty():
        smallest = float(told["smallest_effect"].min() or 0)  # type: ignore[arg-type]
        counted = "1 comparison" if told.height == 1 else f"{told.height} comparisons"
        parts.append(
            f"On {target} no start gains over starting from nothing, beyond chance, in {counted}; the most powerful "
            f"would detect {decimal(smallest)}."
        )
    parts += map(_rate_sentence, rates)
    parts += _against_rules(outcomes, [arm for arm in arms if arm.n_target == most], most)
    if models["n_seeds"].max() == 1:
        parts.append("One seed: the intervals hold for these models alone.")
    return " ".join(parts)


def _rate_sentence(rate: dict[str, Any]) -> str:
    what, words = str(rate["what"]), str(rate["words"])
    worth_words = f"their worth in {rate['unit']} cannot be told" if words.startswith("cannot") else f"worth {words}"
    return f"{what[0].upper()}{what[1:]}: {worth_words}."


def _against_rules(outcomes: Outcomes, arms: Sequence[Arm], n_target: int) -> list[str]:
    """Which starts, with the most target pairs, beat length alone and TF-IDF on the same pairs."""
    known = {arm.name: arm.start for arm in arms}
    alone = next((name for name, start in known.items() if start == NOTHING), None)
    sentences = []
    for rule in RULES:
        reference = outcomes.correct(rule, alone) if alone is not None else None
        if reference is None:
            continue
        better: list[str] = []
        worse: list[str] = []
        for name, start in known.items():
            correct = outcomes.correct(MODEL, name)
            gain = None if correct is None else _gain(correct, reference)
            if gain is not None and gain.is_named:
                (better if gain.value > 0 else worse).append(str(start))
        verdict = f"better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}"
        counted = "1 start" if len(known) == 1 else f"{len(known)} starts"
        sentences.append(f"{counted} with {n_target:,} pairs against {RULE_NAMES[rule]}: {verdict}.")
    return sentences


def _gain(correct: Correct, reference: Correct) -> Estimate | None:
    difference = correct.minus(reference)
    return None if difference is None else over_posts_and_seeds(difference, correct.posts)
