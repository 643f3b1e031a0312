"""What was exported from a workspace is noted in it, so that a purge can name the copies it cannot reach."""

import time
from pathlib import Path

from lurker.workspace import read_json, write_json

EXPORTS = "exports.json"
"""In the folder of a pair set or a run: where copies of it went."""


def note_export(folder: Path, out: Path) -> None:
    """Note that texts of a pair set, or the model of a run, went to `out`."""
    path = folder / EXPORTS
    notes = [note for note in read_json(path) if note["out"] != str(out.resolve())] if path.exists() else []
    write_json([*notes, {"out": str(out.resolve()), "exported_utc": time.time()}], path)


def exports_before(folder: Path, moment_utc: float) -> list[str]:
    """Copies that were made before a time, seconds since 1970, and are still there."""
    path = folder / EXPORTS
    notes = read_json(path) if path.exists() else []
    return [note["out"] for note in notes if note["exported_utc"] < moment_utc and Path(note["out"]).exists()]
