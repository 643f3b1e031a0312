import multiprocessing
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import lurker
from lurker.errors import CallError, LurkerError
from lurker.files import atomic_path, write_json, write_parquet
from lurker.schema import OBSERVATIONS, check
from lurker.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "ws", create=True)


def looks(n: int, subreddit: str = "College") -> pl.DataFrame:
    rows = [
        {"item_id": f"c{i}", "kind": "comment", "subreddit": subreddit, "observed_utc": 10, "score": i}
        for i in range(n)
    ]
    return pl.DataFrame(rows, schema=OBSERVATIONS.schema)


def test_a_path_that_is_not_a_workspace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="no workspace at"):
        open_workspace(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CallError, match="is a file"):
        open_workspace(tmp_path / "file", create=True)
    with pytest.raises(CallError, match="is not a workspace"):
        open_workspace(tmp_path, create=True)
    write_json({"schema_version": 0}, tmp_path / "lurker.json")
    with pytest.raises(LurkerError, match="version 0"):
        open_workspace(tmp_path)


def test_a_workspace_whose_creation_was_killed_can_be_created_again(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / ".lurker.json.0badcafe.tmp").write_text("{")
    assert open_workspace(tmp_path / "ws", create=True).root == tmp_path / "ws"


def test_a_partition_is_replaced_completely(workspace: Workspace) -> None:
    workspace.replace_partition(OBSERVATIONS, "College", [looks(2), looks(3)])
    workspace.replace_partition(OBSERVATIONS, "college", [looks(4)])
    assert workspace.scan(OBSERVATIONS).collect().height == 4
    assert len(list(workspace.partition(OBSERVATIONS, "COLLEGE").glob("*.parquet"))) == 1


def test_files_that_no_manifest_names_are_not_read(workspace: Workspace) -> None:
    workspace.replace_partition(OBSERVATIONS, "College", [looks(2)])
    write_parquet(looks(50), workspace.partition(OBSERVATIONS, "College") / "part-left-by-a-kill.parquet")
    assert workspace.scan(OBSERVATIONS).collect().height == 2
    assert workspace.connect().execute("SELECT count(*) FROM observations").fetchall() == [(2,)]


def test_a_failed_write_keeps_the_old_partition(workspace: Workspace) -> None:
    workspace.replace_partition(OBSERVATIONS, "College", [looks(2)])

    def frames():  # type: ignore[no-untyped-def]
        yield looks(9)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        workspace.replace_partition(OBSERVATIONS, "College", frames())
    assert workspace.scan(OBSERVATIONS).collect().height == 2


def test_the_error_for_an_unknown_subreddit_lists_those_there_are(workspace: Workspace) -> None:
    workspace.replace_partition(OBSERVATIONS, "College", [looks(2)])
    with pytest.raises(LurkerError, match=r"No observations of r/emory .*it has: College"):
        workspace.files(OBSERVATIONS, ["Emory"])
    assert workspace.files(OBSERVATIONS, ["r/COLLEGE"]) == workspace.files(OBSERVATIONS)


def test_views_exist_before_any_ingest(workspace: Workspace) -> None:
    assert workspace.connect().execute("SELECT count(*) FROM comments").fetchall() == [(0,)]


def test_atomic_path_leaves_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LurkerError, match="Cannot write"), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a" * 200])
def test_names_cannot_leave_the_workspace(workspace: Workspace, name: str) -> None:
    with pytest.raises(CallError, match="is not a valid name for pairs"):
        workspace.folder("pairs", name)


def test_the_salt_is_secret_and_stays_the_same(workspace: Workspace) -> None:
    assert workspace.salt() == workspace.salt()
    assert stat.S_IMODE((workspace.root / "salt").stat().st_mode) == 0o600


def _try_lock(root: Path, answers: "multiprocessing.Queue[str]") -> None:
    try:
        with Workspace(root).lock("ingest again"):
            answers.put("got it")
    except LurkerError as error:
        answers.put(error.message)


def test_the_error_of_a_second_writer_names_the_first(workspace: Workspace) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with workspace.lock("ingest dump"):
        process = context.Process(target=_try_lock, args=(workspace.root, answers))
        process.start()
        process.join(30)
    assert "`lurker ingest dump` (process" in answers.get(timeout=5)


def test_check_names_the_wrong_column() -> None:
    frame = looks(1)
    assert check(frame.select(reversed(frame.columns)), OBSERVATIONS).columns == list(OBSERVATIONS.columns)
    with pytest.raises(LurkerError, match="lacks the columns score"):
        check(frame.drop("score"), OBSERVATIONS)
    with pytest.raises(LurkerError, match="column score is Float64"):
        check(frame.cast({"score": pl.Float64}), OBSERVATIONS)
    with pytest.raises(LurkerError, match="column score has 1 missing"):
        check(frame.with_columns(score=pl.lit(None, dtype=pl.Int64)), OBSERVATIONS)


@pytest.mark.parametrize("name", ["ws[1]", "ws*", "w?s"])
def test_a_path_with_a_glob_character_is_refused(tmp_path, name):
    with pytest.raises(CallError, match="treat as a pattern"):
        open_workspace(tmp_path / name, create=True)
    assert list(tmp_path.iterdir()) == []


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    workspace = open_workspace(tmp_path / "ws", create=True)
    left = [
        workspace.root / name
        for name in (
            "comments/college/.manifest.json.1a.tmp",
            "posts/x/.part.parquet.2b.tmp",
            "ingested/.a.json.3c.tmp",
        )
    ]
    kept = workspace.root / "pairs" / "mine" / ".pairs.parquet.4d.tmp"  # of a build that is still running
    for path in (*left, kept):
        path.parent.mkdir(parents=True)
        path.touch()
    with workspace.lock("a test"):
        assert not any(path.exists() for path in left)
        assert kept.exists()


def test_open_creates_a_workspace_that_shows_what_it_contains(tmp_path: Path) -> None:
    workspace = lurker.open(str(tmp_path / "ws"))
    assert "next: lurker ingest dump FILE..." in str(workspace)
    workspace.replace_partition(OBSERVATIONS, "College", [looks(1234)])
    (row,) = (row for row in workspace.table() if row["content"] == "observations")
    assert (row["count"], row["names"]) == (1234, "College")
    assert "<td>1,234</td>" in workspace._repr_html_()
    assert repr(workspace) == f"Workspace('{tmp_path}/ws')"


def test_open_can_refuse_to_create(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="no workspace at"):
        lurker.open(tmp_path / "absent", create=False)


def test_other_systems_are_refused_in_a_sentence() -> None:
    code = "import sys; sys.platform = 'win32'; import lurker"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1].startswith("ImportError: Lurker runs on Linux and macOS")
