"""A file of samples and what judges say of them: read, scored once, and arranged as one pool of N per prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import as_path
from lurker.decimals import counted
from lurker.errors import CallError, LurkerError
from lurker.progress import progress, say
from lurker.schema import SAMPLES, column_faults
from lurker.workspace import Workspace
from rm.policy.best_of_n import LENGTH, PROXY
from rm.policy.judges import judge_name, open_judge, require_no_leak
from rm.policy.sample_file import Samples, read_rows, sample_metadata, write_samples
from rm.policy.text_traits import words
from rm.runs.run import Run
from rm.training.identity import model_digest
from rm.training.run_folder import RUN_PREFIX, model_of_run

HUMAN = "human"
"""Source of responses that people wrote."""
REWARD = "reward:"
"""A column of samples that starts with it holds the rewards of the judge named after it."""
WEIGHTS = "weights:"
"""A column that starts with it holds the digest of the weights that gave the rewards of the run named after it."""
ROWS_PER_STEP = 2_048
SAME_SAMPLE = ("source", "prompt_id", "sample")
"""What tells one sample from another."""
AnySamples = Samples | Path | str
"""What `rm.sample` drew, or a file that `lurker policy sample` wrote."""


def read_samples(path: Path) -> pl.DataFrame:
    """Samples in a Parquet or JSONL file, each once, with the rewards that judges have given them.

    Raises:
        CallError: it cannot be read, holds no samples, or two that have the same number and differ.
    """
    frame = read_rows(path, "samples", _HOW_TO_SAMPLE)
    missing = [name for name in SAMPLES.columns if name not in frame.columns]
    if missing or frame.is_empty():
        what = f"has no column {missing[0]}" if missing else "is empty"
        raise CallError(f"{path} {what}, so it is no file of samples.", _HOW_TO_SAMPLE)
    for name, column in SAMPLES.columns.items():
        try:
            frame = frame.with_columns(pl.col(name).cast(column.dtype))
        except pl.exceptions.PolarsError as error:
            raise CallError(
                f"{path}: column {name} holds {frame.schema[name]}, and {column.dtype} is needed.", _HOW_TO_SAMPLE
            ) from error
    if faults := column_faults(frame, SAMPLES.columns):
        raise CallError(f"{path}: {faults[0]}.", _HOW_TO_SAMPLE)
    return _each_once(frame, str(path))


def _each_once(samples: pl.DataFrame, what: str) -> pl.DataFrame:
    """The samples without those that stand twice, as in files put together; they would be counted twice.

    Args:
        samples: SAMPLES, with or without rewards.
        what: their file, for messages.

    Raises:
        CallError: two samples have the same source, prompt and number, and differ.
    """
    distinct = samples.unique(SAME_SAMPLE, keep="first", maintain_order=True)
    n_again = samples.height - distinct.height
    if not n_again:
        return samples
    texts = samples.select(*SAME_SAMPLE, "prompt", "response").unique(maintain_order=True)
    if texts.height > distinct.height:
        source, prompt, number = texts.filter(texts.select(SAME_SAMPLE).is_duplicated()).select(SAME_SAMPLE).row(0)
        raise CallError(
            f"{what} holds different responses as sample {number} of {source} to prompt {prompt!r}.",
            "Do not put files of samples together: draw more in one call, with `--n`, or give each its own file.",
        )
    said = "is left out: its sample is" if n_again == 1 else "are left out: their samples are"
    say(f"{what}: {counted(n_again, 'row')} {said} there already.")
    return distinct


def reward_column(judge: Run | str) -> str:
    """Column of a judge's rewards."""
    return f"{REWARD}{spec_of(judge).removeprefix(RUN_PREFIX)}"


def spec_of(judge: Run | str) -> str:
    """SPEC of a judge: a run, its id, truth or length."""
    return judge_name(judge.run_id if isinstance(judge, Run) else judge)


def judged(workspace: Workspace, samples: AnySamples, judges: Sequence[Run | str]) -> tuple[pl.DataFrame, Path | None]:
    """Samples with a reward column of each judge, and the file that holds them; what is new is written into it.

    Args:
        workspace: where the judges are.
        samples: drawn ones, or their file.
        judges: runs, run:ID or ID, truth, length.

    Raises:
        CallError: there is no such judge, or the file holds no samples, or different ones of one number.
        LurkerError: a judge was trained on prompts of the samples.
    """
    path = samples.out if isinstance(samples, Samples) else as_path(samples, "samples")
    if isinstance(samples, Samples) and path is None:
        before = _each_once(samples.frame, "The frame")
    else:
        before = read_samples(Path(str(path)))
    rewarded = _with_rewards(workspace, before, judges)
    if path is not None and rewarded is not before:
        write_samples(rewarded, path, sample_metadata(path))
    return rewarded, path


def _with_rewards(workspace: Workspace, samples: pl.DataFrame, judges: Sequence[Run | str]) -> pl.DataFrame:
    """Samples with a reward column of each judge; only what is new, no finite number, or of other weights is scored."""
    specs = list(dict.fromkeys(map(spec_of, judges)))
    weights = {spec: model_digest(model_of_run(workspace, spec)) for spec in specs if spec.startswith(RUN_PREFIX)}
    new = [spec for spec in specs if not _has_rewards(samples, spec, weights.get(spec))]
    if not new:
        return samples
    prompts = samples.select("prompt", "subreddit", post_id="prompt_id").unique(maintain_order=True)
    with progress("Judging", len(new) * samples.height, unit="responses") as advance:
        for spec in new:
            judge = open_judge(workspace, spec, prompts)
            require_no_leak(workspace, judge, prompts.clear(), prompts)
            found: list[float] = []
            for rows in _whole_prompts(samples):
                found += judge.score(rows["prompt"].to_list(), rows["response"].to_list()).tolist()
                advance(rows.height)
            samples = samples.with_columns(pl.Series(reward_column(spec), found, dtype=pl.Float64))
            if spec in weights:
                samples = samples.with_columns(pl.lit(weights[spec]).alias(_weights_column(spec)))
    return samples


def _weights_column(spec: str) -> str:
    return f"{WEIGHTS}{spec.removeprefix(RUN_PREFIX)}"


def _has_rewards(samples: pl.DataFrame, spec: str, weights: str | None) -> bool:
    """Whether there is a finite reward of every sample by these weights: a hand or a cut file may have changed some.

    Args:
        samples: with or without the judge's column.
        spec: the judge.
        weights: digest of a run's model; a run may be trained again under its name.
    """
    column, own = reward_column(spec), _weights_column(spec)
    if weights is not None and not (own in samples.columns and (samples[own] == weights).fill_null(False).all()):
        return False
    return bool(samples.schema.get(column) == pl.Float64 and samples[column].is_finite().fill_null(False).all())


def pools(samples: pl.DataFrame, measures: Mapping[str, str]) -> list[dict[str, Any]]:
    """One pool per prompt of what a policy wrote, in order of the prompts' ids; length in words is added as a measure.

    Args:
        samples: of one policy, with rewards; what people wrote is left out.
        measures: name -> column, "proxy" among them.

    Raises:
        LurkerError: there are samples of several policies, or none.
    """
    own = samples.filter(pl.col("source") != HUMAN)
    sources = sorted(own["source"].unique())
    if len(sources) != 1:
        raise LurkerError(
            f"Best of n takes the samples of one policy, the file has those of {', '.join(sources) or 'none'}.",
            _HOW_TO_SAMPLE,
        )
    found = []
    for _, rows in own.sort("prompt_id", "sample").group_by("prompt_id", maintain_order=True):
        values = {name: rows[column].to_numpy() for name, column in measures.items()}
        n_words = [float(len(words(text))) for text in rows["response"]]
        found.append(
            {
                "prompt_id": rows["prompt_id"][0],
                "prompt": rows["prompt"][0],
                "responses": rows["response"].to_list(),
                "measures": values | {LENGTH: n_words},
            }
        )
    assert all(PROXY in pool["measures"] for pool in found)
    return found


def _whole_prompts(samples: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows in their order, in parts that never divide the samples of a prompt that stand together.

    A judge that reads two responses compares those of a prompt with each other.
    """
    is_last = (samples["prompt_id"] != samples["prompt_id"].shift(-1)).fill_null(True)
    parts, first = [], 0
    for last in is_last.arg_true():
        if last + 1 - first >= ROWS_PER_STEP or last + 1 == samples.height:
            parts.append(samples.slice(first, last + 1 - first))
            first = last + 1
    return parts


_HOW_TO_SAMPLE = "Draw some: `lurker policy sample POLICY --pairs NAME --n 64 --human --out FILE`."
