"""Rows of files: JSON, JSONL, CSV, TSV or Parquet, alone, in a folder or in a tar archive, compressed or not."""

import csv
import gzip
import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import orjson
import polars as pl
import zstandard

from lurker.errors import CallError, LurkerError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Files that are read; others of a folder or an archive are not."""
COMPRESSED = (".zst", ".gz")
ZSTD_MAGIC, GZIP_MAGIC, PARQUET_MAGIC = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"PAR1"
MAX_WINDOW_BYTES = 2**31
CONVINCING_ID = "#id"
"""First column of UKPConvArg1's files, in which a quotation mark is text."""
KINDS = f"Files end in {', '.join(SUFFIXES)}, alone, in a folder, or in .tar; .zst and .gz are unpacked."

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file, unpacked."""

    name: str
    """as messages name it"""
    stem: str
    """its name without folders and endings"""
    content: bytes


def raw_files(path: Path) -> list[RawFile]:
    """The files at a path, sorted by name; those of a folder and of a tar archive are read if their ending is known.

    Raises:
        CallError: nothing is there, or no file that can be read.
        LurkerError: a file or an archive is damaged.
    """
    try:
        if path.is_dir():
            paths = sorted(one for one in path.rglob("*") if one.is_file() and _is_wanted(one.relative_to(path)))
            found = [_unpacked(str(one), one.read_bytes()) for one in paths]
        else:
            found = [_unpacked(str(path), path.read_bytes())]
    except OSError as error:
        raise CallError(f"Cannot read {path}: {error.strerror or error}.", KINDS) from error
    files = [member for file in found for member in _members(file)]
    if not files:
        raise CallError(f"{path} holds no file that can be read.", KINDS)
    return files


def file_rows(file: RawFile) -> list[Row]:
    """The rows of a file; its content says what it is, and its name never.

    Raises:
        LurkerError: it is damaged, holds no rows, or a row is no object.
    """
    if not file.content.strip():
        raise LurkerError(f"{file.name} is empty.", "Name a file with at least one judgement.")
    if file.content.startswith(PARQUET_MAGIC):
        rows = _parquet_rows(file)
    else:
        text = _text(file)
        rows = _json_rows(file, text) if text.lstrip().startswith(("{", "[")) else _delimited_rows(file, text)
    if not rows:
        raise LurkerError(f"{file.name} holds no rows.", "Name a file with at least one judgement.")
    return rows


def plain_stem(name: str) -> str:
    """A file's name without folders and the endings of formats, archives and compressions."""
    stem = PurePath(name).name
    while stem.lower().endswith((*SUFFIXES, *COMPRESSED, ".tar", ".tgz")):
        stem = stem.rpartition(".")[0]
    return stem


def _is_wanted(path: PurePath) -> bool:
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name.endswith(SUFFIXES) and not any(part.startswith(".") for part in path.parts)


def _unpacked(name: str, content: bytes) -> RawFile:
    try:
        if content.startswith(ZSTD_MAGIC):
            content = _unpack_zstd(content)
        elif content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
    except (zstandard.ZstdError, EOFError, OSError, zlib.error) as error:
        raise LurkerError(f"{name} is a damaged archive: {error}.", "Copy or download it again.") from error
    return RawFile(name, plain_stem(name), content)


def _unpack_zstd(content: bytes) -> bytes:
    parts = []
    while content:
        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        parts.append(decoder.decompress(content))
        if not decoder.eof:
            raise EOFError("it ends inside a compressed frame")
        content = decoder.unused_data
    return b"".join(parts)


def _members(file: RawFile) -> list[RawFile]:
    """The files of a tar archive; a file that is none is itself."""
    if not tarfile.is_tarfile(io.BytesIO(file.content)):
        return [file]
    try:
        with tarfile.open(fileobj=io.BytesIO(file.content)) as archive:
            wanted = [one for one in archive.getmembers() if one.isfile() and _is_wanted(PurePath(one.name))]
            contents = [(one.name, archive.extractfile(one)) for one in sorted(wanted, key=lambda one: one.name)]
            return [_unpacked(f"{file.name}:{name}", content.read()) for name, content in contents if content]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise LurkerError(f"{file.name} is a damaged archive: {error}.", "Copy or download it again.") from error


def _text(file: RawFile) -> str:
    try:
        return file.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LurkerError(f"{file.name} is not UTF-8 text: byte {error.start:,}.", KINDS) from error


def _parquet_rows(file: RawFile) -> list[Row]:
    try:
        return pl.read_parquet(io.BytesIO(file.content)).to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise LurkerError(f"{file.name} is a damaged Parquet file: {reason}.", "Write it again.") from error


def _json_rows(file: RawFile, text: str) -> list[Row]:
    """A JSON array of objects, or one object a line."""
    rows: list[Any] = []
    try:
        if text.lstrip().startswith("["):
            rows = orjson.loads(text)
        else:
            rows.extend(orjson.loads(line) for line in text.split("\n") if line.strip())
    except orjson.JSONDecodeError as error:
        where = "" if text.lstrip().startswith("[") else f"Row {len(rows) + 1:,} of "
        raise LurkerError(
            f"{where}{file.name} is not JSON: {error}.", "Write an array, or one object a line."
        ) from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise LurkerError(
                f"Row {number:,} of {file.name} is no JSON object, but {type(row).__name__}.",
                "Write an array of objects, or one object a line.",
            )
    return rows


def _delimited_rows(file: RawFile, text: str) -> list[Row]:
    """CSV or TSV with a header, whichever character the header has."""
    header = text.partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="\t" if "\t" in header else ",",
        quoting=csv.QUOTE_NONE if header.startswith(CONVINCING_ID) else csv.QUOTE_MINIMAL,
        strict=True,
    )
    rows: list[Row] = []
    try:
        names = next(reader)
        for values in reader:
            if values and len(values) != len(names):
                raise LurkerError(
                    f"Line {reader.line_num:,} of {file.name} has {len(values)} fields, its header {len(names)}.",
                    "Quote texts that contain the separator or a line's end.",
                )
            rows += [dict(zip(names, values, strict=True))] if values else []
    except csv.Error as error:
        raise LurkerError(f"Line {reader.line_num:,} of {file.name} is not CSV: {error}.", KINDS) from error
    return rows
