"""Read lines of JSON objects into columns with compiled code; lines that it does not understand are listed.

`ingest.tables.parse` reads the listed lines with DuckDB, and all lines if there is no compiled library.
"""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest.native.library import Column, compiled, names

Position = tuple[int, int, int]
Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
N_BYTES = {"TEXT": 16, "WHOLE": 8, "REAL": 8, "FLAG": 1, "LOOSE": 16, "OBJECT": 0}
"""Bytes to allocate per value, by kind; a flag needs one bit only."""
SPARE = 16
"""Bytes behind the last value that compiled code may read, without using them."""
_ARROW = {"WHOLE": pa.int64(), "REAL": pa.float64(), "FLAG": pa.bool_()}
_local = threading.local()


def is_built() -> bool:
    """Whether there is a compiled library, built from the present sources."""
    return compiled() is not None


def count_lines(data: memoryview) -> int:
    """The number of newlines."""
    numbers = np.frombuffer(data, dtype=np.uint8)
    library = compiled()
    if library is None:
        return int(np.count_nonzero(numbers == ord("\n")))
    return int(library.lurker_count_lines(ctypes.c_void_p(numbers.ctypes.data), ctypes.c_int64(len(numbers))))


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows of the lines that were read, in order, and the positions of the others."""

    fields: dict[str, str]
    """Name -> kind of each field."""
    valid: dict[str, Bytes]
    """Name -> validity bitmap."""
    values: dict[str, Bytes]
    """Name -> values, in memory that this thread uses again for the next block; those of nulls are arbitrary."""
    texts: Bytes
    """All texts of more than 12 bytes."""
    n_text_bytes: int
    n_rows: int
    odd: list[Position]
    """Lines that were not read and are not blank: start and end in the data, and number from 0."""

    def frame(self, rows: Rows) -> pl.DataFrame:
        """Copy the rows of the given numbers; one column per field, and one of structs per object."""
        text = pa.py_buffer(self.texts[: self.n_text_bytes])
        columns = {name: self._array(name, rows, text) for name, kind in self.fields.items() if kind != "OBJECT"}
        return _nested(frame_of(columns), self.fields)

    def _array(self, name: str, rows: Rows, text: pa.Buffer) -> pa.Array:
        kind, is_valid = self.fields[name], _bits(self.valid[name], rows)
        values = _bits(self.values[name], rows) if kind == "FLAG" else _taken(self.values[name], rows, N_BYTES[kind])
        values[~is_valid.astype(bool)] = 0  # an arbitrary view could point outside the texts
        packed = np.packbits(values, bitorder="little") if kind == "FLAG" else values
        return array(kind, len(rows), np.packbits(is_valid, bitorder="little"), packed, text)


def read_lines(data: bytes | memoryview, fields: dict[str, str], n_lines: int | None = None) -> Lines:
    """Read complete lines; threads that call this run in parallel.

    Args:
        data: lines, each ending in a newline.
        fields: name -> kind of the value: TEXT, WHOLE, REAL, FLAG, LOOSE (a string, number or truth value, as text) or
            OBJECT; "a.b" is field b of the object a.
        n_lines: the number of lines, if it is known.

    Returns:
        The rows. Their columns are overwritten when the same thread calls again, their texts are not.
    """
    library = compiled()
    assert library is not None
    numbers = np.frombuffer(data, dtype=np.uint8)
    n_lines = count_lines(memoryview(data)) if n_lines is None else n_lines
    valid, values = _memory(fields, n_lines)
    texts, odd = np.empty(len(numbers) + SPARE, dtype=np.uint8), np.empty((n_lines, 3), dtype=np.int64)
    n_text_bytes, n_odd = ctypes.c_int64(), ctypes.c_int64()
    n_rows = library.lurker_read_lines(
        *(ctypes.c_void_p(numbers.ctypes.data), ctypes.c_int64(len(numbers))),
        *(_columns(library, fields, valid, values), ctypes.c_int64(len(fields))),
        *(ctypes.c_void_p(texts.ctypes.data), ctypes.byref(n_text_bytes)),
        *(ctypes.c_void_p(odd.ctypes.data), ctypes.byref(n_odd)),
    )
    if n_rows < 0:
        raise ValueError(f"too many fields to read: {len(fields)}")
    positions = [(start, end, number) for start, end, number in odd[: n_odd.value].tolist()]
    return Lines(fields, valid, values, texts, n_text_bytes.value, n_rows, positions)


def array(kind: str, n_rows: int, valid: Bytes | None, values: Any, text: pa.Buffer | None = None) -> pa.Array:
    """An Arrow column over filled memory, without a copy."""
    dtype = _ARROW.get(kind, pa.string_view())
    buffers = [None if valid is None else pa.py_buffer(valid), pa.py_buffer(values)]
    return pa.Array.from_buffers(dtype, n_rows, [*buffers, text] if kind not in _ARROW else buffers)


def frame_of(columns: dict[str, pa.Array]) -> pl.DataFrame:
    """A frame over columns, without a copy; converted all at once, since single arrays load Arrow's compute module."""
    return pl.DataFrame(pa.RecordBatch.from_arrays([*columns.values()], names=[*columns]))


def _memory(fields: dict[str, str], n_lines: int) -> tuple[dict[str, Bytes], dict[str, Bytes]]:
    """Bitmaps of zeros and values for `n_lines` rows.

    A thread gets the same memory every time, because page faults in fresh memory cost more than reading the lines.
    """
    kept = getattr(_local, "memory", None)
    if kept is None or kept[0] != fields or kept[1] < n_lines:
        valid = {name: np.empty(n_lines // 8 + 1, dtype=np.uint8) for name in fields}
        values = {name: np.empty(N_BYTES[kind] * n_lines + SPARE, dtype=np.uint8) for name, kind in fields.items()}
        kept = _local.memory = fields, n_lines, valid, values
    for bitmap in kept[2].values():
        bitmap[: n_lines // 8 + 1] = 0
    return kept[2], kept[3]


def _bits(bitmap: Bytes, rows: Rows) -> Any:
    return (bitmap[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1


def _taken(values: Bytes, rows: Rows, n_bytes: int) -> Any:
    return values[: len(values) // n_bytes * n_bytes].reshape(-1, n_bytes)[rows]


def _columns(
    library: ctypes.CDLL, fields: dict[str, str], valid: dict[str, Bytes], values: dict[str, Bytes]
) -> ctypes.Array[Column]:
    kinds, index_of = _kinds(library), {path: index for index, path in enumerate(fields)}
    columns = (Column * len(fields))()
    for path, kind in fields.items():
        parent, _, name = path.rpartition(".")
        memory = (valid[path].ctypes.data, values[path].ctypes.data)
        columns[index_of[path]] = Column(name.encode(), len(name), kinds[kind], index_of.get(parent, -1), *memory)
    return columns


@cache
def _kinds(library: ctypes.CDLL) -> dict[str, int]:
    """Name -> number of each kind of value, in the library's order."""
    return {name: number for number, name in enumerate(names(library, "lurker_kinds"))}


def _nested(flat: pl.DataFrame, fields: dict[str, str]) -> pl.DataFrame:
    """Columns in the order of `fields`, with those of an object in one column of structs."""
    columns = []
    for name, kind in fields.items():
        if kind == "OBJECT":
            inner = [flat[path].rename(path.partition(".")[2]) for path in flat.columns if path.startswith(f"{name}.")]
            columns.append(pl.DataFrame(inner).to_struct(name))
        elif "." not in name:
            columns.append(flat[name])
    return pl.DataFrame(columns)
