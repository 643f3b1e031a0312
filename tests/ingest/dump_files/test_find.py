"""Folders, patterns, standard input and thousands of small files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ingest
import lurker
from ingest.dump_files.find import LISTED
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, POSTS

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def many(tmp_path, make):
    """Sixty dumps of a post and a comment in folders of ten; every third has no line end at its end."""
    folder = tmp_path / "many"
    for number in range(60):
        path = folder / f"{number // 10}" / f"{number:02}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [make.post(f"p{number}"), make.comment(number, post=f"p{number}")]
        text = "\n".join(json.dumps(row) for row in rows)
        path.write_text(text if number % 3 == 0 else f"{text}\n")
    return folder


def test_a_folder_is_read_to_any_depth_and_other_files_are_listed_once(many, tmp_path, capsys):
    (many / "README.md").write_text("Not a dump.\n")
    (many / "empty.ndjson").touch()
    (many / ".hidden.ndjson").write_text("{}\n")
    lurker.open(many / "a workspace inside")
    workspace = lurker.open(tmp_path / "ws")
    report = ingest.dumps(workspace, many)
    assert (workspace.scan(POSTS).collect().height, workspace.scan(COMMENTS).collect().height) == (60, 60)
    said = capsys.readouterr().err
    assert said.count("README.md") == 1 and said.count("empty.ndjson is empty") == 1
    assert "hidden" not in said and "inside" not in said
    assert sorted(Path(one.file).name for one in report.skipped) == ["README.md", "empty.ndjson"]


def test_files_of_a_bundle_that_were_read_before_are_not_read_again(many, tmp_path):
    workspace = lurker.open(tmp_path / "ws")
    ingest.dumps(workspace, many)
    before = workspace.scan(COMMENTS).collect()
    again = ingest.dumps(workspace, many)
    assert all(file.was_ingested_before for file in again.files)
    assert workspace.scan(COMMENTS).collect().equals(before)


def test_a_malformed_line_of_a_bundle_is_found_by_its_own_file_and_line(many, tmp_path):
    bad = many / "4" / "44.ndjson"
    bad.write_text(bad.read_text() + "{broken\n")
    workspace = lurker.open(tmp_path / "ws")
    ingest.dumps(workspace, many)
    (described,) = [json.loads(line) for path in (workspace.root / "malformed").iterdir() for line in path.open()]
    assert (described["file"], described["line"]) == (str(bad), 3)


def test_the_table_of_many_files_is_folded(tmp_path, make, capsys):
    paths = []
    for number in range(LISTED + 10):
        path = tmp_path / f"{number:02}.ndjson"
        big = make.comment(number, body="word " * 60_000)  # too large to be read together with others
        path.write_text(json.dumps(big) + "\n")
        paths.append(str(path))
    assert run(["--workspace", str(tmp_path / "ws"), "ingest", "dump", *paths]) == 0
    shown = capsys.readouterr()
    table = shown.out + shown.err
    assert table.count(".ndjson") <= LISTED + 2
    assert f"{LISTED + 10}" in table and "10 more" in table


def test_a_pattern_is_expanded_and_one_that_matches_nothing_is_refused(many, tmp_path):
    workspace = lurker.open(tmp_path / "ws")
    ingest.dumps(workspace, many / "*" / "1?.ndjson")
    assert workspace.scan(POSTS).collect().height == 10
    with pytest.raises(LurkerError, match="No file matches"):
        ingest.dumps(workspace, many / "x*.ndjson")


def test_standard_input_is_a_dump(many, tmp_path):
    dump = b"".join(path.read_bytes().rstrip() + b"\n" for path in sorted(many.rglob("*.ndjson")))
    command = [sys.executable, "-m", "lurker", "--workspace", str(tmp_path / "ws"), "ingest", "dump", "-"]
    done = subprocess.run(command, input=dump, cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert lurker.open(tmp_path / "ws").scan(POSTS).collect().height == 60


def test_a_file_of_mostly_malformed_lines_ends_with_1(tmp_path, make, capsys):
    path = tmp_path / "dump.ndjson"
    path.write_text(json.dumps(make.post()) + "\n" + "not JSON\n" * 3)
    command = ["--workspace", str(tmp_path / "ws"), "ingest", "dump", str(path)]
    assert run(command) == 1
    said = capsys.readouterr().err
    assert "3 of 4 lines of" in said and "dump.ndjson" in said
    path.write_text(path.read_text() + "\n")
    assert run([*command, "--max-malformed-share", "0.9"]) == 0
