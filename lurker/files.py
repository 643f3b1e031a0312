"""Files written atomically, as Parquet or JSON, and JSON read with errors that name the file."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lurker.errors import CallError, LurkerError

MAX_NAME_BYTES = 255 - len("..12345678.tmp")
"""Bytes of a file's name that leave room for the temporary name it is written under."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success it is flushed to disk and renamed to `path`, else removed.

    Raises:
        LurkerError: the file cannot be written, such as on a full disk.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise LurkerError(
            f"Cannot write {path}: {error.strerror or error}.", "Free some space, or choose another path."
        ) from error
    finally:
        with suppress(OSError):  # the folder may be no folder, or read-only
            temporary.unlink()


def require_file_name(path: Path) -> None:
    """Check, before work whose result goes there, that a file or folder of this name can be written atomically.

    Raises:
        CallError: the name is too long.
    """
    if (n_bytes := len(os.fsencode(path.name))) > MAX_NAME_BYTES:
        raise CallError(
            f"The name {path.name[:30]}… has {n_bytes} bytes, and {MAX_NAME_BYTES} are possible.",
            "Choose a shorter one with `--out`.",
        )


def write_parquet(
    frame: pl.DataFrame,
    path: Path,
    compression: Literal["zstd", "lz4"] = "zstd",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a frame as Parquet, atomically.

    Args:
        compression: "lz4" is faster and larger, for files that are soon read once.
        metadata: texts that the file keeps beside its columns.
    """
    with atomic_path(path) as temporary:
        level = 3 if compression == "zstd" else None
        frame.write_parquet(
            temporary, compression=compression, compression_level=level, row_group_size=128_000, metadata=metadata
        )


def write_json(value: Any, path: Path) -> None:
    """Write JSON, atomically; a number that is not finite raises ValueError."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        LurkerError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LurkerError(f"Cannot read {path}: {error}.") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        LurkerError: the file is missing, damaged, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise LurkerError(f"{path} is damaged: it should hold a JSON object, not {type(content).__name__}.")
    return content


def sql_string(text: str) -> str:
    """A DuckDB string literal."""
    return "'" + text.replace("'", "''") + "'"
