"""Serve pages by Streamlit: its options and theme, and the port."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from lurker.errors import CallError

ADDRESS = "127.0.0.1"
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
    "runner.postScriptGC": False,  # it would take longer than a step to the next pair
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


def require_free_port(host: str, port: int, next_step: str) -> None:
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
        raise CallError(f"Cannot serve on {host}:{port}: {reason}.", next_step) from error


def run_page(
    page: Path, port: int, says: str, options: Mapping[str, Any] | None = None, *, is_local: bool = True
) -> None:
    """Serve a Streamlit script until Ctrl-C.

    Args:
        page: the script.
        says: printed once the options are read.
        options: Streamlit's, by dotted name, over those of this module.
        is_local: whether the page is for this machine's user: then Streamlit's own files are sent compressed, which
            needs a way to serve that tells every browser the folder of the script.
    """
    chosen = {**SERVER_OPTIONS, **THEME_OPTIONS, **(options or {}), "server.port": port}
    _send_at_once()
    typer.echo(says)
    if is_local:
        _run_compressed(page, chosen)
        return
    from streamlit.web import bootstrap

    flags = {name.replace(".", "_"): value for name, value in chosen.items()}
    bootstrap.load_config_options(flags)
    bootstrap.run(str(page), False, [], flags)


def _run_compressed(page: Path, options: Mapping[str, Any]) -> None:
    import streamlit
    from starlette.middleware import Middleware

    from dashboard.packed import PackedFiles

    app = streamlit.App(page, middleware=[Middleware(PackedFiles)])
    with suppress(KeyboardInterrupt):  # raised again by the server once it has stopped
        app.run(config=options)


def _send_at_once() -> None:
    """Make the server send every message at once.

    Streamlit opens its port in a way that asyncio does not take for TCP, and so asyncio leaves the system's waiting for
    more data on: every second message to a browser then comes 40 ms late. Connections inherit the port's option.
    """
    from streamlit.web.server.starlette import starlette_server

    bind = starlette_server._bind_socket

    def bind_without_waiting(address: str, port: int, backlog: int) -> socket.socket:
        bound = bind(address, port, backlog)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound

    starlette_server._bind_socket = bind_without_waiting
