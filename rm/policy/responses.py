"""What people compare blind: to each prompt one response of every policy, the best of its samples, and a person's.

`lurker arena serve NAME --responses FILE` takes the file, and a judge's rewards beside the texts tell how often people
prefer what it prefers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lurker.arguments import as_list, as_path
from lurker.errors import CallError, LurkerError
from lurker.report import Displayed, ResultTable
from lurker.workspace import AnyWorkspace, as_workspace
from rm.policy.judged_samples import HUMAN, AnySamples, judged, reward_column
from rm.policy.sample_file import Samples, require_sample_file, write_samples
from rm.runs.run import Run

COLUMNS = ("prompt_id", "prompt", "topic", "source", "response", "reward")


@dataclass(frozen=True, slots=True, repr=False)
class Responses(Displayed):
    """Responses of several sources to the same prompts."""

    frame: pl.DataFrame
    """prompt_id, prompt, topic (the community), source, response, and reward where a judge was named"""
    out: Path | None = None
    """the file that holds them"""

    def table(self) -> ResultTable:
        """One row per source."""
        own = self.frame.group_by("source", maintain_order=True).agg(
            pl.col("prompt_id").n_unique().alias("prompts"),
            pl.col("response").str.count_matches(r"\S+").mean().round(1).alias("mean words"),
            *([pl.col("reward").mean().round(2).alias("mean reward")] if "reward" in self.frame.columns else []),
        )
        note = f"Written to {self.out}. Next: `lurker arena serve NAME --responses {self.out}`." if self.out else ""
        return ResultTable("Responses", own.to_dicts(), note)


def responses(
    workspace: AnyWorkspace,
    samples: Sequence[AnySamples] | AnySamples,
    *,
    judge: Run | str | None = None,
    best_of: int | None = None,
    n_prompts: int | None = None,
    out: Path | str | None = None,
) -> Responses:
    """Put responses of several sources side by side, one of each source to each prompt that two or more answer.

    Each source gives the first sample that is not empty: samples are independent, so the first is as good as a drawn
    one.

    Args:
        workspace: where the judge is.
        samples: what `rm.sample` drew, or files of `lurker policy sample`; people's responses are a source too.
        judge: adds its rewards.
        best_of: adds the best of so many samples by the judge as a source of its own, for each policy.
        n_prompts: the first prompts only, in the order of the samples.
        out: file to write, .parquet or .jsonl.

    Raises:
        CallError: best_of lacks a judge, or a policy has fewer samples; a file holds no samples.
        LurkerError: no prompt is answered by two sources, or the judge was trained on prompts of the samples.
    """
    opened = as_workspace(workspace)
    if best_of is not None and judge is None:
        raise CallError("The best of several samples needs a judge.", "Name a run with `--judge RUN`.")
    asked = as_list(samples, "samples")
    read = [found for one in asked if (found := one.out if isinstance(one, Samples) else as_path(one, "samples"))]
    path = None if out is None else require_sample_file(as_path(out, "out"), read)
    parts = [_of_file(opened, one, judge, best_of) for one in asked]
    rows = pl.concat(parts).unique(["prompt_id", "source"], keep="first", maintain_order=True)
    is_shared = pl.col("source").n_unique().over("prompt_id") > 1
    rows = rows.filter(is_shared)
    if rows.is_empty():
        raise LurkerError(
            "No prompt is answered by two sources.", "Sample another policy for the same prompts, or add `--human`."
        )
    kept = rows["prompt_id"].unique(maintain_order=True).head(n_prompts or rows.height)
    rows = rows.filter(pl.col("prompt_id").is_in(kept.implode()))
    if path is not None:
        write_samples(rows, path)
    return Responses(rows, path)


def _of_file(workspace: Any, samples: AnySamples, judge: Run | str | None, best_of: int | None) -> pl.DataFrame:
    """The responses of one file's sources."""
    frame, _ = judged(workspace, samples, [] if judge is None else [judge])
    reward = [] if judge is None else [pl.col(reward_column(judge)).alias("reward")]
    rows = frame.sort("prompt_id", "source", "sample", maintain_order=True).filter(pl.col("response") != "")
    rows = frame.select("prompt_id").unique(maintain_order=True).join(rows, on="prompt_id", maintain_order="left")
    found = [rows.unique(["prompt_id", "source"], keep="first", maintain_order=True)]
    own = rows.filter(pl.col("source") != HUMAN)
    if best_of is not None and not own.is_empty():
        n_drawn = int(frame.filter(pl.col("source") != HUMAN).group_by("prompt_id", "source").len()["len"].min())  # type: ignore[arg-type]
        if n_drawn < best_of:
            raise CallError(
                f"The best of {best_of} needs as many samples, got {n_drawn}.",
                f"Draw more: `lurker policy sample POLICY --n {best_of}`.",
            )
        best = own.filter(pl.col("sample") < best_of).sort(reward_column(judge or ""), descending=True)
        best = best.unique(["prompt_id", "source"], keep="first", maintain_order=True)
        found.append(best.with_columns(source=pl.format("{}, best of {}", "source", pl.lit(best_of))))
    both = pl.concat(found).with_columns(topic="subreddit").select(*COLUMNS[:-1], *reward)
    order = frame["prompt_id"].unique(maintain_order=True)
    place = dict(zip(order.to_list(), range(order.len()), strict=True))
    number = pl.Series("_place", [place[one] for one in both["prompt_id"]], dtype=pl.Int64)
    return both.with_columns(number).sort("_place", maintain_order=True).drop("_place")
