"""What may be said in words, by rule: an effect is named only if its 95 % interval excludes what chance gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lurker.charts import Ceiling, Fitted
from lurker.comparison import Comparison
from lurker.decimals import decimal, difference, interval

CHANCE = 0.5
Probe = Mapping[str, Any]


def headline(leakiest: tuple[str, Probe] | None, compared: Comparison | None) -> str:
    """The headline of the findings.

    Args:
        leakiest: the pair set whose strongest probe is the most accurate, and that probe.
        compared: the same model trained on the cleanest set (first) and on the leakiest (second), on the hard test.
    """
    if compared is not None:
        first, second = compared.first, compared.second
        gain = decimal(abs(compared.difference))
        if compared.low > 0:
            return f"Pairs of {first} teach {gain} more accuracy than pairs of {second}"
        if compared.high < 0:
            return f"Pairs of {second} teach {gain} more accuracy than pairs of {first}, though shortcuts predict them"
        return f"Models of {first} and of {second} are not told apart on the hard test"
    if leakiest is None:
        return "No pair set has been audited yet"
    name, probe = leakiest
    if probe["accuracy_low"] > CHANCE:
        return f"Without reading a word, shortcuts name the winners of {name} {decimal(probe['accuracy'])} of the time"
    return "No shortcut was found that predicts a winner"


def paired_evidence(compared: Comparison) -> str:
    """The figures behind the headline."""
    figures = difference(compared.difference, compared.low, compared.high)
    where = f"{compared.n_pairs:,} pairs of {compared.n_posts:,} posts"
    return f"{compared.first} minus {compared.second} on the hard test, pair by pair: {figures} ({where})"


def against_coin(name: str, value: float, low: float, high: float) -> str:
    """Whether a model is better than a coin."""
    figures = interval(value, low, high)
    if low > CHANCE:
        return f"{name}: {figures}"
    return f"{name}: worse than a coin, {figures}" if high < CHANCE else f"{name}: no better than a coin, {figures}"


def best_on_test(model: str, row: Mapping[str, Any]) -> tuple[tuple[float, float, float], str]:
    """The best accuracy of a model and of TF-IDF with its interval, and the line that names which it is.

    Args:
        model: its SPEC.
        row: pairs, and accuracy and tfidf with their ends; tfidf may be null.
    """
    of_model = (row["accuracy"], row["accuracy_low"], row["accuracy_high"])
    of_words = (row["tfidf"], row["tfidf_low"], row["tfidf_high"])
    if of_words[0] is None or of_words[0] <= of_model[0]:
        return of_model, against_coin(f"{model} on {row['pairs']}", *of_model)
    words = against_coin(f"TF-IDF on {row['pairs']}", *of_words)
    return of_words, f"{words}; {model} reaches {interval(*of_model)}"


def room(best: tuple[float, float, float], ceiling: Ceiling) -> tuple[str, str]:
    """The figure and the line below it: how far the best model is from what no model can exceed.

    Both come from the same test, so their errors are not independent. From the one's end to the other's, the interval
    holds at least 95 % however they depend on each other: standard deviations of a difference add up at most.

    Args:
        best: its accuracy with the ends of its interval.
    """
    value, low, high = best
    allowed = f"{ceiling.name} allows {interval(ceiling.accuracy, ceiling.low, ceiling.high)}"
    if ceiling.accuracy <= value:
        return "none seen", allowed
    least, most = decimal(max(ceiling.low - high, 0.0)), decimal(ceiling.high - low)
    return decimal(ceiling.accuracy - value), f"between {least} and {most}; {allowed}"


def of_fit(fit: Fitted, curve: pl.DataFrame) -> list[str]:
    """What a fitted curve says about accuracy: where it levels off, and how its prediction came out.

    Args:
        curve: the runs' accuracies, as `lurker.seeds.mean_over_seeds` returns them.
    """
    said = []
    if fit.limit is not None:
        said.append(f"The fitted curve levels off at {interval(*fit.limit)}.")
    if fit.predicted is not None:
        came = curve.filter(~pl.col("is_baseline") & pl.col("predictor").is_in(fit.curve["predictor"].unique()))
        value = float(came.sort("n_parameters", "n_train_pairs")["accuracy"][-1])
        place = "as predicted" if fit.predicted[1] <= value <= fit.predicted[2] else "outside its interval"
        said.append(
            f"The largest size, predicted from the others: {interval(*fit.predicted)}; {decimal(value)} came, {place}."
        )
    return said


def no_model(names: Sequence[str]) -> str:
    """Why there is no row of a model, for sets that were never trained on at a common size."""
    return "No model was trained on " + ", ".join(names) + " and tested on the hard test."
