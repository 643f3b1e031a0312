"""Reports of small experiments that really ran: complete, self-contained, inert, and honest about what is missing."""

import json
import re
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

import rm
from lurker.charts.figure import PX_PER_IN, WIDTHS_IN
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json
from lurker.pair_sets import read_pair_set
from lurker.workspace import Workspace, open_workspace
from rm.experiments.results import ExperimentResult
from rm.experiments.stored import open_experiment
from tests.rm.conftest import LIKED, planted_workspace

QUICK = {"epochs": 1, "min_steps": 4, "max_tokens": 64, "vocabulary_size": 400}
DAMAGED = (("manifest.json", "{"), ("manifest.json", '{"kind": "new"}'), ("cells.json", "[]"))
HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, ExperimentResult]]:
    """A workspace with one experiment of each kind, and what their functions returned."""
    workspace = planted_workspace(tmp_path_factory.mktemp("made") / "workspace")
    shutil.copytree(workspace.root / "pairs" / "planted", workspace.root / "pairs" / "other")
    planted, other = (read_pair_set(workspace, name) for name in ("planted", "other"))
    stage = [{"learning_rate": 1e-3}, {"learning_rate": 3e-3}]
    return workspace, {
        "grid": rm.scaling(planted, ["scratch-10k"], [60, 120], seeds=1, name="grid", n_workers=1, **QUICK),
        "across": rm.transfer(planted, "scratch-10k", max_pairs=60, name="across", n_workers=1, **QUICK),
        "few": rm.few_shot(
            planted, "scratch-10k", "beta", sizes=(0, 40), source_sizes=(40,), name="few", n_workers=1, **QUICK
        ),
        "taught": rm.recipes([planted, other], tests="hard-test", name="taught", n_workers=1),
        "tried": rm.search(planted, "scratch-10k", [stage], start=QUICK, name="tried", n_workers=1),
        "top": rm.ceiling(planted, name="top"),
    }


@pytest.fixture
def copied(made: tuple[Workspace, dict[str, ExperimentResult]], tmp_path: Path) -> Workspace:
    """A copy of that workspace, to be damaged."""
    shutil.copytree(made[0].root, tmp_path / "copied")
    return open_workspace(tmp_path / "copied")


def test_an_experiment_opens_as_its_command_printed_it(made: tuple[Workspace, dict[str, ExperimentResult]]) -> None:
    workspace, results = made
    for name, result in results.items():
        stored = open_experiment(workspace, name)
        assert str(stored.result) == str(result)
        assert stored.result is not None and stored.result.sentence == result.sentence
        assert not stored.partial


def test_experiments_are_listed_and_shown_again(
    made: tuple[Workspace, dict[str, ExperimentResult]], copied: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--workspace", str(copied.root), "experiment"]
    (copied.folder("experiments", "tried") / "manifest.json").write_text("{", encoding="utf-8")
    (copied.folder("experiments", "across") / "manifest.json").unlink()
    cell = read_json(copied.folder("experiments", "grid") / "cells.json")["cells"][0]
    (copied.folder("runs", cell) / "result.json").unlink()
    assert run([*call, "list", "--json"]) == 0
    rows = {row["experiment"]: row for row in json.loads(capsys.readouterr().out)["experiments"]}
    assert set(rows) == set(made[1])
    grid = rows["grid"]
    assert (grid["kind"], grid["pairs"], grid["finished_cells"], grid["cells"]) == ("scaling", ["planted"], 1, 2)
    assert rows["taught"]["pairs"] == ["planted", "other"] and rows["top"]["kind"] == "ceiling"
    assert not rows["across"]["has_table"] and rows["across"]["cells"]
    assert "tried/manifest.json" in rows["tried"]["problem"]
    assert run([*call, "list"]) == 0
    assert "1 of 2" in capsys.readouterr().out

    results = made[1]
    for name in ("few", "taught", "top"):
        assert run([*call, "show", name]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert " ".join(results[name].sentence.split()) in shown
        assert all(" ".join(table.title.split()) in shown for table in results[name].result_tables())
    assert run([*call, "show", "grid", "--json"]) == 0
    printed = capsys.readouterr()
    rows_shown = json.loads(printed.out)["rows"]
    assert len(rows_shown) == results["grid"].frame.height and "1 of 2 cells" in printed.err
    assert str(rm.load_experiment(copied, "few")) == str(results["few"])
    assert run([*call, "show", "across"]) == 1
    assert "it has no table yet" in " ".join(capsys.readouterr().err.split())
    assert run([*call, "show", "grit"]) == 2
    assert "There is no experiment 'grit'" in " ".join(capsys.readouterr().err.split())


def test_a_report_has_everything_and_loads_nothing(
    made: tuple[Workspace, dict[str, ExperimentResult]], tmp_path: Path
) -> None:
    workspace, results = made
    written = rm.report(workspace, list(results), tmp_path / "report")
    page = written.page.read_text(encoding="utf-8")
    assert read_json(tmp_path / "report/manifest.json")["files"] == list(written.files)
    for name, result in results.items():
        assert f'<section id="{name}">' in page
        assert result.sentence.split("`")[0] in page
        command = f"experiment {open_experiment(workspace, name).kind}".replace("few-shot", "transfer")
        assert command in page and f"lurker experiment report {name}" in page
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:text/csv)', page)
    assert "url(http" not in page and "@import" not in page
    assert not [word for word in LIKED if re.search(rf"\b{word}\b", page)], "no text of a response"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids), "two figures that share an id are drawn wrongly"
    _check_figures(tmp_path / "report/figures")
    assert "No curve is fitted" in results["grid"].sentence and "The curve loss" not in page
    assert str(workspace.root) not in page and "run:few-others-" in page, "models of this machine as run:ID"
    for path in (tmp_path / "report/tables").glob("*.tex"):
        assert r"\toprule" in path.read_text(), f"{path.name} has no rows"
    (table,) = (tmp_path / "report/tables").glob("grid-1-*.tex")
    assert r"\toprule" in table.read_text() and "hard-test" in table.read_text()
    rows = pl.read_csv(tmp_path / "report/tables/grid-data.csv")
    assert rows["accuracy"].to_list() == results["grid"].frame["accuracy"].to_list()
    rm.report(workspace, "top", tmp_path / "report")  # replaces the report
    assert not [*(tmp_path / "report/tables").glob("grid-*")]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_dashboard_exports_all_experiments(
    made: tuple[Workspace, dict[str, ExperimentResult]], tmp_path: Path
) -> None:
    workspace, results = made
    page = tmp_path / "all.html"
    assert run(["--workspace", str(workspace.root), "dashboard", "--export", str(page)]) == 0
    assert re.findall(r'<section id="([^"]+)">', page.read_text(encoding="utf-8")) == sorted(results)


def _check_figures(folder: Path) -> None:
    files = sorted(folder.iterdir())
    assert len(files) % 6 == 0 and len(files) >= 6 * 5
    for width_in in WIDTHS_IN:
        for svg in folder.glob(f"*-{width_in}in.svg"):
            text = svg.read_text(encoding="utf-8")
            drawn = float(re.search(r'width="([\d.]+)"', text)[1])  # type: ignore[index]
            assert drawn == pytest.approx(width_in * PX_PER_IN, abs=2), svg.name
            assert min(map(float, re.findall(r'font-size="([\d.]+)px"', text))) >= 9, svg.name
            assert svg.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
            with Image.open(svg.with_suffix(".png")) as image:
                assert image.width == pytest.approx(3 * width_in * PX_PER_IN, abs=6)


def test_names_are_shown_as_text(copied: Workspace, tmp_path: Path) -> None:
    for name in ("transfer", "transfer-differences"):
        file = copied.root / f"experiments/across/{name}.parquet"
        table = pl.read_parquet(file)
        table.with_columns(pl.col("source", "target").replace("alpha", HOSTILE)).write_parquet(file)
    page = rm.report(copied, "across", tmp_path / "page.html").page.read_text(encoding="utf-8")
    assert "<img" not in page and "\u202e" not in page.split("<svg")[0]
    assert "&lt;img src=x onerror=alert(1)&gt;[U+202E]" in page


def test_an_unfinished_experiment_is_reported_as_partial(copied: Workspace, tmp_path: Path) -> None:
    first, second = read_json(copied.root / "experiments/grid/cells.json")["cells"]
    (copied.root / "runs" / first / "result.json").unlink()
    failure = {"cell": first, "error": "The loss is not a number."}
    write_json({"cells": [first, second], "failures": [failure]}, copied.root / "experiments/grid/cells.json")
    partial = "Partial: 1 of 2 cells of its last call are finished, 1 failed"
    page = rm.report(copied, "grid", tmp_path / "page.html").page.read_text(encoding="utf-8")
    assert f"{partial}." in page and "The loss is not a number." in page
    (copied.root / "experiments/grid/manifest.json").unlink()
    written = rm.report(copied, "grid", tmp_path / "page.html")
    assert written.report()["experiments"][0]["partial"] == f"{partial}, and it has no table yet."
    assert second in written.page.read_text(encoding="utf-8")


def test_a_damaged_file_is_named_and_the_others_are_reported(
    copied: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied.root / "experiments/grid/scaling.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LurkerError, match=r"Cannot read .*scaling\.parquet"):
        rm.report(copied, "grid", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    options = ["--workspace", str(copied.root), "experiment", "report", "grid", "top", "--json"]
    assert run([*options, "--out", str(tmp_path / "page.html")]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "scaling.parquet" in told["experiments"][0]["problem"] and told["experiments"][1]["problem"] is None
    assert "scaling.parquet" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_manifest_of_another_shape_is_damage_and_no_crash(copied: Workspace, tmp_path: Path) -> None:
    file = copied.root / "experiments/grid/manifest.json"
    write_json(read_json(file) | {"config": 5}, file)
    with pytest.raises(LurkerError, match="grid is damaged"):
        rm.report(copied, "grid", tmp_path / "page.html")
    for number, (name, content) in enumerate(DAMAGED):
        shutil.copytree(copied.root / "experiments/across", copied.root / f"experiments/across{number}")
        (copied.root / f"experiments/across{number}" / name).write_text(content)
        with pytest.raises(LurkerError, match=rf"across{number}/{name}.*finished cells are kept"):
            rm.report(copied, f"across{number}", tmp_path / "page.html")


def test_bad_calls(
    made: tuple[Workspace, dict[str, ExperimentResult]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = made
    with pytest.raises(CallError, match=r"no experiment 'gird' .*it has: across, few, grid, taught, top, tried"):
        rm.report(workspace, "gird", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(CallError, match="exists and is no report"):
        rm.report(workspace, "grid", tmp_path / "mine")
    with pytest.raises(CallError, match="needs an experiment"):
        rm.report(workspace, [], tmp_path / "out")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(CallError, match=r"vl-convert-python.*\[report\]"):
        rm.report(workspace, "grid", tmp_path / "out")
    assert not (tmp_path / "out").exists()
