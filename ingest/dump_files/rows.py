"""JSON and CSV in any arrangement -> rows as dumps have them, one flat JSON object per line.

Reddit's own listings and threads nest items in `data`, `children` and `replies`; downloaders write a post with its
comments inside. Rows inside others inherit what these leave out: the post, the parent, the subreddit, the time of the
look.
"""

import codecs
import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ingest.dump_files.decompress import CutShortError, Fill
from ingest.tables.parse import RAW_TYPES

READ_BYTES = 1 << 20
MAX_VALUE_CHARACTERS = 256 << 20
_BETWEEN = re.compile(r"[\s,\[\]\ufeff\x00\x1e]*")
"""What may stand between rows: the brackets and commas of arrays, and space."""
_NEAR_END = 16
"""Characters from the end of the text within which a JSON error may only mean that the rest is not read yet."""
_NEXT_ROW = re.compile(r"\}\s*,\s*\{")
"""Where the next row begins after one that cannot be read, in an array that is written in one line."""
_INSIDE = ("comments", "replies")
_WRAPPERS = ("data", "children")
_INHERITED = ("link_id", "parent_id", "subreddit", "retrieved_on", "retrieved_utc")
_PERMALINK = re.compile(r"/r/([A-Za-z0-9_.-]+)/comments/")
_TRUE, _FALSE = frozenset({"true", "1", "t", "yes"}), frozenset({"false", "0", "f", "no"})
CSV_NEEDS = ("id", "created_utc", "subreddit")


def is_flat(value: Any) -> bool:
    """Whether an object is a row as dumps have it: with nothing inside that is a row, too, and no field renamed."""
    if not isinstance(value, dict):
        return True
    nested = any(isinstance(value.get(name), dict | list) and value[name] for name in (*_INSIDE, *_WRAPPERS))
    owner = isinstance(value.get("subreddit"), dict) or isinstance(value.get("author"), dict)
    renamed = ("submission" in value and "link_id" not in value) or ("permalink" in value and "subreddit" not in value)
    return not (nested or owner or renamed)


def flat_rows(value: Any) -> Iterator[dict[str, Any]]:
    """The rows in a JSON value, those inside others after them, with the fields that are read."""
    stack: list[tuple[Any, dict[str, Any]]] = [(value, {})]
    while stack:
        value, inherited = stack.pop()
        if isinstance(value, list):
            stack += [(one, inherited) for one in value]
        elif isinstance(value, dict) and (inner := _wrapped(value)) is not None:
            stack.append((inner, inherited))
        elif isinstance(value, dict):
            row = _row(value, inherited)
            yield row
            inside = [value[name] for name in _INSIDE if isinstance(value.get(name), dict | list)]
            stack.append((inside, _for_inside(row)))


def _wrapped(value: dict[str, Any]) -> list[Any] | None:
    """What a listing, or another object that is no row itself, holds; None for a row."""
    is_thing = "kind" in value and isinstance(value.get("data"), dict)
    if "id" in value and not is_thing:
        return None
    if named := [value[name] for name in _WRAPPERS if isinstance(value.get(name), dict | list)]:
        return named
    inner = [one for one in value.values() if isinstance(one, list) and any(isinstance(item, dict) for item in one)]
    return inner or None


def _row(value: dict[str, Any], inherited: dict[str, Any]) -> dict[str, Any]:
    row = {name: value[name] for name in RAW_TYPES if name in value}
    row["subreddit"] = _subreddit(value) or inherited.get("subreddit")
    if isinstance(author := value.get("author"), dict):
        row["author"] = author.get("name")
    if row.get("author") == "DELETED":  # as the Bulk Downloader for Reddit writes it
        row["author"] = "[deleted]"
    if isinstance(post := value.get("submission"), str) and not row.get("link_id"):
        row["link_id"] = f"t3_{post.removeprefix('t3_')}"
    for name in _INHERITED:
        if row.get(name) is None and inherited.get(name) is not None:
            row[name] = inherited[name]
    return row


def _subreddit(value: dict[str, Any]) -> str | None:
    """The name, where it stands: as a text, inside an object, in the link, or in a comment below the post."""
    name = value.get("subreddit")
    if isinstance(name, dict):
        name = name.get("display_name") or name.get("name")
    if isinstance(name, str):
        return name
    if match := _PERMALINK.search(str(value.get("permalink", ""))):
        return match[1]
    below = value.get("comments")
    first = below[0] if isinstance(below, list) and below else None
    return first.get("subreddit") if isinstance(first, dict) and isinstance(first.get("subreddit"), str) else None


def _for_inside(row: dict[str, Any]) -> dict[str, Any]:
    """What rows inside this one inherit."""
    plain = re.sub(r"^t[13]_", "", str(row.get("id")))
    is_comment = row.get("body") is not None and row.get("link_id")
    link = row["link_id"] if is_comment else f"t3_{plain}"
    own = {"link_id": link, "parent_id": f"t1_{plain}" if is_comment else link}
    return {**{name: row.get(name) for name in _INHERITED}, **own}


# --- streams ---------------------------------------------------------------------------------------------------------


def json_lines(fill: Fill, encoding: str = "utf-8") -> Iterator[bytes]:
    """The rows of a stream of JSON values, one line each; what is no JSON object comes as the line it stands in.

    Raises:
        CutShortError: after the last complete row of a stream that ends inside a row.
    """
    text, position, decode = _Text(fill, encoding), 0, json.JSONDecoder().raw_decode
    while True:
        match = _BETWEEN.match(text.held, position)
        position = match.end() if match else position
        if position == len(text.held):
            if text.is_at_end:
                break
            position = text.read_more(position)
            continue
        try:
            value, after = decode(text.held, position)
        except (json.JSONDecodeError, RecursionError) as error:
            may_go_on = isinstance(error, json.JSONDecodeError) and (
                error.pos >= len(text.held) - _NEAR_END or error.msg.startswith("Unterminated string")
            )
            if may_go_on and not text.is_at_end and len(text.held) - position < MAX_VALUE_CHARACTERS:
                position = text.read_more(position)
                continue
            if may_go_on and text.is_at_end and text.held[position] in "{[":
                raise CutShortError(text.damage or "the file ends inside a row") from error
            value, after = None, error.pos if isinstance(error, json.JSONDecodeError) else position
        if isinstance(value, dict):
            for row in flat_rows(value):
                yield json.dumps(row).encode() + b"\n"
            position = after
        else:
            seen = after - position
            position = text.until_line_end(position)
            if text.line_end == len(text.held) and (match := _NEXT_ROW.search(text.held, position + seen)):
                text.line_end = match.start() + 1
            line = text.held[position : text.line_end].strip("\r\n")
            yield line.encode("utf-8", "replace").replace(b"\r", b" ") + b"\n"
            position = text.line_end
    if text.damage:
        raise CutShortError(text.damage)


class _Text:
    """Text of a stream that is read as needed."""

    def __init__(self, fill: Fill, encoding: str) -> None:
        self.fill, self.held, self.is_at_end, self.damage, self.line_end = fill, "", False, "", 0
        self.decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self.buffer = memoryview(bytearray(READ_BYTES))

    def read_more(self, position: int) -> int:
        """Drop the text before a position and hold at least twice as much as is left; returns the new position."""
        parts, wanted = [self.held[position:]], max(1, len(self.held) - position)
        while wanted > 0 and not self.is_at_end:
            try:
                n_bytes = self.fill(self.buffer)
            except CutShortError as error:
                n_bytes, self.damage = 0, str(error)
            parts.append(self.decoder.decode(self.buffer[:n_bytes], final=not n_bytes))
            wanted -= len(parts[-1])
            self.is_at_end = not n_bytes
        self.held = "".join(parts)
        return 0

    def until_line_end(self, position: int) -> int:
        """Read on until the line at a position is complete; sets `line_end`, returns the line's new position.

        A line longer than any row ends where the text that is held ends.
        """
        while (end := self.held.find("\n", position)) < 0 and not self.is_at_end:
            if len(self.held) - position > MAX_VALUE_CHARACTERS >> 4:
                break
            position = self.read_more(position)
        self.line_end = end + 1 if end >= 0 else len(self.held)
        return position


def csv_columns(header: str) -> tuple[str, list[str]]:
    """The delimiter and the column names, in lower case, of a line that may be the header of a table."""
    delimiter = max(",;\t", key=header.count)
    try:
        names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error:
        names = []
    return delimiter, [name.strip().lower() for name in names]


def csv_lines(fill: Fill, encoding: str = "utf-8") -> Iterator[bytes]:
    """The rows of a CSV file with a header, one line each; a row of another length comes as a line that is no JSON.

    Raises:
        CutShortError: after the last row of a damaged stream.
    """
    text = _Text(fill, encoding)
    lines = _lines(text)
    header = next(lines, "")
    delimiter, names = csv_columns(header.removeprefix("\ufeff"))
    csv.field_size_limit(sys.maxsize)
    converters = [_CONVERTERS.get(RAW_TYPES.get(name, ""), str) for name in names]
    for cells in csv.reader(lines, delimiter=delimiter):
        if not cells:
            continue
        if len(cells) != len(names):
            yield f"{len(cells)} cells for {len(names)} columns\n".encode()
            continue
        filled = ((name, convert(cell)) for name, convert, cell in zip(names, converters, cells, strict=True) if cell)
        for row in flat_rows(dict(filled)):
            yield json.dumps(row).encode() + b"\n"
    if text.damage:
        raise CutShortError(text.damage)


def _lines(text: _Text) -> Iterator[str]:
    position = 0
    while True:
        position = text.until_line_end(position)
        if text.line_end == position:
            return
        yield text.held[position : text.line_end].replace("\x00", "")
        position = text.line_end


def _number(cell: str) -> float | int | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def _flag(cell: str) -> bool | None:
    word = cell.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


_CONVERTERS: dict[str, Callable[[str], Any]] = {"BIGINT": _number, "BOOLEAN": _flag}
