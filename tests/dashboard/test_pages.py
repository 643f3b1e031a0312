"""Each page, run by Streamlit's test runner: on a full, empty, partial, running, damaged and missing workspace."""

from pathlib import Path

import polars as pl
import pytest

from lurker.files import read_json, write_json
from tests.dashboard.pages import PAGES, OpenPage, charts_on, copy_of, texts


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_full_workspace(open_page: OpenPage, full_root: Path, page: str) -> None:
    app = open_page(full_root, page)
    assert not app.exception
    assert not app.warning
    n_charts = {"findings": 2, "scaling": 1, "compare": 2, "runs": 2, "policy": 4, "data": 3}
    assert charts_on(app) == n_charts.get(page, 0)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_workspace_shows_what_to_run(open_page: OpenPage, empty_root: Path, page: str) -> None:
    app = open_page(empty_root, page)
    assert not app.exception
    assert any(str(code.value).startswith("lurker ") for code in app.code)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_a_workspace_shows_what_to_run(open_page: OpenPage, tmp_path: Path, page: str) -> None:
    app = open_page(tmp_path / "absent", page)
    assert not app.exception
    assert "There is no workspace" in texts(app)
    assert "lurker demo" in texts(app)


@pytest.mark.parametrize(
    ("page", "query", "named"),
    [
        ("findings", {}, ("naive/audit.json", "hard-test/manifest.json")),
        ("scaling", {}, ("ladder/scaling.parquet",)),
        ("compare", {}, ("taught/differences.parquet",)),
        ("compare", {"part": "transfer"}, ("across/transfer.parquet",)),
        ("policy", {}, ("agent/curve.parquet", "writer.naive.best-of-n.parquet", "writer.teachers.json")),
        ("read", {}, ("hard-test/manifest.json",)),
        ("data", {}, ("naive/audit.json", "hard-test/manifest.json", "posts/advice")),
    ],
)
def test_a_page_names_damaged_files_and_what_to_do(
    open_page: OpenPage, damaged_root: Path, page: str, query: dict[str, str], named: tuple[str, ...]
) -> None:
    app = open_page(damaged_root, page, **query)
    assert not app.exception
    warnings = [str(warning.value).replace("\\", "") for warning in app.warning]
    for name in named:
        assert any(name in warning for warning in warnings), name
    assert all("`" in warning or "again" in warning for warning in warnings)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_damaged_workspace_has_no_exception(open_page: OpenPage, damaged_root: Path, page: str) -> None:
    (damaged_root / "runs/scratch-1m-4000-0/result.json").write_text("{", encoding="utf-8")
    (damaged_root / "runs/scratch-1m-4000-naive/config.json").write_text("[]", encoding="utf-8")
    app = open_page(damaged_root, page)
    assert not app.exception and len(app.title) == 1


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("findings", "matched has no audit yet"),
        ("scaling", "no finished scaling experiment"),
        ("compare", "no finished comparison of recipes"),
        ("runs", "1 finished"),
        ("read", "of 15"),
        ("score", "Your prompt and two to four answers"),
        ("data", "hard-test has no audit yet"),
    ],
)
def test_a_page_of_a_partial_workspace_says_what_is_missing(
    open_page: OpenPage, partial_root: Path, page: str, said: str
) -> None:
    app = open_page(partial_root, page)
    assert not app.exception
    assert said in texts(app).replace("**", "")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_while_the_first_run_trains(open_page: OpenPage, running_root: Path, page: str) -> None:
    app = open_page(running_root, page)
    assert not app.exception and not app.warning
    assert ("is training" in texts(app)) == (page == "runs")


def test_the_rest_of_a_damaged_workspace_is_drawn(open_page: OpenPage, damaged_root: Path) -> None:
    assert charts_on(open_page(damaged_root, "findings")) >= 1
    assert charts_on(open_page(damaged_root, "scaling", scaling_experiment="ladder-naive")) == 1


@pytest.mark.parametrize("page", ["findings", "data", "read"])
def test_a_set_that_does_not_match_its_manifest_is_reported_and_not_drawn(
    open_page: OpenPage, full_root: Path, tmp_path: Path, page: str
) -> None:
    root = copy_of(full_root, tmp_path)
    path = root / "pairs/naive/pairs.parquet"
    pl.read_parquet(path).head(59).write_parquet(path)
    app = open_page(root, page, pairs="naive")
    assert not app.exception
    (warning,) = app.warning
    assert "Pair set 'naive' is not what its manifest describes" in str(warning.value).replace("\\", "")


@pytest.mark.parametrize("page", ["findings", "data"])
def test_a_set_without_audit_shows_the_command(open_page: OpenPage, full_root: Path, tmp_path: Path, page: str) -> None:
    root = copy_of(full_root, tmp_path)
    for name in ("matched", "naive"):
        (root / f"pairs/{name}/audit.json").unlink()
    path = root / "pairs/naive/manifest.json"
    manifest = read_json(path)
    write_json(manifest | {"recipe": {"name": "external"}}, path)  # people's judgements have nothing to audit
    app = open_page(root, page)
    assert not app.exception
    assert not app.warning
    assert [str(info.value) for info in app.info] == ["**matched** has no audit yet: `lurker pairs audit matched`"]


def test_findings_without_any_audit_name_the_commands_beside_what_was_learned(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    for audit in root.glob("pairs/*/audit.json"):
        audit.unlink()
    app = open_page(root, "findings")
    assert not app.exception and charts_on(app) == 1
    (commands,) = app.code
    assert sorted(str(commands.value).splitlines()) == [
        f"lurker pairs audit {name}" for name in ("hard-test", "matched", "naive")
    ]
    assert "No pair set has been audited yet" in str(app.title[0].value)
    assert "what shortcuts know of the winners is not known" in texts(app)
    assert not app.info  # the same commands would stand there again
    for path in root.glob("pairs/*/manifest.json"):
        write_json(read_json(path) | {"recipe": {"name": "external"}}, path)
    app = open_page(root, "findings")
    assert not app.exception and charts_on(app) == 1
    assert not app.code and not app.columns
