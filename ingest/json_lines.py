"""The compiled reader of JSON lines: ordinary lines into a frame, the others named by their place.

`json_lines.c` is built when the package is installed, where there is a C compiler. Without it `ingest.parse` reads all
lines by DuckDB, to the same rows; the whole of ingest then takes a sixth to a third more processor time.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

LIBRARY = Path(__file__).with_name("libjson_lines.so")
Place = tuple[int, int, int]
_Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
_KINDS = ("TEXT", "WHOLE", "REAL", "FLAG", "LOOSE", "OBJECT")
_N_BYTES = {"TEXT": 16, "WHOLE": 8, "REAL": 8, "FLAG": 1, "LOOSE": 16, "OBJECT": 0}
"""Room for a value, at least; zeros, so that nothing that is null looks like a text."""
_ARROW = {"WHOLE": pa.int64(), "REAL": pa.float64(), "FLAG": pa.bool_()}


class _Column(ctypes.Structure):
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
    return _library() is not None


def count_lines(data: memoryview) -> int:
    """How many newlines there are."""
    numbers = np.frombuffer(data, dtype=np.uint8)
    library = _library()
    if library is None:
        return int(np.count_nonzero(numbers == ord("\n")))
    return int(library.lurker_count_lines(numbers.ctypes.data, len(numbers)))


def read_lines(data: bytes | memoryview, fields: dict[str, str]) -> tuple[pl.DataFrame, list[Place]]:
    """Read whole lines, each ending in a newline; threads that call this do not wait for each other.

    fields: name -> TEXT, WHOLE, REAL, FLAG, LOOSE (the text of a string, number or truth value) or OBJECT; "a.b" is
    field b of the object a.
    Returns one row for each line that is as expected, in their order, a column a field, those of an object in a struct;
    and of every other line that is not blank where it starts and ends in `data`, and its number from 0.
    """
    library = _library()
    assert library is not None
    numbers = np.frombuffer(data, dtype=np.uint8)
    n_lines = count_lines(memoryview(data))
    valid = {name: np.zeros(n_lines // 8 + 1, dtype=np.uint8) for name in fields}
    values = {name: np.zeros(_N_BYTES[kind] * n_lines + 1, dtype=np.uint8) for name, kind in fields.items()}
    texts, odd = np.empty(len(numbers), dtype=np.uint8), np.empty(3 * n_lines, dtype=np.int64)
    n_text_bytes, n_odd = ctypes.c_int64(), ctypes.c_int64()
    n_rows = library.lurker_read_lines(
        *(numbers.ctypes.data, len(numbers), _columns(fields, valid, values), len(fields), texts.ctypes.data),
        *(ctypes.byref(n_text_bytes), odd.ctypes.data, ctypes.byref(n_odd)),
    )
    text = pa.py_buffer(texts[: n_text_bytes.value])
    found = {
        name: _series(name, kind, n_rows, [valid[name], values[name]], text)
        for name, kind in fields.items()
        if kind != "OBJECT"
    }
    places = odd[: 3 * n_odd.value].reshape(-1, 3).tolist()
    return _nested(found, fields), [(start, end, number) for start, end, number in places]


def _columns(fields: dict[str, str], valid: dict[str, _Bytes], values: dict[str, _Bytes]) -> Any:
    columns, places = (_Column * len(fields))(), {path: place for place, path in enumerate(fields)}
    for place, (path, kind) in enumerate(fields.items()):
        parent, _, name = path.rpartition(".")
        room = (valid[path].ctypes.data, values[path].ctypes.data)
        columns[place] = _Column(name.encode(), len(name), _KINDS.index(kind), places.get(parent, -1), *room)
    return columns


def _series(name: str, kind: str, n_rows: int, buffers: list[_Bytes], text: pa.Buffer) -> pl.Series:
    """A column over the memory that was filled, without a copy."""
    dtype = _ARROW.get(kind, pa.string_view())
    texts = [text] if dtype == pa.string_view() else []
    return pl.Series(name, pa.Array.from_buffers(dtype, n_rows, [*map(pa.py_buffer, buffers), *texts]))


def _nested(found: dict[str, pl.Series], fields: dict[str, str]) -> pl.DataFrame:
    """The columns in the order of `fields`, those of an object as one of structs."""
    columns = []
    for name, kind in fields.items():
        if kind == "OBJECT":
            inner = [
                series.rename(path.partition(".")[2]) for path, series in found.items() if path.startswith(f"{name}.")
            ]
            columns.append(pl.DataFrame(inner).to_struct(name))
        elif "." not in name:
            columns.append(found[name])
    return pl.DataFrame(columns)


@cache
def _library() -> ctypes.CDLL | None:
    if not LIBRARY.exists():
        return None
    library = ctypes.CDLL(str(LIBRARY))
    library.lurker_count_lines.restype = library.lurker_read_lines.restype = ctypes.c_int64
    library.lurker_count_lines.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.lurker_read_lines.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(_Column), ctypes.c_int64, ctypes.c_void_p),
        *(ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)),
    ]
    return library
