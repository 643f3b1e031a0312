"""A run judged on judgements from outside: figures that can be checked by hand, and no prompt that it has read."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import features
import rm
from lurker.cli import run as cli
from lurker.errors import CallError, LurkerError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig
from tests.rm.conftest import DISLIKED, LIKED, planted_pairs

TRAIN = TrainConfig(learning_rate=2e-3, epochs=2, min_steps=40, max_tokens=64, vocabulary_size=400)


@pytest.fixture
def trained(workspace: Workspace) -> Workspace:
    config = RunConfig(pairs="planted", model="scratch-10k", train=TRAIN, test_pairs=("planted",))
    train_run(workspace, "run", config, resume=False, baselines="none")
    return workspace


def write_rows(path: Path, n_prompts: int = 40) -> Path:
    """Judgements by the taste of the planted pairs; the better response is the shorter one in every fourth."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(n_prompts):
        better, worse = (" ".join(rng.choice(words, 3)) for words in (LIKED, DISLIKED))
        rejected = f"{worse} it" if number % 4 == 0 else worse[:-4].rsplit(" ", 1)[0]
        chosen = better if number % 4 else better.rsplit(" ", 1)[0]
        topic = ("roads", "rain")[number % 2]
        rows.append({"prompt": f"Number {number}?", "chosen": chosen, "rejected": rejected, "topic": topic})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_accuracy_lengths_topics_and_text_baseline(trained: Workspace, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl")
    rows = pl.read_ndjson(path)
    judged = rm.load(trained, "run").external(path)
    assert judged.report == read_json(trained.folder("runs", "run") / "external/rows.json")
    figures = {(row["predictor"], row["topic"]): row for row in judged.report["evaluations"]}
    assert {topic for _, topic in figures} == {"all", "roads", "rain"}
    rewards = [rm.load(trained, "run").score(rows["prompt"], rows[side]).to_numpy() for side in ("chosen", "rejected")]
    expected = float(np.mean(rewards[0] > rewards[1]))
    assert figures["model", "all"]["accuracy"] == pytest.approx(expected) and expected > 0.7
    longer = (rows["chosen"].str.len_chars() > rows["rejected"].str.len_chars()).mean()
    assert figures["length", "all"]["accuracy"] == pytest.approx(longer)
    assert (
        figures["shorter", "all"]["accuracy"] == pytest.approx(1 - longer)
        and figures["shorter", "all"]["log_loss"] is None
    )
    assert figures["tfidf", "all"]["accuracy"] > 0.9 and figures["tfidf", "all"]["n_prompts"] == 40
    gain = next(row for row in judged.report["differences"] if row["predictor"] == "length")
    assert gain["difference"] == pytest.approx(expected - longer)
    assert gain["difference_low"] < gain["difference"] < gain["difference_high"]
    assert "Accuracy by topic" in repr(judged) and "40 rows. Left out: none." in repr(judged)
    few = rm.load(trained, "run").external(path, baselines="none").report["evaluations"]
    assert {row["predictor"] for row in few} == {"model", "length", "shorter"}


def test_prompts_that_were_trained_on_are_left_out_by_post_and_by_text(trained: Workspace, tmp_path: Path) -> None:
    pairs = planted_pairs(60, ("alpha", "beta"))
    exported = pairs.filter(pl.col("split") == "train").unique("post_id").head(3)
    copied = exported.select("chosen", "rejected", prompt=pl.col("prompt").str.to_uppercase() + "\n\n")
    by_post = exported.select("chosen", "rejected", "post_id", prompt=pl.lit("another title"))
    new = pl.read_ndjson(write_rows(tmp_path / "new.jsonl", 5)).select("chosen", "rejected", "prompt")
    frame = pl.concat([copied, by_post, new], how="diagonal")
    frame.write_parquet(tmp_path / "mixed.parquet")
    judged = rm.load(trained, "run").external(tmp_path / "mixed.parquet", baselines="none").report
    assert judged["dropped"]["the prompt was trained on"] == 6
    assert judged["evaluations"][0]["n_pairs"] == 5
    copied.write_parquet(tmp_path / "copied.parquet")
    with pytest.raises(LurkerError, match="was trained on all prompts of"):
        rm.load(trained, "run").external(tmp_path / "copied.parquet")


def test_the_command_takes_pairs_or_a_file(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 6)
    call = ["--workspace", str(trained.root), "rm", "evaluate", "run"]
    assert cli([*call, "--external", str(path), "--baselines", "cheap", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["n_rows"] == 6 and printed["format"] == "preference"
    assert cli([*call, "--external", str(path)]) == 0
    assert "Accuracy by topic" in capsys.readouterr().out
    for arguments, given in (([], "neither"), (["--pairs", "planted", "--external", str(path)], "both")):
        assert cli([*call, *arguments]) == 2
        assert f"One of --pairs and --external is needed, got {given}" in capsys.readouterr().err


def test_a_run_that_reads_delays_is_refused(trained: Workspace, tmp_path: Path) -> None:
    train = TrainConfig(learning_rate=1e-3, epochs=1, min_steps=2, max_tokens=64, vocabulary_size=400, with_delay=True)
    config = RunConfig(pairs="planted", model="scratch-10k", train=train)
    train_run(trained, "late", config, resume=False, baselines="none")
    with pytest.raises(CallError, match="reads the response's delay"):
        rm.load(trained, "late").external(write_rows(tmp_path / "rows.jsonl", 3))


def test_a_run_is_tuned_on_imported_judgements_and_judged_on_the_others(workspace: Workspace, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 40)
    features.import_judgements(workspace, "judged", path, group="crowd")
    start = RunConfig(pairs="planted", model="scratch-10k", train=TRAIN)
    train_run(workspace, "votes", start, resume=False, baselines="none")
    pairs = features.load(workspace, "judged")
    tuned = rm.train(pairs, "run:votes", max_pairs=10, subset_of="pairs", run_id="tuned", epochs=1, max_tokens=64)
    assert tuned.result["n_train_pairs"] == 10 and tuned.result["n_train_posts"] == 10
    assert {row["pairs"] for row in tuned.result["evaluations"]} == {"judged"}  # the hard test has no such community
    assert read_json(tuned.folder / "config.json")["parents"][0]["run"] == "votes"
    judged = tuned.external(path, baselines="none").report
    n_read = judged["dropped"]["the prompt was trained on"]
    assert n_read == 10 + pairs.frame.filter(split="validation").height
    assert judged["evaluations"][0]["n_pairs"] == 40 - n_read
