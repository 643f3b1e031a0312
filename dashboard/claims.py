"""What may be said in words, by rule: an effect is named only if its 95 % interval excludes what chance gives."""

from collections.abc import Mapping, Sequence
from typing import Any

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
        return "Nothing has been measured yet"
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


def room(best: float, ceiling: tuple[str, float, float, float]) -> tuple[str, str]:
    """The figure and the line below it: how far the best model is from what no model can exceed.

    Args:
        best: accuracy of the best model.
        ceiling: its name, accuracy and interval.
    """
    name, value, low, high = ceiling
    figure = decimal(value - best) if value > best else "none seen"
    return figure, f"{name} allows {interval(value, low, high)}"


def no_model(names: Sequence[str]) -> str:
    """Why there is no row of a model, for sets that were never trained on at a common size."""
    return "No model was trained on " + ", ".join(names) + " and tested on the hard test."
