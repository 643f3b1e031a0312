"""Imported judgements: whole topics are held out, and what needs votes refuses them."""

import json
from pathlib import Path

import polars as pl
import pytest

import features
import lurker
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import read_pair_set
from lurker.workspace import Workspace, open_workspace


def write_judgements(path: Path, n_topics: int, n_prompts: int = 4) -> Path:
    rows = [
        {"prompt": f"{topic} {prompt}", "chosen": f"yes {k}", "rejected": f"no {k}", "topic": f"t{topic}"}
        for topic in range(n_topics)
        for prompt in range(n_prompts)
        for k in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "ws", create=True)


def test_whole_topics_are_held_out(empty: Workspace, tmp_path: Path) -> None:
    pairs = features.import_judgements(empty, "judged", write_judgements(tmp_path / "a.jsonl", 10), group="crowd")
    frame = read_pair_set(empty, "judged").frame
    topic = pl.col("prompt").str.split(" ").list.first()
    splits = frame.group_by(topic).agg(pl.col("split").unique())
    assert splits["split"].list.len().max() == 1
    assert dict(frame["split"].value_counts().rows()) == {"train": 84, "validation": 12, "test": 24}
    assert set(frame["subreddit"]) == {"crowd"}
    assert pairs.manifest["held_out"]["test"] == sorted({f"t{one[0]}" for one in frame.filter(split="test")["prompt"]})
    assert pairs.manifest["ledger"]["judgements"] == {
        "input": 121,
        "dropped": [{"reason": "repeated", "n": 1}],
        "kept": 120,
    }
    other = features.import_judgements(empty, "other", tmp_path / "a.jsonl", seed=1)
    assert other.manifest["held_out"] != pairs.manifest["held_out"] and other.manifest["subreddits"] == ["other"]
    assert {row["name"]: row["problem"] for row in empty.pairs()} == {"judged": None, "other": None}


def test_few_topics_are_split_by_prompt_and_every_split_has_some(empty: Workspace, tmp_path: Path) -> None:
    pairs = features.import_judgements(empty, "two", write_judgements(tmp_path / "a.jsonl", 2, 3))
    assert pairs.manifest["recipe"]["split_by"] == "prompt"
    assert pairs.frame.group_by("prompt").agg(pl.col("split").n_unique())["split"].max() == 1
    for seed in range(5):
        three = features.import_judgements(
            empty, f"three{seed}", write_judgements(tmp_path / "b.jsonl", 3, 1), test_fraction=0.8, seed=seed
        )
        assert set(three.frame["split"]) == {"train", "validation", "test"}
    with pytest.raises(LurkerError, match="judgements on 2 prompts, and three splits need 3"):
        features.import_judgements(empty, "few", write_judgements(tmp_path / "c.jsonl", 2, 1))
    assert "few" not in {row["name"] for row in empty.pairs()}


def test_the_command_refuses_a_name_that_is_taken_and_fractions_that_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_judgements(tmp_path / "a.jsonl", 5)
    call = ["--workspace", str(tmp_path / "new"), "pairs", "import"]
    assert run([*call, "judged", str(path), "--test-fraction", "0.9"]) == 2
    assert "must leave some to train on, got 1" in capsys.readouterr().err
    assert run([*call, "judged", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["file"] == "a.jsonl"
    assert run([*call, "judged", str(path)]) == 2
    assert "There is a pair set 'judged' already" in capsys.readouterr().err
    for command in (["audit", "judged"], ["export", "judged", "--format", "trl", "--out", str(tmp_path / "out")]):
        assert run(["--workspace", str(tmp_path / "new"), "pairs", *command]) == 2
        assert "judged holds judgements from outside" in capsys.readouterr().err
    assert run(["--workspace", str(tmp_path / "new"), "pairs", "show", "judged"]) == 0
    assert "validation_fraction" in capsys.readouterr().out
    (tmp_path / "new/pairs/judged/pairs.parquet").unlink()
    with pytest.raises(LurkerError, match=r"lurker pairs import judged a\.jsonl"):
        read_pair_set(lurker.open(tmp_path / "new"), "judged")


def test_a_group_needs_a_name(empty: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="has no name"):
        features.import_judgements(empty, "judged", write_judgements(tmp_path / "a.jsonl", 5), group=" ")
