"""Shares and differences as people read them: .733 [.706, .758], with a true minus."""

MINUS = "−"


def decimal(value: float, digits: int = 3) -> str:
    """A number without the zero before its point: .733, −.019, 1.250."""
    text = f"{abs(value):.{digits}f}"
    shown = text[1:] if text.startswith("0.") else text
    return f"{MINUS}{shown}" if value < 0 and float(text) else shown


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign: +.012, −.012, .000."""
    shown = decimal(value, digits)
    return f"+{shown}" if value > 0 and float(f"{value:.{digits}f}") else shown


def interval(value: float, low: float, high: float) -> str:
    """A share with its 95 % interval."""
    return f"{decimal(value)} [{decimal(low)}, {decimal(high)}]"


def difference(value: float, low: float, high: float) -> str:
    """A difference with its 95 % interval."""
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"
