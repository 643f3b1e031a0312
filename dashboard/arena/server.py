"""Serve an arena by Streamlit: the rater's page and nothing else."""

import os
from pathlib import Path

import typer

from dashboard.server import run_page
from lurker.votes.arenas import Arena

FOLDER, PAGE = Path(__file__).resolve().parent.parent, Path("arena_app.py")
OWN_OPTIONS = {
    "client.toolbarMode": "minimal",
    "client.showSidebarNavigation": False,
    "server.enableStaticServing": False,
    "server.maxUploadSize": 1,
}


def serve(arena: Arena, host: str, port: int, *, is_behind_proxy: bool) -> None:
    """Serve the arena until Ctrl-C; workspace and arena are passed in the environment."""
    os.environ["LURKER_WORKSPACE"] = str(arena.workspace.root.expanduser().resolve())
    os.environ["LURKER_ARENA"] = arena.name
    os.environ["LURKER_BEHIND_PROXY"] = "1" if is_behind_proxy else "0"
    if host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo("Links are passwords: put HTTPS in front of it (see the guide on arenas).", err=True)
    os.chdir(FOLDER)  # Streamlit tells every browser the path of its script: this one names no folder
    says = f"The arena {arena.name} is at http://{host}:{port} (Ctrl-C to stop)."
    run_page(PAGE, port, says, {**OWN_OPTIONS, "server.address": host}, is_local=False)
