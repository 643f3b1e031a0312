"""Writers from end to end: they learn, resume exactly, never read test posts, and are listed, shown and deleted."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch

from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json
from lurker.pair_sets import read_pair_set
from lurker.workspace import Workspace
from rm.api import train
from rm.policy.api import Policy, train_writer
from rm.policy.api import load_policy as open_policy
from rm.policy.causal import load_policy as load_model
from rm.policy.writer_config import writer_config
from rm.policy.writer_data import read_writer_texts
from rm.policy.writer_step import WriterStep
from rm.training.identity import seen_posts
from tests.rm.conftest import change_pairs
from tests.rm.policy.conftest import QUICK


def call(workspace: Workspace, *arguments: str) -> int:
    return run(["--workspace", str(workspace.root), "policy", *arguments])


def quick(workspace: Workspace, policy_id: str, **fields: object) -> Policy:
    settings = dict(setting.split("=") for setting in QUICK[1::2])
    pairs = read_pair_set(workspace, "planted")
    return train_writer(pairs, "scratch-10k", policy_id=policy_id, **(settings | fields))


def test_a_writer_predicts_people_better_than_their_frequencies(first_writer: tuple[Path, dict[str, object]]) -> None:
    root, result = first_writer
    nats = {(row["predictor"], row["unit"]): row["nats"] for row in result["held_out"]}  # type: ignore[attr-defined]
    assert nats["writer", "token"] < nats["unigram", "token"]
    assert len(nats) == 6
    assert result["counts"]["chosen"] == result["counts"]["trained on"]  # type: ignore[index]
    assert result["memorisation"]["writer"]["novelty"][0] >= 0  # type: ignore[index]
    folder = root / "policies" / "first"
    assert {"config.json", "env.json", "metrics.jsonl", "model", "result.json", "samples.parquet"} == {
        path.name for path in folder.iterdir()
    }


def test_nothing_of_test_or_validation_posts_is_learned(workspace: Workspace) -> None:
    texts = read_writer_texts(read_pair_set(workspace, "planted"), writer_config("scratch-10k", 0, ["top_share=1"]))
    splits = dict(read_pair_set(workspace, "planted").frame.select("post_id", "split").rows())
    for name in ("training", "validation", "test"):
        frame = getattr(texts, name)
        assert {splits[post] for post in frame["post_id"]} == {name.removesuffix("ing")}
    assert texts.training.height == texts.counts["of training posts"]
    few = writer_config("scratch-10k", 0, ["top_share=1", "max_responses=10"])
    assert read_writer_texts(read_pair_set(workspace, "planted"), few).training["post_id"].n_unique() == 3


def test_an_interrupted_writer_resumes_with_the_losses_of_an_uninterrupted_one(
    writer_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = WriterStep.loss, []

    def interrupted(self: WriterStep, *args: object) -> object:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(WriterStep, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(writer_workspace, "again", checkpoint_interval_s=0)
    folder = writer_workspace.folder("policies", "again")
    assert (folder / "checkpoint.pt").exists() and not (folder / "result.json").exists()
    with pytest.raises(CallError, match="no finished policy 'again'"):
        load_model(writer_workspace, "policy:again")
    assert call(writer_workspace, "show", "again") == 0
    with pytest.raises(CallError, match="exists already"):
        train_writer(read_pair_set(writer_workspace, "planted"), "scratch-10k", policy_id="again", resume=False)
    with pytest.raises(CallError, match="made with another data_digest, train"):
        quick(writer_workspace, "again", checkpoint_interval_s=0, top_share=0.5)
    quick(writer_workspace, "again", checkpoint_interval_s=0)
    metrics = [(writer_workspace.folder("policies", name) / "metrics.jsonl").read_text() for name in ("first", "again")]
    assert metrics[0] == metrics[1]
    n_calls = len(calls)
    quick(writer_workspace, "again", checkpoint_interval_s=0)
    assert len(calls) == n_calls  # a finished writer is not trained again


def test_a_policy_remembers_what_it_read_and_starts_another(writer_workspace: Workspace) -> None:
    folder = writer_workspace.folder("policies", "first") / "model"
    training = read_pair_set(writer_workspace, "planted").frame.filter(split="train")["post_id"].n_unique()
    assert training < len(seen_posts(str(folder))) < training * 2
    pairs = read_pair_set(writer_workspace, "planted")
    second = train_writer(pairs, "policy:first", policy_id="second", min_steps=4, epochs=1, max_response_tokens=24)
    assert read_json(second.folder / "config.json")["parents"][0]["policy"] == "first"
    assert {row["predictor"] for row in second.result["held_out"]} == {"writer", "backbone"}
    assert call(writer_workspace, "delete", "first") == 2
    assert call(writer_workspace, "delete", "first", "--dry-run") == 0
    assert call(writer_workspace, "delete", "first", "second") == 0
    assert not list((writer_workspace.root / "policies").iterdir())
    with pytest.raises(CallError, match="no finished policy 'first'"):
        open_policy(writer_workspace, "first")


def test_adapters_end_in_the_weights(writer_workspace: Workspace) -> None:
    pairs = read_pair_set(writer_workspace, "planted")
    fields = {"min_steps": 4, "epochs": 1, "max_response_tokens": 24, "n_memorisation_prompts": 0}
    lora = train_writer(pairs, "policy:first", policy_id="adapted", trained="lora", lora_rank=2, **fields)
    assert not list((lora.folder / "model").glob("adapter*"))
    weights, start = (
        load_model(writer_workspace, f"policy:{name}").model.state_dict() for name in ("adapted", "first")
    )
    changed = {name for name in weights if not torch.equal(weights[name], start[name])}
    assert changed and all("proj" in name for name in changed)  # embeddings and gains are frozen
    assert lora.result["memorisation"] == {}
    losses = {(row["predictor"], row["unit"]): row["nats"] for row in lora.result["held_out"]}
    assert losses["writer", "token"] != losses["backbone", "token"]


def test_a_test_post_that_the_start_was_trained_on_is_refused(writer_workspace: Workspace) -> None:
    swapped = {"train": "test", "test": "train", "validation": "validation"}
    change_pairs(writer_workspace, "planted", split=pl.col("split").replace_strict(swapped))
    pairs = read_pair_set(writer_workspace, "planted")
    with pytest.raises(LurkerError, match="test posts of planted were read by"):
        train_writer(pairs, "policy:first", policy_id="leak", min_steps=4)


def test_show_prints_figures_neighbours_and_the_curve(
    writer_workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(writer_workspace, "show", "first") == 0
    printed = capsys.readouterr().out
    for part in ("unigram", "perplexity", "Longest copied run", "nearest training response", "log loss by step"):
        assert part in printed
    assert "share of tokens that the writer finds likeliest" in printed
    assert call(writer_workspace, "show", "first", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "finished" and len(shown["neighbours"]) == 3
    neighbour = shown["neighbours"][0]["nearest training response"]
    frame = read_pair_set(writer_workspace, "planted").frame.filter(split="train")
    assert neighbour in {*frame["chosen"], *frame["rejected"]}
    assert call(writer_workspace, "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["policies"]
    assert [(row["policy"], row["kind"], row["state"]) for row in rows] == [("first", "writer", "finished")]
    (writer_workspace.folder("policies", "first") / "result.json").write_text("[")
    assert call(writer_workspace, "list") == 0
    assert "result.json" in capsys.readouterr().out


def test_a_community_names_the_pair_set_with_most_of_its_pairs(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(workspace, "train-writer", "r/Alpha", "--model", "scratch-10k", "--id", "one", "--json", *QUICK) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["subreddits"] == ["alpha"]
    assert "has most pairs in planted" in captured.err


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        ("planted --model scratch-9k", "scratch-10k", 2),
        ("planted --model policy:none", "no finished policy 'none'", 2),
        ("nothing --model scratch-10k", "neither a pair set nor a community", 2),
        ("planted --model scratch-10k --set top_share=0", "top_share must be above 0", 2),
        ("planted --model scratch-10k --set rate=1", "learning_rate", 2),
        ("planted --model scratch-10k --set max_prompt_tokens=9000", "reads at most 4,096 tokens", 2),
        ("planted --model scratch-10k --set max_response_tokens=2", "responses have more than 1 tokens", 1),
        ("planted --model scratch-10k --subreddit gamma", "alpha, beta", 2),
        ("alpha --model scratch-10k --subreddit beta", "is a community", 2),
        ("hard-test --model scratch-10k", "well-received responses to train posts", 1),
        ("planted --model scratch-10k --id ../x", "is not a valid name for policies", 2),
    ],
)
def test_wrong_arguments_give_one_sentence(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: str, complaint: str, code: int
) -> None:
    assert call(workspace, "train-writer", *arguments.split()) == code
    error = " ".join(capsys.readouterr().err.split())
    assert complaint in error and "Traceback" not in error
    assert not list(workspace.root.glob("policies/*"))


def test_judgements_without_votes_are_refused(workspace: Workspace) -> None:
    folder = workspace.folder("pairs", "planted")
    write_json(read_json(folder / "manifest.json") | {"recipe": {"name": "external"}}, folder / "manifest.json")
    assert call(workspace, "train-writer", "planted", "--model", "scratch-10k") == 2


def test_a_reward_model_learns_to_write(workspace: Workspace) -> None:
    """Its words start from nothing, so it has the settings of its rung, and the unigram model beside it."""
    pairs = read_pair_set(workspace, "planted")
    run_id = train(pairs, "scratch-10k", epochs=1, vocabulary_size=400, baselines="none").run_id
    settings = {"min_steps": 12, "epochs": 1, "learning_rate": 0.0133, "n_memorisation_prompts": 0}
    writer = train_writer(pairs, f"run:{run_id}", policy_id="from-run", **settings)
    config = read_json(writer.folder / "config.json")
    assert config["parents"][0]["run"] == run_id
    assert config["train"]["max_response_tokens"] == writer_config("scratch-10k", 0, []).max_response_tokens
    nats = {(row["predictor"], row["unit"]): row["nats"] for row in writer.result["held_out"]}
    assert nats["writer", "token"] < nats["unigram", "token"]
    assert load_model(workspace, "policy:from-run").model.config.tie_word_embeddings
    with pytest.raises(CallError, match="no finished run 'none'"):
        train_writer(pairs, "run:none")
