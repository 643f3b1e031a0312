"""The report of an arena as tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lurker import decimals
from lurker.report import Displayed, ResultTable
from lurker.votes.arenas import OTHERS

GROUP_NOTE = (
    "Intervals are clustered by post; that of the difference by post and by rater. Votes of held-out raters are never "
    "trained on."
)


@dataclass(frozen=True, slots=True, repr=False)
class ArenaResults(Displayed):
    """What the votes of an arena say."""

    report: dict[str, Any]
    """The content of results.json."""

    def table(self) -> ResultTable:
        """Each rater."""
        rows = [
            {
                "rater": row["rater"],
                "votes": row["votes"],
                "gold": interval(row, "gold"),
                "chose A": interval(row, "side_a"),
                "agrees with self": interval(row, "self_agreement"),
                "seconds": row["dwell_ms"] / 1000,
                "slope": interval(row, "slope"),
                "suspicious": ", ".join(row["suspicious"]) or "–",
            }
            for row in self.report["raters"]
        ]
        return ResultTable(
            f"Raters of {self.report['arena']}", rows, f"{self.report['headline']}. {self.report['summary']}"
        )

    def tables(self) -> list[ResultTable]:
        """Votes that count, agreement, ratings, and `table()`."""
        ledger = [{"votes": "written", "number": self.report["ledger"]["input"]}]
        ledger += [{"votes": one["reason"], "number": -one["n"]} for one in self.report["ledger"]["dropped"]]
        if n_others := self.report["ledger"]["kept"] - self.report["n_votes"]:
            ledger.append({"votes": OTHERS, "number": -n_others})
        ledger.append({"votes": "that count", "number": self.report["n_votes"]})
        agreement = [
            {"first": row["first"], "second": row["second"], "agree": interval(row, "agreement")}
            | {"n": row["n"], "posts": row["n_posts"]}
            for row in self.report["agreement"]
        ]
        ratings = [
            {
                "source": row["source"],
                "tier": row["tier"],
                "strength": interval(row, "strength"),
                "at equal length": interval(row, "at_equal_length"),
                "votes": row["votes"],
                "votes that would flip it with the next": row["votes_to_flip"],
            }
            for row in self.report["ratings"]
        ]
        found = [ResultTable("Votes", ledger), ResultTable("How often two judges prefer the same response", agreement)]
        groups = [
            {
                "judge": row["judge"],
                "raters trained on": interval(row, "in_group"),
                "held-out raters": interval(row, "held_out"),
                "held out minus the others": _difference(row),
                "votes": row["in_group_n"] + row["held_out_n"],
            }
            for row in self.report["rater_groups"]
        ]
        if groups:
            found.append(ResultTable("How often judges prefer what raters voted for", groups, GROUP_NOTE))
        if ratings:
            found.append(ResultTable("Sources, Bradley–Terry with ties, log-odds around their mean", ratings))
        return [*found, self.table()]


def interval(row: Mapping[str, Any], name: str) -> str | None:
    """The value with its interval; the ends are named after it or, if it is the row's only one, low and high."""
    if row[name] is None:
        return None
    low, high = (f"{name}_low", f"{name}_high") if f"{name}_low" in row else ("low", "high")
    return decimals.interval(row[name], row[low], row[high])


def _difference(row: Mapping[str, Any]) -> str | None:
    if row["difference"] is None:
        return None
    return decimals.difference(row["difference"], row["difference_low"], row["difference_high"])
