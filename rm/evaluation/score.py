"""Rewards for the rows of a file of any size: JSONL or Parquet with the columns prompt and response."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lurker.errors import CallError, LurkerError
from lurker.workspace import atomic_path
from rm.models.ladder import RewardModel
from rm.models.scorer import Scorer
from rm.pairs.tokenised import prefix_delay
from rm.pairs.tokens import encode
from rm.training.config import TrainConfig

ROWS_PER_BATCH = 2048
PARQUET_MAGIC = b"PAR1"
WORDS = {str: "text", int: "whole number"}


@dataclass(frozen=True, slots=True)
class Reader:
    """A reward model that is ready to score texts."""

    scorer: Scorer
    tokenizer: Any
    max_tokens: int
    max_prompt_tokens: int | None
    with_delay: bool

    @staticmethod
    def of(reward_model: RewardModel, config: TrainConfig) -> "Reader":
        """The reader of a model trained by this config, on the device it is on.

        Errors: CallError for a pairwise model, which gives no single response a reward.
        """
        if config.reads == "both":
            raise CallError(
                "This run reads two responses at a time (reads=both): it has no reward for one.",
                "Judge it with `lurker rm evaluate`, or train with `--set reads=one`.",
            )
        scorer = reward_model.scorer(config.max_tokens)
        return Reader(scorer, reward_model.tokenizer, config.max_tokens, config.max_prompt_tokens, config.with_delay)

    @property
    def columns(self) -> dict[str, type]:
        """What each row must hold."""
        return {"prompt": str, "response": str, **({"delay_s": int} if self.with_delay else {})}


def score_file(reader: Reader, source: Path, target: Path, advance: Callable[[float], None]) -> int:
    """Copy the rows of `source` to `target` in the same format with a column `reward`; how many there were.

    advance: told about the bytes of `source` that are done.
    Errors: LurkerError that names the row without a text in prompt or response, or the line that is no JSON object;
    nothing is written then.
    """
    score = _score_parquet if is_parquet(source) else _score_jsonl
    return score(reader, source, target, advance)


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet, by its content.

    Errors: CallError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(4) == PARQUET_MAGIC
    except OSError as error:
        raise CallError(f"Cannot read {path}: {error.strerror}.", "Name a JSONL or Parquet file.") from error


@torch.no_grad()
def score_texts(reader: Reader, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The reward of each (prompt, response as the model was trained on it); it does not depend on the other rows."""
    reader.scorer.model.eval()
    sequences = encode(reader.tokenizer, prompts, responses, reader.max_tokens, reader.max_prompt_tokens)
    return [float(value) for value in reader.scorer(sequences).cpu()]


def _score_jsonl(reader: Reader, source: Path, target: Path, advance: Callable[[float], None]) -> int:
    n_rows = 0
    with atomic_path(target) as temporary, temporary.open("wb") as out:
        for rows, n_bytes in _jsonl_batches(source, reader.columns):
            columns = {name: [row[name] for row in rows] for name in reader.columns}
            for row, reward in zip(rows, _score_columns(reader, columns), strict=True):
                out.write(orjson.dumps({**row, "reward": reward}) + b"\n")
            n_rows += len(rows)
            advance(n_bytes)
    return n_rows


def _score_columns(reader: Reader, columns: dict[str, list[Any]]) -> list[float]:
    responses = columns["response"]
    if reader.with_delay:
        responses = prefix_delay(pl.Series(responses, dtype=pl.String), pl.Series(columns["delay_s"])).to_list()
    return score_texts(reader, columns["prompt"], responses)


def _jsonl_batches(path: Path, columns: dict[str, type]) -> Iterator[tuple[list[dict[str, Any]], int]]:
    rows: list[dict[str, Any]] = []
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


def _parse(line: bytes, place: str, columns: dict[str, type]) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LurkerError(f"{place} is no JSON: {error}.", "Mend the line, then run again.") from error
    for name, kind in columns.items():
        if not isinstance(row, dict) or not _is_a(row.get(name), kind):
            raise LurkerError(f"{place} has no {WORDS[kind]} in {name!r}.", _need(columns))
    return dict(row)


def _is_a(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _need(columns: dict[str, type]) -> str:
    names = ", ".join(f"`{name}`" for name in columns)
    delay = " (this run reads the response's delay in seconds)" if "delay_s" in columns else ""
    return f"Each row needs {names}{delay}."


def _score_parquet(reader: Reader, source: Path, target: Path, advance: Callable[[float], None]) -> int:
    try:
        file = pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        raise LurkerError(f"{source} is a damaged Parquet file: {error}.", "Write it again.") from error
    if missing := [name for name in reader.columns if name not in file.schema_arrow.names]:
        raise LurkerError(f"{source} has no column {', '.join(missing)}.", _need(reader.columns))
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
            columns = {name: batch.column(name).to_pylist() for name in reader.columns}
            for name, kind in reader.columns.items():
                for place, value in enumerate(columns[name]):
                    if not _is_a(value, kind):
                        raise LurkerError(
                            f"Row {n_rows + place + 1:,} of {source} has no {WORDS[kind]} in {name!r}.",
                            _need(reader.columns),
                        )
            values = _score_columns(reader, columns)
            table = pa.Table.from_batches([batch]).select(kept.names)
            writer.write_table(table.append_column("reward", pa.array(values, pa.float64())))
            n_rows += batch.num_rows
            advance(n_bytes * batch.num_rows / n_total)
    return n_rows
