"""Judge a run on judgements from outside, next to what length and simple text models reach on the same pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json
from lurker.judgements.read import Judgements, read_judgements
from lurker.report import Displayed, ResultTable
from lurker.stats import ACCURACY_GAIN, mean_interval
from lurker.workspace import CACHE, Workspace
from rm.evaluation.baseline_margins import baseline_margins, wanted_baselines
from rm.evaluation.baselines import Which, length_margins
from rm.evaluation.evaluate_run import model_margins_of_tests
from rm.evaluation.metrics import ALL, SHORTER, Margins, evaluation_table, is_correct
from rm.evaluation.trained_run import load_trained
from rm.training.identity import is_unseen
from rm.training.run_folder import CONFIG, MODEL, finished_run, read_run_pairs, run_config

FOLDER = "external"
"""In a run's folder: one JSON file per file of judgements."""
SPLIT = "external"
TEXT_BASELINES = ("tfidf", "embeddings")
"""Those of BASELINES that read texts: judgements from outside have no times."""
READ_BEFORE = "the prompt was trained on"


@dataclass(frozen=True, slots=True, repr=False)
class ExternalEvaluation(Displayed):
    """A run and its baselines on judgements from outside."""

    report: dict[str, Any]
    """As in runs/RUN/external/NAME.json."""

    def table(self) -> ResultTable:
        """Accuracy of each predictor over all judgements, and what the model gains over it on the same pairs."""
        gains = {row["predictor"]: _interval(row, "difference", "+") for row in self.report["differences"]}
        rows = [
            {
                "predictor": row["predictor"],
                "accuracy": _interval(row, "accuracy"),
                "model minus this": gains.get(row["predictor"]),
                "log loss": row["log_loss"],
                "pairs": row["n_pairs"],
                "prompts": row["n_prompts"],
            }
            for row in self.report["evaluations"]
            if row["topic"] == ALL
        ]
        title = f"Run {self.report['run_id']} on {self.report['name']} (format: {self.report['format']})"
        dropped = ", ".join(f"{reason}: {n:,}" for reason, n in self.report["dropped"].items()) or "none"
        return ResultTable(title, rows, f"{self.report['n_rows']:,} rows. Left out: {dropped}.")

    def tables(self) -> list[ResultTable]:
        """The table, and where there are several topics the accuracies by topic."""
        topics: dict[str, dict[str, Any]] = {}
        for row in self.report["evaluations"]:
            if row["topic"] != ALL:
                one = topics.setdefault(row["topic"], {"topic": row["topic"], "pairs": row["n_pairs"]})
                has_interval = row["predictor"] == MODEL and row["n_prompts"] > 1  # one prompt is one cluster
                one[row["predictor"]] = _interval(row, "accuracy") if has_interval else row["accuracy"]
        by_topic = [ResultTable("Accuracy by topic", list(topics.values()))] if topics else []
        return [self.table(), *by_topic]


def evaluate_external(workspace: Workspace, run_id: str, path: Path, baselines: Which = "all") -> ExternalEvaluation:
    """Judge a finished run on a file, folder or archive of judgements; written to runs/RUN/external/NAME.json.

    Judgements on prompts that the run or an ancestor has read are left out and counted. The text baselines are fitted
    on the run's own training pairs.

    Raises:
        CallError: there is no such run or file, or the run reads delays, which judgements do not have.
        LurkerError: the file cannot be used, all its prompts were trained on, or the run's pair sets have changed.
    """
    folder = finished_run(workspace, run_id)
    described = read_json(folder / CONFIG)
    config = run_config(described)
    if config.train.with_delay:
        raise CallError(
            f"Run {run_id} reads the response's delay, which judgements from outside do not have.",
            "Train one without `--set with_delay=true`.",
        )
    judgements = read_judgements(path)
    trained_on = read_run_pairs(workspace, config)
    if trained_on.digest != described["data_digest"]:
        raise LurkerError(f"The pair sets that run {run_id} used have been rebuilt since.", "Train a new run on them.")
    frame = judgements.frame.filter(is_unseen(folder / "model", config.model, judgements.frame))
    if frame.is_empty():
        raise LurkerError(
            f"Run {run_id}, or a run it started from, was trained on all prompts of {path}.",
            "Name judgements on other prompts, or judge another run.",
        )
    name = judgements.name
    margins = {MODEL: model_margins_of_tests(load_trained(workspace, run_id), {name: frame})[name]}
    margins |= {"length": length_margins(frame), SHORTER: -length_margins(frame)}
    wanted = [one for one in wanted_baselines(baselines, config.model) if one in TEXT_BASELINES]
    pairs = replace(trained_on, test={name: frame})
    found = baseline_margins(wanted, config, pairs, workspace.root / CACHE, described.get("model_digest"))
    margins |= {baseline: values[name] for baseline, values in found.margins.items()}
    report = _report(run_id, judgements, frame, margins) | {"baselines_left_out": found.left_out}
    write_json(report, folder / FOLDER / f"{name}.json")
    return ExternalEvaluation(report)


def _report(run_id: str, judgements: Judgements, frame: pl.DataFrame, margins: Mapping[str, Margins]) -> dict[str, Any]:
    """What is written and shown; frame: the judgements used; margins: predictor -> [n_pairs]."""
    table = evaluation_table(frame, margins, run_id, judgements.name, SPLIT)
    if frame["subreddit"].n_unique() == 1:
        table = table.filter(subreddit=ALL)
    columns = {"subreddit": "topic", "n_test_pairs": "n_pairs", "n_test_posts": "n_prompts"}
    n_read = judgements.frame.height - frame.height
    return {
        "run_id": run_id,
        "name": judgements.name,
        "format": judgements.format_name,
        "sha256": judgements.sha256,
        "n_rows": judgements.n_rows,
        "dropped": judgements.dropped | ({READ_BEFORE: n_read} if n_read else {}),
        "evaluations": table.drop("run_id", "pairs", "split").rename(columns).to_dicts(),
        "differences": _differences(frame, margins),
    }


def _differences(frame: pl.DataFrame, margins: Mapping[str, Margins]) -> list[dict[str, Any]]:
    """Accuracy of the model minus that of each other predictor on the same pairs, clustered by prompt."""
    rows = []
    for predictor, values in margins.items():
        if predictor != MODEL:
            gain = is_correct(margins[MODEL]) - is_correct(values)
            estimate = mean_interval(gain, frame["post_id"].to_numpy(), bounds=ACCURACY_GAIN)
            ends = max(estimate.low, -1.0), min(estimate.high, 1.0)  # infinite with a single prompt
            rows.append(
                {
                    "predictor": predictor,
                    "difference": estimate.value,
                    "difference_low": ends[0],
                    "difference_high": ends[1],
                }
            )
    return rows


def _interval(row: Mapping[str, Any], name: str, sign: str = "") -> str:
    value, low, high = (format(row[one], f"{sign}.3f") for one in (name, f"{name}_low", f"{name}_high"))
    return f"{value} [{low}, {high}]"
