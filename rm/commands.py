"""`lurker rm`: train, judge and apply reward models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lurker.errors import CallError
from lurker.pair_sets import has_hard_test
from lurker.progress import progress, say
from lurker.report import print_json, print_table
from lurker.workspace import open_workspace
from rm.options import AsJson, Model, Settings, Subreddits

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="Train, judge and apply reward models.")


@app.command("train")
def train_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Pair set to train on.")],
    model: Model,
    run: str | None = typer.Option(None, "--run", help="Id of the run; made from the call when absent."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a run that was stopped."),
    max_pairs: int | None = typer.Option(None, "--max-pairs", min=2, help="Training pairs; all when absent."),
    validation: str | None = typer.Option(
        None, "--validation", help="Pair set whose validation split chooses the best step; NAME when absent."
    ),
    test: list[str] | None = typer.Option(
        None, "--test", help="Pair set judged on, its test split; NAME and hard-test when absent. Repeatable."
    ),
    subreddit: Subreddits = None,
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of subset, initial weights and order."),
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train a reward model; judge it, beside the baselines, on NAME's test split and the hard test, or on others."""
    workspace = open_workspace(ctx.obj)
    from lurker.config import fingerprint
    from lurker.pair_sets import HARD_TEST
    from rm.models.ladder import check_spec, slug
    from rm.runs.train_run import train_run
    from rm.training.run_folder import RunConfig
    from rm.training.trainable import train_config

    check_spec(model)
    hard_test = (HARD_TEST,) if has_hard_test(workspace) and name != HARD_TEST else ()
    config = RunConfig(
        pairs=name,
        model=model,
        train=train_config(model, seed, settings or []),
        subreddits=tuple(subreddit or ()),
        max_pairs=max_pairs,
        validation_pairs=validation,
        test_pairs=tuple(test) if test else (name, *hard_test),
    )
    run_id = run or f"{name}-{slug(model)}-{fingerprint(config)[:8]}"
    result = train_run(workspace, run_id, config, resume=resume)
    if not result:
        return  # one of several processes: the first reports
    if as_json:
        print_json(result)
        return
    print_table(f"Run {run_id}: {result['n_train_pairs']:,} training pairs", _accuracies(result["evaluations"]))


@app.command("evaluate")
def evaluate_command(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run.")],
    pairs: Annotated[str, typer.Option("--pairs", help="Pair set to judge on.")],
    split: str = typer.Option("test", "--split", help="train | validation | test: its split."),
    as_json: AsJson = False,
) -> None:
    """Judge a run, beside the baselines, on a split of any pair set, by subreddit."""
    workspace = open_workspace(ctx.obj)
    from rm.evaluation.evaluate_run import evaluate_run

    table = evaluate_run(workspace, run, pairs, _split(split))
    if as_json:
        print_json({"run_id": run, "pairs": pairs, "split": split, "evaluations": table.drop("run_id").to_dicts()})
        return
    print_table(f"Run {run} on {pairs} ({split})", _accuracies(table.to_dicts(), "subreddit"))


@app.command("diagnose")
def diagnose_command(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run.")],
    pairs: Annotated[str, typer.Option("--pairs", help="Pair set to judge on.")],
    split: str = typer.Option("test", "--split", help="train | validation | test: its split."),
    as_json: AsJson = False,
) -> None:
    """What stands behind an accuracy: calibration, length, delay, score gap, and how changed texts move the reward."""
    workspace = open_workspace(ctx.obj)
    from rm.evaluation.diagnose import diagnose_run

    found = diagnose_run(workspace, run, pairs, _split(split))
    if as_json:
        print_json(found)
        return
    print_table(f"Run {run} on {pairs} ({split})", [_with_interval(row) for row in found["strata"]])
    error = found["calibration"]["expected_calibration_error"]
    print_table(f"Calibration (error {error:.3f})", [_with_interval(row) for row in found["calibration"]["bins"]])
    if "counterfactuals" not in found:
        return
    follows = found["reward_correlations_within_posts"].items()
    print_table("The reward follows, within posts", [{"what": name, "Spearman": value} for name, value in follows])
    print_table("When the text changes, in standard deviations of the reward", found["counterfactuals"])


@app.command("compare")
def compare_command(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run; of several seeds: RUN,RUN,RUN.")],
    second: Annotated[
        str,
        typer.Argument(
            metavar="OTHER",
            help="Run(s) it is compared with, or its baseline: length | time | both | tfidf | embeddings.",
        ),
    ],
    pairs: Annotated[str, typer.Option("--pairs", help="Pair set that both have judged.")],
    split: str = typer.Option("test", "--split", help="train | validation | test: its split."),
    as_json: AsJson = False,
) -> None:
    """Is one run better than another, or than a baseline, on the same pairs, or is it chance?"""
    workspace = open_workspace(ctx.obj)
    from dataclasses import asdict

    from rm.evaluation.compare import compare_runs

    found = asdict(compare_runs(workspace, first, second, pairs, _split(split)))
    if as_json:
        print_json({"first": first, "second": second, "pairs": pairs, "split": split, **found})
        return
    rows = [{"figure": name.replace("_", " "), "value": value} for name, value in found.items()]
    print_table(f"{first} against {second} on {pairs} ({split})", rows)


@app.command("average")
def average_command(
    ctx: typer.Context,
    runs: Annotated[str, typer.Argument(metavar="RUN,RUN,RUN", help="Finished runs that differ by seed alone.")],
    run: str | None = typer.Option(None, "--run", help="Id of the new run; made from the call when absent."),
    as_json: AsJson = False,
) -> None:
    """Make one model of several seeds, the mean of their weights; judge it as they were."""
    workspace = open_workspace(ctx.obj)
    from rm.runs.average import average_runs

    result = average_runs(workspace, [name.strip() for name in runs.split(",")], run)
    if as_json:
        print_json(result)
        return
    title = f"Run {result['run_id']}: the mean of {len(result['mean_of'])} runs"
    print_table(title, _accuracies(result["evaluations"]))


@app.command("export")
def export_command(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    as_json: AsJson = False,
) -> None:
    """Write a run as a Hugging Face folder that transformers and TRL load, with a model card."""
    workspace = open_workspace(ctx.obj)
    from rm.runs.export import export_run

    folder = export_run(workspace, run, out)
    if as_json:
        print_json({"run_id": run, "out": str(folder)})
    else:
        print_table("Exported", [{"run": run, "folder": str(folder)}])


@app.command("score")
def score_command(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run.")],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSONL or Parquet with prompt and response (and delay_s, if trained so)."),
    ],
    out: Path | None = typer.Option(None, "--out", help="Where to write; FILE with `.scored` before its ending."),
    as_json: AsJson = False,
) -> None:
    """Add a reward to each row of a file of any size."""
    workspace = open_workspace(ctx.obj)
    from lurker.workspace import read_json
    from rm.evaluation.score import Reader, is_parquet, score_file
    from rm.models.ladder import load
    from rm.models.scorer import describe_device, move_to_device
    from rm.training.run_folder import finished_run, run_config

    folder = finished_run(workspace, run)
    is_parquet(file)  # an unreadable file is refused before the model is loaded
    target = out or file.with_name(f"{file.stem}.scored{file.suffix}")
    reward_model = load(folder / "model")
    device = move_to_device(reward_model.model, reward_model.n_parameters)
    say(f"Scoring on {describe_device(device)}.")
    config = run_config(read_json(folder / "config.json"))
    with progress("Scoring", file.stat().st_size, "bytes") as advance:
        n_rows = score_file(Reader.of(reward_model, config.train), file, target, advance)
    if as_json:
        print_json({"run_id": run, "rows": n_rows, "out": str(target)})
    else:
        print_table("Scored", [{"rows": n_rows, "file": str(target)}])


def _accuracies(rows: list[dict[str, Any]], *places: str) -> list[dict[str, Any]]:
    return [
        {
            "pairs": row["pairs"],
            **{place: row[place] for place in places},
            "predictor": row["predictor"],
            "accuracy": f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]",
            "log loss": row["log_loss"],
            "test pairs": row["n_test_pairs"],
            "posts": row["n_test_posts"],
        }
        for row in rows
    ]


def _with_interval(row: dict[str, Any]) -> dict[str, Any]:
    interval = f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]"
    return {name: value for name, value in row.items() if not name.startswith("accuracy")} | {"accuracy": interval}


def _split(text: str) -> str:
    if text not in ("train", "validation", "test"):
        raise CallError(f"--split takes train | validation | test, got {text!r}.")
    return text
