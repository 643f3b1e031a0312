"""An arena in memory, shared by all raters of a server; the content filters are applied again while votes go on.

A filter reads the tables of posts and comments, which can take seconds. So a vote never waits for it: while a thread
looks again, raters get what it found before.
"""

import atexit
import gc
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dashboard.arena.ballots import Texts
from dashboard.arena.design import Pool, pool_of
from dashboard.arena.filters import alarms, all_blocked, blocked_items
from lurker.errors import LurkerError
from lurker.progress import say
from lurker.votes.arenas import ITEMS_FILE, Arena, open_arena
from lurker.workspace import Workspace

FRESH_S = 60
"""After this time the content filters look whether the tables have changed."""
STALE_S = 600
"""What was read longer ago, as nobody voted meanwhile, is not shown: the next rater waits for the filters."""


@dataclass(frozen=True, slots=True)
class Served:
    """An arena with the items that may be shown."""

    arena: Arena
    pool: Pool
    texts: Texts


@dataclass(slots=True)
class _Kept:
    served: Served
    state: tuple[tuple[str, int], ...]
    """the files that the filters read, with the time of their last change"""
    looked_s: float
    is_looking: bool = False


_kept: dict[tuple[Path, str], _Kept] = {}
_lock = threading.Lock()


def served(root: Path, name: str) -> Served:
    """The arena with the items that may be shown now, or were at most `FRESH_S` and one look of the filters ago.

    Raises:
        CallError: there is no such arena.
        LurkerError: its files are damaged.
    """
    key = (root, name)
    with _lock:
        kept = _kept.get(key)
        age_s = time.monotonic() - kept.looked_s if kept else STALE_S
        if kept is None or age_s >= STALE_S:
            is_first = kept is None
            kept = _kept[key] = _look(root, name, kept)
            if is_first:
                _set_aside()
        elif age_s >= FRESH_S and not kept.is_looking:
            kept.is_looking = True
            threading.Thread(target=_look_again, args=(key, kept), daemon=True).start()
    return kept.served


def _look_again(key: tuple[Path, str], kept: _Kept) -> None:
    try:
        _kept[key] = _look(*key, kept)
    except LurkerError as error:  # the tables are being written, or damaged: what was found before stays
        say(f"The content filters of {key[1]} could not look again: {error}")
        kept.looked_s = time.monotonic()
    finally:
        kept.is_looking = False


def _look(root: Path, name: str, kept: _Kept | None) -> _Kept:
    """Read the arena and apply the filters, unless no file of theirs has changed."""
    state = _state(root, name)
    if kept is not None and kept.state == state:
        return _Kept(kept.served, state, time.monotonic())
    arena = open_arena(Workspace(root), name)
    items = arena.items()
    reasons = blocked_items(arena.workspace, items)
    for sentence in alarms(reasons, items.height):
        say(sentence)
    found = Served(arena, pool_of(items, all_blocked(reasons)), {row["item_id"]: row for row in items.to_dicts()})
    return _Kept(found, state, time.monotonic())


def _set_aside() -> None:
    """Take what stays for good, modules above all, out of the reach of the garbage collector.

    Python looks through everything only once a quarter more has been made since. Were the modules part of everything,
    that would come so late that the server grows by hundreds of MB.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else libraries complain at the end that they were not cleaned up


def _state(root: Path, name: str) -> tuple[tuple[str, int], ...]:
    files = [*root.glob("posts/*/manifest.json"), *root.glob("comments/*/manifest.json")]
    files.append(root / "votes" / name / ITEMS_FILE)
    return tuple(sorted((str(path), path.stat().st_mtime_ns) for path in files if path.exists()))
