import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from features.audits.pair_audit import audit_pairs
from features.audits.probes import ProbeConfig
from lurker.cli import run
from lurker.pair_sets import read_manifest
from lurker.schema import COMMENTS, OBSERVATIONS, check
from lurker.workspace import Workspace, open_workspace


@pytest.fixture
def root(frozen_workspace: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(frozen_workspace, tmp_path / "copy"))


def test_build_and_compare_print_json(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text("max_pairs_per_post = 7\nmin_score_gap = 2\n")
    call = ["--workspace", root, "pairs", "build", "mine", "--recipe", "matched", "--json"]
    assert run([*call, "--config", str(config), "--set", "min_score_gap=3", "--subreddit", "alpha"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["recipe"]["max_pairs_per_post"], manifest["recipe"]["min_score_gap"]) == (7, 3)
    assert manifest["subreddits"] == ["alpha"]
    audit_pairs(Workspace(Path(root)), "mine", probes=ProbeConfig(n_folds=3, n_repeats=1, n_boosting_rounds=15))
    assert run(["--workspace", root, "pairs", "compare", "mine", "hard-test", "--json"]) == 0
    sets = json.loads(capsys.readouterr().out)["sets"]
    assert [one["pairs"] for one in sets] == ["mine", "hard-test"]
    assert (Path(root) / "pairs/hard-test/audit.json").exists()


def test_the_terminal_shows_tables_and_a_verdict(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--workspace", root, "pairs", "build", "mine", "--recipe", "matched"]) == 0
    shown = capsys.readouterr().out
    assert "outside max_log_length_difference" in shown and "reply to a comment" not in shown
    assert run(["--workspace", root, "pairs", "build", "plain", "--recipe", "naive"]) == 0
    assert run(["--workspace", root, "pairs", "audit", "plain"]) == 0
    assert "Not clean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["build", "x", "--recipe", "magic"], 2, "Unknown recipe 'magic'"),
        (["build", "x", "--recipe", "naive", "--set", "minimum=3"], 2, "Unknown field 'minimum'"),
        (["build", "x", "--recipe", "naive", "--set", "min_chars=0"], 2, "min_chars must be at least 1, got 0"),
        (["build", "x", "--recipe", "naive", "--config", "absent.toml"], 2, "absent.toml"),
        (["build", "../x", "--recipe", "naive"], 2, "'../x' is not a valid name"),
        (["build", "x", "--recipe", "naive", "--subreddit", "gamma"], 1, "r/gamma"),
        (["audit", "x"], 2, "no pair set 'x'"),
        (["compare", "x", "y"], 2, "no pair set 'x'"),
        (["compare", "x"], 2, "A comparison needs two pair sets, got x"),
    ],
)
def test_a_wrong_call_gives_a_clear_error(
    root: str, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", root, "pairs", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert [path.name for path in (Path(root) / "pairs").iterdir()] == ["hard-test"]


def test_another_recipe_needs_another_name_or_replace(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--workspace", root, "pairs", "build", "mine", "--recipe", "naive"]
    assert run([*call, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["pairs_sha256"]
    assert run([*call, "--set", "min_score_gap=9"]) == 2
    said = capsys.readouterr().err
    assert "min_score_gap was 1, now 9" in said and "Choose another name" in said and "--replace" in said
    assert read_manifest(open_workspace(Path(root)), "mine")["pairs_sha256"] == before
    assert run(["--workspace", root, "pairs", "show", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "Ledger of mine" in shown and "Runs trained on it: none." in shown and before in shown
    assert run([*call, "--set", "min_score_gap=9", "--replace"]) == 0


def test_splits_by_author_and_cut_times_out_of_order(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--workspace", root, "pairs", "build", "mine", "--recipe", "naive"]
    assert run([*call, "--by", "author", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["split_by"] == "author"
    cuts = ["--set", "validation_from_utc=20", "--set", "test_from_utc=10"]
    assert run([*call, "--by", "time", *cuts, "--replace"]) == 2
    assert "validation_from_utc (20) must not be after test_from_utc (10)" in capsys.readouterr().err


def test_a_second_observation_is_reported_after_the_ceiling(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = open_workspace(Path(root))
    comments = workspace.scan(COMMENTS, ["alpha"]).select("comment_id", "subreddit", "score").collect()
    looks = [
        comments.select(
            item_id="comment_id",
            kind=pl.lit("comment"),
            subreddit="subreddit",
            observed_utc=pl.lit(utc, dtype=pl.Int64),
            score=score,
        )
        for utc, score in ((1_600_000_000, pl.col("score") // 2), (1_600_100_000, pl.col("score")))
    ]
    workspace.replace_partition(OBSERVATIONS, "alpha", [check(pl.concat(looks), OBSERVATIONS)])
    assert run(["--workspace", root, "pairs", "build", "mine", "--recipe", "naive", "--subreddit", "alpha"]) == 0
    shown = capsys.readouterr().out
    assert "Ceiling: no model can agree with more than 0." in shown
    assert "Later votes agree with the labels of the first observation in " in shown


def test_a_workspace_of_an_older_schema_is_refused(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(root) / "lurker.json").write_text('{"schema_version": 0}')
    assert run(["--workspace", root, "pairs", "build", "mine", "--recipe", "naive"]) == 1
    error = capsys.readouterr().err
    assert "tables of version 0" in error and "ingest again" in error.lower() and "Traceback" not in error
