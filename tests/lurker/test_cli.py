import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lurker.cli import MOUNTED, run
from lurker.errors import LurkerError
from lurker.files import write_json
from lurker.locks import locked
from lurker.workspace import open_workspace

HEAVY = ("torch", "streamlit", "polars", "duckdb", "sklearn", "transformers", "numpy", "rich", "pydantic")


def test_help_loads_no_room() -> None:
    code = (
        "import sys; from lurker.cli import run; assert run(['--help']) == 0;"
        f"loaded = [name for name in {(*HEAVY, 'ingest', 'features', 'rm', 'dashboard')!r} if name in sys.modules];"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", MOUNTED)
def test_every_mounted_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert name in capsys.readouterr().out


def test_importing_commands_stays_light() -> None:
    modules = "ingest.commands, features.commands, rm.commands, dashboard.commands"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'streamlit' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_workspace_option_is_allowed_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = str(tmp_path / "absent")
    for arguments in (
        ["--workspace", absent, "status"],
        ["status", "--workspace", absent],
        ["status", f"--workspace={absent}"],
    ):
        assert run(arguments) == 2
        assert absent in capsys.readouterr().err


def test_a_wrong_call_exits_with_2_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bogus"]) == 2
    assert "No such command 'bogus'" in capsys.readouterr().err
    assert run(["status", "--workspace"]) == 2


def test_status_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_workspace(tmp_path / "ws", create=True)
    assert run(["status", "--json", "--workspace", str(tmp_path / "ws")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["table"] for row in found["tables"]] == ["posts", "comments", "observations", "truth"]
    assert found["runs"] == []


def _status(workspace: Path, stdout: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lurker", "--workspace", str(workspace), "status"]
    with stdout.open("wb") as output:
        return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=os.environ | environment, check=False)


def test_an_output_without_room_is_one_sentence(tmp_path: Path) -> None:
    open_workspace(tmp_path, create=True)
    done = _status(tmp_path, Path("/dev/full"))
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, b"error: No space left: where the output goes.")
    assert b"Traceback" not in done.stderr


def test_a_folder_without_access_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "ws/.locks")

    monkeypatch.setattr("lurker.cli.app", refuse)
    assert run(["status"]) == 1
    assert capsys.readouterr().err.startswith("error: No access to ws/.locks: Read-only file system.\n  next: ")


def test_a_file_in_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LurkerError, match="Cannot write "):
        write_json({}, tmp_path / "file" / "a" / "b.json")
    with pytest.raises(LurkerError, match="Cannot write "), locked(tmp_path / "file" / "a", waits=True):
        pass


def test_a_terminal_of_ascii_shows_the_tables(tmp_path: Path) -> None:
    open_workspace(tmp_path / "caf\u00e9", create=True)
    done = _status(tmp_path / "caf\u00e9", tmp_path / "out", PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\\xe9" in (tmp_path / "out").read_bytes() and (tmp_path / "out").read_bytes().isascii()
