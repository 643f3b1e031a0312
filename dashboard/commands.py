"""`lurker dashboard`: serve the pages on this machine, or write the experiments as one page."""

import importlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import typer

from lurker.cli import run
from lurker.errors import CallError
from lurker.workspace import Workspace, open_workspace

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501

SERVER_OPTIONS: dict[str, Any] = {
    "server.address": ADDRESS,
    "server.headless": True,  # opens no browser
    "server.showEmailPrompt": False,
    "server.fileWatcherType": "none",
    "browser.serverAddress": ADDRESS,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",  # tracebacks go to the terminal, not to the page
    "client.toolbarMode": "viewer",
    "logger.hideWelcomeMessage": True,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "global.developmentMode": False,
}
THEME_OPTIONS: dict[str, Any] = {
    "theme.baseRadius": "8px",
    "theme.paddingTop": "1rem",
    "theme.metricValueFontSize": "1.6rem",
    "theme.headingFontWeights": [700, 600, 600, 600, 600, 600],
    "theme.headingFontSizes": ["1.75rem", "1.3rem", "1.15rem", "1rem", "1rem", "1rem"],
    "theme.light.primaryColor": "#0B6BB0",
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F4F6F8",
    "theme.light.textColor": "#18222D",
    "theme.light.codeTextColor": "#18222D",
    "theme.dark.codeTextColor": "#E6EAEF",
    "theme.dark.primaryColor": "#62B6F2",
    "theme.dark.backgroundColor": "#10151B",
    "theme.dark.secondaryBackgroundColor": "#1A212A",
    "theme.dark.textColor": "#E6EAEF",
}


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
    require_free_port(port)
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


def require_free_port(port: int) -> None:
    """Check that the port can be opened.

    Raises:
        CallError: the port is in use, or this user may not open it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise CallError(
                f"Cannot serve on {ADDRESS}:{port}: {reason.lower()}.", "Choose another: `lurker dashboard --port N`."
            ) from error


def serve(root: Path, port: int) -> None:
    """Serve the pages of the workspace at `root` until Ctrl-C.

    The workspace need not exist: the pages then show what to run. Its path is passed in the environment.
    """
    from streamlit.web import bootstrap

    threading.Thread(target=_import_for_first_page, daemon=True).start()
    os.environ["LURKER_WORKSPACE"] = str(root)
    options = {name.replace(".", "_"): value for name, value in {**SERVER_OPTIONS, **THEME_OPTIONS}.items()}
    options["server_port"] = port
    bootstrap.load_config_options(options)
    typer.echo(f"The dashboard of {root} is at http://{ADDRESS}:{port} (Ctrl-C to stop).")
    bootstrap.run(str(Path(__file__).with_name("app.py")), False, [], options)


def _import_for_first_page() -> None:
    """Import what the first page needs while the browser is still opening."""
    for module in ("dashboard.like_for_like", "dashboard.claims", "dashboard.figures", "dashboard.ingested"):
        importlib.import_module(module)
