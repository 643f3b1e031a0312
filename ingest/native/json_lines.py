"""The compiled reader of JSON lines: ordinary lines into columns, the others named by their place.

`json_lines.c` and its neighbours are built when the package is installed, where there is a C compiler. Without them
`ingest.tables.parse` reads all lines by DuckDB, to the same rows; the whole of ingest then takes half to three quarters more
time.
"""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

LIBRARY = Path(__file__).with_name("libjson_lines.so")
Place = tuple[int, int, int]
Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
_KINDS = ("TEXT", "WHOLE", "REAL", "FLAG", "LOOSE", "OBJECT")
N_BYTES = {"TEXT": 16, "WHOLE": 8, "REAL": 8, "FLAG": 1, "LOOSE": 16, "OBJECT": 0}
"""Room for a value, at least."""
SPARE = 16
"""Bytes behind a text that may be read, though they mean nothing."""
_ARROW = {"WHOLE": pa.int64(), "REAL": pa.float64(), "FLAG": pa.bool_()}
_local = threading.local()


class Column(ctypes.Structure):
    """As `column` in json_lines.c."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("length", ctypes.c_int64),
        ("kind", ctypes.c_int64),
        ("parent", ctypes.c_int64),
        ("valid", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    )


def is_built() -> bool:
    """Whether the compiled reader is there."""
    return compiled() is not None


def count_lines(data: memoryview) -> int:
    """How many newlines there are."""
    numbers = np.frombuffer(data, dtype=np.uint8)
    library = compiled()
    if library is None:
        return int(np.count_nonzero(numbers == ord("\n")))
    return int(library.lurker_count_lines(numbers.ctypes.data, len(numbers)))


@dataclass(frozen=True, slots=True)
class Lines:
    """What the reader found: one row for each line that is as expected, in their order.

    fields: name -> kind. valid, values: a bitmap and the values of each field; those of a null are of any kind. texts:
    all texts of more than 12 bytes, then room for more. odd: of every other line that is not blank, where it starts and
    ends in the data, and its number from 0.
    """

    fields: dict[str, str]
    valid: dict[str, Bytes]
    values: dict[str, Bytes]
    texts: Bytes
    n_text_bytes: int
    n_rows: int
    odd: list[Place]

    def frame(self, rows: Rows) -> pl.DataFrame:
        """A copy of some rows: a column a field, those of an object in a struct."""
        text = pa.py_buffer(self.texts[: self.n_text_bytes])
        found = {name: self._array(name, rows, text) for name, kind in self.fields.items() if kind != "OBJECT"}
        return _nested(frame_of(found), self.fields)

    def _array(self, name: str, rows: Rows, text: pa.Buffer) -> pa.Array:
        kind, is_valid = self.fields[name], _bits(self.valid[name], rows)
        values = _bits(self.values[name], rows) if kind == "FLAG" else _taken(self.values[name], rows, N_BYTES[kind])
        values[~is_valid.astype(bool)] = 0  # so that nothing that is null looks like a text
        packed = np.packbits(values, bitorder="little") if kind == "FLAG" else values
        return array(kind, len(rows), np.packbits(is_valid, bitorder="little"), packed, text)


def read_lines(data: bytes | memoryview, fields: dict[str, str], n_lines: int | None = None) -> Lines:
    """Read whole lines, each ending in a newline; threads that call this do not wait for each other.

    fields: name -> TEXT, WHOLE, REAL, FLAG, LOOSE (the text of a string, number or truth value) or OBJECT; "a.b" is
    field b of the object a. n_lines: how many there are, where that is known.
    The columns of what is returned are overwritten when the same thread calls again; the texts are not.
    """
    library = compiled()
    assert library is not None
    numbers = np.frombuffer(data, dtype=np.uint8)
    n_lines = count_lines(memoryview(data)) if n_lines is None else n_lines
    valid, values = _room(fields, n_lines)
    texts, odd = np.empty(2 * len(numbers) + 4096, dtype=np.uint8), np.empty(3 * n_lines, dtype=np.int64)
    n_text_bytes, n_odd = ctypes.c_int64(), ctypes.c_int64()
    n_rows = library.lurker_read_lines(
        *(numbers.ctypes.data, len(numbers), _columns(fields, valid, values), len(fields), texts.ctypes.data),
        *(ctypes.byref(n_text_bytes), odd.ctypes.data, ctypes.byref(n_odd)),
    )
    places = odd[: 3 * n_odd.value].reshape(-1, 3).tolist()
    left = [(start, end, number) for start, end, number in places]
    return Lines(fields, valid, values, texts, n_text_bytes.value, n_rows, left)


def array(kind: str, n_rows: int, valid: Bytes | None, values: Bytes, text: pa.Buffer) -> pa.Array:
    """A column over memory that was filled, without a copy."""
    dtype = _ARROW.get(kind, pa.string_view())
    buffers = [None if valid is None else pa.py_buffer(valid), pa.py_buffer(values)]
    return pa.Array.from_buffers(dtype, n_rows, [*buffers, text] if kind not in _ARROW else buffers)


def frame_of(columns: dict[str, pa.Array]) -> pl.DataFrame:
    """A frame over columns, without a copy; all at once, for one by one Polars imports Arrow's slow compute module."""
    return pl.DataFrame(pa.RecordBatch.from_arrays([*columns.values()], names=[*columns]))


def _room(fields: dict[str, str], n_lines: int) -> tuple[dict[str, Bytes], dict[str, Bytes]]:
    """Columns for so many rows, none of them valid; a thread's are used again: fresh memory costs more than reading."""
    kept = getattr(_local, "room", None)
    if kept is None or kept[0] != fields or kept[1] < n_lines:
        valid = {name: np.empty(n_lines // 8 + 1, dtype=np.uint8) for name in fields}
        values = {name: np.empty(N_BYTES[kind] * n_lines + SPARE, dtype=np.uint8) for name, kind in fields.items()}
        kept = _local.room = fields, n_lines, valid, values
    for bitmap in kept[2].values():
        bitmap[: n_lines // 8 + 1] = 0
    return kept[2], kept[3]


def _bits(bitmap: Bytes, rows: Rows) -> Any:
    return (bitmap[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1


def _taken(values: Bytes, rows: Rows, n_bytes: int) -> Any:
    return values[: len(values) // n_bytes * n_bytes].reshape(-1, n_bytes)[rows]


def _columns(fields: dict[str, str], valid: dict[str, Bytes], values: dict[str, Bytes]) -> Any:
    columns, places = (Column * len(fields))(), {path: place for place, path in enumerate(fields)}
    for place, (path, kind) in enumerate(fields.items()):
        parent, _, name = path.rpartition(".")
        room = (valid[path].ctypes.data, values[path].ctypes.data)
        columns[place] = Column(name.encode(), len(name), _KINDS.index(kind), places.get(parent, -1), *room)
    return columns


def _nested(found: pl.DataFrame, fields: dict[str, str]) -> pl.DataFrame:
    """The columns in the order of `fields`, those of an object as one of structs."""
    columns = []
    for name, kind in fields.items():
        if kind == "OBJECT":
            inner = [
                found[path].rename(path.partition(".")[2]) for path in found.columns if path.startswith(f"{name}.")
            ]
            columns.append(pl.DataFrame(inner).to_struct(name))
        elif "." not in name:
            columns.append(found[name])
    return pl.DataFrame(columns)


@cache
def compiled() -> ctypes.CDLL | None:
    """The compiled code, where it was built of these sources."""
    if not LIBRARY.exists():
        return None
    library = ctypes.CDLL(str(LIBRARY))
    names = [f"lurker_{name}" for name in ("count_lines", "read_lines", "comments", "order", "count_texts")]
    if not all(hasattr(library, name) for name in names):
        return None  # of an older version, which was not installed again
    for name in names:
        getattr(library, name).restype = ctypes.c_int64
    library.lurker_fill_names.restype = None
    library.lurker_count_lines.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.lurker_read_lines.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(Column), ctypes.c_int64, ctypes.c_void_p),
        *(ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)),
    ]
    return library
