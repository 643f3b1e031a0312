"""Fingerprints of tables: what a manifest says of a file, so that a later reader can tell whether it is still that."""

import hashlib
from io import BytesIO

import polars as pl

ROWS_PER_HEADER = 50_000
"""The names of the columns are digested before every so many rows."""


class FrameDigest:
    """SHA-256 of rows as CSV, in the order in which they come: the same however they are cut into frames."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._digest = hashlib.sha256()

    def update(self, frame: pl.DataFrame) -> None:
        """Go on with these rows."""
        while not frame.is_empty():
            n_over = self.n_rows % ROWS_PER_HEADER
            part = frame.head(ROWS_PER_HEADER - n_over)
            lines = BytesIO()  # a string would be decoded only to be encoded again, five times the time
            part.write_csv(lines, include_header=n_over == 0)
            self._digest.update(lines.getbuffer())
            self.n_rows += part.height
            frame = frame.slice(part.height)

    def hexdigest(self) -> str:
        """The digest of all rows so far."""
        return self._digest.hexdigest()


def frame_sha256(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame's content as CSV, in the order of its rows and columns."""
    digest = FrameDigest()
    digest.update(frame)
    return digest.hexdigest()
