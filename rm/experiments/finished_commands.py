"""`lurker experiment list`, `show`, `report`, `delete`, and `lurker policy report`: what is done with what has run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lurker.help import CommandGroup
from lurker.progress import say
from lurker.report import print_json, show
from lurker.workspace import open_workspace
from rm.options import AsJson

if TYPE_CHECKING:
    from rm.experiments.results import ExperimentResult

ReportOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder of the page, its figures and tables, or a file that ends in .html for the page alone; "
        "reports/NAME in the workspace by default.",
    ),
]


def list_command(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the experiments: kind, pair sets, cells finished, and when they last wrote; interrupted ones too."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.listing import list_experiments

    list_experiments(workspace).print("experiments", as_json=as_json)


def show_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Experiment that has a table.")],
    as_json: AsJson = False,
) -> None:
    """Print an experiment's tables and sentence again, as its command did; nothing is run."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.stored import open_experiment

    stored = open_experiment(workspace, name)
    show_result(stored.require_result(), as_json=as_json)
    if stored.partial:
        say(stored.partial)


def show_result(result: "ExperimentResult", *, as_json: bool) -> None:
    """Print what an experiment found, and on standard error the cells that failed."""
    if as_json:
        print_json(result.report())
    else:
        for table in result.result_tables():
            show(table)
    if result.failures:
        from rm.experiments.results import failure_table

        sys.stderr.write(f"{failure_table(result.failures)}\n")


def report_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Experiments, and policies as policy:ID.")],
    out: ReportOut = None,
    as_json: AsJson = False,
) -> None:
    """Write experiments as one HTML page that stands alone, and as figures and tables for a paper."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.report.write import report

    written = report(workspace, names, out)
    if as_json:
        print_json(written.report())
    else:
        show(written.table())
    if written.problems:
        raise typer.Exit(1)


policies_app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False, rich_markup_mode=None)


@policies_app.callback()
def group() -> None:
    """Write policies as a report."""


@policies_app.command("report")
def policy_report_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="POLICY...", help="Policies, in the order of the page.")],
    out: ReportOut = None,
    as_json: AsJson = False,
) -> None:
    """Write policies as one HTML page that stands alone, and as figures and tables for a paper; no text is in it."""
    report_command(ctx, [f"policy:{name.removeprefix('policy:')}" for name in names], out, as_json)


def delete_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Experiments, finished or not.")],
    runs: bool = typer.Option(
        False, "--runs", help="Also their runs, except those that other runs or experiments are built on."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be deleted."),
    as_json: AsJson = False,
) -> None:
    """Delete experiments, all or none; their runs stay unless `--runs` is given."""
    workspace = open_workspace(ctx.obj)
    from rm.experiments.delete import delete_experiments

    deletion = delete_experiments(workspace, names, with_runs=runs, is_dry=dry_run)
    if as_json:
        print_json(deletion.report())
    else:
        show(deletion.table())
