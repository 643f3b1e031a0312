"""Several files, several engines, several processes: the same tables, and nothing twice."""

import bz2
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from ingest.dump_files import read
from ingest.dump_files.read import ingest_dumps
from ingest.tables.normalize import RowFilters
from ingest.tables.staging import DROPPED_PREFIX
from lurker.cli import run
from lurker.contents import describe
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, check
from lurker.workspace import open_workspace

PROJECT = Path(__file__).parents[2]


def tables(workspace):
    frames = [
        check(workspace.scan(table).collect(), table).sort(table.key) for table in (POSTS, COMMENTS, OBSERVATIONS)
    ]
    return [frame.drop("author_hash", strict=False) for frame in frames]


def same(one, other):
    return all(left.equals(right) for left, right in zip(tables(one), tables(other), strict=True))


@pytest.fixture
def files(tmp_path, make):
    """Six files of every format whose items overlap: every item is in two of them, with two looks."""
    stores = (None, gzip.compress, bz2.compress, zstandard.ZstdCompressor().compress, make.long_window_zstd, None)
    paths = []
    for number, compress in enumerate(stores):
        look = {"retrieved_on": 1_600_000_000 + number}
        rows = [make.post(f"p{n}", **look) for n in range(20)]
        rows += [make.comment(n, f"p{n % 20}", **look, score=number) for n in range(400 * number, 400 * number + 800)]
        paths.append(make.file(tmp_path / f"dump{number}", rows, compress=compress))
    return paths


@pytest.fixture
def one_by_one(files, tmp_path):
    workspace = open_workspace(tmp_path / "one-by-one", create=True)
    for path in files:
        ingest_dumps(workspace, [path], RowFilters())
    return workspace


def test_reading_files_together_equals_reading_them_one_by_one(files, one_by_one, workspace):
    reports = ingest_dumps(workspace, files, RowFilters()).files
    assert [Path(report.file) for report in reports] == files
    assert [(report.n_posts, report.n_comments) for report in reports] == [(20, 800)] * 6
    assert same(workspace, one_by_one)
    assert tables(workspace)[1].height == 400 * 7
    assert tables(workspace)[2].height == 6 * 820
    assert list((workspace.root / "staging").iterdir()) == []


def test_a_failing_file_stops_the_others_and_the_next_run_resumes(files, one_by_one, workspace, monkeypatch):
    read_block = read._read_block

    def failing(block, *options):
        if b"1600000003" in bytes(block.data):  # the fourth file's time of retrieval
            raise OSError("the disk is gone")
        return read_block(block, *options)

    with monkeypatch.context() as patch:
        patch.setattr(read, "_read_block", failing)
        patch.setattr(read, "HELD_BYTES", 0)
        with pytest.raises(OSError, match="the disk is gone"):
            ingest_dumps(workspace, files, RowFilters())
    assert workspace.subreddits(COMMENTS) == []
    ingest_dumps(workspace, files, RowFilters())
    assert same(workspace, one_by_one)


def test_a_file_named_twice_or_copied_is_read_once(files, tmp_path, monkeypatch):
    (tmp_path / "copies").mkdir()
    copy = Path(shutil.copy2(files[0], tmp_path / "copies"))
    monkeypatch.chdir(tmp_path)
    names = [str(files[0]), files[0].name, f"./{files[0].name}", str(copy)]
    assert run(["--workspace", "ws", "ingest", "dump", *names]) == 0
    workspace = open_workspace(Path("ws"))
    assert len(list((workspace.root / "ingested").iterdir())) == 1
    assert tables(workspace)[1].height == 800


def test_the_next_run_cleans_up_after_one_killed_at_its_end(files, workspace):
    ingest_dumps(workspace, files[:1], RowFilters())
    (record,) = (workspace.root / "ingested").iterdir()
    half = workspace.root / "staging" / record.stem
    for folder in (half, workspace.root / "staging" / f"{DROPPED_PREFIX}0badcafe"):
        folder.mkdir()
        (folder / "000000.comments.arrow").write_bytes(b"half")
    assert describe(workspace)["stopped_ingests"] == 1
    (report,) = ingest_dumps(workspace, files[:1], RowFilters()).files
    assert report.was_ingested_before
    assert list((workspace.root / "staging").iterdir()) == []


def test_two_simultaneous_ingests_finish_or_name_the_holder_of_the_lock(files, one_by_one, tmp_path):
    """Two processes start on one new workspace; who is refused runs again."""
    root = tmp_path / "shared"
    shares = [files[:4], files]
    waiting = dict(enumerate(shares))
    refusals = []
    for _ in range(10):
        children = {
            number: subprocess.Popen(
                [sys.executable, "-m", "lurker", "--workspace", str(root), "ingest", "dump", *map(str, share)],
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, share in waiting.items()
        }
        for number, child in children.items():
            said = child.communicate()[1]
            if child.returncode == 0:
                del waiting[number]
            else:
                assert child.returncode == 1, said
                refusals.append(said)
        if not waiting:
            break
    assert waiting == {}
    assert [said for said in refusals if "is being written by `lurker ingest dump` (process" not in said] == []
    workspace = open_workspace(root)
    assert same(workspace, one_by_one)
    assert list((root / "staging").iterdir()) == []


@pytest.mark.slow
def test_ray_produces_the_same_tables(files, one_by_one, tmp_path, capsys, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)  # relative paths, as people type them
    command = ["--workspace", "ray", "ingest", "dump", *(path.name for path in files), "--engine", "ray", "--json"]
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [report["file"] for report in found["files"]] == [path.name for path in files]
    workspace = open_workspace(tmp_path / "ray")
    assert same(workspace, one_by_one)
    assert read_json(next((workspace.root / "ingested").iterdir()))["report"]["n_comments"] == 800
    assert run(command) == 0
    assert all(report["was_ingested_before"] for report in json.loads(capsys.readouterr().out)["files"])


@pytest.mark.slow
def test_an_error_in_a_ray_task_is_one_sentence(tmp_path, make, files, workspace):
    pytest.importorskip("ray")
    bad = make.file(tmp_path / "bad", [b'{"id": "' + b"x" * 300, b'{"id": 1}'])
    with pytest.raises(LurkerError, match="No row of bad was kept: 2 read"):
        ingest_dumps(workspace, [bad], RowFilters(), engine="ray")
