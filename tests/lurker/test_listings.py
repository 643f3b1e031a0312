"""Lists of pair sets and runs: what is there, what is unfinished, and what cannot be read."""

import json
from pathlib import Path

import pytest

from lurker.cli import run
from lurker.errors import LurkerError
from lurker.files import write_json
from lurker.pair_sets import read_manifest
from lurker.workspace import Workspace, open_workspace

TEST = {"pairs": "mine", "predictor": "model", "accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}
MANIFEST = {"recipe": {"name": "naive"}, "n_pairs": 30, "n_posts": 9, "subreddits": ["tea"], "pairs_sha256": "ab" * 32}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two sets, one of them broken; a finished, an unfinished and a broken run."""
    workspace = open_workspace(tmp_path / "ws", create=True)
    write_json(MANIFEST, workspace.folder("pairs", "mine") / "manifest.json")
    write_json({"verdict": "Clean: 0.500."}, workspace.folder("pairs", "mine") / "audit.json")
    write_json([], workspace.folder("pairs", "bad") / "manifest.json")
    for name in ("done", "half"):
        write_json({"pairs": "mine", "model": "scratch-10k"}, workspace.folder("runs", name) / "config.json")
    result = {"n_train_pairs": 20, "evaluations": [TEST, TEST | {"pairs": "hard-test", "accuracy": 0.55}]}
    write_json(result, workspace.folder("runs", "done") / "result.json")
    (workspace.folder("runs", "lost")).mkdir()
    (workspace.folder("runs", "lost") / "config.json").write_text("{")
    return workspace


def test_pair_sets_are_listed_with_their_runs_and_a_broken_one_is_named(workspace: Workspace) -> None:
    bad, mine = workspace.pairs()
    assert (bad["name"], bad["recipe"]) == ("bad", None) and "pairs build bad" in bad["problem"]
    assert (mine["recipe"], mine["pairs"], mine["digest"]) == ("naive", 30, "abababababab")
    assert (mine["runs"], mine["audit"], mine["problem"]) == (["done", "half"], "Clean: 0.500.", None)
    assert "broken" in str(workspace.pairs()) and bad["problem"].split(":")[0] in str(workspace.pairs())


def test_runs_are_listed_with_their_accuracy_on_the_hard_test(workspace: Workspace) -> None:
    done, half, lost = workspace.runs()
    assert (done["state"], done["tested_on"], done["accuracy"], done["train_pairs"]) == (
        "finished",
        "hard-test",
        0.55,
        20,
    )
    assert (half["state"], half["pairs"], half["accuracy"]) == ("unfinished", "mine", None)
    assert lost["state"] == "broken" and "lost/config.json" in lost["problem"]
    assert "0.550 [0.500, 0.700]" in str(workspace.runs())


@pytest.mark.parametrize("model", [3, [1], {"a": 1}, True, None, float("nan")])
def test_a_run_is_listed_whatever_its_configuration_says_the_model_is(workspace: Workspace, model: object) -> None:
    (workspace.folder("runs", "half") / "config.json").write_text(json.dumps({"model": model, "train": {"seed": 0}}))
    assert "half" in str(workspace.runs())


def test_the_commands_print_the_same_rows(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LURKER_WORKSPACE", str(workspace.root))  # recommended commands find it, too
    for group, key, rows in (("pairs", "pairs", workspace.pairs()), ("rm", "runs", workspace.runs())):
        assert run([group, "list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[key] == list(rows)
        assert run([group, "list"]) == 0
        assert str(rows.table()) in capsys.readouterr().out


def test_an_empty_workspace_says_how_to_make_the_first(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "ws", create=True)
    assert "lurker pairs build" in str(workspace.pairs()) and "lurker rm train" in str(workspace.runs())


def test_status_goes_past_a_broken_set(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--workspace", str(workspace.root), "status"]) == 0
    shown = capsys.readouterr().out
    assert "broken" in shown and "mine" in shown and "it should hold a JSON object" in shown


def test_a_manifest_without_a_recipe_is_damaged(workspace: Workspace) -> None:
    write_json({"name": "bad"}, workspace.folder("pairs", "bad") / "manifest.json")
    with pytest.raises(LurkerError, match=r"lacks 'recipe'.*lurker pairs build bad"):
        read_manifest(workspace, "bad")
