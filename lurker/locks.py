"""Locks between processes of one machine or shared disk; the system releases the lock of a process that dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lurker.errors import LurkerError
from lurker.progress import timed

WAITING = "Waiting"
"""What the seconds until a lock is free count as; they are no part of any work."""


@contextmanager
def locked(path: Path, *, waits: bool, busy: LurkerError | None = None) -> Iterator[None]:
    """Hold the lock of this path, a file that exists while the lock is held.

    Args:
        path: the lock's file.
        waits: wait for another holder; otherwise raise.
        busy: what to raise when another process holds the lock and `waits` is False.

    Raises:
        LurkerError: `busy`, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with timed(WAITING):
            descriptor = _acquire(path, waits=waits)
    except OSError as error:
        raise LurkerError(
            f"Cannot write {path}: {error.strerror or error}.", "Make its folder writable, or choose another one."
        ) from error
    if descriptor is None:
        raise busy or LurkerError(f"{path} is locked by another process.", "Wait until it has finished.")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def holder(path: Path) -> str:
    """Who holds the lock of this path, in words; empty when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        return os.read(descriptor, 200).decode(errors="replace") or "another process"
    finally:
        os.close(descriptor)


def _acquire(path: Path, *, waits: bool) -> int | None:
    """A descriptor that holds the lock; None when another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        try:
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its last holder removed the file while this process waited for it
