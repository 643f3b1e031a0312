"""Commands in messages name the workspace that the call named."""

from pathlib import Path

import pytest

from lurker.cli import run
from lurker.next_commands import as_typed, name_workspace, one_call
from lurker.workspace import open_workspace


def test_every_command_of_a_message_names_the_workspace_once() -> None:
    with one_call():
        name_workspace(Path("my data"))
        assert as_typed("next: lurker status") == "next: lurker --workspace 'my data' status"
        assert as_typed("`lurker a` or `lurker b`.").count("lurker --workspace 'my data' ") == 2
        for plain in ("`lurker --workspace other status`", "Explore it: lurker dashboard", "`--set lurker x`"):
            assert as_typed(plain) == plain
        with one_call():  # as a command that runs others
            assert as_typed("`lurker a`") == "`lurker a`"
        assert as_typed("`lurker a`") != "`lurker a`"
    assert as_typed("`lurker a`") == "`lurker a`"


def test_an_error_recommends_a_command_on_the_same_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["status"]) == 2
    assert "`lurker ingest dump" in capsys.readouterr().err
    assert run(["status", "--workspace", "there"]) == 2
    assert "`lurker --workspace there ingest dump" in capsys.readouterr().err
    monkeypatch.setenv("LURKER_WORKSPACE", "there")
    assert run(["status"]) == 2
    assert "`lurker ingest dump" in capsys.readouterr().err  # the variable holds for the next command too


def test_a_table_without_rows_recommends_one_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = open_workspace(tmp_path / "ws", create=True).root
    assert run(["--workspace", str(root), "pairs", "list"]) == 0
    assert f"`lurker --workspace {root} pairs build" in capsys.readouterr().out
