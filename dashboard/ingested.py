"""Rows and dates of the ingested tables by subreddit."""

from functools import lru_cache
from typing import Any

import polars as pl

from dashboard.parquet import FileVersion, select, version
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS
from lurker.workspace import Workspace


def ingested_rows(workspace: Workspace) -> tuple[pl.DataFrame, list[LurkerError]]:
    """Rows and dates of each ingested table by subreddit, and the errors of what could not be read.

    Returns:
        Columns table, subreddit, n_rows, first_utc, last_utc (seconds; null if the table is empty).
    """
    rows: list[dict[str, Any]] = []
    errors: list[LurkerError] = []
    for table in (POSTS, COMMENTS, OBSERVATIONS):
        time_column = "observed_utc" if table is OBSERVATIONS else "created_utc"
        for path in sorted((workspace.root / table.name).glob("*/manifest.json")):
            try:
                manifest = workspace.manifest(table, path.parent.name)
                files = tuple(version(path.parent / file["name"]) for file in manifest["files"])
                span = _rows_and_dates(files, time_column)
                rows.append({"table": table.name, "subreddit": manifest["subreddit"], **span})
            except LurkerError as error:
                errors.append(error)
            except (KeyError, TypeError) as error:
                errors.append(LurkerError(f"{path} is not a manifest of {table.name}: {error!r}."))
    integers = dict.fromkeys(("n_rows", "first_utc", "last_utc"), pl.Int64)
    return pl.DataFrame(rows, schema={"table": pl.String, "subreddit": pl.String, **integers}), errors


@lru_cache(maxsize=512)
def _rows_and_dates(files: tuple[FileVersion, ...], time_column: str) -> dict[str, int | None]:
    if not files:
        return {"n_rows": 0, "first_utc": None, "last_utc": None}
    columns = f"count(*) AS n, min({time_column}) AS first, max({time_column}) AS last"
    counts = pl.concat([select(f"SELECT {columns} FROM read_parquet($path)", file) for file in files])
    n_rows, first, last = counts.select(pl.col("n").sum(), pl.col("first").min(), pl.col("last").max()).row(0)
    return {"n_rows": n_rows, "first_utc": first, "last_utc": last}
