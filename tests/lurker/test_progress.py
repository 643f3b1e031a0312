import threading
import time
from pathlib import Path

import pytest

import lurker.progress
from lurker.locks import WAITING, locked
from lurker.progress import progress, reported_in, reported_share, reports, say, timed


@pytest.fixture(autouse=True)
def _log_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lurker.progress, "LOG_EVERY_S", 0.05)
    monkeypatch.setattr(lurker.progress, "REPORT_EVERY_S", 0.0)


def test_progress_of_a_worker_goes_to_its_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "progress.txt"
    files = [("cell", file), ("waiting", tmp_path / "not yet")]
    with reported_in(file):
        say("A message of the cell.")
        with progress("Training", 8, "steps") as advance:
            assert reports(files) == ["cell: starting"]  # nothing is done yet, so there is no estimate
            assert reported_share(file) is None
            advance(2)
            (line,) = reports(files)
    assert line.startswith("cell: Training: 25% of 8 steps, ") and line.endswith(" s left")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_the_seconds_of_each_part_are_those_without_the_parts_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(lurker.progress.time, "monotonic", lambda: clock)
    with reported_in(tmp_path / "progress.txt") as parts:
        with progress("Training", 4, "steps"):
            clock += 3
            with timed("Validating"):
                clock += 2
        with progress("Training", 4, "steps"):
            clock += 1
    assert parts.seconds == {"Training": 4, "Validating": 2}
    with timed("nothing is counted outside"):
        pass


def test_a_worker_says_which_share_it_has_done_and_since_when(tmp_path: Path) -> None:
    file = tmp_path / "progress.txt"
    file.write_text("Frozen layers: 20% of 1,500 tokens, 4,000 s left")
    assert reported_share(file) == ("Frozen layers", 0.2, pytest.approx(1000))
    file.write_text("Training: 2% of 100 steps, 3 s so far")
    assert reported_share(file) is None and reported_share(tmp_path / "none") is None


def test_work_that_an_earlier_start_has_begun_is_told_at_the_rate_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(lurker.progress.time, "monotonic", lambda: clock)
    file = tmp_path / "progress.txt"
    with reported_in(file) as parts, progress("Training", 100, "steps", begun=80) as advance:
        clock += 10
        advance(5)
        assert file.read_text() == "Training: 85% of 100 steps, 30 s left"
        assert reported_share(file) == ("Training", 0.85, pytest.approx(170))  # of which 30 are left
    assert parts.begun == {"Training": 0.8}


def test_waiting_for_a_lock_is_no_part_of_the_work(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", waits=True):
        waiting = threading.Thread(target=lambda: seconds.update(_seconds_until_locked(tmp_path)))
        seconds: dict[str, float] = {}
        waiting.start()
        time.sleep(0.2)
    waiting.join(30)
    assert seconds[WAITING] > 0.1


def _seconds_until_locked(folder: Path) -> dict[str, float]:
    with reported_in(folder / "progress.txt") as parts, locked(folder / "lock", waits=True):
        return parts.seconds


def test_a_log_shows_work_in_progress_before_anything_has_finished(capsys: pytest.CaptureFixture[str]) -> None:
    n_calls = 0
    was_called_twice = threading.Event()

    def notes() -> list[str]:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            was_called_twice.set()
        return [f"cell: {n_calls}"]

    threads_before = threading.active_count()
    with progress("2 cells", 100, notes=notes):
        assert was_called_twice.wait(30)
    start, first, _, second = capsys.readouterr().err.splitlines()[:4]
    assert start.startswith("2 cells: 0% of 100 items, ") and start.endswith(" s so far")
    assert [first, second] == ["cell: 1", "cell: 2"]
    assert threading.active_count() == threads_before  # nothing calls it any more


def test_a_share_of_the_work_is_no_count_of_percents(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("3 cells", 100.0, "%") as advance:
        advance(50)
        time.sleep(0.2)
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("3 cells: 50%, ") and line.endswith(" s left")


def test_a_terminal_shows_work_in_progress_below_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    shown = StringIO()
    monkeypatch.setattr(lurker.progress, "console", Console(file=shown, force_terminal=True, width=60))
    with progress("2 cells", 4, "cells", notes=lambda: ["one: 25% of 8 steps", "two: " + "x" * 99]) as advance:
        advance(1)
    last = shown.getvalue().rpartition("2 cells")[2]
    assert "1/4" in last and "one: 25% of 8 steps" in last and "two: xx" in last and "x" * 60 not in last
