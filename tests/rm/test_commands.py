import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from lurker.cli import run
from lurker.schema import EVALUATIONS, PREDICTIONS, check
from lurker.workspace import Workspace, open_workspace
from tests.rm.conftest import planted_workspace

QUICK = ["--set", "epochs=1", "--set", "min_steps=8", "--set", "max_tokens=64", "--set", "vocabulary_size=400"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A workspace with the run `first`, trained on alpha by the command, and what it printed; read-only."""
    root = planted_workspace(tmp_path_factory.mktemp("first") / "workspace").root
    arguments = ["rm", "train", "planted", "--model", "scratch-10k", "--run", "first", "--subreddit", "Alpha", "--json"]
    with redirect_stdout(StringIO()) as printed:
        assert run(["--workspace", str(root), *arguments, *QUICK]) == 0
    return root, json.loads(printed.getvalue())


@pytest.fixture
def trained(first: tuple[Path, dict[str, object]], tmp_path: Path) -> tuple[Workspace, dict[str, object]]:
    """A copy of the workspace with the run `first`, and what the command printed."""
    root, printed = first
    return open_workspace(Path(shutil.copytree(root, tmp_path / "trained"))), printed


def call(workspace: Workspace, *arguments: str) -> int:
    return run(["--workspace", str(workspace.root), *arguments])


def test_train_writes_a_complete_run(trained: tuple[Workspace, dict[str, object]]) -> None:
    workspace, result = trained
    folder = workspace.root / "runs/first"
    assert result == json.loads((folder / "result.json").read_text())
    assert (result["n_train_pairs"], result["subreddits"]) == (216, ["alpha"])
    assert {row["predictor"] for row in result["evaluations"]} == {"model", "length", "time", "both", "tfidf"}  # type: ignore[attr-defined]
    table = check(pl.read_parquet(folder / "evaluations.parquet"), EVALUATIONS)
    assert set(table["pairs"]) == {"planted", "hard-test"}
    assert set(table["subreddit"]) == {"all", "alpha"}
    assert check(pl.read_parquet(folder / "predictions/hard-test-test.parquet"), PREDICTIONS).height == 72
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= {
        path.name for path in (folder / "model").iterdir()
    }
    assert not list(folder.glob("*.pt"))


def test_evaluate_adds_to_the_run_and_reproduces_its_figures(
    trained: tuple[Workspace, dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = trained
    path = workspace.root / "runs/first/evaluations.parquet"
    before = pl.read_parquet(path).filter((pl.col("pairs") == "hard-test") & (pl.col("subreddit") == "alpha"))
    assert call(workspace, "rm", "evaluate", "first", "--pairs", "hard-test", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["evaluations"]) == 15
    after = pl.read_parquet(path).filter((pl.col("pairs") == "hard-test") & (pl.col("subreddit") == "alpha"))
    assert after.drop("log_loss").equals(before.drop("log_loss"))
    assert set(pl.read_parquet(path)["pairs"]) == {"planted", "hard-test"}


def test_evaluate_refuses_posts_that_were_trained_on(
    trained: tuple[Workspace, dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(trained[0], "rm", "evaluate", "first", "--pairs", "planted", "--split", "train") == 1
    assert "posts of planted were trained on" in capsys.readouterr().err


def test_a_pairwise_model_is_not_exported(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(
            workspace,
            "rm",
            "train",
            "planted",
            "--model",
            "scratch-10k",
            "--run",
            "both",
            *QUICK,
            "--set",
            "reads=both",
        )
        == 0
    )
    capsys.readouterr()
    assert call(workspace, "rm", "export", "both", "--out", str(tmp_path / "out")) == 2
    assert (
        "This run reads two responses at a time (reads=both): a single response has no reward."
        in capsys.readouterr().err
    )
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_score_adds_a_reward_to_every_row(
    trained: tuple[Workspace, dict[str, object]], tmp_path: Path, ending: str
) -> None:
    rows = pl.DataFrame(
        {"prompt": ["the road", "tea", ""], "response": ["amber cedar", "   ", "✨"], "kept": [1, 2, 3]}
    )
    source = tmp_path / f"rows.{ending}"
    rows.write_ndjson(source) if ending == "jsonl" else rows.write_parquet(source)
    assert call(trained[0], "rm", "score", "first", str(source)) == 0
    target = tmp_path / f"rows.scored.{ending}"
    scored = pl.read_ndjson(target) if ending == "jsonl" else pl.read_parquet(target)
    assert scored.drop("reward").equals(rows)
    assert scored["reward"].n_unique() == 3


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{not json}\n", "line 1"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": "a"}\n', "line 2"),
        ("[1]\n", "line 1"),
    ],
)
def test_score_names_the_invalid_line_and_writes_nothing(
    trained: tuple[Workspace, dict[str, object]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    complaint: str,
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(content)
    assert call(trained[0], "rm", "score", "first", str(source)) == 1
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("rows*")] == ["rows.jsonl"]


@pytest.mark.parametrize("command", ["rm score first rows.jsonl", "rm export first"])
def test_a_name_too_long_for_a_file_is_refused_before_any_work(
    trained: tuple[Workspace, dict[str, object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    assert call(trained[0], *command.split(), "--out", "ü" * 121) == 2
    assert "has 242 bytes, and 241 are possible" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        ("rm train planted --model scratch-9k", "scratch-10k", 2),
        ("rm train planted --model scratch-10k --set max_tokens=9000", "reads at most 4,096 tokens", 2),
        ("rm train nothing --model scratch-10k", "hard-test, planted", 2),
        ("rm train hard-test --model scratch-10k", "no train pairs", 1),
        ("rm train planted --model scratch-10k --run ../x", "is not a valid name for runs", 2),
        ("rm train planted --model scratch-10k --set rate=1", "learning_rate", 2),
        ("rm train planted --model scratch-10k --set epochs=0", "epochs must be above 0", 2),
        ("rm train planted --model scratch-10k --max-pairs 9999", "there are 432", 2),
        ("rm train planted --model scratch-10k --subreddit gamma", "alpha, beta", 2),
        ("rm evaluate none --pairs planted", "no finished run 'none'", 2),
        ("rm score none rows.jsonl", "no finished run 'none'", 2),
        ("experiment scaling planted --models scratch-10k --sizes 10,x", "whole numbers", 2),
        ("experiment scaling planted --models scratch-10k --sizes 10 --engine spark", "one of 'local', 'ray'", 2),
        ("experiment scaling planted --models scratch-10k --sizes 1", "at least 2 pairs", 2),
        ("experiment transfer planted --model scratch-10k --max-pairs 9999", "has 216", 2),
        ("experiment transfer planted --model scratch-10k --target beta", "does not read --target", 2),
        ("experiment transfer planted --model scratch-10k --design few-shot", "needs a target", 2),
        ("experiment transfer planted --model scratch-10k --design few-shot --target gamma", "has no pairs of", 2),
        ("experiment transfer planted --model scratch-10k --design few-shot --target beta --sizes 0", "above 0", 2),
        ("experiment transfer planted --model scratch-10k --unequal --max-pairs 60", "makes all sources equal", 2),
        ("experiment transfer planted --model scratch-10k --min-pairs 900", "900 are needed (--min-pairs)", 2),
    ],
)
def test_wrong_arguments_give_one_sentence(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: str, complaint: str, code: int
) -> None:
    assert call(workspace, *arguments.split()) == code
    error = capsys.readouterr().err
    assert complaint in error and "Traceback" not in error
    assert not list(workspace.root.glob("runs/*"))


def test_a_run_that_exists_is_not_overwritten(
    trained: tuple[Workspace, dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["rm", "train", "planted", "--model", "scratch-10k", "--run", "first", "--subreddit", "Alpha", *QUICK]
    assert call(trained[0], *again) == 2
    assert "exists already" in capsys.readouterr().err
    assert call(trained[0], *again, "--resume") == 0
    assert call(trained[0], *again, "--resume", "--seed", "5") == 2
    assert "another train" in capsys.readouterr().err


def test_score_keeps_the_bytes_of_every_row(trained: tuple[Workspace, dict[str, object]], tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    rows = [
        '{"id":18446744073709551616,"prompt":"tea?","response":"black"}',
        '{ "id": -99999999999999999999999, "x": 1.10, "prompt": "tea?", "response": "gr\\u00fcn" }',
        '{"prompt":"tea?","response":"black","n":[1e30,0.1000000000000000055511151231257827]}',
    ]
    again = '{"id":18446744073709551616,"reward":5,"f":0.1000000000000000055,"prompt":"tea?","response":"black"}'
    source.write_text("\n".join([*rows, again]))
    assert call(trained[0], "rm", "score", "first", str(source)) == 0
    scored = (tmp_path / "rows.scored.jsonl").read_text().splitlines()
    for row, line in zip(rows, scored, strict=False):
        assert line.startswith(row.rstrip("} ")) and isinstance(json.loads(line)["reward"], float)
    assert '"id":18446744073709551616,"f":0.1000000000000000055,' in scored[3] and scored[3].count('"reward"') == 1
    assert json.loads(scored[3])["reward"] == json.loads(scored[0])["reward"]
