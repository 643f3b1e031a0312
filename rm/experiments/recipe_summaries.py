"""RECIPES and RECIPE_DIFFERENCES as people read them: means over seeds with intervals."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from lurker import decimals
from lurker.report import ResultTable
from rm.evaluation.simulator_truth import TRAITS
from rm.experiments.recipe_tables import TRUTH_NAME


def recipe_summaries(table: pl.DataFrame, differences: pl.DataFrame, manifest: dict[str, Any]) -> Sequence[ResultTable]:
    """Accuracy on each test, the reference's lead and, with truth, accuracy and correlations against it.

    Args:
        table: RECIPES.
        differences: RECIPE_DIFFERENCES.
        manifest: of the experiment.
    """
    shown = [
        ResultTable(f"Accuracy on {test}, the same pairs for every row", accuracy_summary(table, test))
        for test in manifest["tests"]
    ]
    lead = f"{manifest['reference']} minus the others, on the same"
    notes = [lead_sentence(differences, manifest)]
    if not manifest["has_truth"]:
        notes.append("The truth about these responses is not known: only the tests decide.")
    leads = difference_summary(differences, against_truth=False)
    shown.append(ResultTable(f"{lead} test pairs", leads, "\n".join(filter(None, notes))))
    if manifest["has_truth"]:
        correlations = "Correlation of the reward within posts (length and delay at fixed quality: 0 is best)"
        shown += [
            ResultTable("Accuracy on pairs ordered by true quality", truth_summary(table)),
            ResultTable(correlations, correlation_summary(table)),
            ResultTable(f"{lead} responses of known quality", difference_summary(differences, against_truth=True)),
        ]
    return [one for one in shown if one.rows]


def lead_sentence(differences: pl.DataFrame, manifest: dict[str, Any]) -> str:
    """The reference against the others on the first test; a lead is named only if its interval excludes 0.

    Args:
        differences: RECIPE_DIFFERENCES.
        manifest: of the experiment.
    """
    test = manifest["tests"][0]
    on_test = differences.filter((pl.col("measured_on") == test) & (pl.col("part") == "all"))
    sentences = []
    for (predictor, size), rows in on_test.group_by("predictor", "max_pairs", maintain_order=True):
        limit = "" if size is None else f" with at most {size:,} pairs"
        leads = ", ".join(_lead(row) for row in rows.to_dicts())
        sentences.append(f"{predictor}{limit} trained on {manifest['reference']}, tested on {test}: {leads}.")
    return " ".join(sentences)


def _lead(row: dict[str, Any]) -> str:
    """How the accuracy of the reference compares with that of one other set."""
    value, low, high = (row[name] for name in ("difference", "low", "high"))
    if low <= 0 <= high:
        return f"not told apart from {row['pairs']} ({decimals.difference(value, low, high)})"
    side = "better" if value > 0 else "worse"
    return f"{decimals.interval(abs(value), *sorted((abs(low), abs(high))))} {side} than {row['pairs']}"


def accuracy_summary(table: pl.DataFrame, test: str) -> list[dict[str, Any]]:
    """One row per pair set, predictor and size: mean accuracy over seeds and standard error, by part of the test."""
    shown = table.filter(pl.col("measured_on") == test)
    sizes = dict(shown.select("part", "n").unique(maintain_order=True).iter_rows())
    rows = []
    for names, part in _by_row(shown):
        row = dict(names)
        for name, n in sizes.items():
            title = f"{'any gap' if name == 'all' else name} (n = {n:,})"
            row |= {title: _mean(part.filter(pl.col("part") == name), with_error=True)}
        rows.append(row)
    return rows


def truth_summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per pair set, model and size: accuracy against truth, also where a shortcut points the other way."""
    shown = table.filter((pl.col("measured_on") == TRUTH_NAME) & (pl.col("measure") == "accuracy"))
    parts = shown["part"].unique(maintain_order=True)
    return [
        names | {part: _mean(rows.filter(pl.col("part") == part)) for part in parts}
        for names, rows in _by_row(shown.filter(~pl.col("is_baseline")))
    ]


def correlation_summary(table: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per pair set, model and size: correlation of the reward with each trait within posts."""
    shown = table.filter(pl.col("measure") != "accuracy")
    return [
        names | {name: _mean(rows.filter(pl.col("measure") == name)) for name in TRAITS}
        for names, rows in _by_row(shown.filter(~pl.col("is_baseline")))
    ]


def difference_summary(differences: pl.DataFrame, *, against_truth: bool) -> list[dict[str, Any]]:
    """One row per pair set, model and size: the reference's lead over it, on the tests or against truth."""
    rows = []
    is_shown = (pl.col("measured_on") == TRUTH_NAME) & (pl.col("part") == "all")
    shown = differences.filter(is_shown if against_truth else pl.col("measured_on") != TRUTH_NAME)
    for (pairs, predictor, size), part in shown.group_by("pairs", "predictor", "max_pairs", maintain_order=True):
        row: dict[str, Any] = {"than": pairs, "predictor": predictor, "at most": "all" if size is None else f"{size:,}"}
        for line in part.to_dicts():
            title = line["measured_on"] if line["part"] == "all" else f"{line['measured_on']}, {line['part']}"
            if line["measure"] != "accuracy":
                title = {"quality": "quality", "length": "|length|", "delay": "|delay|"}[line["measure"]]
            row[title] = decimals.difference(line["difference"], line["low"], line["high"])
        rows.append(row)
    return rows


def _by_row(table: pl.DataFrame) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """The names of each row and its part of the table; length and time, which need no training, once."""
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
    """Mean over seeds of a figure, of the ends of its interval and of its standard error, as text."""
    if rows.is_empty():
        return "–"
    value, low, high, error = rows.select("value", "low", "high", "standard_error").mean().row(0)
    return decimals.interval(value, low, high) + (f" s.e. {error:.3f}" if with_error else "")
