"""Fingerprints of tables: what a manifest says of a file, so that a later reader can tell whether it is still that."""

import hashlib
from io import BytesIO

import polars as pl


def frame_sha256(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame's content as CSV, in the order of its rows and columns."""
    digest = hashlib.sha256()
    for part in frame.iter_slices(50_000):
        lines = BytesIO()  # as bytes: a string of them would be decoded only to be encoded again, five times the time
        part.write_csv(lines)
        digest.update(lines.getbuffer())
    return digest.hexdigest()
