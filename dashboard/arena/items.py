"""What an arena asks about: pairs of a set, with gold among them, or responses of several sources to one prompt."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pairs
from lurker.predictions import of_these_pairs
from lurker.schema import ITEMS, PREDICTIONS, check
from lurker.votes.arenas import ArenaConfig, Example, digest, draw
from lurker.workspace import Workspace

HUMAN = "human"
SURE_SHARE = 0.1
"""Gold is taken from this share of the pairs, those with the surest labels."""
ROLES = ("example", "qualify", "gold")
Onboarding = tuple[pl.DataFrame, tuple[Example, ...]]


def items_of_pairs(
    workspace: Workspace,
    name: str,
    arena: str,
    config: ArenaConfig,
    *,
    split: str | None = None,
    runs: Sequence[str] = (),
) -> pl.DataFrame:
    """Items from a pair set: drawn by hash, with qualifying and gold ones from the pairs with the surest labels.

    Args:
        split: only pairs of this split; of all when None.
        runs: none; or one whose uncertainty, or two whose difference, the active design follows. Only pairs that all
            of them were tested on are asked.

    Returns:
        ITEMS.

    Raises:
        CallError: there is no such set or run, or nothing is left to ask.
    """
    pairs = read_pairs(workspace, name)
    if split is not None:
        pairs = pairs.filter(pl.col("split") == split)
    information = pl.DataFrame({"pair_id": pairs["pair_id"], "information": np.zeros(pairs.height)})
    if runs:
        information = _information([_margins(workspace, run, name, pairs) for run in runs])
        pairs = pairs.join(information.select("pair_id"), on="pair_id", how="semi")
    if pairs.is_empty():
        raise CallError(f"No pair of {name} is left to ask about.", "Name another split or other runs.")
    pairs = pairs.with_columns(
        item_id=pl.Series([digest(arena, pair_id) for pair_id in pairs["pair_id"]], dtype=pl.String),
        place=pl.Series([draw(config.seed, arena, pair_id) for pair_id in pairs["pair_id"]], dtype=pl.Float64),
    )
    n_sure = int(pairs.height * SURE_SHARE)
    surest = pairs.sort("label_confidence", "place", descending=[True, False]).head(n_sure)
    known = surest.sort("place").head(config.n_gold + config.n_qualifying)
    known = known.with_columns(
        role=pl.when(pl.int_range(pl.len()) < config.n_qualifying).then(pl.lit("qualify")).otherwise(pl.lit("gold"))
    )
    asked = pairs.join(known.select("pair_id"), on="pair_id", how="anti").sort("place").head(config.n_items)
    items = pl.concat([known, asked.with_columns(role=pl.lit("main"))]).join(information, on="pair_id", how="left")
    return check(
        items.with_columns(
            reference=pl.lit("reddit"),
            chosen_source=pl.lit(HUMAN),
            rejected_source=pl.lit(HUMAN),
            reason=pl.lit(None, pl.String),
            information=pl.col("information").fill_null(0.0),
        ),
        ITEMS,
    )


def items_of_responses(path: Path, arena: str, config: ArenaConfig) -> pl.DataFrame:
    """Items from a JSONL file of responses: each pair of different sources that answer one prompt.

    Args:
        path: rows of `prompt`, `response` and `source`; `topic` is the community, if it is there.

    Raises:
        CallError: the file cannot be read.
        LurkerError: a row lacks a text, or no prompt has two sources.
    """
    by_prompt: dict[str, list[dict[str, str]]] = {}
    for where, row in _rows(path):
        texts = _texts(row, ("prompt", "response", "source"), where)
        by_prompt.setdefault(texts["prompt"], []).append(texts | {"topic": str(row.get("topic") or path.stem)})
    made = []
    for prompt, responses in by_prompt.items():
        for one, other in itertools.combinations(responses, 2):
            if one["source"] != other["source"] and one["response"] != other["response"]:
                made.append(_item(arena, prompt, one, other, "main", None))
    if not made:
        raise LurkerError(f"No prompt of {path.name} has responses of two sources.", "Give each prompt two or more.")
    rows = {row["item_id"]: row for row in made}.values()  # a response that is there twice makes one item
    chosen = sorted(rows, key=lambda row: draw(config.seed, arena, row["item_id"]))[: config.n_items]
    return check(pl.DataFrame(chosen, schema=ITEMS.schema), ITEMS)


def read_onboarding(path: Path, arena: str) -> Onboarding:
    """Items with known answers, and worked examples, from a JSONL file by the researcher.

    Args:
        path: rows of `role` (example | qualify | gold), `prompt`, `better`, `worse`, and `reason`.

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
        better, worse = ({"response": texts[side], "source": HUMAN, "topic": path.stem} for side in ("better", "worse"))
        items.append(_item(arena, texts["prompt"], better, worse, row["role"], reason or None))
    return check(pl.DataFrame(items, schema=ITEMS.schema), ITEMS), tuple(examples)


def _item(
    arena: str, prompt: str, one: Mapping[str, str], other: Mapping[str, str], role: str, reason: str | None
) -> dict[str, Any]:
    """A row of ITEMS; `one` is the answer if the role has one, else the order is that of the ids."""
    post_id = f"x{digest(prompt)[:12]}"
    ids = [f"x{digest(post_id, side['source'], side['response'])[:12]}" for side in (one, other)]
    sides = [(ids[0], one), (ids[1], other)]
    if role == "main":
        sides.sort(key=lambda side: side[0])
    (first_id, first), (second_id, second) = sides
    pair_id = "-".join(sorted(ids))
    return {
        "item_id": digest(arena, role, pair_id),
        "role": role,
        "pair_id": pair_id,
        "post_id": post_id,
        "subreddit": one["topic"],
        "split": "train",
        "prompt": prompt,
        "chosen": first["response"],
        "rejected": second["response"],
        "chosen_id": first_id,
        "rejected_id": second_id,
        "chosen_score": 1,
        "rejected_score": 0,
        "chosen_delay_s": 0,
        "rejected_delay_s": 0,
        "chosen_chars": len(first["response"]),
        "rejected_chars": len(second["response"]),
        "confounder_log_odds": 0.0,
        "recipe": "arena",
        "reference": None if role == "main" else "researcher",
        "chosen_source": first["source"],
        "rejected_source": second["source"],
        "information": 0.0,
        "reason": reason,
    }


def _margins(workspace: Workspace, run: str, name: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """PREDICTIONS of a run on these pairs, as far as it was tested on their splits."""
    folder = workspace.folder("runs", run) / "predictions"
    files = sorted(folder.glob(f"{name}-*.parquet"))
    if not files:
        raise CallError(
            f"Run {run!r} was not tested on {name}.", f"Test it first: `lurker rm evaluate {run} --pairs {name}`."
        )
    tested = pl.concat(check(pl.read_parquet(file), PREDICTIONS) for file in files).unique("pair_id")
    return of_these_pairs(tested, pairs)


def _information(margins: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """How much a vote on a pair tells: of one run, the variance p(1 - p) of its prediction; of two runs, the squared
    difference of their predictions, which is what moves the difference of their accuracies and losses."""
    first = margins[0].select("pair_id", p=1 / (1 + (-pl.col("margin")).exp()))
    if len(margins) == 1:
        return first.select("pair_id", information=pl.col("p") * (1 - pl.col("p")))
    second = margins[1].select("pair_id", q=1 / (1 + (-pl.col("margin")).exp()))
    return first.join(second, on="pair_id").select("pair_id", information=(pl.col("p") - pl.col("q")).pow(2))


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CallError(f"Cannot read {path}: {error.strerror}.", "Name a JSONL file.") from error
    rows = []
    for number, line in enumerate(lines, 1):
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
