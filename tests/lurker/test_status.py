"""`lurker status`: contents, maturity and the next command."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from lurker.cli import run
from lurker.contents import describe
from lurker.files import write_json
from lurker.maturity import RIPE_AFTER_S
from lurker.schema import COMMENTS, POSTS, Table, check
from lurker.workspace import Workspace, open_workspace

BEGAN = 1_600_000_000  # 2020-09-13
LOOKS = [None, RIPE_AFTER_S - 1, RIPE_AFTER_S, 10 * RIPE_AFTER_S]
"""Seconds from writing to the latest observation: two unripe, two ripe."""


def rows(table: Table, subreddit: str, looks: list[int | None], *, n_deleted: int = 0) -> pl.DataFrame:
    """Rows an hour apart, each observed once; the last `n_deleted` are deleted."""
    values = {pl.String: "x", pl.Int64: 1, pl.Float64: 0.5, pl.Boolean: False}
    plain = {name: values[column.dtype] for name, column in table.columns.items()}
    made = [
        {
            **plain,
            table.key[0]: f"{subreddit[0]}{number}",
            "subreddit": subreddit,
            "created_utc": BEGAN + 3600 * number,
            "retrieved_utc": None if look is None else BEGAN + 3600 * number + look,
            "is_deleted": number >= len(looks) - n_deleted,
        }
        for number, look in enumerate(looks)
    ]
    return check(pl.DataFrame(made, schema=table.schema), table)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = open_workspace(tmp_path / "ws", create=True)
    workspace.replace_partition(POSTS, "Emory", [rows(POSTS, "Emory", [RIPE_AFTER_S])])
    workspace.replace_partition(COMMENTS, "Emory", [rows(COMMENTS, "Emory", LOOKS)])
    workspace.replace_partition(COMMENTS, "college", [rows(COMMENTS, "college", LOOKS[::-1], n_deleted=1)])
    return workspace


def test_rows_dates_maturity_and_deletions_of_each_subreddit(workspace):
    college, emory = describe(workspace)["by_subreddit"]
    assert college == {
        "subreddit": "college",
        "posts": 0,
        "comments": 4,
        "first": "2020-09-13",
        "last": "2020-09-13",
        "deleted": 1,
        "unripe": 1,  # of the two observed too soon one is deleted, so its score is final
        "last_look": "2020-09-28",
    }
    assert (emory["posts"], emory["comments"], emory["deleted"], emory["unripe"]) == (1, 4, 0, 2)


def test_what_is_unripe_is_counted_with_the_calls_of_a_refresh(workspace):
    assert describe(workspace)["maturity"] == {
        "ripe_after_s": RIPE_AFTER_S,
        "n_items": 9,
        "n_unripe": 3,
        "n_refresh_calls": 1,
    }


def test_tables_with_bytes_and_dates(workspace):
    tables = {row["table"]: row for row in describe(workspace)["tables"]}
    assert (tables["comments"]["rows"], tables["comments"]["subreddits"], tables["comments"]["files"]) == (8, 2, 2)
    assert tables["comments"]["bytes"] == sum(path.stat().st_size for path in workspace.files(COMMENTS))
    assert (tables["posts"]["first"], tables["observations"]["first"]) == ("2020-09-13", None)


def test_status_names_what_needs_a_refresh_and_the_next_command(workspace, capsys):
    (workspace.root / "staging" / "abc").mkdir(parents=True)
    assert run(["--workspace", str(workspace.root), "status"]) == 0
    said = capsys.readouterr().out
    assert "3 of 9 scores were last seen less than 36 h after they were written" in said
    assert f"`lurker --workspace {workspace.root} ingest refresh` fetches them again in 1 calls" in said
    assert "1 interrupted ingests" in said
    assert said.endswith(f"next: lurker --workspace {workspace.root} pairs build balanced --recipe balanced\n")


def test_status_of_an_empty_workspace_names_the_first_command(tmp_path, capsys):
    root = str(open_workspace(tmp_path / "ws", create=True).root)
    assert run(["--workspace", root, "status"]) == 0
    said = capsys.readouterr().out
    assert f"next: lurker --workspace {root} ingest dump FILE..." in said
    assert "refresh" not in said
    assert run(["--workspace", root, "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["by_subreddit"], found["maturity"]["n_items"]) == ([], 0)
    assert run(["--workspace", str(tmp_path / "absent"), "status"]) == 2
    assert f"`lurker --workspace {tmp_path / 'absent'} demo`." in capsys.readouterr().err


def test_status_counts_pair_sets_runs_and_purged_pairs(workspace):
    for name, purged in (("first", {}), ("second", {"n_purged": 7})):
        manifest = {"recipe": {"name": "naive"}, "n_pairs": 30, **purged}
        write_json(manifest, workspace.folder("pairs", name) / "manifest.json")
    write_json({}, workspace.folder("runs", "r1") / "result.json")
    write_json({}, workspace.folder("policies", "writer") / "result.json")
    found = describe(workspace)
    assert found["policies"] == ["writer"]
    sets = [(row["name"], row["pairs"], row["purged"]) for row in found["pairs"]]
    assert sets == [("first", 30, 0), ("second", 30, 7)]
    assert (found["runs"], found["next"]) == (["r1"], "lurker dashboard")


def test_a_second_status_loads_no_polars_and_notices_what_is_new(workspace, capsys):
    call = ["--workspace", str(workspace.root), "status", "--json"]
    code = (
        f"import sys; from lurker.cli import run; code = run({call!r});"
        "sys.exit(code or ('polars' in sys.modules and 'loaded polars') or 0)"
    )
    assert run(call) == 0
    first = capsys.readouterr().out
    assert subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout == first
    workspace.replace_partition(COMMENTS, "Emory", [rows(COMMENTS, "Emory", LOOKS[:2])])
    assert run(call) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(describe(workspace)))
    (workspace.root / "cache" / "status.json").write_text("{")
    assert run(call) == 0
