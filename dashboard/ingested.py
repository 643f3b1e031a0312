"""Rows and dates of the ingested tables by subreddit."""

from functools import lru_cache
from typing import Any

import polars as pl

from dashboard.queries import FileVersion, rows_and_dates, version
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
    parts = [rows_and_dates(file, time_column) for file in files]
    first = [one for _, one, _ in parts if one is not None]
    last = [one for _, _, one in parts if one is not None]
    n_rows = sum(n for n, _, _ in parts)
    return {"n_rows": n_rows, "first_utc": min(first, default=None), "last_utc": max(last, default=None)}
