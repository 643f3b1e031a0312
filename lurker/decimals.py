"""Numbers as people read them: 0.733 [0.706, 0.758], with a true minus; 1 pair, 2,000 pairs."""

from collections.abc import Mapping
from typing import Any

MINUS = "−"


def decimal(value: float, digits: int = 3) -> str:
    """A number with a true minus, and none before a zero: 0.733, −0.019, 0.000."""
    shown = f"{abs(value):,.{digits}f}"
    return f"{MINUS}{shown}" if value < 0 and float(f"{value:.{digits}f}") else shown


def counted(n: int, noun: str) -> str:
    """A number of things, of a noun whose plural ends in s: 1 pair, 2,000 pairs."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def p_value(value: float) -> str:
    """A p of a test: 0.042, or <0.001 where three digits would show nothing."""
    return "<0.001" if value < 0.0005 else decimal(value)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign: +0.012, −0.012, 0.000."""
    shown = decimal(value, digits)
    return f"+{shown}" if value > 0 and float(f"{value:.{digits}f}") else shown


def interval(value: float, low: float, high: float) -> str:
    """A share with its 95 % interval."""
    return f"{decimal(value)} [{decimal(low)}, {decimal(high)}]"


def accuracy_text(row: Mapping[str, Any]) -> str:
    """The accuracy of a row with its interval, of the columns accuracy, accuracy_low and accuracy_high."""
    return interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"])


def difference(value: float, low: float, high: float) -> str:
    """A difference with its 95 % interval."""
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def percent(share: float, digits: int = 0) -> str:
    """A share of a whole, 0–1, in percent: 25 %. Accuracies are written as decimals."""
    return f"{100 * share:.{digits}f} %"
