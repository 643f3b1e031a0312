"""Serve an arena by Streamlit: the rater's page and nothing else."""

import os
import socket
from pathlib import Path

import typer

from dashboard.commands import SERVER_OPTIONS, THEME_OPTIONS
from lurker.errors import CallError
from lurker.votes.arenas import Arena

PAGE = Path(__file__).resolve().parent.parent / "arena_app.py"
OWN_OPTIONS = {
    "client.toolbarMode": "minimal",
    "client.showSidebarNavigation": False,
    "server.enableStaticServing": False,
    "server.maxUploadSize": 1,
}


def require_free_port(host: str, port: int) -> None:
    """Check that the port can be opened.

    Raises:
        CallError: the port is in use, this user may not open it, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CallError(f"Cannot serve on {host}:{port}: {reason}.", "Choose another with --port or --host.") from error


def serve(arena: Arena, host: str, port: int, *, is_behind_proxy: bool) -> None:
    """Serve the arena until Ctrl-C; workspace and arena are passed in the environment."""
    from streamlit.web import bootstrap

    os.environ["LURKER_WORKSPACE"] = str(arena.workspace.root.expanduser().resolve())
    os.environ["LURKER_ARENA"] = arena.name
    os.environ["LURKER_BEHIND_PROXY"] = "1" if is_behind_proxy else "0"
    options = {**SERVER_OPTIONS, **THEME_OPTIONS, **OWN_OPTIONS, "server.address": host, "server.port": port}
    flags = {name.replace(".", "_"): value for name, value in options.items()}
    bootstrap.load_config_options(flags)
    typer.echo(f"The arena {arena.name} is at http://{host}:{port} (Ctrl-C to stop).")
    if host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo("Links are passwords: put HTTPS in front of it (see the guide on arenas).", err=True)
    bootstrap.run(str(PAGE), False, [], flags)
