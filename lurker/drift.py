"""Which alarms of a policy ring, by the table DRIFT, and what they say."""

from typing import Any

import polars as pl


def ringing_alarms(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The alarms that ring at the last step, each with the step since which it rings without a pause, as `since`.

    Args:
        rows: DRIFT.
    """
    steps = sorted(rows["step"].unique().to_list())
    found = []
    for row in rows.filter((pl.col("step") == (steps[-1] if steps else -1)) & pl.col("is_ringing")).to_dicts():
        history = rows.filter(pl.col("alarm") == row["alarm"])
        rang = dict(history.select("step", "is_ringing").iter_rows())
        since = row["step"]
        for step in sorted(rang, reverse=True):
            if not rang[step]:
                break
            since = step
        found.append(row | {"since": since})
    return found


def ringing(rows: pl.DataFrame) -> list[str]:
    """Sentences of the alarms that ring at the last step of DRIFT, each with the step since which it rings."""
    return [f"{row['sentence']} Since step {row['since']:,}." for row in ringing_alarms(rows)]
