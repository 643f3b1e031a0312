"""The report of `lurker ingest refresh`: new scores, deletions, erased texts and survivorship."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.report import IngestReport
from ingest.revisit.purge import PurgeReport
from ingest.revisit.refresh import RefreshReport
from ingest.revisit.survivorship import BAND_NAMES
from lurker.report import ResultTable

COUNTS = ("n_unripe", "n_looked", "n_absent", "n_changed", "n_gone", "n_ripe_now", "n_calls")


@dataclass(frozen=True, slots=True, repr=False)
class RefreshSummary(IngestReport):
    """What a refresh found, what a purge erased, and the share of items left per score band."""

    workspace: Path
    found: RefreshReport
    purged: PurgeReport | None
    survivorship: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        purged = None if self.purged is None else asdict(self.purged)
        fields = {"purged": purged, "survivorship": self.survivorship}
        return {"workspace": str(self.workspace), **self._counts(), **fields}

    def tables(self) -> list[ResultTable]:
        """Counts of the refresh, counts of the purge, and survivorship by score band."""
        counts = {name.removeprefix("n_").replace("_", " "): n for name, n in self._counts().items()}
        title = "Survivorship: share of items that are not deleted or removed, by score"
        return [
            ResultTable("Second look", [counts]),
            ResultTable("Texts erased", self._erased()),
            ResultTable(title, _by_subreddit(self.survivorship)),
        ]

    def remarks(self) -> list[str]:
        """Where erased texts are still in use, and how many items Reddit did not return."""
        remarks = [] if self.purged is None else _purge_remarks(self.purged)
        if self.found.n_absent:
            remarks.append(f"Reddit did not return {self.found.n_absent:,} items: their rows stay unchanged.")
        return remarks

    def _counts(self) -> dict[str, int]:
        return {name: getattr(self.found, name) for name in COUNTS}

    def _erased(self) -> list[dict[str, Any]]:
        if self.purged is None:
            return []
        row = {"posts": self.purged.n_posts, "comments": self.purged.n_comments}
        row |= {"pairs": sum(self.purged.pairs.values()), "staged rows": self.purged.n_staged}
        return [row | {"malformed lines": self.purged.n_malformed, "raters' remarks": self.purged.n_remarks}]


def _purge_remarks(purged: PurgeReport) -> list[str]:
    remarks = []
    if purged.pairs:
        files = ", ".join(sorted(purged.pairs))
        remarks.append(f"Pairs without a text keep their row in {files}: build these sets again before training.")
    if purged.n_predictions:
        remarks.append(
            f"{purged.n_predictions:,} predictions on pairs without a text stay: they hold ids and margins only."
        )
    if purged.runs:
        remarks.append(f"Models trained on erased texts stay: runs {', '.join(purged.runs)}. Train them again.")
    if purged.exports:
        files = ", ".join(purged.exports)
        remarks.append(f"Copies outside this workspace still hold erased texts: {files}. Delete and export them again.")
    return remarks


def _by_subreddit(survivors: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """One row per kind and subreddit, one column per score band."""
    bands = [name for name in BAND_NAMES if any(row["score_band"] == name for row in survivors)]
    rows = []
    for kind, subreddit in dict.fromkeys((row["kind"], row["subreddit"]) for row in survivors):
        group = {row["score_band"]: row for row in survivors if (row["kind"], row["subreddit"]) == (kind, subreddit)}
        counts = {name: sum(row[name] for row in group.values()) for name in ("n_items", "before", "after")}
        shares = {band: f"{group[band]['share_left']:.1%}" if band in group else None for band in bands}
        names = {"kind": kind, "subreddit": subreddit}
        rows.append(names | {name.replace("_", " "): n for name, n in counts.items()} | shares)
    return rows
