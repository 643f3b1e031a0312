"""What the alarms of a policy say: the table DRIFT in sentences."""

import polars as pl


def ringing(rows: pl.DataFrame) -> list[str]:
    """Sentences of the alarms that ring at the last step, each with the step since which it rings without a pause.

    Args:
        rows: DRIFT.
    """
    steps = sorted(rows["step"].unique().to_list())
    said = []
    for row in rows.filter((pl.col("step") == (steps[-1] if steps else -1)) & pl.col("is_ringing")).to_dicts():
        history = rows.filter(pl.col("alarm") == row["alarm"])
        rang = dict(history.select("step", "is_ringing").iter_rows())
        since = row["step"]
        for step in sorted(rang, reverse=True):
            if not rang[step]:
                break
            since = step
        said.append(f"{row['sentence']} Since step {since:,}.")
    return said
