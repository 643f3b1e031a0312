"""What each rule dropped: every dropped row is counted under one reason, and the counts add up to the input."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True)
class Ledger:
    """Number of input rows and, in the order of the rules, how many rows each rule dropped."""

    n_input: int
    dropped: tuple[tuple[str, int], ...] = ()

    @property
    def n_kept(self) -> int:
        """Rows that no rule dropped."""
        return self.n_input - sum(n for _, n in self.dropped)

    def drop(self, reason: str, n_dropped: int) -> "Ledger":
        """The ledger with one more rule; a rule that dropped nothing adds no line."""
        return Ledger(self.n_input, (*self.dropped, (reason, n_dropped))) if n_dropped else self

    def drop_counted(self, counts: Iterable[Counter[str]], reasons: Iterable[str]) -> "Ledger":
        """The ledger with the sums of these counts, in the order of the reasons."""
        total = sum(counts, Counter[str]())
        ledger = self
        for reason in reasons:
            ledger = ledger.drop(reason, total[reason])
        return ledger

    def to_dict(self) -> dict[str, Any]:
        """The form of a manifest: input, dropped (a list of reason and n), kept."""
        dropped = [{"reason": reason, "n": n} for reason, n in self.dropped]
        return {"input": self.n_input, "dropped": dropped, "kept": self.n_kept}


def first_reason(rules: dict[str, pl.Expr]) -> pl.Expr:
    """The name of the first rule that is true of a row, null if none is; a rule that is null counts as false."""
    return pl.coalesce(pl.when(is_dropped).then(pl.lit(reason)) for reason, is_dropped in rules.items())


def apply_rules(rows: pl.DataFrame, rules: dict[str, pl.Expr]) -> tuple[pl.DataFrame, Ledger]:
    """Drop the rows for which a rule is true.

    Args:
        rules: reason -> true for a row to drop.

    Returns:
        The other rows in their order, and the ledger.
    """
    judged = rows.with_columns(_reason=first_reason(rules))
    counts = dict(judged.group_by("_reason").len().iter_rows())
    ledger = Ledger(rows.height)
    for reason in rules:
        ledger = ledger.drop(reason, counts.get(reason, 0))
    return judged.filter(pl.col("_reason").is_null()).drop("_reason"), ledger


def add_up(ledgers: Iterable[Ledger], reasons: Iterable[str]) -> Ledger:
    """The sum of several ledgers, in the order of the given reasons."""
    n_input, counts = 0, Counter[str]()
    for ledger in ledgers:
        n_input += ledger.n_input
        counts.update(dict(ledger.dropped))
    return Ledger(n_input).drop_counted([counts], reasons)


def total(ledgers: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of ledgers in the form of manifests; reasons in the order in which they first appear."""
    dropped: dict[str, int] = {}
    for ledger in ledgers:
        for line in ledger["dropped"]:
            dropped[line["reason"]] = dropped.get(line["reason"], 0) + line["n"]
    return Ledger(sum(ledger["input"] for ledger in ledgers), tuple(dropped.items())).to_dict()
