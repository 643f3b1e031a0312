"""`lurker rm`: train, evaluate and apply reward models."""

from pathlib import Path
from typing import Annotated

import typer

from lurker.errors import CallError
from lurker.help import CommandGroup
from lurker.pair_sets import read_pair_set
from lurker.report import ResultTable, print_json, show
from lurker.workspace import open_workspace
from rm.options import AsJson, Baselines, External, Model, Pairs, RunId, Settings, Split, Subreddits

app = typer.Typer(
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Train, evaluate and apply reward models.",
)


@app.command("list")
def list_command(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the runs: pair set, model, accuracy, size and date; interrupted runs too."""
    open_workspace(ctx.obj).runs().print("runs", as_json=as_json)


@app.command("show")
def show_command(
    ctx: typer.Context,
    run: RunId,
    follow: bool = typer.Option(False, "--follow", help="Draw the learning curve again every second while it trains."),
    as_json: AsJson = False,
) -> None:
    """Show a run: the accuracies of its model and baselines once it is finished, and its learning curve."""
    workspace = open_workspace(ctx.obj)
    from rm.runs.show import follow_run, show_run

    shown = show_run(workspace, run)
    if as_json:
        print_json(shown.report())
        return
    if follow:
        shown = follow_run(workspace, run)
    for table in shown.tables():
        show(table)
    typer.echo(shown.curve.text())


@app.command("delete")
def delete_command(
    ctx: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of runs, finished or not.")],
    force: bool = typer.Option(False, "--force", help="Also runs that something else is built on."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be deleted, and what uses it."),
    as_json: AsJson = False,
) -> None:
    """Delete runs, all or none; one that other runs, policies or experiments are built on is refused."""
    workspace = open_workspace(ctx.obj)
    from rm.runs.delete import delete_runs

    deletion = delete_runs(workspace, runs, force=force, is_dry=dry_run)
    if as_json:
        print_json(deletion.report())
    else:
        show(deletion.table())


@app.command("train")
def train_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Pair set to train on.")],
    model: Model,
    run: str | None = typer.Option(None, "--run", help="Id of the run; made from the arguments by default."),
    resume: bool = typer.Option(False, "--resume", help="Resume an interrupted run; a finished one is reported."),
    max_pairs: int | None = typer.Option(None, "--max-pairs", min=2, help="Training pairs; all by default."),
    validation: str | None = typer.Option(
        None, "--validation", help="Pair set whose validation split chooses the best step; NAME by default."
    ),
    test: list[str] | None = typer.Option(
        None, "--test", help="Pair set whose test split is evaluated on; NAME and hard-test by default. Repeatable."
    ),
    subreddit: Subreddits = None,
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the subset, initial weights and order."),
    baselines: Baselines = "all",
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train a reward model and evaluate it next to its baselines, on NAME's test split and the hard test."""
    workspace = open_workspace(ctx.obj)
    from rm import api
    from rm.training.settings import parse_settings

    trained = api.train(
        read_pair_set(workspace, name),
        model,
        seed=seed,
        max_pairs=max_pairs,
        validation=validation,
        tests=test,
        subreddits=subreddit or (),
        run_id=run,
        resume=resume,
        baselines=baselines,
        **parse_settings(settings or ()),
    )
    if not api.is_reporting_process():
        return
    if as_json:
        print_json(trained.result)
    else:
        show(trained.table())


@app.command("evaluate")
def evaluate_command(
    ctx: typer.Context,
    run: RunId,
    pairs: str | None = typer.Option(None, "--pairs", help="Pair set to evaluate on."),
    external: External = None,
    split: Split = "test",
    baselines: Baselines = "all",
    as_json: AsJson = False,
) -> None:
    """Evaluate a run, next to its baselines, on a split of any pair set, or on judgements from outside."""
    workspace = open_workspace(ctx.obj)
    from rm import api

    if (pairs is None) == (external is None):
        given = "neither" if pairs is None else "both"
        raise CallError(f"One of --pairs and --external is needed, got {given}.", "Name a pair set or a file.")
    if external is not None:
        judged = api.load(workspace, run).external(external, baselines=baselines)
        if as_json:
            print_json(judged.report)
            return
        for table in judged.tables():
            show(table)
        return
    assert pairs is not None
    evaluation = api.evaluate(api.load(workspace, run), pairs, split, baselines=baselines)
    if as_json:
        rows = evaluation.frame.drop("run_id").to_dicts()
        print_json({"run_id": run, "pairs": pairs, "split": split, "evaluations": rows})
    else:
        show(evaluation.table())


@app.command("diagnose")
def diagnose_command(
    ctx: typer.Context, run: RunId, pairs: Pairs, split: Split = "test", as_json: AsJson = False
) -> None:
    """Show calibration, accuracy by length, delay and score gap, and how changed texts move the reward."""
    workspace = open_workspace(ctx.obj)
    from rm import api

    diagnosis = api.diagnose(api.load(workspace, run), pairs, split)
    if as_json:
        print_json(diagnosis.report)
        return
    for table in diagnosis.tables():
        show(table)


@app.command("compare")
def compare_command(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="RUN", help="Id of a finished run; of several seeds: RUN,RUN,RUN.")],
    second: Annotated[
        str,
        typer.Argument(
            metavar="OTHER",
            help="Run(s) to compare with, or a baseline of RUN: length | time | both | tfidf | embeddings.",
        ),
    ],
    pairs: Annotated[str, typer.Option("--pairs", help="Pair set that both were evaluated on.")],
    split: Split = "test",
    as_json: AsJson = False,
) -> None:
    """Compare two runs, or a run and a baseline, on the same pairs: is the difference more than chance?"""
    workspace = open_workspace(ctx.obj)
    from dataclasses import asdict

    from rm import api

    comparison = api.compare(first, second, read_pair_set(workspace, pairs), split)
    if as_json:
        print_json(asdict(comparison) | {"sentence": comparison.sentence})
    else:
        show(comparison.table())


@app.command("average")
def average_command(
    ctx: typer.Context,
    runs: Annotated[str, typer.Argument(metavar="RUN,RUN,RUN", help="Finished runs that differ by seed only.")],
    run: str | None = typer.Option(None, "--run", help="Id of the new run; made from the arguments by default."),
    as_json: AsJson = False,
) -> None:
    """Average the weights of several seeds into one model, and evaluate it as they were."""
    workspace = open_workspace(ctx.obj)
    from rm import api

    averaged = api.average([api.load(workspace, name.strip()) for name in runs.split(",")], run_id=run)
    if as_json:
        print_json(averaged.result)
    else:
        show(averaged.table())


@app.command("export")
def export_command(
    ctx: typer.Context,
    run: RunId,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    as_json: AsJson = False,
) -> None:
    """Write a run as a Hugging Face folder that transformers and TRL load, with a model card."""
    workspace = open_workspace(ctx.obj)
    from rm import api

    folder = api.export(api.load(workspace, run), out)
    if as_json:
        print_json({"run_id": run, "out": str(folder)})
    else:
        show(ResultTable("Exported", [{"run": run, "folder": str(folder)}]))


@app.command("score")
def score_command(
    ctx: typer.Context,
    run: RunId,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSONL or Parquet: prompt, response and, if the run reads it, delay_s."),
    ],
    out: Path | None = typer.Option(None, "--out", help="File to write; FILE with `.scored` before its suffix."),
    as_json: AsJson = False,
) -> None:
    """Add a reward to each row of a file of any size."""
    workspace = open_workspace(ctx.obj)
    from rm import api

    target = out or file.with_name(f"{file.stem}.scored{file.suffix}")
    n_rows = api.load(workspace, run).score_file(file, target)
    if as_json:
        print_json({"run_id": run, "rows": n_rows, "out": str(target)})
    else:
        show(ResultTable("Scored", [{"rows": n_rows, "file": str(target)}]))
