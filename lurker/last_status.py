"""What `lurker status` last found, kept until a file that it read changes; reading it needs no polars.

Polars takes half the time of a status to load. Files of a workspace are replaced, never changed, so their names, sizes
and times tell whether anything is new.
"""

import json
from pathlib import Path
from typing import Any

from lurker import __version__
from lurker.config import fingerprint

FILE = Path("cache", "status.json")
READ = (
    "lurker.json",
    "*/*/manifest.json",
    "*/*/*.parquet",
    "pairs/*/*.json",
    "runs/*/*.json",
    "policies/*/*.json",
    "votes/*/*.json",
    "staging/*",
)
"""What a status reads or counts."""


def state(root: Path) -> str | None:
    """A digest of the names, sizes and times of the files that a status reads; None while they cannot be told."""
    try:
        files = sorted({path for pattern in READ for path in root.glob(pattern)})
        stats = [(str(path.relative_to(root)), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files]
    except OSError:  # a file that another process has just replaced, or a loop of links
        return None
    return fingerprint(__version__, READ, str(root.absolute()), stats)


def read_last(root: Path, now: str | None) -> dict[str, Any] | None:
    """What the last status found, if it found the workspace in this state."""
    try:
        kept = json.loads((root / FILE).read_text(encoding="utf-8"))
        return dict(kept["found"]) if now is not None and kept["state"] == now else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
