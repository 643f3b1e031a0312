"""`lurker experiment report` and `delete`: what is done with experiments that have run."""

from pathlib import Path
from typing import Annotated

import typer

from lurker.report import print_json, show
from lurker.workspace import open_workspace
from rm.options import AsJson


def report_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Experiments, in the order of the page.")],
    out: Path | None = typer.Option(
        None,
        "--out",
        help="Folder of the page, its figures and tables, or a file that ends in .html for the page alone; "
        "reports/NAME in the workspace by default.",
    ),
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
