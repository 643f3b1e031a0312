"""The JSON a workspace holds beside its tables (manifests, audits, results) -> frames that charts can draw.

Each function reads what it needs and names the file when something is missing, so that one damaged file costs one
panel and not the page.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from lurker.errors import LurkerError
from lurker.workspace import Workspace, read_json

T = TypeVar("T")

_PROBES = pl.Schema(
    {
        "pairs": pl.String,
        "split": pl.String,
        "subreddit": pl.String,
        "confounders": pl.String,
        "probe": pl.String,
        "n_pairs": pl.Int64,
        "n_posts": pl.Int64,
        "accuracy": pl.Float64,
        "accuracy_low": pl.Float64,
        "accuracy_high": pl.Float64,
    }
)


@dataclass(frozen=True, slots=True)
class Audit:
    """What the probes say of one pair set."""

    pairs: str
    recipe: str
    verdict: str
    is_clean: bool
    second_opinion: str | None
    """verdict of the second auditor; None where none was asked"""
    label_confidence_mean: float | None
    """mean P(chosen is truly liked more), 0.5–1"""
    probes: pl.DataFrame
    """one row a split, subreddit, set of confounders and kind of probe, accuracy with its 95 % interval"""
    differences: pl.DataFrame
    """pairs, confounder, smd: standardised mean difference, chosen minus rejected"""
    rates: dict[str, tuple[float, float, float]]
    """share of pairs whose earlier, whose longer response wins: value, low, high"""
    truth: tuple[float, float, float] | None
    """accuracy of the simulator's truth on these pairs: value, low, high; None for real data"""


@dataclass(frozen=True, slots=True)
class PairSet:
    """What the manifest of a pair set says."""

    name: str
    recipe: str
    rules: dict[str, Any]
    subreddits: list[str]
    n_pairs: int
    n_posts: int
    ledger: pl.DataFrame
    """stage, step, n, start, end: a waterfall from what came in, by what each rule dropped, to what was kept"""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run says of its training."""

    run_id: str
    pairs: str
    """the pair set trained on"""
    model: str
    n_parameters: int
    """without embeddings"""
    n_train_pairs: int
    subreddits: list[str]


def run_result(workspace: Workspace, run_id: str) -> RunResult:
    """The result of a run.

    Errors: LurkerError when it is missing, damaged, or lacks an entry.
    """
    path = workspace.root / "runs" / run_id / "result.json"
    content = read_json(path)
    with _naming(path):
        return RunResult(
            run_id=run_id,
            pairs=str(content["pairs"]),
            model=str(content["model"]),
            n_parameters=int(content["n_parameters"]),
            n_train_pairs=int(content["n_train_pairs"]),
            subreddits=[str(name) for name in content["subreddits"]],
        )


def pair_set(workspace: Workspace, name: str) -> PairSet:
    """The manifest of a pair set.

    Errors: LurkerError when it is missing, damaged, or lacks an entry.
    """
    path = workspace.root / "pairs" / name / "manifest.json"
    content = read_json(path)
    with _naming(path):
        ledger = [row for stage, counts in content["ledger"].items() for row in _waterfall(stage, counts)]
        return PairSet(
            name=name,
            recipe=str(content["recipe"]["name"]),
            rules={field: value for field, value in content["recipe"].items() if field != "name"},
            subreddits=[str(subreddit) for subreddit in content["subreddits"]],
            n_pairs=int(content["n_pairs"]),
            n_posts=int(content["n_posts"]),
            ledger=pl.DataFrame(
                ledger,
                schema={"stage": pl.String, "step": pl.String, "n": pl.Int64, "start": pl.Int64, "end": pl.Int64},
                orient="row",
            ),
        )


def audit(workspace: Workspace, name: str) -> Audit:
    """The audit of a pair set.

    Errors: LurkerError when the file is missing, damaged, or lacks an entry.
    """
    path, second_path = (workspace.root / "pairs" / name / file for file in ("audit.json", "second-opinion.json"))
    content = read_json(path)
    second = read_json(second_path) if second_path.exists() else None
    with _naming(path):
        probes = [{"pairs": name, **{key: row[key] for key in list(_PROBES)[1:]}} for row in content["probes"]]
        differences = [(name, str(row["confounder"]), float(row["smd"])) for row in content["differences"]]
        rates = {key: _interval(content[key]) for key in ("earlier_wins", "longer_wins") if content.get(key)}
        truth = content.get("truth")
        confidence = content.get("label_confidence_mean")
        return Audit(
            pairs=name,
            recipe=str(content["recipe"]),
            verdict=str(content["verdict"]),
            is_clean=bool(content["is_clean"]),
            second_opinion=None if second is None else str(second["verdict"]),
            label_confidence_mean=None if confidence is None else float(confidence),
            probes=pl.DataFrame(probes, schema=_PROBES),
            differences=pl.DataFrame(
                differences, schema={"pairs": pl.String, "confounder": pl.String, "smd": pl.Float64}, orient="row"
            ),
            rates=rates,
            truth=_interval(truth, "accuracy") if truth else None,
        )


def strongest_probes(probes: pl.DataFrame) -> pl.DataFrame:
    """Per pair set, split, subreddit and confounders the probe that names the winner most often."""
    keys = ["pairs", "split", "subreddit", "confounders"]
    return probes.sort("accuracy", "probe", descending=[True, False]).unique(keys, keep="first", maintain_order=True)


def widest_split(probes: pl.DataFrame) -> str:
    """The split of an audit that holds the most pairs, and so has the narrowest intervals; there must be a probe."""
    return str(probes.sort("n_pairs", "split", descending=[True, False])["split"][0])


def joint_probe(audit: Audit) -> dict[str, Any] | None:
    """The probe of all confounders that decides, over all communities and the most pairs; None without one.

    It is the strongest, unless that finds nothing and another is surely below chance: then the pairs are not clean.
    """
    if audit.probes.is_empty():
        return None
    joint = audit.probes.filter(
        (pl.col("split") == widest_split(audit.probes))
        & (pl.col("subreddit") == "all")
        & (pl.col("confounders") == "joint")
    ).sort("accuracy", "probe", descending=[True, False])
    if joint.is_empty():
        return None
    strongest, weakest = joint.row(0, named=True), joint.row(-1, named=True)
    return weakest if strongest["accuracy_low"] <= 0.5 and weakest["accuracy_high"] < 0.5 else strongest


def standing(audit: Audit) -> str:
    """'clean', 'not clean', or 'undecided': the joint probe's interval holds 0.5 and is too wide to call it clean."""
    if audit.is_clean:
        return "clean"
    probe = joint_probe(audit)
    return "undecided" if probe is None or probe["accuracy_low"] <= 0.5 <= probe["accuracy_high"] else "not clean"


def each(names: list[str], read: Callable[[str], T]) -> tuple[dict[str, T], list[LurkerError]]:
    """`read(name)` for each name: what could be read, and the errors of what could not."""
    found: dict[str, T] = {}
    damaged: list[LurkerError] = []
    for name in names:
        try:
            found[name] = read(name)
        except LurkerError as error:
            damaged.append(error)
    return found, damaged


def _waterfall(stage: str, counts: dict[str, Any]) -> Iterator[tuple[str, str, int, int, int]]:
    left = int(counts["input"])
    yield stage, "came in", left, 0, left
    for drop in counts["dropped"]:
        n = int(drop["n"])
        yield stage, str(drop["reason"]), n, left - n, left
        left -= n
    yield stage, "kept", int(counts["kept"]), 0, int(counts["kept"])


def _interval(entry: dict[str, Any], name: str = "") -> tuple[float, float, float]:
    value, low, high = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    return float(entry[value]), float(entry[low]), float(entry[high])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise LurkerError(f"{path} is damaged: {reason}.", "Make it again with the command that wrote it.") from error
