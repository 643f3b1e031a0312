"""Digests of tables, which manifests record so that readers notice a changed file."""

import hashlib
from io import BytesIO

import polars as pl

ROWS_PER_HEADER = 50_000
"""The column names are digested again after this many rows."""


class FrameDigest:
    """SHA-256 of rows as CSV, in order; independent of how the rows are split into frames."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._digest = hashlib.sha256()

    def update(self, frame: pl.DataFrame) -> None:
        """Add rows."""
        while not frame.is_empty():
            n_over = self.n_rows % ROWS_PER_HEADER
            part = frame.head(ROWS_PER_HEADER - n_over)
            lines = BytesIO()  # a string would be decoded and encoded again, which takes five times as long
            part.write_csv(lines, include_header=n_over == 0)
            self._digest.update(lines.getbuffer())
            self.n_rows += part.height
            frame = frame.slice(part.height)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return self._digest.hexdigest()


def frame_sha256(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame as CSV, in the order of its rows and columns."""
    digest = FrameDigest()
    digest.update(frame)
    return digest.hexdigest()
