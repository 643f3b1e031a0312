"""Commands in messages name the workspace that the call named."""

from pathlib import Path

import pytest

from lurker.cli import run
from lurker.next_commands import as_typed, name_workspace


def test_every_command_of_a_message_names_the_workspace_once() -> None:
    name_workspace(Path("my data"))
    try:
        assert as_typed("next: lurker status") == "next: lurker --workspace 'my data' status"
        assert as_typed("`lurker a` or `lurker b`.").count("lurker --workspace 'my data' ") == 2
        for plain in ("`lurker --workspace other status`", "Explore it: lurker dashboard", "`--set lurker x`"):
            assert as_typed(plain) == plain
    finally:
        name_workspace(None)
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
