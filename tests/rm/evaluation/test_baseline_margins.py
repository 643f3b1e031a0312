"""Baselines are fitted once for the same data, and one that fails leaves the run and the other baselines alone."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import T5Config, T5ForSequenceClassification

from lurker.errors import CallError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.evaluation import baseline_margins, baselines
from rm.evaluation.evaluate_run import evaluate_run
from rm.pairs.tokens import load_tokenizer
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig, predictions_file
from tests.rm.conftest import change_pairs

TRAIN = TrainConfig(learning_rate=1e-3, epochs=1, min_steps=2, max_tokens=64, vocabulary_size=400)
CONFIG = RunConfig(pairs="planted", model="scratch-10k", train=TRAIN, test_pairs=("planted", "hard-test"))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of training pairs of each fit of TF-IDF."""
    seen: list[int] = []
    fit = baselines.fit_tfidf

    def counted(training: pl.DataFrame, *rest: object, **more: object) -> object:
        seen.append(training.height)
        return fit(training, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(baselines, "fit_tfidf", counted)
    return seen


def accuracies(workspace: Workspace, run_id: str) -> dict[tuple[str, str], float]:
    result = read_json(workspace.folder("runs", run_id) / "result.json")
    return {(row["pairs"], row["predictor"]): row["accuracy"] for row in result["evaluations"]}


def test_runs_on_the_same_data_share_their_baselines(workspace: Workspace, fits: list[int]) -> None:
    train_run(workspace, "small", CONFIG, resume=False)
    larger = replace(CONFIG, model="scratch-50k", train=replace(TRAIN, seed=1))
    train_run(workspace, "larger", larger, resume=False)
    assert fits == [432]
    shared = {key: value for key, value in accuracies(workspace, "small").items() if key[1] != "model"}
    assert shared == {key: value for key, value in accuracies(workspace, "larger").items() if key[1] != "model"}
    paths = [predictions_file(workspace.folder("runs", run), "planted", "test", "tfidf") for run in ("small", "larger")]
    assert pl.read_parquet(paths[0]).equals(pl.read_parquet(paths[1]))
    evaluate_run(workspace, "small", "hard-test", "test")
    train_run(workspace, "fewer", replace(CONFIG, max_pairs=100), resume=False)
    assert fits == [432, 100]
    change_pairs(workspace, "planted", chosen=pl.col("chosen") + " now")
    train_run(workspace, "rebuilt", CONFIG, resume=False)
    assert fits == [432, 100, 432]


def test_the_model_comes_first_and_baselines_can_be_left_for_later(workspace: Workspace, fits: list[int]) -> None:
    result = train_run(workspace, "run", CONFIG, resume=False, baselines="none")
    assert not fits and {row["predictor"] for row in result["evaluations"]} == {"model"}
    before = accuracies(workspace, "run")
    evaluate_run(workspace, "run", "hard-test", "test")
    assert {key for key in accuracies(workspace, "run") if key[1] == "tfidf"} == {("hard-test", "tfidf")}
    train_run(workspace, "run", CONFIG, resume=True, baselines="cheap")
    after = accuracies(workspace, "run")
    assert {key: after[key] for key in before} == before
    assert {predictor for _, predictor in after} == {"model", "length", "time", "both", "tfidf"}
    train_run(workspace, "at-once", CONFIG, resume=False)
    assert accuracies(workspace, "at-once") == after and len(fits) <= 2
    rows = pl.read_parquet(workspace.folder("runs", "run") / "evaluations.parquet")
    assert rows.drop("run_id").equals(
        pl.read_parquet(workspace.folder("runs", "at-once") / "evaluations.parquet").drop("run_id")
    )


def test_a_killed_run_has_its_result_before_its_baselines(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = baseline_margins.fit_baseline

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(baseline_margins, "fit_baseline", killed)
    with pytest.raises(KeyboardInterrupt):
        train_run(workspace, "run", CONFIG, resume=False)
    assert set(accuracies(workspace, "run")) == {("planted", "model"), ("hard-test", "model")}
    monkeypatch.setattr(baseline_margins, "fit_baseline", fit)
    assert train_run(workspace, "run", CONFIG, resume=True)["baselines"] == "all"
    assert ("hard-test", "tfidf") in accuracies(workspace, "run")


@pytest.mark.parametrize("name", ["tfidf", "both"])
def test_a_baseline_that_fails_is_left_out_with_a_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    fit = baseline_margins.fit_baseline

    def fitted(which: str, *rest: object, **more: object) -> object:
        if which == name:
            raise MemoryError("too many words")
        return fit(which, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(baseline_margins, "fit_baseline", fitted)
    result = train_run(workspace, "run", CONFIG, resume=False)
    assert f"The baseline `{name}` is left out: MemoryError: too many words" in capsys.readouterr().err
    assert result["baselines_left_out"] == {name: "MemoryError: too many words"}
    found = {row["predictor"] for row in result["evaluations"]}
    assert found == {"model", "length", "time", "both", "tfidf"} - {name}


def test_a_t5_is_trained_whatever_becomes_of_its_embeddings(
    workspace: Workspace, pretrained: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(pretrained)
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = T5Config(
        vocab_size=len(tokenizer), num_labels=1, decoder_start_token_id=tokenizer.pad_token_id, **sizes, **ends
    )
    T5ForSequenceClassification(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    result = train_run(workspace, "run", replace(CONFIG, model=str(tmp_path / "t5")), resume=False)
    found = {row["predictor"] for row in result["evaluations"]}
    assert found >= {"model", "length", "time", "both", "tfidf"}
    assert ("embeddings" in found) != ("embeddings" in result.get("baselines_left_out", {}))


def test_a_file_in_place_of_a_run_is_named_before_any_work(workspace: Workspace) -> None:
    (workspace.root / "runs").mkdir()
    (workspace.root / "runs/run").write_text("notes")
    with pytest.raises(CallError, match="is a file, not the folder of a run"):
        train_run(workspace, "run", CONFIG, resume=False)
