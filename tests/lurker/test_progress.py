import time
from pathlib import Path

import pytest

import lurker.progress
from lurker.progress import progress, reported_in, reports, say


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lurker.progress, "LOG_EVERY_S", 0.05)
    monkeypatch.setattr(lurker.progress, "REPORT_EVERY_S", 0.0)


def test_progress_of_a_worker_goes_to_its_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "progress.txt"
    told = [("cell", file), ("waiting", tmp_path / "not yet")]
    with reported_in(file):
        say("A message of the cell.")
        with progress("Training", 8, "steps") as advance:
            assert reports(told) == []  # nothing done, nothing to foretell
            advance(2)
            (line,) = reports(told)
    assert line.startswith("cell: Training: 25% of 8 steps, ") and line.endswith(" s left")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_log_shows_work_in_progress_before_anything_has_finished(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def notes() -> list[str]:
        asked.append(time.monotonic())
        return [f"cell: {len(asked)}"]

    with progress("2 cells", 100, notes=notes):
        deadline = time.monotonic() + 10
        while len(asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["cell: 1", "cell: 2"]
    assert asked[1] - asked[0] >= 0.05
    n_asked = len(asked)
    time.sleep(0.15)
    assert len(asked) == n_asked  # nobody goes on asking


def test_a_terminal_shows_work_in_progress_below_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    shown = StringIO()
    monkeypatch.setattr(lurker.progress, "console", Console(file=shown, force_terminal=True, width=60))
    with progress("2 cells", 4, "cells", notes=lambda: ["one: 25% of 8 steps", "two: " + "x" * 99]) as advance:
        advance(1)
    last = shown.getvalue().rpartition("2 cells")[2]
    assert "1/4" in last and "one: 25% of 8 steps" in last and "two: xx" in last and "x" * 60 not in last
