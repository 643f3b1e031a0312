"""Rewards of texts, and of the rows of a JSONL or Parquet file of any size with columns prompt and response."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lurker.errors import CallError, LurkerError
from lurker.files import atomic_path
from lurker.progress import advance
from rm.models.ladder import RewardModel
from rm.models.scorer import Scorer
from rm.pairs.tokenised import prefix_delay
from rm.pairs.tokens import encode
from rm.training.config import TrainConfig

ROWS_PER_BATCH = 2048
SPACE, COLON = re.compile(r"[ \t\n\r]*"), re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
PARQUET_MAGIC = b"PAR1"
TYPE_NAMES = {str: "text", int: "whole number"}


@dataclass(frozen=True, slots=True)
class TextScorer:
    """A reward model ready to score texts; `text_scorer` makes one."""

    scorer: Scorer
    tokenizer: Any
    max_tokens: int
    max_prompt_tokens: int | None
    with_delay: bool

    @property
    def columns(self) -> dict[str, type]:
        """Columns that each row needs, with their types."""
        return {"prompt": str, "response": str, **({"delay_s": int} if self.with_delay else {})}


def text_scorer(reward_model: RewardModel, config: TrainConfig) -> TextScorer:
    """A scorer of texts for a model trained with this config, on the model's device.

    Raises:
        CallError: the model is pairwise, so a single response has no reward.
    """
    if config.reads == "both":
        raise CallError(
            "This run reads two responses at a time (reads=both): a single response has no reward.",
            "Use `lurker rm evaluate`, or train with `--set reads=one`.",
        )
    scorer = reward_model.scorer(config.max_tokens)
    return TextScorer(scorer, reward_model.tokenizer, config.max_tokens, config.max_prompt_tokens, config.with_delay)


def score_file(scorer: TextScorer, source: Path, target: Path) -> int:
    """Copy the rows of a file with an added column `reward`, in the same format; advances the open bar by bytes.

    Args:
        scorer: the model.
        source: JSONL or Parquet with the scorer's columns.
        target: the file to write; nothing is written when a row is refused.

    Returns:
        Number of rows.

    Raises:
        LurkerError: a line is not a JSON object, or a row lacks a value; the message names it.
    """
    score = _score_parquet if is_parquet(source) else _score_jsonl
    return score(scorer, source, target)


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet, by its content.

    Raises:
        CallError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(4) == PARQUET_MAGIC
    except OSError as error:
        raise CallError(f"Cannot read {path}: {error.strerror}.", "Name a JSONL or Parquet file.") from error


@torch.no_grad()
def score_texts(scorer: TextScorer, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The reward of each response to its prompt, [n]; it does not depend on the other rows.

    Args:
        scorer: the model.
        prompts, responses: [n] each; responses as the model was trained on them, with their delay if it reads it.
    """
    scorer.scorer.model.eval()
    sequences = encode(scorer.tokenizer, prompts, responses, scorer.max_tokens, scorer.max_prompt_tokens)
    return [float(value) for value in scorer.scorer(sequences).cpu()]


def score_columns(scorer: TextScorer, columns: Mapping[str, Sequence[Any]]) -> list[float]:
    """The reward of each row of the scorer's columns: prompt, response and, if the model reads it, delay_s."""
    responses = columns["response"]
    if scorer.with_delay:
        responses = prefix_delay(pl.Series(responses, dtype=pl.String), pl.Series(columns["delay_s"])).to_list()
    return score_texts(scorer, columns["prompt"], responses)


def _score_jsonl(scorer: TextScorer, source: Path, target: Path) -> int:
    n_rows = 0
    with atomic_path(target) as temporary, temporary.open("wb") as out:
        for rows, n_bytes in _jsonl_batches(source, scorer.columns):
            columns = {name: [row.content[name] for row in rows] for name in scorer.columns}
            for row, reward in zip(rows, score_columns(scorer, columns), strict=True):
                out.write(_with_reward(row, reward))
            n_rows += len(rows)
            advance(n_bytes)
    return n_rows


@dataclass(frozen=True, slots=True)
class JsonRow:
    """One row of a JSONL file."""

    line: bytes
    """the row as the file has it, without the line's end"""
    content: dict[str, Any]


def _with_reward(row: JsonRow, reward: float) -> bytes:
    """The row's own bytes with a reward: a number beyond 64 bits would lose digits if it was parsed and written."""
    value = b'"reward":' + orjson.dumps(reward) + b"}\n"
    if "reward" not in row.content:
        return row.line[:-1].rstrip() + b"," + value
    members = [part for name, part in _members(row.line.decode()) if name != "reward"]
    return b"{" + b"".join(part.encode() + b"," for part in members) + value


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Yields the name of each member of a JSON object, and the member as it is written."""
    decoder = json.JSONDecoder(strict=False)
    end = 1
    while True:
        start = SPACE.match(text, end).end()  # type: ignore[union-attr]
        name, end = decoder.raw_decode(text, start)
        _, end = decoder.raw_decode(text, COLON.match(text, end).end())  # type: ignore[union-attr]
        yield name, text[start:end]
        end = SPACE.match(text, end).end()  # type: ignore[union-attr]
        if text[end] != ",":
            return
        end += 1


def _jsonl_batches(path: Path, columns: dict[str, type]) -> Iterator[tuple[list[JsonRow], int]]:
    rows: list[JsonRow] = []
    n_bytes = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            n_bytes += len(line)
            if line.strip():
                rows.append(_parse(line, f"line {number:,} of {path}", columns))
            if len(rows) == ROWS_PER_BATCH:
                yield rows, n_bytes
                rows, n_bytes = [], 0
    if rows:
        yield rows, n_bytes


def _parse(line: bytes, location: str, columns: dict[str, type]) -> JsonRow:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LurkerError(f"{location} is not JSON: {error}.", "Fix the line, then run again.") from error
    for name, kind in columns.items():
        if not isinstance(row, dict) or not _is_a(row.get(name), kind):
            raise LurkerError(f"{location} has no {TYPE_NAMES[kind]} in {name!r}.", _need(columns))
    return JsonRow(line.strip(), row)


def _is_a(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _need(columns: dict[str, type]) -> str:
    names = ", ".join(f"`{name}`" for name in columns)
    delay = " (this run reads the response's delay in seconds)" if "delay_s" in columns else ""
    return f"Each row needs {names}{delay}."


def _score_parquet(scorer: TextScorer, source: Path, target: Path) -> int:
    try:
        file = pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        raise LurkerError(f"{source} is a damaged Parquet file: {error}.", "Write it again.") from error
    if missing := [name for name in scorer.columns if name not in file.schema_arrow.names]:
        raise LurkerError(f"{source} has no column {', '.join(missing)}.", _need(scorer.columns))
    n_total = max(1, file.metadata.num_rows)
    n_bytes = source.stat().st_size
    n_rows = 0
    kept = (
        file.schema_arrow.remove(index)
        if (index := file.schema_arrow.get_field_index("reward")) >= 0
        else file.schema_arrow
    )
    with (
        atomic_path(target) as temporary,
        pq.ParquetWriter(temporary, kept.append(pa.field("reward", pa.float64())), compression="zstd") as writer,
    ):
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            columns = {name: batch.column(name).to_pylist() for name in scorer.columns}
            for name, kind in scorer.columns.items():
                for index, value in enumerate(columns[name]):
                    if not _is_a(value, kind):
                        raise LurkerError(
                            f"Row {n_rows + index + 1:,} of {source} has no {TYPE_NAMES[kind]} in {name!r}.",
                            _need(scorer.columns),
                        )
            values = score_columns(scorer, columns)
            table = pa.Table.from_batches([batch]).select(kept.names)
            writer.write_table(table.append_column("reward", pa.array(values, pa.float64())))
            n_rows += batch.num_rows
            advance(n_bytes * batch.num_rows / n_total)
    return n_rows
