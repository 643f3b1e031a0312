"""A model is its files, not its path; and what it has read follows it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from lurker.errors import CallError, LurkerError
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.evaluation.diagnose import diagnose_run
from rm.evaluation.embeddings import Embedder
from rm.evaluation.evaluate_run import evaluate_run
from rm.experiments.cells import make_cell
from rm.models.ladder import build, check_spec, reward_head
from rm.models.mean_pooling import add_mean_pooling, is_mean_pooled
from rm.pairs.tokens import load_tokenizer
from rm.runs.export import export_run
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.identity import SEEN, is_unseen, lineage
from rm.training.run_folder import RunConfig, model_of_run
from tests.rm.conftest import planted_pairs, save_pairs

TRAIN = TrainConfig(learning_rate=1e-3, min_steps=2, epochs=1, max_tokens=64)


def change_weights(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for weight in model.parameters():
        weight.data.mul_(-1.3)
    model.save_pretrained(folder)


def change_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")


@pytest.mark.parametrize("change", [change_weights, change_tokenizer])
def test_a_changed_folder_is_another_model(workspace: Workspace, pretrained: Path, tmp_path: Path, change) -> None:
    folder = Path(shutil.copytree(pretrained, tmp_path / "own"))
    spec = str(folder)
    config = RunConfig(pairs="planted", model=spec, train=TRAIN, test_pairs=("planted",))
    cell = make_cell("e", config, 10, "d")
    frame = planted_pairs(1)
    before = Embedder(spec, TRAIN, tmp_path / "cache")(frame)
    train_run(workspace, "a", config, resume=False)
    change(folder)
    assert make_cell("e", config, 10, "d").run_id != cell.run_id
    assert len(list((tmp_path / "cache").glob("embeddings-*"))) == 1
    after = Embedder(spec, TRAIN, tmp_path / "cache")(frame)
    assert len(list((tmp_path / "cache").glob("embeddings-*"))) == 2
    assert change is change_tokenizer or not np.allclose(before, after)
    with pytest.raises(CallError, match="model_digest"):
        train_run(workspace, "a", config, resume=True)
    table = evaluate_run(workspace, "a", "planted", "test").frame
    assert "embeddings" not in set(table["predictor"])


def test_test_posts_are_refused_through_any_chain_of_models(
    workspace: Workspace, pretrained: Path, tmp_path: Path
) -> None:
    frame = planted_pairs(60, ("alpha", "beta"))
    swap = {"test": "train", "train": "test", "validation": "validation"}
    save_pairs(workspace, "swapped", frame.with_columns(split=frame["split"].replace_strict(swap)))
    first = RunConfig(pairs="swapped", model=str(pretrained), train=TRAIN)
    train_run(workspace, "first", first, resume=False)
    export_run(workspace, "first", tmp_path / "exported")
    train_run(workspace, "second", replace(first, model=str(tmp_path / "exported")), resume=False)
    second = workspace.folder("runs", "second") / "model"
    copied = tmp_path / "copied"
    shutil.copytree(second, copied)
    old = workspace.folder("runs", "first") / "model"
    (old / SEEN).unlink()  # as in a run of an earlier version
    for number, folder in enumerate((tmp_path / "exported", second, copied, old)):
        config = RunConfig(pairs="planted", model=str(folder), train=TRAIN, test_pairs=("planted",))
        with pytest.raises(LurkerError, match="test posts of planted were read by"):
            train_run(workspace, f"refused-{number}", config, resume=False)
        assert not workspace.folder("runs", f"refused-{number}").exists()
    train_run(workspace, "third", replace(first, pairs="planted", model=str(copied)), resume=False)
    with pytest.raises(LurkerError, match="were read by"):
        evaluate_run(workspace, "third", "planted", "test")
    with pytest.raises(LurkerError, match="were read by"):
        diagnose_run(workspace, "third", "planted", "test")
    assert read_json(second / SEEN)["ancestors"]


def test_a_prompt_that_an_ancestor_has_read_under_another_id_is_not_tested(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    train_run(workspace, "first", RunConfig(pairs="planted", model="scratch-10k", train=TRAIN), resume=False)
    parent = model_of_run(workspace, "run:first")
    read = planted_pairs(60, ("alpha", "beta")).filter(split="train")["prompt"].unique().sort()
    other = planted_pairs(60, ("gamma",), seed=1)
    crossposted = other.filter(split="test")["post_id"].unique().sort().head(2)
    is_copy = pl.col("post_id").is_in(crossposted.implode())
    copies = other.with_columns(prompt=pl.when(is_copy).then(pl.lit(f" {read[0].upper()}")).otherwise("prompt"))
    save_pairs(workspace, "other", copies)
    config = RunConfig(pairs="other", model=parent, train=TRAIN, test_pairs=("other",))
    result = train_run(workspace, "second", config, resume=False)
    n_test = other.filter(split="test").height
    assert {row["n_test_pairs"] for row in result["evaluations"]} == {n_test - 12}
    assert "Left out: 12 test pairs of other" in capsys.readouterr().err
    table = evaluate_run(workspace, "second", "other", "test", "none").frame
    assert set(table["n_test_pairs"]) == {n_test - 12}
    assert diagnose_run(workspace, "second", "other", "test").report["pairs"] == "other"
    assert "Left out: 12 test pairs of other" in capsys.readouterr().err
    all_read = copies.with_columns(prompt=pl.when(split="test").then(pl.lit(read[0])).otherwise("prompt"))
    save_pairs(workspace, "copies", all_read)
    with pytest.raises(LurkerError, match="The prompts of all test pairs of copies were read under other ids"):
        train_run(workspace, "third", replace(config, pairs="copies", test_pairs=("copies",)), resume=False)


def test_a_model_can_be_named_by_its_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train_run(workspace, "a", RunConfig(pairs="planted", model="scratch-10k", train=TRAIN), resume=False)
    folder = workspace.folder("runs", "a")
    for name in ("a", "run:a", "runs/a", str(folder), str(folder / "model")):
        assert model_of_run(workspace, name) == str(folder / "model")
    assert model_of_run(workspace, "minilm") == "minilm" and model_of_run(workspace, "") == ""
    monkeypatch.chdir(workspace.root)
    assert model_of_run(workspace, "runs/a") == "runs/a/model"
    with pytest.raises(CallError, match=r"no finished run 'b' .*finished runs: a"):
        model_of_run(workspace, "run:b")
    (folder / "result.json").unlink()
    with pytest.raises(CallError, match="a run that is not finished"):
        check_spec(model_of_run(workspace, str(folder)))


def test_a_run_records_all_runs_it_comes_from(workspace: Workspace, pretrained: Path, tmp_path: Path) -> None:
    frame = planted_pairs(60, ("alpha", "beta"))
    halves = {"one": frame.filter(pl.col("subreddit") == "alpha"), "two": frame.filter(pl.col("subreddit") == "beta")}
    for name, half in halves.items():
        save_pairs(workspace, name, half)
    first = RunConfig(pairs="one", model=str(pretrained), train=TRAIN)
    train_run(workspace, "first", first, resume=False, baselines="none")
    export_run(workspace, "first", tmp_path / "exported")
    own = {"run": "first", "pairs": "one", "model": pretrained.name}
    assert lineage(str(tmp_path / "exported")) == [own] and lineage("minilm") == lineage(str(pretrained)) == []
    second = replace(first, pairs="two", model=model_of_run(workspace, "run:first"))
    train_run(workspace, "second", second, resume=False, baselines="none")
    folder = workspace.folder("runs", "second")
    assert read_json(folder / "config.json")["parents"] == [own]
    assert lineage(str(folder / "model")) == [{"run": "second", "pairs": "two", "model": "run:first"}, own]
    assert train_run(workspace, "second", second, resume=True, baselines="none")["run_id"] == "second"
    (workspace.folder("runs", "first") / "model" / SEEN).unlink()  # as in a run of an earlier version
    assert lineage(second.model) == [own]
    seen = halves["one"].filter(pl.col("split") == "train").head(4)
    new = seen.with_columns(post_id=pl.lit("x1"), prompt=pl.lit("Quite another question"))
    assert is_unseen(folder / "model", second.model, pl.concat([seen, new])).to_list() == [False] * 4 + [True] * 4
    renamed = seen.with_columns(post_id=pl.lit("x1"))
    assert not is_unseen(folder / "model", second.model, renamed).any()


def test_the_head_of_a_run_is_kept_or_drawn_anew(workspace: Workspace, pretrained: Path, tmp_path: Path) -> None:
    train_run(workspace, "a", RunConfig(pairs="planted", model="scratch-10k", train=TRAIN), resume=False)
    spec = model_of_run(workspace, "run:a")
    random, kept, fresh, other = (
        reward_head(build(spec, [], 0, seed, head=head).model).weight
        for seed, head in ((0, "random"), (0, "kept"), (0, "fresh"), (1, "fresh"))
    )
    assert torch.equal(random, kept) and not torch.equal(fresh, kept) and not torch.equal(fresh, other)
    assert float(fresh.detach().std()) == pytest.approx(33**-0.5, rel=0.5)
    AutoModel.from_pretrained(pretrained).save_pretrained(tmp_path / "body")
    load_tokenizer(pretrained).save_pretrained(tmp_path / "body")
    for other_spec in ("scratch-10k", str(tmp_path / "body")):
        with pytest.raises(CallError, match="head=kept needs a model with a reward head"):
            build(other_spec, ["the road"], 300, 0, head="kept")


def test_mean_pooling_is_added_once(tmp_path: Path, pretrained: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=400, num_labels=1, **sizes))
    assert not is_mean_pooled(model) and not is_mean_pooled(build(str(pretrained), [], 0, 0).model)
    add_mean_pooling(model)
    model.save_pretrained(tmp_path / "pooled")
    assert is_mean_pooled(BertForSequenceClassification.from_pretrained(tmp_path / "pooled"))
