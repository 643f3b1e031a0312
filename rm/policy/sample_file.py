"""Samples of many prompts as a file, in parts: an interrupted command goes on where it was, with the same samples."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lurker.config import fingerprint, to_dict
from lurker.errors import CallError, LurkerError
from lurker.files import atomic_path, read_json, require_file_name, write_json, write_parquet
from lurker.locks import locked
from lurker.pair_sets import SPLITS, PairSet, split_of
from lurker.progress import progress, say
from lurker.report import Displayed, ResultTable
from lurker.schema import SAMPLES
from rm.pairs.subsets import stable_hash
from rm.policy.sampling import HUMAN, SamplingConfig, describe_samples

SAMPLES_PER_PART = 4096
"""Samples drawn between two writes: what a kill loses at most."""
ALL = "all"
"""In place of a split: the posts of all."""
SUFFIXES = (".parquet", ".jsonl")
DRAWN = "lurker_samples"
"""Metadata of a Parquet file of samples: how they were drawn, as JSON."""


@dataclass(frozen=True, slots=True, repr=False)
class Samples(Displayed):
    """Responses that a policy wrote."""

    frame: pl.DataFrame
    """SAMPLES"""
    out: Path | None = None
    """the file that holds them"""

    def table(self) -> ResultTable:
        """One row per source: prompts, samples, how many are empty or unfinished, mean length and log-probability."""
        rows = self.frame.group_by("source", maintain_order=True).agg(
            pl.col("prompt_id").n_unique().alias("prompts"),
            pl.len().alias("samples"),
            pl.col("response").n_unique().alias("distinct"),
            (pl.col("response") == "").sum().alias("empty"),
            (~pl.col("is_finished")).sum().alias("unfinished"),
            pl.col("n_tokens").mean().round(1).alias("mean tokens"),
            pl.col("log_prob").mean().round(2).alias("mean log-probability"),
        )
        return ResultTable("Samples", rows.to_dicts(), f"Written to {self.out}." if self.out else "")


def prompts_of_pairs(pairs: PairSet, split: str, n_prompts: int | None = None) -> pl.DataFrame:
    """The posts of a split as prompts, in order of the hash of their id: prompt_id, prompt, subreddit.

    Args:
        pairs: a pair set.
        split: train | validation | test, or all of them.
        n_prompts: the first ones only; all when None.

    Raises:
        CallError: there is no such split.
    """
    if split not in (*SPLITS, ALL):
        raise CallError(f"The split is one of {', '.join((*SPLITS, ALL))}, got {split!r}.")
    frame = pairs.frame if split == ALL else split_of(pairs.frame, pairs.name, split)
    rows = frame.select("prompt", "subreddit", prompt_id="post_id")
    posts = rows.unique("prompt_id", keep="first", maintain_order=True)
    order = pl.Series("_order", [stable_hash(0, one) for one in posts["prompt_id"]], dtype=pl.Int64)
    return posts.with_columns(order).sort("_order", "prompt_id").drop("_order").head(n_prompts or posts.height)


def human_responses(pairs: PairSet, prompts: pl.DataFrame, n: int) -> pl.DataFrame:
    """SAMPLES of source human: up to n responses that people wrote to each prompt, in order of the hash of their id.

    Their tokens are not counted: n_tokens is the number of words.
    """
    sides = [
        pairs.frame.select("prompt", "subreddit", prompt_id="post_id", response_id=f"{side}_id", response=side)
        for side in ("chosen", "rejected")
    ]
    rows = pl.concat(sides).unique("response_id", keep="first", maintain_order=True)
    rows = rows.join(prompts.select("prompt_id"), on="prompt_id", how="semi")
    order = pl.Series("_order", [stable_hash(0, one) for one in rows["response_id"]], dtype=pl.Int64)
    ranked = rows.with_columns(order).sort("prompt_id", "_order", "response_id")
    ranked = ranked.with_columns(sample=pl.int_range(pl.len()).over("prompt_id")).filter(pl.col("sample") < n)
    return ranked.with_columns(
        source=pl.lit(HUMAN),
        n_tokens=pl.col("response").str.count_matches(r"\S+").cast(pl.Int64),
        is_finished=pl.lit(True),
        log_prob=pl.lit(None, dtype=pl.Float64),
        reference_log_prob=pl.lit(None, dtype=pl.Float64),
    ).select(list(SAMPLES.columns))


def read_rows(path: Path, what: str, next_step: str) -> pl.DataFrame:
    """The rows of a Parquet or JSONL file.

    Args:
        path: the file; Parquet if its name says so.
        what: what the rows are, for the error.
        next_step: what the error advises.

    Raises:
        CallError: it cannot be read; of JSONL the error names the first line that is wrong.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if path.suffix != ".parquet" and path.is_file():
            reason = _wrong_line(path) or reason
        raise CallError(f"Cannot read {what} from {path}: {reason.rstrip('.')}.", next_step) from error


def _wrong_line(path: Path) -> str:
    """The first line of a file that is no JSON object, in words; empty when all are."""
    number = 0
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            is_object = not line.strip() or isinstance(json.loads(line), dict)
        except ValueError:
            is_object = False
        if not is_object:
            return f"line {number:,} is no JSON object: {line[:40].decode(errors='replace')!r}"
    return "" if number else "it is empty"


def read_prompts(path: Path) -> pl.DataFrame:
    """Prompts in a JSONL or Parquet file with a column prompt; prompt_id and subreddit are taken where it has them.

    Raises:
        CallError: it cannot be read, has no text in `prompt`, or names a prompt twice.
    """
    frame = read_rows(path, "prompts", "Name a JSONL or Parquet file.")
    if frame.schema.get("prompt") != pl.String or frame["prompt"].null_count() or frame.is_empty():
        raise CallError(
            f"{path} has no text in the column prompt of every row (columns: {', '.join(frame.columns) or 'none'}).",
            'Each line is an object such as {"prompt": "..."}.',
        )
    numbers = pl.Series("prompt_id", [str(number) for number in range(frame.height)], dtype=pl.String)
    ids = frame["prompt_id"].cast(pl.String) if "prompt_id" in frame.columns else numbers
    subreddit = frame["subreddit"].cast(pl.String) if "subreddit" in frame.columns else pl.lit(None, dtype=pl.String)
    named = frame.select("prompt", subreddit=subreddit, prompt_id=ids)
    if ids.null_count() or ids.n_unique() < frame.height:
        raise CallError(f"{path} names a prompt twice, or not at all, in prompt_id.", "Leave the column out.")
    return named


def require_sample_file(path: Path, sources: Sequence[Path] = ()) -> Path:
    """The path, if samples can be written there.

    Args:
        path: the file to write.
        sources: files that the same call reads, which would be lost.

    Raises:
        CallError: it ends in neither .parquet nor .jsonl, its name is too long, or it is a file that is read.
    """
    if path.suffix not in SUFFIXES:
        raise CallError(f"Samples are written as {' or '.join(SUFFIXES)}, got {path.name!r}.", "Change `--out`.")
    require_file_name(path)
    if any(path.resolve() == one.resolve() for one in sources):
        raise CallError(f"{path} is read, and would be overwritten.", "Name another file with `--out`.")
    return path


def sample_to_file(
    draw: Callable[[pl.DataFrame], pl.DataFrame],
    prompts: pl.DataFrame,
    config: SamplingConfig,
    out: Path,
    described: Mapping[str, Any],
    others: pl.DataFrame | None = None,
    *,
    replace: bool = False,
) -> Samples:
    """Sample part by part, and write one file when all are there; a file that is finished is not drawn again.

    Parts of an interrupted call with the same arguments are kept, those of another call are discarded.

    Args:
        draw: prompts -> SAMPLES; moves the open bar by prompts.
        prompts: prompt_id, prompt, subreddit.
        config: how the policy is sampled.
        out: the file, .parquet or .jsonl.
        described: what else determines the samples, by name.
        others: SAMPLES of other sources that the file holds, too.
        replace: draw again what is there, if it was drawn in another way.

    Raises:
        CallError: the file was drawn in another way, and replace is False.
        LurkerError: the file cannot be written, or another process writes it.
    """
    busy = LurkerError(f"{out} is being written by another process.", "Wait until it has finished, or change `--out`.")
    with locked(out.with_name(f".{out.name}.lock"), waits=False, busy=busy):
        people = None if others is None else fingerprint(others.rows())
        drawn = {**described, **to_dict(config), "prompts": fingerprint(prompts.rows()), "people's responses": people}
        if out.exists():
            changed = _differences(out, drawn)
            n_samples = prompts.height * config.n + (0 if others is None else others.height)
            if not changed and _is_whole(out, n_samples):
                say(f"{out} is already finished.")
                return Samples(pl.read_parquet(out), out)
            if changed and not replace:
                raise CallError(
                    f"{out} holds other samples: {'; '.join(changed)}.",
                    "Name another file with `--out`, or add `--replace`: its rewards are lost, too.",
                )
        parts = out.with_name(f".{out.name}.parts")
        key = {"samples": fingerprint(drawn)}
        if parts.exists() and (not (parts / "key.json").exists() or read_json(parts / "key.json") != key):
            say("An interrupted call with other arguments is discarded.")
            shutil.rmtree(parts)
        write_json(key, parts / "key.json")
        per_part = max(1, SAMPLES_PER_PART // config.n)
        files = [parts / f"{start:09}.parquet" for start in range(0, prompts.height, per_part)]
        with progress("Sampling", prompts.height, "prompts") as advance:
            for file, rows in zip(files, prompts.iter_slices(per_part), strict=True):
                if _is_whole(file, rows.height * config.n):
                    advance(rows.height)
                else:
                    write_parquet(draw(rows), file)
        samples = pl.concat([pl.read_parquet(file) for file in files] + ([] if others is None else [others]))
        write_samples(samples, out, {DRAWN: json.dumps(drawn)})
        shutil.rmtree(parts, ignore_errors=True)
        for sentence in describe_samples(samples.filter(pl.col("source") != HUMAN)):
            say(sentence)
        return Samples(samples, out)


def _is_whole(file: Path, n_samples: int) -> bool:
    """Whether a part is there and can be read: a crash of the machine may leave a cut one."""
    try:
        return file.exists() and pl.read_parquet(file).height == n_samples
    except (OSError, pl.exceptions.PolarsError):
        return False


def sample_metadata(path: Path) -> dict[str, str]:
    """How the samples in a file were drawn, as `write_samples` takes it; empty where the file does not tell."""
    try:
        found = pl.read_parquet_metadata(path) if path.suffix == ".parquet" else {}
    except (OSError, pl.exceptions.PolarsError):  # damaged
        return {}
    return {DRAWN: found[DRAWN]} if DRAWN in found else {}


def _differences(out: Path, drawn: Mapping[str, Any]) -> list[str]:
    """How the samples in a file were drawn otherwise than these would be, in words; of a digest only its name."""
    recorded = sample_metadata(out)
    if not recorded:
        return ["how they were drawn is not recorded in it"]
    before, digests = json.loads(recorded[DRAWN]), ("weights", "reference's weights", "prompts", "people's responses")
    return [
        f"other {name}" if name in digests else f"{name} was {before.get(name)} and is {value} now"
        for name, value in drawn.items()
        if before.get(name) != value
    ]


def write_samples(samples: pl.DataFrame, out: Path, metadata: dict[str, str] | None = None) -> None:
    """Write SAMPLES, and columns added to them, as Parquet or JSONL by the file's name.

    Args:
        samples: the rows.
        out: the file.
        metadata: how they were drawn, which only Parquet keeps.

    Raises:
        LurkerError: the file cannot be written.
    """
    if out.suffix == ".parquet":
        write_parquet(samples, out, metadata=metadata)
        return
    with atomic_path(out) as temporary:
        samples.write_ndjson(temporary)
