from pathlib import Path

import polars as pl
import pytest

from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.files import write_json, write_parquet
from lurker.pair_sets import TEXTS, intact_digest, read_pair_set, read_pairs, require_row_count, with_texts
from lurker.schema import PAIRS
from lurker.workspace import Workspace, open_workspace


def test_pairs_that_lack_a_text_are_dropped_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    complete = {"pair_id": "complete", **dict.fromkeys(TEXTS, "text")}
    pairs = pl.DataFrame([complete, *({**complete, "pair_id": role, role: ""} for role in TEXTS)])
    assert with_texts(pairs, "mine")["pair_id"].to_list() == ["complete"]
    assert "3 pairs of mine" in capsys.readouterr().err
    with_texts(pairs.head(1), "mine")
    assert capsys.readouterr().err == ""


def test_every_reader_refuses_a_set_whose_build_was_killed_before_its_manifest(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "ws", create=True)
    folder = workspace.folder("pairs", "mine")
    pairs = PAIRS.empty()
    write_parquet(pairs, folder / "pairs.parquet")
    with pytest.raises(CallError, match="There is no pair set 'mine'"):
        read_pair_set(workspace, "mine")
    write_json(
        {"recipe": {"name": "naive"}, "ledger": {}, "pairs_sha256": frame_sha256(pairs)}, folder / "manifest.json"
    )
    assert read_pair_set(workspace, "mine").frame.equals(pairs)
    row = {name: "text" if column.dtype == pl.String else 1 for name, column in PAIRS.columns.items()}
    write_parquet(pl.DataFrame([row], schema=PAIRS.schema), folder / "pairs.parquet")  # then the process is killed
    for read in (read_pair_set, read_pairs, intact_digest):
        with pytest.raises(LurkerError, match="'mine' is not what its manifest describes"):
            read(workspace, "mine")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the pair set `mine`, whose manifest says two pairs."""
    workspace = open_workspace(tmp_path / "ws", create=True)
    write_json({"recipe": {"name": "matched"}, "n_pairs": 2}, workspace.folder("pairs", "mine") / "manifest.json")
    return workspace


def write_pairs(workspace: Workspace, n_pairs: int) -> Path:
    file = workspace.folder("pairs", "mine") / "pairs.parquet"
    pl.DataFrame({"pair_id": [str(number) for number in range(n_pairs)]}).write_parquet(file)
    return file


def test_the_row_count_is_checked_against_the_manifest(workspace: Workspace) -> None:
    write_pairs(workspace, 2)
    assert require_row_count(workspace, "mine")["n_pairs"] == 2
    write_pairs(workspace, 3)
    with pytest.raises(LurkerError, match="'mine' is not what its manifest describes") as error:
        require_row_count(workspace, "mine")
    assert error.value.next_step == "Build it again: `lurker pairs build mine --recipe matched`."
    with pytest.raises(CallError, match="no pair set 'other'"):
        require_row_count(workspace, "other")


def test_a_pairs_file_that_is_damaged_or_missing_is_named(workspace: Workspace) -> None:
    with pytest.raises(LurkerError, match=r"Cannot read .*mine/pairs\.parquet"):
        require_row_count(workspace, "mine")
    write_pairs(workspace, 2).write_bytes(b"PAR1 cut")
    with pytest.raises(LurkerError, match=r"Cannot read .*mine/pairs\.parquet"):
        require_row_count(workspace, "mine")


@pytest.mark.parametrize("content", [None, b"", b"PAR1 cut"])
def test_a_missing_or_damaged_file_is_an_error_that_says_how_to_rebuild(tmp_path: Path, content: bytes | None) -> None:
    workspace = open_workspace(tmp_path / "ws", create=True)
    folder = workspace.folder("pairs", "mine")
    write_json({"recipe": {"name": "naive"}, "ledger": {}, "pairs_sha256": "0"}, folder / "manifest.json")
    if content is not None:
        (folder / "pairs.parquet").write_bytes(content)
    for read in (read_pair_set, read_pairs, intact_digest, require_row_count):
        with pytest.raises(LurkerError, match="Cannot read") as error:
            read(workspace, "mine")
        assert "lurker pairs build mine --recipe naive" in error.value.next_step
