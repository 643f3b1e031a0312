"""Items from files: responses of several sources to one prompt, and the onboarding that a researcher writes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from lurker.errors import CallError, LurkerError
from lurker.schema import ITEMS, check
from lurker.votes.arenas import ArenaConfig, Example, digest, draw

HUMAN = "human"
ROLES = ("example", "qualify", "gold")
PARQUET = b"PAR1"
"""A Parquet file begins with it."""
Onboarding = tuple[pl.DataFrame, tuple[Example, ...]]


@dataclass(frozen=True, slots=True)
class Response:
    """What one source answers to a prompt."""

    post_id: str
    """prompt_id of the file, or made from the prompt"""
    prompt: str
    text: str
    source: str
    topic: str
    reward: float | None


def items_of_responses(path: Path, arena: str, config: ArenaConfig) -> pl.DataFrame:
    """Items from a file of responses: each pair of different sources that answer one prompt.

    Args:
        path: JSONL or Parquet, rows of `prompt`, `response` and `source`. If they are there, `prompt_id` names the
            prompt (a post of this workspace that is deleted later is then not shown any more), `reward` is what a
            model gave the response, and `topic` is the community.

    Raises:
        CallError: the file cannot be read.
        LurkerError: a row lacks a text, two prompts have one id, or no prompt has two sources.
    """
    by_prompt: dict[str, list[Response]] = {}
    for where, row in _rows(path):
        one = _response(row, where, path.stem)
        others = by_prompt.setdefault(one.post_id, [])
        if others and others[0].prompt != one.prompt:
            raise LurkerError(f"{where} has another prompt under the prompt_id {one.post_id!r}.", "One id, one prompt.")
        others.append(one)
    made = []
    for responses in by_prompt.values():
        for one, other in itertools.combinations(responses, 2):
            if one.source != other.source and one.text != other.text:
                made.append(_item(arena, one, other, "main", None))
    if not made:
        raise LurkerError(f"No prompt of {path.name} has responses of two sources.", "Give each prompt two or more.")
    rows = {row["item_id"]: row for row in made}.values()  # a response that is there twice makes one item
    chosen = sorted(rows, key=lambda row: draw(config.seed, arena, row["item_id"]))[: config.n_items]
    return check(pl.DataFrame(chosen, schema=ITEMS.schema), ITEMS)


def read_onboarding(path: Path, arena: str) -> Onboarding:
    """Items with known answers, and worked examples, from a file by the researcher.

    Args:
        path: JSONL or Parquet, rows of `role` (example | qualify | gold), `prompt`, `better`, `worse`, and `reason`.

    Raises:
        CallError: the file cannot be read.
        LurkerError: a row has no role or lacks a text.
    """
    items, examples = [], []
    for where, row in _rows(path):
        if row.get("role") not in ROLES:
            raise LurkerError(f"{where} has the role {row.get('role')!r}.", f"The role is one of {', '.join(ROLES)}.")
        texts = _texts(row, ("prompt", "better", "worse"), where)
        reason = str(row.get("reason") or "")
        if row["role"] == "example":
            examples.append(Example(texts["prompt"], texts["better"], texts["worse"], reason))
            continue
        better, worse = (
            Response(_post_id(texts["prompt"]), texts["prompt"], texts[side], HUMAN, path.stem, None)
            for side in ("better", "worse")
        )
        items.append(_item(arena, better, worse, row["role"], reason or None))
    return check(pl.DataFrame(items, schema=ITEMS.schema), ITEMS), tuple(examples)


def _item(arena: str, one: Response, other: Response, role: str, reason: str | None) -> dict[str, Any]:
    """A row of ITEMS; `one` is the answer if the role has one, else the order is that of the ids."""
    post_id = one.post_id
    sides = [(f"x{digest(post_id, side.source, side.text)[:12]}", side) for side in (one, other)]
    pair_id = "-".join(sorted(side_id for side_id, _ in sides))
    if role == "main":
        sides.sort(key=lambda side: side[0])
    (first_id, first), (second_id, second) = sides
    return {
        "item_id": digest(arena, role, pair_id),
        "role": role,
        "pair_id": pair_id,
        "post_id": post_id,
        "subreddit": one.topic,
        "split": "train",
        "prompt": one.prompt,
        "chosen": first.text,
        "rejected": second.text,
        "chosen_id": first_id,
        "rejected_id": second_id,
        "chosen_score": 1,
        "rejected_score": 0,
        "chosen_delay_s": 0,
        "rejected_delay_s": 0,
        "chosen_chars": len(first.text),
        "rejected_chars": len(second.text),
        "confounder_log_odds": 0.0,
        "recipe": "arena",
        "reference": None if role == "main" else "researcher",
        "chosen_source": first.source,
        "rejected_source": second.source,
        "chosen_reward": first.reward,
        "rejected_reward": second.reward,
        "information": 0.0,
        "reason": reason,
    }


def _response(row: Mapping[str, Any], where: str, topic: str) -> Response:
    texts = _texts(row, ("prompt", "response", "source"), where)
    prompt_id, reward = row.get("prompt_id"), row.get("reward")
    if reward is not None and (not isinstance(reward, int | float) or not math.isfinite(reward)):
        raise LurkerError(f"{where} has the reward {reward!r}.", "A reward is a number, or is left out.")
    post_id = _post_id(texts["prompt"]) if prompt_id in (None, "") else str(prompt_id)
    value = None if reward is None else float(reward)
    return Response(post_id, texts["prompt"], texts["response"], texts["source"], str(row.get("topic") or topic), value)


def _post_id(prompt: str) -> str:
    return f"x{digest(prompt)[:12]}"


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a file, each with its place in words."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CallError(f"Cannot read {path}: {error.strerror}.", "Name a JSONL or Parquet file.") from error
    if content[:4] == PARQUET:
        try:
            frame = pl.read_parquet(content)
        except pl.exceptions.PolarsError as error:
            raise LurkerError(f"Cannot read {path}: {str(error).splitlines()[0]}.", "Write the file again.") from error
        return [(f"Row {number:,} of {path.name}", row) for number, row in enumerate(frame.to_dicts(), 1)]
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where = f"Row {number:,} of {path.name}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise LurkerError(f"{where} is not JSON: {error}.", "Each line is one JSON object.") from error
        if not isinstance(row, dict):
            raise LurkerError(f"{where} is not a JSON object.", "Each line is one JSON object.")
        rows.append((where, row))
    return rows


def _texts(row: Mapping[str, Any], names: Sequence[str], where: str) -> dict[str, str]:
    if missing := [name for name in names if not isinstance(row.get(name), str) or not row[name].strip()]:
        raise LurkerError(f"{where} has no text in {missing[0]!r}.", f"Each row needs {', '.join(names)}.")
    return {name: row[name] for name in names}
