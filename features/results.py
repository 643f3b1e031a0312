"""Results of the library functions: they show themselves as tables, in a terminal and in a notebook."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lurker.confounders import CONFOUNDER_NAMES
from lurker.pair_sets import JUDGED_BY_PEOPLE
from lurker.report import Displayed, ResultTable


@dataclass(frozen=True, slots=True, repr=False)
class Audit(Displayed):
    """How well confounders alone name the winner."""

    report: dict[str, Any]
    """The content of audit.json."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Confounder -> why it is not available or limited; empty for the audit of a pair set."""

    @property
    def verdict(self) -> str:
        """The conclusion in a sentence."""
        return str(self.report["verdict"])

    @property
    def is_clean(self) -> bool:
        """Whether the intervals of both probes of all confounders contain 0.5 and are narrow enough."""
        return bool(self.report["is_clean"])

    def table(self) -> ResultTable:
        """The probe of each group of confounders that is farthest from chance, over all pairs, with the verdict."""
        rows: dict[str, dict[str, Any]] = {}
        for row in self.report["probes"]:
            if (row["split"], row["subreddit"]) != ("all", "all"):
                continue
            best = rows.get(row["confounders"])
            if best is None or abs(row["accuracy"] - 0.5) > abs(best["accuracy"] - 0.5):
                rows[row["confounders"]] = row
        shown = [_probe_row(row) | {"AUC": row["auc"]} for row in rows.values()]
        note = self.verdict
        if self.limits:
            reasons = (f"{CONFOUNDER_NAMES.get(name, name)} {reason}" for name, reason in self.limits.items())
            note += f" Limits: {'; '.join(reasons)}."
        return ResultTable(self._title, shown, note)

    def details(self) -> list[ResultTable]:
        """All probes by split; those of all confounders by subreddit; differences between chosen and rejected."""
        probes = [row for row in self.report["probes"] if row["subreddit"] == "all"]
        joint = [row for row in self.report["probes"] if (row["split"], row["confounders"]) == ("all", "joint")]
        before = {row["confounder"]: row["smd"] for row in self.report["differences_before"]}
        differences = [
            row | ({"before": before.get(row["confounder"])} if before else {}) for row in self.report["differences"]
        ]
        return [
            ResultTable(self._title, [{"split": row["split"]} | _probe_row(row) for row in probes]),
            ResultTable(
                "All confounders, by subreddit", [{"subreddit": row["subreddit"]} | _probe_row(row) for row in joint]
            ),
            ResultTable("Chosen minus rejected, in standard deviations", differences),
        ]

    @property
    def _title(self) -> str:
        return f"Audit of {self.report['pairs'] or 'a frame'}"


@dataclass(frozen=True, slots=True, repr=False)
class Description(Displayed):
    """What is known of a pair set without reading its pairs."""

    report: dict[str, Any]
    """The manifest, with the audit's verdict or None, bytes, day of the build and runs trained on it."""
    rules: dict[str, Any]
    """Fields of the recipe that differ from their defaults."""
    ledger: ResultTable

    def table(self) -> ResultTable:
        """Pairs by split, with audit and runs."""
        about, runs = self.report, self.report["runs"]
        title = f"Pair set {about['name']}: recipe {about['recipe']['name']}, built {about['built']}"
        counts = {"pairs": about["n_pairs"], "posts": about["n_posts"], "responses": about["n_responses"]}
        notes = [
            f"From r/{', r/'.join(about['subreddits'])}.",
            about["audit"] or _not_audited(about),
            f"Runs trained on it: {', '.join(runs) or 'none'}.",
            f"Digest {about['pairs_sha256']}.",
        ]
        return ResultTable(title, [counts | about["pairs_by_split"]], "\n".join(notes))

    def tables(self) -> list[ResultTable]:
        """`table()`, the rules and the ledger."""
        rules = [{"field": name, "value": json.dumps(value)} for name, value in self.rules.items()]
        return [ResultTable("Fields of the recipe that differ from their defaults", rules), self.ledger, self.table()]


@dataclass(frozen=True, slots=True, repr=False)
class SecondOpinion(Displayed):
    """What an auditor that shares no code with the first concludes."""

    report: dict[str, Any]
    """The content of second-opinion.json."""

    @property
    def verdict(self) -> str:
        """The conclusion in a sentence."""
        return str(self.report["verdict"])

    def table(self) -> ResultTable:
        """Accuracy of each model, with the verdict."""
        title = f"Second opinion on {self.report['pairs']}, mean of {self.report['n_cuts']} random re-splits"
        return ResultTable(title, self.report["models"], self.verdict)


@dataclass(frozen=True, slots=True, repr=False)
class TwoLooks(Displayed):
    """What the votes cast after a first look say about its labels."""

    report: dict[str, Any]
    """The content of two-looks.json."""

    @property
    def verdict(self) -> str:
        """The conclusion in two sentences."""
        one, losses, flag = (self.report[name] for name in ("agreement", "log_loss", "flag_gain"))
        luck = self.report["exposure_luck"]
        said = (
            f"Later votes agree with the first look's label in {_format_interval(one, 'agreement')} of "
            f"{one['n_pairs']:,} pairs, a draw counting half."
        )
        if flag is None:
            best = f"They are predicted best by exposure_luck={luck:g}, with a log loss of {losses['score']:.4f}."
            return f"{said} {best} Hardly any comment was flagged at its first look, so nothing is known of the flag."
        claim = "the flag helps" if flag["low"] > 0 else "the flag harms" if flag["high"] < 0 else "no difference found"
        return (
            f"{said} They are predicted best by exposure_luck={luck:g} and "
            f"controversial_drift={self.report['controversial_drift']:g}. Log loss of all pairs {losses['votes']:.4f} "
            f"with the flag, {losses['score']:.4f} without; of the {flag['n_pairs']:,} pairs with a flagged comment it "
            f"is lower by {_format_interval(flag, sign='+')} nats with the flag: {claim}."
        )

    def table(self) -> ResultTable:
        """Agreement by gap and age at the first look, with the verdict."""
        rows = _by_gap_and_age(self.report["by_gap_and_age"])
        title = f"How often later votes agree with the first look, subreddits of {self.report['pairs']}"
        return ResultTable(title, rows, self.verdict)

    def details(self) -> list[ResultTable]:
        """Agreement by flags, the reliability of label_confidence, and `table()`."""
        flags = [
            {"flags": row["flags"], "gap": row["gap"], "pairs": row["n_pairs"]}
            | {"agreement": _format_interval(row, "agreement"), "draws": row["draws"]}
            for row in self.report["by_flags"]
        ]
        bins = [
            {"label_model": row["label_model"], "pairs": row["n_pairs"], "predicted agreement": row["predicted"]}
            | {"agreement": _format_interval(row, "agreement"), "mean label_confidence": row["label_confidence"]}
            for row in self.report["reliability"]
        ]
        return [
            ResultTable("Agreement by Reddit's controversial flag at the first look", flags),
            ResultTable("Reliability: agreement that label_confidence predicts, and agreement seen", bins),
            self.table(),
        ]

    def plot(self) -> Any:
        """The reliability diagram."""
        from lurker.charts import reliability

        return reliability(self.report["reliability"])


@dataclass(frozen=True, slots=True, repr=False)
class NaturalExperiments(Displayed):
    """How well time predicts the winner in threads in another order or with hidden scores, and in ordinary ones."""

    report: dict[str, Any]
    """The content of natural.json."""

    def table(self) -> ResultTable:
        """How often the earlier response wins in each kind of thread, with the contrasts in words."""
        rows = [
            {"pairs": row["pairs"], "threads": row["threads"], "n": row["n_pairs"], "posts": row["n_posts"]}
            | {"earlier wins": _format_interval(row, "earlier_wins")}
            for row in self.report["threads"]
        ]
        title = f"Natural experiments: how often the earlier response of {self.report['pairs']} wins, by kind of thread"
        return ResultTable(title, rows, self.report["verdict"])


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Displayed):
    """Pair sets side by side."""

    report: dict[str, Any]
    """hard_test: what the sets are tested on; sets: counts, audit, accuracy on the hard test and lead of each."""

    def table(self) -> ResultTable:
        """TF-IDF trained on each set, tested on the same hard pairs."""
        hard = self.report["hard_test"]
        title = f"TF-IDF trained on each set, on the same {hard['n_pairs']:,} hard pairs of {hard['n_posts']:,} posts"
        rows = [
            {
                "trained on": one["pairs"],
                "recipe": one["recipe"],
                "training pairs": one["n_train_pairs"],
                "effective, all splits": round(one["n_effective"]),
                "posts": one["n_posts"],
                "TF-IDF on the hard test": _format_interval(one["hard_test"]),
                "lead over the first": _format_interval(one["lead"], sign="+"),
            }
            for one in self.report["sets"]
        ]
        return ResultTable(title, rows)

    def tables(self) -> list[ResultTable]:
        """The audits side by side, and `table()`."""
        audits = [_audit_row(one) for one in self.report["sets"]]
        return [ResultTable("Accuracy of confounders alone, on the set's own pairs", audits), self.table()]


@dataclass(frozen=True, slots=True, repr=False)
class Export(Displayed):
    """A folder that `datasets.load_dataset` reads."""

    report: dict[str, Any]
    """pairs, format, out, n_pairs (by split), is_audited."""

    def table(self) -> ResultTable:
        """Pairs by split."""
        title = f"{self.report['pairs']} as {self.report['format']} in {self.report['out']}"
        name = self.report["pairs"]
        note = f"The card says that {name} was not audited: run `lurker pairs audit {name}`, then export again."
        return ResultTable(title, [self.report["n_pairs"]], "" if self.report["is_audited"] else note)


def second_window_table(windows: Mapping[str, Any]) -> ResultTable:
    """How often later votes agree with the first look, by gap and age, over the pairs of a set.

    Args:
        windows: second_window of the manifest.
    """
    note = (
        "A pair is in a set only if its last scores differ, which favours agreement: `lurker pairs audit NAME --looks` "
        "judges all neighbours."
    )
    rows = _by_gap_and_age(windows["by_gap_and_age"])
    return ResultTable("Agreement of later votes, by gap and age at the first look", rows, note)


def _by_gap_and_age(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per gap, one column per age."""
    ages = list(dict.fromkeys(row["age"] for row in cells))
    rows = []
    for gap in dict.fromkeys(row["gap"] for row in cells):
        own = {row["age"]: row for row in cells if row["gap"] == gap}
        shown = {f"age {age}": _format_interval(own.get(age), "agreement") for age in ages}
        rows.append({"gap": gap, "pairs": sum(row["n_pairs"] for row in own.values())} | shown)
    return rows


def _probe_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One probe of an audit as people read it."""
    return {
        "confounders": CONFOUNDER_NAMES.get(row["confounders"], row["confounders"]),
        "probe": row["probe"],
        "pairs": row["n_pairs"],
        "posts": row["n_posts"],
        "accuracy": _format_interval(row, "accuracy"),
        "AUC": _format_interval(row, "auc"),
    }


def _audit_row(one: dict[str, Any]) -> dict[str, Any]:
    """One row per pair set: the better probe of each group of confounders, over all pairs."""
    audit = one["audit"]
    row: dict[str, Any] = {"pairs": one["pairs"], "n": one["n_pairs"]}
    for group in ("time", "length", "joint"):
        probes = [
            probe
            for probe in audit["probes"]
            if (probe["split"], probe["subreddit"], probe["confounders"]) == ("all", "all", group)
        ]
        best = max(probes, key=lambda probe: float(probe["accuracy"]))
        row[CONFOUNDER_NAMES[group]] = _format_interval(best, "accuracy")
    row["earlier wins"], row["longer wins"] = audit["earlier_wins"]["value"], audit["longer_wins"]["value"]
    row["label confidence"] = audit["label_confidence_mean"]
    row["truth"] = audit["truth"]["accuracy"] if "truth" in audit else None
    row["verdict"] = audit["verdict"].partition(":")[0]
    return row


def _format_interval(interval: Mapping[str, float] | None, name: str = "value", sign: str = "") -> str | None:
    if interval is None:
        return None
    ends = (f"{name}_low", f"{name}_high") if f"{name}_low" in interval else ("low", "high")
    value, low, high = (format(interval[key], f"{sign}.3f") for key in (name, *ends))
    return f"{value} [{low}, {high}]"


def _not_audited(about: Mapping[str, Any]) -> str:
    if about["recipe"]["name"] in JUDGED_BY_PEOPLE:
        return "Judgements of people have no votes and times to audit."
    return f"Not audited: `lurker pairs audit {about['name']}`."
