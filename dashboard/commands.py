"""`lurker dashboard`: serve the pages on this machine, or write the experiments as one page."""

import importlib
import os
import threading
from pathlib import Path

import typer

from dashboard.server import ADDRESS, require_free_port, run_page
from lurker.cli import run
from lurker.errors import CallError
from lurker.workspace import Workspace, open_workspace

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)

DEFAULT_PORT = 8501


@app.command()
def dashboard(
    ctx: typer.Context,
    port: int = typer.Option(DEFAULT_PORT, "--port", min=1, max=65_535, help="Port on 127.0.0.1."),
    out: Path | None = typer.Option(
        None, "--export", metavar="FILE", help="Write a page of all experiments, .html, in place of serving."
    ),
) -> None:
    """Explore the workspace in the browser: overview, experiments, audits and the pairs themselves."""
    root: Path = ctx.obj
    if out is not None:
        export(open_workspace(root), out)
        return
    require_free_port(ADDRESS, port, "Choose another: `lurker dashboard --port N`.")
    serve(root.expanduser().resolve(), port)


def export(workspace: Workspace, out: Path) -> None:
    """Write all finished experiments as one page that stands alone, by the command that writes reports.

    Raises:
        CallError: there is no experiment, or the file's name does not end in .html.
    """
    if out.suffix.lower() != ".html":
        raise CallError(f"The page is a file that ends in .html, got {out}.", "For example `--export report.html`.")
    names = workspace.names("experiments", "manifest.json")
    if not names:
        raise CallError(f"There is no experiment in {workspace.root} yet.", "Make one: `lurker experiment --help`.")
    code = run(["--workspace", str(workspace.root), "experiment", "report", *names, "--out", str(out)])
    if code:
        raise typer.Exit(code)


def serve(root: Path, port: int) -> None:
    """Serve the pages of the workspace at `root` until Ctrl-C.

    The workspace need not exist: the pages then show what to run. Its path is passed in the environment.
    """
    threading.Thread(target=_import_for_pages, daemon=True).start()
    os.environ["LURKER_WORKSPACE"] = str(root)
    says = f"The dashboard of {root} is at http://{ADDRESS}:{port} (Ctrl-C to stop)."
    run_page(Path(__file__).with_name("app.py"), port, says)


def _import_for_pages() -> None:
    """Import what the pages need while the browser is still opening, those of the first page first."""
    for module in ("like_for_like", "claims", "figures", "ingested", "tables", "pairs", "runs", "compare.recipes"):
        importlib.import_module(f"dashboard.{module}")
    for module in ("pyarrow", "narwhals._polars.namespace", "PIL.Image"):  # for tables, charts and the page's icon
        importlib.import_module(module)
