import json
import shutil
from pathlib import Path

import pytest

from lurker.cli import run


@pytest.fixture
def root(simulated_workspace: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(simulated_workspace, tmp_path / "copy"))


def test_build_and_compare_speak_json(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text("max_pairs_per_post = 7\nmin_score_gap = 2\n")
    call = ["--workspace", root, "pairs", "build", "mine", "--recipe", "matched", "--json"]
    assert run([*call, "--config", str(config), "--set", "min_score_gap=3", "--subreddit", "alpha"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["recipe"]["max_pairs_per_post"], manifest["recipe"]["min_score_gap"]) == (7, 3)
    assert manifest["subreddits"] == ["alpha"]
    assert run(["--workspace", root, "pairs", "compare", "mine", "hard-test", "--json"]) == 0
    sets = json.loads(capsys.readouterr().out)["sets"]
    assert [one["pairs"] for one in sets] == ["mine", "hard-test"]
    assert (Path(root) / "pairs/hard-test/audit.json").exists()


def test_a_person_reads_tables_and_a_verdict(root: str, capsys: pytest.CaptureFixture[str]) -> None:
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
        (["build", "../x", "--recipe", "naive"], 2, "'../x' is no name"),
        (["build", "x", "--recipe", "naive", "--subreddit", "gamma"], 1, "r/gamma"),
        (["audit", "x"], 1, "no pair set 'x'"),
        (["compare", "x", "y"], 1, "no pair set 'x'"),
        (["compare", "x"], 2, "Two pair sets are needed to compare, got x"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_a_next_step(
    root: str, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", root, "pairs", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert not (Path(root) / "pairs").exists()
