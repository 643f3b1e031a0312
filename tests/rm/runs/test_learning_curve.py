"""Learning curves as rows and as text, of finished runs and of runs in training."""

import json
from pathlib import Path

import orjson
import pytest

from lurker.cli import run
from lurker.files import write_json
from lurker.learning_curves import read_learning_curve
from lurker.text_chart import Series, text_chart
from lurker.workspace import open_workspace


def write_metrics(folder: Path, n_steps: int) -> None:
    lines = []
    for step in range(1, n_steps + 1):
        line = {"step": step, "train_log_loss": 0.7 - 0.001 * step}
        if step % 10 == 0:
            line |= {"validation_log_loss": 0.69 - 0.002 * step, "validation_accuracy": 0.5 + 0.005 * step}
        lines.append(orjson.dumps(line))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(b"\n".join(lines) + b'\n{"step": 4')  # the last line is torn


def test_rows_are_validations_with_the_mean_training_loss_since_the_last(tmp_path: Path) -> None:
    write_metrics(tmp_path / "r", 25)
    rows = read_learning_curve(tmp_path / "r").rows()
    assert [row["step"] for row in rows] == [10, 20]
    assert rows[1]["train_log_loss"] == pytest.approx(0.7 - 0.001 * 15.5)
    assert rows[1]["validation_accuracy"] == pytest.approx(0.6)
    listed = read_learning_curve(tmp_path / "r").text().splitlines()[-1]
    assert listed == "accuracy on validation pairs: 0.550 at step 10, 0.600 at step 20"


def test_a_chart_puts_points_where_they_belong() -> None:
    lines = text_chart("t", Series([(0, 0), (1, 1)]), Series([(0, 1)], mark="●"), width=4, height=2).splitlines()
    blank, upper_right, lower_left = (chr(0x2800 + bits) for bits in (0, 0x08, 0x40))
    assert lines[:3] == ["t", f"1.000 │●{blank}{blank}{upper_right}", f"0.000 │{lower_left}{3 * blank}"]
    assert lines[-1].split() == ["0", "1"]


def test_a_run_in_training_is_shown_and_an_unknown_one_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = open_workspace(tmp_path / "w", create=True)
    folder = workspace.folder("runs", "young")
    write_metrics(folder, 30)
    write_json({"model": "scratch-10k"}, folder / "config.json")
    call = ["--workspace", str(workspace.root), "rm", "show"]
    assert run([*call, "young"]) == 0
    shown = capsys.readouterr().out
    assert "unfinished after 30 steps" in shown and shown.count("●") >= 4 and "0.650" in shown
    assert run([*call, "young", "--json"]) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["state"] == "unfinished" and len(report["curve"]) == 3
    assert run([*call, "old"]) == 2 and "young" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["step", "train_log_loss", "validation_log_loss", "validation_accuracy", "planned_steps"]
)
@pytest.mark.parametrize("value", ["x", float("nan"), float("inf"), None, [1], {"a": 1}, 1e300, 10**30])
def test_a_curve_ends_before_a_line_that_holds_something_else(tmp_path: Path, name: str, value: object) -> None:
    line = {"train_log_loss": 0.6, "validation_log_loss": 0.6, "validation_accuracy": 0.6, "planned_steps": 9}
    lines = [{"step": step, **line} for step in (1, 2, 3)]
    lines[1][name] = value  # type: ignore[assignment]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    curve = read_learning_curve(tmp_path)
    assert len(curve.steps) == 1 and curve.planned_steps == 9 and "0.6" in curve.text()


def test_the_last_point_of_the_training_loss_is_a_mean_of_as_many_steps(tmp_path: Path) -> None:
    write_metrics(tmp_path / "r", 61)
    points = read_learning_curve(tmp_path / "r").training_losses()
    assert len(points) == 60 and points[0][0] == 1 and points[-1][0] == 60.5
