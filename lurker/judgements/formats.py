"""What other tools call the prompt, the two sides and the winner of a judgement.

Read are preference rows (`prompt`, `chosen`, `rejected`, as text or as lists of messages), Stanford Human Preferences,
and UKPConvArg1.
Source: https://huggingface.co/docs/trl/dataset_formats, "Preference";
https://huggingface.co/datasets/stanfordnlp/SHP, "Dataset Structure"; Habernal & Gurevych 2016, "Which argument is more
convincing?", P16-1150; Lambert et al. 2024 (RewardBench), whose rows add `subset`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lurker.errors import LurkerError
from lurker.judgements.files import RawFile, Row

PREFERENCE = ("prompt", "chosen", "rejected")
SHP = ("history", "human_ref_A", "human_ref_B", "labels")
CONVINCING = ("label", "a1", "a2")
TOPICS = ("topic", "subset", "category", "domain", "subreddit")
"""Columns that name the topic of a row, the first that is there."""
ALL = "all"
"""What tables call the rows over all topics."""
TIES = ("equal", "tie")
NEEDED = (
    f"Rows need {', '.join(PREFERENCE)}; or {', '.join(SHP)} as in SHP; or {', '.join(CONVINCING)} as in UKPConvArg1, "
    "whose prompt is the name of the file."
)
LINE_BREAK = re.compile(r"\s*<br\s*/?>\s*")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judgement between two texts."""

    prompt: str
    chosen: str
    rejected: str
    topic: str
    post_id: str | None = None
    """id of the post on Reddit, where the row has one"""
    chosen_score: int = 1
    rejected_score: int = 0
    is_tie: bool = False
    """nobody won: the sides stand in the file's order"""


def judgements_of(file: RawFile, rows: Sequence[Row]) -> tuple[str, list[Judgement]]:
    """The name of a file's format, and its judgements in order.

    Raises:
        LurkerError: a column is missing, a value is no text or no label, or all rows have one label.
    """
    name, read = _format(file, rows[0])
    return name, list(read(file, rows))


def _format(file: RawFile, first: Row) -> tuple[str, Callable[[RawFile, Sequence[Row]], Iterator[Judgement]]]:
    columns = first.keys()
    if set(SHP) <= columns:
        return "SHP", _shp
    if set(CONVINCING) <= columns:
        return "UKPConvArg1", _convincing
    if set(PREFERENCE) <= columns:
        return "preference", _preference
    if set(PREFERENCE[1:]) <= columns and isinstance(first["chosen"], list):
        return "preference", _without_prompt
    raise LurkerError(f"{file.name} lacks columns: it has {', '.join(map(repr, columns))}.", NEEDED)


def _preference(file: RawFile, rows: Sequence[Row]) -> Iterator[Judgement]:
    for where, row in _numbered(file, rows):
        prompt, chosen, rejected = (_text(row, name, where) for name in PREFERENCE)
        yield Judgement(prompt, chosen, rejected, _topic(file, row), _post_id(row))


def _without_prompt(file: RawFile, rows: Sequence[Row]) -> Iterator[Judgement]:
    """Conversations whose prompt is what both begin with."""
    for where, row in _numbered(file, rows):
        sides = [_messages(row.get(name), name, where) for name in PREFERENCE[1:]]
        n_shared = 0
        while n_shared < min(map(len, sides)) - 1 and sides[0][n_shared] == sides[1][n_shared]:
            n_shared += 1
        if n_shared == 0:
            raise LurkerError(f"{where} has no prompt: its two conversations begin differently.", NEEDED)
        prompt, chosen, rejected = ("\n\n".join(part) for part in (sides[0][:n_shared], *(s[n_shared:] for s in sides)))
        yield Judgement(prompt.strip(), chosen.strip(), rejected.strip(), _topic(file, row), _post_id(row))


def _shp(file: RawFile, rows: Sequence[Row]) -> Iterator[Judgement]:
    """Source: SHP's card: labels is 1 if A is preferred, 0 if B is."""
    winners = []
    for where, row in _numbered(file, rows):
        winner = {"1": "A", "0": "B"}.get(_label(row, "labels", where))
        if winner is None:
            raise _no_label(where, "labels", row, "1 (A is preferred) or 0 (B is preferred)")
        winners.append(winner)
        loser = "B" if winner == "A" else "A"
        prompt, chosen, rejected = (
            _text(row, name, where) for name in ("history", f"human_ref_{winner}", f"human_ref_{loser}")
        )
        scores = [_whole(row.get(f"score_{side}")) for side in (winner, loser)]
        higher, lower = scores if None not in scores else (1, 0)
        yield Judgement(prompt, chosen, rejected, _topic(file, row), _post_id(row), higher or 0, lower or 0)
    _require_two_labels(file, "labels", winners)


def _convincing(file: RawFile, rows: Sequence[Row]) -> Iterator[Judgement]:
    """The file's name is topic_stance: the debate, and the side that all its arguments take."""
    topic, _, stance = file.stem.partition("_")
    prompt = ": ".join(part for part in map(_words, (topic, stance)) if part)
    winners = []
    for where, row in _numbered(file, rows):
        winner = _label(row, "label", where)
        if winner not in (*CONVINCING[1:], *TIES):
            raise _no_label(where, "label", row, f"a1, a2, or {' or '.join(TIES)}")
        is_tie = winner in TIES
        winners += [] if is_tie else [winner]
        order = ("a2", "a1") if winner == "a2" else ("a1", "a2")
        chosen, rejected = (LINE_BREAK.sub("\n", _text(row, side, where)) for side in order)
        yield Judgement(prompt, chosen.strip(), rejected.strip(), _words(topic), is_tie=is_tie)
    _require_two_labels(file, "label", winners)


def _require_two_labels(file: RawFile, column: str, winners: Sequence[str]) -> None:
    """A column that always names the same side may be no label at all.

    Raises:
        LurkerError: there are two rows or more, and all name one side.
    """
    if len(winners) > 1 and len(set(winners)) == 1:
        raise LurkerError(
            f"All {len(winners):,} labels of {file.name} ({column}) name side {winners[0]}.",
            "If that side won every time, name the columns prompt, chosen and rejected; otherwise mend the labels.",
        )


def _numbered(file: RawFile, rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    return ((f"Row {number:,} of {file.name}", row) for number, row in enumerate(rows, 1))


def _text(row: Row, name: str, where: str) -> str:
    """A text, or the contents of a list of messages, without space around it."""
    value = row.get(name)
    if isinstance(value, str):
        return value.strip()
    return "\n\n".join(_messages(value, name, where)).strip()


def _messages(value: Any, name: str, where: str) -> list[str]:
    """The contents of a list of messages {role, content}."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        contents = [one.get("content") for one in value]
        if all(isinstance(content, str) for content in contents):
            return [str(content) for content in contents]
    raise LurkerError(
        f"{where} has no text in {name!r}, but {_shown(value)}.",
        "Each side is a text, or a list of messages {role, content}.",
    )


def _label(row: Row, name: str, where: str) -> str:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _no_label(where, name, row, "a label")
    return str(value).strip()


def _no_label(where: str, name: str, row: Row, wanted: str) -> LurkerError:
    return LurkerError(f"{where} has {_shown(row.get(name))} in {name!r}: {wanted} is needed.", "Mend or drop the row.")


def _topic(file: RawFile, row: Row) -> str:
    found = (str(row[name]).strip() for name in TOPICS if row.get(name) not in (None, ""))
    topic = next(found, "") or file.stem
    return f"{topic} (topic)" if topic == ALL else topic


def _post_id(row: Row) -> str | None:
    value = row.get("post_id")
    return value.strip() or None if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _words(name: str) -> str:
    return " ".join(name.replace("-", " ").split())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
