import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from lurker.cli import run
from lurker.comparison import compare_accuracy
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.evaluation.counterfactual import FILLER, append_filler, as_list, counterfactuals, cut_in_half
from rm.evaluation.diagnose import calibration, correlations, strata
from rm.evaluation.score import score_texts, text_scorer
from rm.models.ladder import load
from rm.training.config import TrainConfig

QUICK = ["--set", "epochs=1", "--set", "min_steps=5", "--set", "max_tokens=64", "--set", "vocabulary_size=400"]

CONFIG = TrainConfig(learning_rate=1e-3, max_tokens=64)


def test_calibration_error_is_small_for_true_probabilities_and_large_for_overconfident_ones() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 20_000)
    margins = np.where(rng.random(truth.size) < 1 / (1 + np.exp(-truth)), truth, -truth)
    posts = [str(number // 4) for number in range(truth.size)]
    calibrated, overconfident = (
        calibration(values, posts)["expected_calibration_error"] for values in (margins, 4 * margins)
    )
    assert calibrated < 0.015
    assert overconfident > 0.1


def test_strata_cover_every_pair_once_and_show_a_shortcut(planted: Callable[..., pl.DataFrame]) -> None:
    frame = planted(60, ("alpha", "beta"))
    margins = (frame["rejected_delay_s"] - frame["chosen_delay_s"]).to_numpy() / 1000.0  # earlier wins
    rows = strata(frame, margins)
    for by in ("length", "longer response", "delay", "score gap", "label confidence", "subreddit"):
        assert sum(row["n_pairs"] for row in rows if row["by"] == by) == frame.height
    accuracy = {row["part"]: row["accuracy"] for row in rows}
    assert accuracy["chosen over 1 h earlier"] == 1.0
    assert accuracy["chosen over 1 h later"] == 0.0
    longer = frame.select(pl.max_horizontal("chosen_chars", "rejected_chars")).to_series()
    counts = {row["part"]: row["n_pairs"] for row in rows if row["by"] == "longer response"}
    assert counts["under 200 characters"] == (longer < 200).sum()


def responses_with(reward: pl.Expr) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "response_id": [f"r{number}" for number in range(300)],
            "post_id": [f"p{number // 6}" for number in range(300)],
            "prompt": ["tea"] * 300,
            "text": ["word " * int(size) for size in rng.integers(2, 60, 300)],
            "delay_s": rng.integers(60, 90_000, 300),
        }
    ).with_columns(n_chars=pl.col("text").str.len_chars())
    return frame.with_columns(reward=reward)


def test_a_reward_that_is_length_correlates_with_length_only() -> None:
    level = pl.col("post_id").str.slice(1).cast(pl.Float64)  # posts differ, which must not matter
    report = correlations(responses_with(pl.col("n_chars").log1p() + level))
    assert report["length"] > 0.95
    assert abs(report["delay"]) < 0.2
    assert correlations(responses_with(pl.lit(1.0))) == {}


def test_counterfactuals_distinguish_a_reward_of_length_from_one_that_ignores_it() -> None:
    by_length = counterfactuals(
        responses_with(pl.col("text").str.len_chars().cast(pl.Float64)), lambda _, texts: [float(len(t)) for t in texts]
    )
    changed = {row["change"]: row for row in by_length}
    assert changed["filler appended"]["is_up"] == 1.0
    assert changed["cut in half"]["mean_change_high"] < 0
    first_letter = counterfactuals(
        responses_with(pl.col("response_id").str.len_chars().cast(pl.Float64)), lambda _, texts: [2.0] * len(texts)
    )
    assert {row["n_responses"] for row in first_letter} == {300}


def test_edits_of_texts() -> None:
    assert append_filler("Tea. ") == "Tea." + FILLER
    assert cut_in_half("one two three four five") == "one two"
    assert cut_in_half("one") == "one"
    assert as_list("Black tea. No sugar!\nGood?") == "- Black tea.\n- No sugar!\n- Good?"


def test_a_better_run_is_distinguished_from_chance() -> None:
    rng = np.random.default_rng(0)
    posts = np.repeat(np.arange(300), 4)
    first = (rng.random(1200) < 0.7).astype(float)
    chance = compare_accuracy(first, rng.permutation(first), posts)
    assert chance.low < 0 < chance.high and chance.bootstrap_low < 0 < chance.bootstrap_high
    second = np.where(rng.random(1200) < 0.15, 0.0, first)
    better = compare_accuracy(first, second, posts)
    assert 0 < better.low < better.difference < better.high
    assert better.bootstrap_low == pytest.approx(better.low, abs=0.01)
    assert better.only_second_right == 0 and better.mcnemar_p < 1e-6


@pytest.fixture(params=["scratch-10k", "bert"])
def two_runs(request: pytest.FixtureRequest, workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with the runs `first` and `second` of a decoder or of an encoder."""
    spec = request.param
    if spec == "bert":
        words = BertWordPieceTokenizer()
        frame = pl.read_parquet(workspace.root / "pairs/planted/pairs.parquet")
        words.train_from_iterator([*frame["prompt"], *frame["chosen"]], vocab_size=300, show_progress=False)
        names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "unk", "mask")}
        PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, **names).save_pretrained(tmp_path / "bert")
        torch.manual_seed(0)
        size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = BertForSequenceClassification(BertConfig(vocab_size=400, num_labels=1, **size))
        model.save_pretrained(tmp_path / "bert")
        spec = str(tmp_path / "bert")
    for seed, name in enumerate(("first", "second")):
        arguments = ["rm", "train", "planted", "--model", spec, "--run", name, "--seed", str(seed), *QUICK]
        assert run(["--workspace", str(workspace.root), *arguments]) == 0
    return workspace


def test_runs_are_diagnosed_compared_and_exported(
    two_runs: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> int:
        capsys.readouterr()
        return run(["--workspace", str(two_runs.root), "rm", *arguments])

    assert call("diagnose", "first", "--pairs", "planted", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == read_json(two_runs.root / "runs/first/diagnoses/planted-test.json")
    assert len(report["counterfactuals"]) == 3
    assert call("compare", "first", "second", "--pairs", "planted", "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["n_pairs"] == 144 and compared["low"] <= compared["difference"] <= compared["high"]
    assert call("compare", "first", "second", "--pairs", "planted", "--split", "validation") == 2
    assert "was not evaluated on" in capsys.readouterr().err
    assert call("compare", "first,second", "tfidf", "--pairs", "planted", "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    table = pl.read_parquet(two_runs.root / "runs/first/evaluations.parquet").filter(
        (pl.col("pairs") == "planted") & (pl.col("subreddit") == "all")
    )
    accuracy = dict(table.select("predictor", "accuracy").rows())
    assert compared["second_accuracy"] == pytest.approx(accuracy["tfidf"])
    alone = [
        read_json(two_runs.root / f"runs/{name}/result.json")["evaluations"][0]["accuracy"]
        for name in ("first", "second")
    ]
    assert compared["first_accuracy"] == pytest.approx(sum(alone) / 2)
    assert call("compare", "first", "second:both", "--pairs", "planted", "--json") == 0
    assert json.loads(capsys.readouterr().out)["second_accuracy"] == pytest.approx(accuracy["both"])
    assert call("compare", "first", "second:luck", "--pairs", "planted") == 2
    assert "has no baseline 'luck'" in capsys.readouterr().err
    if "embeddings" not in accuracy:  # a model from scratch has none
        assert call("compare", "first", "embeddings", "--pairs", "planted") == 2
        assert "The baseline embeddings of run first was not evaluated on planted (test)" in capsys.readouterr().err

    out = tmp_path / "exported"
    assert call("export", "first", "--out", str(out)) == 0
    assert call("export", "first", "--out", str(out)) == 2
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    prompts, texts = ["the road", "", "tea"], ["amber cedar", "husk", "✨ we went home after rain"]
    with torch.no_grad():
        scores = model.eval()(**tokenizer(prompts, texts, padding=True, return_tensors="pt")).logits[:, 0].tolist()
    ours = score_texts(text_scorer(load(two_runs.root / "runs/first/model"), CONFIG), prompts, texts)
    assert scores == pytest.approx(ours, abs=1e-4)
    card = (out / "README.md").read_text()
    assert "tfidf" in card and "r/alpha" in card
