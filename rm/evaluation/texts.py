"""Checks of the texts and delays that a notebook passes to a run."""

import numbers
from collections.abc import Iterable
from typing import Any

from lurker.arguments import as_list, shown
from lurker.errors import CallError


def scored_columns(
    prompts: Iterable[str] | str, responses: Iterable[str] | str, delays_s: Iterable[int] | int | None
) -> dict[str, list[Any]]:
    """The columns prompt, response and, unless delays_s is None, delay_s; one text is a list of one.

    Raises:
        CallError: the numbers of values differ, or a value is not text or not a delay; the message names the first.
    """
    columns: dict[str, list[Any]] = {"prompt": _texts(prompts, "prompts"), "response": _texts(responses, "responses")}
    if delays_s is not None:
        columns["delay_s"] = _delays(delays_s)
    if len({len(values) for values in columns.values()}) > 1:
        counts = " and ".join(f"{len(values):,} {name}" for name, values in columns.items())
        raise CallError(f"The numbers of values differ: {counts}.", "Pass one prompt and one delay for each response.")
    return columns


def _texts(values: Iterable[str] | str, what: str) -> list[str]:
    texts = as_list(values, what)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise CallError(f"{what}[{number}] is {shown(text)}: text is needed.", "Drop the row, or pass ''.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CallError(
                f"{what}[{number}] is not valid Unicode: half a surrogate pair at character {error.start:,}.",
                "Replace it: `text.encode('utf-8', 'replace').decode()`.",
            ) from error
    return [str(text) for text in texts]


def _delays(values: Iterable[int] | int) -> list[int]:
    delays = as_list(values, "delays_s")
    for number, delay in enumerate(delays):
        if not isinstance(delay, numbers.Integral) or isinstance(delay, bool) or delay < 0:
            raise CallError(f"delays_s[{number}] is {shown(delay)}: whole seconds from 0 are needed.")
    return [int(delay) for delay in delays]
