"""What no model can exceed on a test: the simulator's truth where it is known, else what an experiment estimated."""

from collections.abc import Mapping

import polars as pl

from dashboard import documents, experiments
from dashboard.documents import Audit
from dashboard.queries import version
from lurker.charts import Ceiling
from lurker.errors import LurkerError
from lurker.workspace import Workspace

TRUTH = "the truth"


def ceiling_of(workspace: Workspace, pairs: str, audits: Mapping[str, Audit]) -> Ceiling | None:
    """The ceiling of a pair set; None if nothing tells.

    The simulator's truth if it is known, else the narrowest estimate of the text ceiling, else of the vote ceiling.

    Args:
        pairs: name of the set that is tested on.
        audits: of the pair sets, by name.
    """
    truth = audits[pairs].truth if pairs in audits else None
    if truth is not None:
        return Ceiling(TRUTH, *truth)
    found: list[tuple[bool, float, str, Ceiling]] = []
    for name in experiments.experiment_names(workspace, "ceiling"):
        try:
            if documents.experiment_manifest(workspace, name).get("pairs") != pairs:
                continue
            table = experiments.ceilings(version(experiments.experiment_file(workspace, name, "ceiling")))
        except LurkerError:  # the page of data names it
            continue
        for row in table.filter(pl.all_horizontal(pl.col("value", "low", "high").is_not_null())).iter_rows(named=True):
            label = f"{row['ceiling']} ceiling ({row['estimator']})"
            one = Ceiling(label, row["value"], row["low"], row["high"])
            found.append((row["ceiling"] == "vote", one.high - one.low, label, one))
    return min(found, key=lambda entry: entry[:3])[3] if found else None
