"""A record of exports from a workspace, so that a purge can name the copies it cannot reach."""

import time
from pathlib import Path

from lurker.files import read_json, write_json

EXPORTS = "exports.json"
"""In the folder of a pair set or run: where copies of it are."""


def note_export(folder: Path, out: Path) -> None:
    """Record that texts of a pair set, or the model of a run, were exported to `out`."""
    path = folder / EXPORTS
    notes = [note for note in read_json(path) if note["out"] != str(out.resolve())] if path.exists() else []
    write_json([*notes, {"out": str(out.resolve()), "exported_utc": time.time()}], path)


def exports_before(folder: Path, moment_utc: float) -> list[str]:
    """Copies made before a time (seconds since 1970) that still exist."""
    path = folder / EXPORTS
    notes = read_json(path) if path.exists() else []
    return [note["out"] for note in notes if note["exported_utc"] < moment_utc and Path(note["out"]).exists()]
