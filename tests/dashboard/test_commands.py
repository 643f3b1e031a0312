"""`lurker dashboard` and ports it cannot use."""

import socket
from pathlib import Path

import pytest
from streamlit.web.server.starlette import starlette_server

from dashboard import server
from dashboard.server import ADDRESS, require_free_port
from lurker.cli import run
from lurker.errors import CallError


def test_a_port_in_use_is_an_error_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run(["--workspace", str(tmp_path), "dashboard", "--port", str(port)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: Cannot serve on 127.0.0.1:{port}: address already in use.\n")
    assert f"`lurker --workspace {tmp_path} dashboard --port N`" in complaint


def test_a_free_port_is_accepted_until_it_is_in_use() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_free_port(ADDRESS, port, "Choose another.")
    with pytest.raises(CallError, match="already in use"), socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        require_free_port(ADDRESS, port, "Choose another.")


def test_an_invalid_port_is_refused(tmp_path: Path) -> None:
    assert run(["--workspace", str(tmp_path), "dashboard", "--port", "70000"]) == 2


def test_an_export_needs_experiments_and_the_name_of_a_page(
    full_root: Path, empty_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert run(["--workspace", str(full_root), "dashboard", "--export", str(tmp_path / "page")]) == 2
    assert "ends in .html" in capsys.readouterr().err
    assert run(["--workspace", str(empty_root), "dashboard", "--export", str(page)]) == 2
    assert "no experiment" in capsys.readouterr().err


def test_connections_of_the_server_send_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starlette_server, "_bind_socket", starlette_server._bind_socket)  # put back afterwards
    server._send_at_once()
    listening = starlette_server._bind_socket(ADDRESS, 0, 1)
    with listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        with listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
