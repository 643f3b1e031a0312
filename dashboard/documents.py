"""JSON documents of a workspace (manifests, audits, results) -> frames that charts can draw.

Each function names the file if something is missing, so that one damaged file costs one panel and not the page.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from dashboard.queries import FileVersion, version
from lurker.errors import LurkerError
from lurker.files import read_json, read_object
from lurker.listings import CONFIG, RESULT
from lurker.pair_sets import MANIFEST, read_manifest, require_row_count
from lurker.workspace import Workspace

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


_FITTED = {"predictor": pl.String, "n_parameters": pl.Int64, "accuracy": pl.Float64}
_FIT_AXES = {"pairs": "n_train_pairs", "tokens": "n_tokens", "time": "train_time_s"}
"""What a fit takes as the amount of data -> the column of its curve."""
_NUMBERS = ("value", "low", "high")
_FIGURES = {"measure": pl.String, "figure": pl.String, **dict.fromkeys(_NUMBERS, pl.Float64), "note": pl.String}


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of one pair set."""

    pairs: str
    recipe: str
    verdict: str
    is_clean: bool
    second_opinion: str | None
    """verdict of the second auditor; None if it did not run"""
    label_confidence_mean: float | None
    """mean P(chosen is truly liked more), 0.5–1"""
    probes: pl.DataFrame
    """one row per split, subreddit, confounders and kind of probe: accuracy with its 95 % interval"""
    differences: pl.DataFrame
    """pairs, confounder, smd: standardised mean difference, chosen minus rejected"""
    rates: dict[str, tuple[float, float, float]]
    """shares of pairs in which the earlier or the longer response wins: value, low, high"""
    truth: tuple[float, float, float] | None
    """accuracy of the simulator's truth on these pairs: value, low, high; None for real data"""


@dataclass(frozen=True, slots=True)
class PairSetSummary:
    """The manifest of a pair set."""

    name: str
    recipe: str
    rules: dict[str, Any]
    subreddits: list[str]
    n_pairs: int
    n_posts: int
    ledger: pl.DataFrame
    """stage, step, n, start, end: a waterfall from the input, over what each rule dropped, to what was kept"""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The training of a finished run."""

    run_id: str
    pairs: str
    """the pair set trained on"""
    model: str
    n_parameters: int
    """without embeddings"""
    n_train_pairs: int
    subreddits: list[str]
    seed: int
    settings: str
    """all of its training but the seed, as JSON; empty if its config is missing"""
    tests: dict[str, dict[str, tuple[float, float, float]]]
    """pair set -> predictor (model, or a baseline) -> accuracy on its test split with its interval"""


@dataclass(frozen=True, slots=True)
class ScalingFit:
    """The fitted curve of a scaling experiment, as the command wrote it."""

    sentence: str
    """what may be claimed"""
    left_out: str
    """models that are not in the fit, and why; empty if all are"""
    curve: pl.DataFrame
    """predictor, n_parameters, n_train_pairs (or tokens, or seconds), accuracy"""
    figures: pl.DataFrame
    """measure, figure, value, low, high, note: parameters, gains, and predictions beside what came"""


def run_result(workspace: Workspace, run_id: str) -> RunResult:
    """The result of a run.

    Raises:
        LurkerError: the file is missing, damaged or lacks an entry.
    """
    return _run_result(version(workspace.root / "runs" / run_id / RESULT))


@lru_cache(maxsize=2048)
def _run_result(file: FileVersion) -> RunResult:
    path, config_path = file.path, file.path.with_name(CONFIG)
    content = read_json(path)
    config = read_json(config_path) if config_path.exists() else {}
    with _report_damage(path):
        train = {name: value for name, value in config.get("train", {}).items() if name != "seed"}
        tests: dict[str, dict[str, tuple[float, float, float]]] = {}
        for one in content.get("evaluations", ()):
            if one["split"] == "test":
                tests.setdefault(str(one["pairs"]), {})[str(one["predictor"])] = _interval(one, "accuracy")
        return RunResult(
            run_id=path.parent.name,
            pairs=str(content["pairs"]),
            model=str(content["model"]),
            n_parameters=int(content["n_parameters"]),
            n_train_pairs=int(content["n_train_pairs"]),
            subreddits=[str(name) for name in content["subreddits"]],
            seed=int(content.get("seed", 0)),
            settings=json.dumps(train, sort_keys=True) if train else "",
            tests=tests,
        )


def scaling_fit(workspace: Workspace, name: str) -> ScalingFit | None:
    """The fit of a scaling experiment; None if the experiment is of a version that wrote none.

    Raises:
        LurkerError: the file is damaged or lacks an entry.
    """
    path = workspace.root / "experiments" / name / "fit.json"
    if not path.exists():
        return None
    content = read_json(path)
    with _report_damage(path):
        axis = _FIT_AXES[content.get("x", "pairs")]
        curve = pl.DataFrame(content["curve"], schema=_FITTED | {axis: pl.Float64})
        figures = pl.DataFrame(content.get("figures", []), schema=_FIGURES)
        return ScalingFit(str(content["sentence"]), str(content["left_out"]), curve, figures)


def experiment_manifest(workspace: Workspace, name: str) -> dict[str, Any]:
    """The manifest of an experiment.

    Raises:
        LurkerError: it is missing or damaged.
    """
    return read_object(workspace.folder("experiments", name) / MANIFEST)


def findings(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """What a transfer experiment shows: sentence, and net transfer and map, or exchange rates; None of older versions.

    Raises:
        LurkerError: the file is damaged or lacks an entry.
    """
    path = workspace.root / "experiments" / name / "findings.json"
    if not path.exists():
        return None
    content: dict[str, Any] = read_json(path)
    with _report_damage(path):
        content["sentence"] = str(content["sentence"])
        for one in content.get("exchange", ()):
            _ = one["what"], one["words"]
    return content


def pair_set(workspace: Workspace, name: str) -> PairSetSummary:
    """The manifest of a pair set.

    Raises:
        CallError: there is no such set.
        LurkerError: the manifest is damaged or lacks an entry, or the pairs do not match it.
    """
    path = workspace.root / "pairs" / name / MANIFEST
    with _report_damage(path):
        content = read_manifest(workspace, name)
        ledger = [row for stage, counts in content["ledger"].items() for row in _waterfall(stage, counts)]
        summary = PairSetSummary(
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
    require_row_count(workspace, name)
    return summary


def audit(workspace: Workspace, name: str) -> Audit:
    """The audit of a pair set.

    Raises:
        LurkerError: the file is missing, damaged or lacks an entry.
    """
    path, second_path = (workspace.root / "pairs" / name / file for file in ("audit.json", "second-opinion.json"))
    content = read_json(path)
    second = read_json(second_path) if second_path.exists() else None
    with _report_damage(path):
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
    """The most accurate probe per pair set, split, subreddit and confounders."""
    keys = ["pairs", "split", "subreddit", "confounders"]
    return probes.sort("accuracy", "probe", descending=[True, False]).unique(keys, keep="first", maintain_order=True)


def widest_split(probes: pl.DataFrame) -> str:
    """The split of an audit with the most pairs, and so the narrowest intervals; there must be a probe."""
    return str(probes.sort("n_pairs", "split", descending=[True, False])["split"][0])


def strongest_probe(audit: Audit) -> dict[str, Any] | None:
    """The most accurate of all probes that read no text, over all communities on the split with the most pairs."""
    if audit.probes.is_empty():
        return None
    shortcuts = audit.probes.filter(
        (pl.col("split") == widest_split(audit.probes))
        & (pl.col("subreddit") == "all")
        & (pl.col("confounders") != "text")
    ).sort("accuracy", "confounders", "probe", descending=[True, False, False])
    return None if shortcuts.is_empty() else shortcuts.row(0, named=True)


def deciding_probe(audit: Audit) -> dict[str, Any] | None:
    """The probe of all confounders that decides whether a pair set is clean, or None.

    Among those over all communities on the split with the most pairs it is the most accurate, unless that one finds
    nothing and another is significantly below chance: then the pairs are not clean either.
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


def cleanness(audit: Audit) -> str:
    """'clean', 'not clean' or 'undecided': the deciding probe's interval contains 0.5 but is too wide to be clean."""
    if audit.is_clean:
        return "clean"
    probe = deciding_probe(audit)
    return "undecided" if probe is None or probe["accuracy_low"] <= 0.5 <= probe["accuracy_high"] else "not clean"


def read_each(names: Iterable[str], read: Callable[[str], T]) -> tuple[dict[str, T], list[LurkerError]]:
    """`read(name)` for each name: the results by name, and the errors of what could not be read."""
    results: dict[str, T] = {}
    errors: list[LurkerError] = []
    for name in names:
        try:
            results[name] = read(name)
        except LurkerError as error:
            errors.append(error)
    return results, errors


def _waterfall(stage: str, counts: dict[str, Any]) -> Iterator[tuple[str, str, int, int, int]]:
    left = int(counts["input"])
    yield stage, "input", left, 0, left
    for drop in counts["dropped"]:
        n = int(drop["n"])
        yield stage, str(drop["reason"]), n, left - n, left
        left -= n
    yield stage, "kept", int(counts["kept"]), 0, int(counts["kept"])


def _interval(entry: dict[str, Any], name: str = "") -> tuple[float, float, float]:
    value, low, high = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    return float(entry[value]), float(entry[low]), float(entry[high])


@contextmanager
def _report_damage(path: Path) -> Iterator[None]:
    """Turn errors from missing or malformed entries into a LurkerError that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise LurkerError(f"{path} is damaged: {reason}.", "Run the command that wrote it again.") from error
