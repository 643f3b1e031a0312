from pathlib import Path

import polars as pl
import pytest

from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import TEXTS, intact_digest, read_pair_set, read_pairs, with_texts
from lurker.schema import PAIRS
from lurker.workspace import open_workspace, write_json, write_parquet


def test_pairs_that_lack_a_text_are_dropped_and_counted(capsys):
    whole = {"pair_id": "whole", **dict.fromkeys(TEXTS, "text")}
    pairs = pl.DataFrame([whole, *({**whole, "pair_id": role, role: ""} for role in TEXTS)])
    assert with_texts(pairs, "mine")["pair_id"].to_list() == ["whole"]
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
