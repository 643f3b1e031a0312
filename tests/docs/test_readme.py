"""The README's commands run, on dumps of a simulated Reddit; those that need an account or a browser are parsed."""

import re
import shutil
from pathlib import Path

import pytest

from lurker import __version__
from lurker.cli import run
from tests.docs.conftest import ROOT, lurker_calls

N_POSTS = "300"
NOT_RUN = (["ingest", "reddit"], ["ingest", "archive"], ["dashboard"], ["demo"])
SMALLER = {
    ("pairs", "build"): ["--set", "n_balance_rounds=0"],
    ("rm", "train"): ["--set", "epochs=1", "--set", "min_steps=2", "--max-pairs", "64"],
}
"""Options added to a command so that the test takes seconds; the last value of an option wins."""


def test_readme_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(["--workspace", "simulation", "ingest", "simulate", "--posts", N_POSTS, "--no-ingest"])
    calls = [call for call in lurker_calls(ROOT / "README.md") if not any(call[: len(one)] == one for one in NOT_RUN)]
    assert len(calls) >= 3
    dumps = [name for call in calls if call[:2] == ["ingest", "dump"] for name in call[2:]]
    assert len(dumps) >= 2
    for name in dumps:
        shutil.copy(tmp_path / "simulation" / "simulated" / f"{name[:2]}_sim.zst", tmp_path / name)
    for call in calls:
        code = run(["--workspace", str(tmp_path / "workspace"), *call, *SMALLER.get(tuple(call[:2]), [])])
        assert code == 0, f"lurker {' '.join(call)}: {capsys.readouterr().err}"


def test_readme_fits_on_a_screen_and_links_to_existing_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") < 120
    targets = [part.partition(")")[0] for part in text.split("](")[1:]]
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    assert local and all((ROOT / target).exists() for target in local)


def test_citation_and_changelog_name_this_version() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert next(version for version in versions if version != "Unreleased") == __version__
