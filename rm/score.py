"""Rewards for the rows of a file of any size: JSONL or Parquet with the columns prompt and response."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lurker.errors import CallError, LurkerError
from lurker.workspace import atomic_path
from rm.forward import Scorer
from rm.model import RewardModel
from rm.tokens import encode

ROWS_PER_BATCH = 2048
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class Reader:
    """A reward model that is ready to score texts."""

    scorer: Scorer
    tokenizer: Any
    max_tokens: int

    @staticmethod
    def of(reward_model: RewardModel, max_tokens: int) -> "Reader":
        """The reader of a model on the device it is on."""
        return Reader(reward_model.scorer(max_tokens), reward_model.tokenizer, max_tokens)


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
    """The reward of each (prompt, response); it does not depend on the other rows."""
    reader.scorer.model.eval()
    sequences = encode(reader.tokenizer, prompts, responses, reader.max_tokens)
    return [float(value) for value in reader.scorer(sequences).cpu()]


def _score_jsonl(reader: Reader, source: Path, target: Path, advance: Callable[[float], None]) -> int:
    n_rows = 0
    with atomic_path(target) as temporary, temporary.open("wb") as out:
        for rows, n_bytes in _jsonl_batches(source):
            prompts, responses = ([row[name] for row in rows] for name in ("prompt", "response"))
            for row, reward in zip(rows, score_texts(reader, prompts, responses), strict=True):
                out.write(orjson.dumps({**row, "reward": reward}) + b"\n")
            n_rows += len(rows)
            advance(n_bytes)
    return n_rows


def _jsonl_batches(path: Path) -> Iterator[tuple[list[dict[str, Any]], int]]:
    rows: list[dict[str, Any]] = []
    n_bytes = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            n_bytes += len(line)
            if line.strip():
                rows.append(_parse(line, f"line {number:,} of {path}"))
            if len(rows) == ROWS_PER_BATCH:
                yield rows, n_bytes
                rows, n_bytes = [], 0
    if rows:
        yield rows, n_bytes


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LurkerError(f"{place} is no JSON: {error}.", "Mend the line, then run again.") from error
    for name in ("prompt", "response"):
        if not isinstance(row, dict) or not isinstance(row.get(name), str):
            raise LurkerError(f"{place} has no text in {name!r}.", "Each row needs `prompt` and `response`.")
    return dict(row)


def _score_parquet(reader: Reader, source: Path, target: Path, advance: Callable[[float], None]) -> int:
    try:
        file = pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        raise LurkerError(f"{source} is a damaged Parquet file: {error}.", "Write it again.") from error
    if missing := [name for name in ("prompt", "response") if name not in file.schema_arrow.names]:
        raise LurkerError(f"{source} has no column {', '.join(missing)}.", "Each row needs `prompt` and `response`.")
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
            columns = {name: batch.column(name).to_pylist() for name in ("prompt", "response")}
            for name, values in columns.items():
                for place, value in enumerate(values):
                    if not isinstance(value, str):
                        raise LurkerError(f"Row {n_rows + place + 1:,} of {source} has no text in {name!r}.")
            values = score_texts(reader, columns["prompt"], columns["response"])
            table = pa.Table.from_batches([batch]).select(kept.names)
            writer.write_table(table.append_column("reward", pa.array(values, pa.float64())))
            n_rows += batch.num_rows
            advance(n_bytes * batch.num_rows / n_total)
    return n_rows
