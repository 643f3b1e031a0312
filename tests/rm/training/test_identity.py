"""A model is its files, not its path; and what it has read follows it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from lurker.errors import CallError, LurkerError
from lurker.workspace import Workspace, read_json
from rm.evaluation.diagnose import diagnose_run
from rm.evaluation.embeddings import Embedder
from rm.evaluation.evaluate_run import evaluate_run
from rm.experiments.cells import make_cell
from rm.models.ladder import check_spec
from rm.runs.export import export_run
from rm.runs.train_run import train_run
from rm.training.config import TrainConfig
from rm.training.identity import SEEN
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
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1
    after = Embedder(spec, TRAIN, tmp_path / "cache")(frame)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
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


def test_a_model_can_be_named_by_its_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train_run(workspace, "a", RunConfig(pairs="planted", model="scratch-10k", train=TRAIN), resume=False)
    folder = workspace.folder("runs", "a")
    for name in ("a", "runs/a", str(folder), str(folder / "model")):
        assert model_of_run(workspace, name) == str(folder / "model")
    assert model_of_run(workspace, "minilm") == "minilm" and model_of_run(workspace, "") == ""
    monkeypatch.chdir(workspace.root)
    assert model_of_run(workspace, "runs/a") == "runs/a/model"
    (folder / "result.json").unlink()
    with pytest.raises(CallError, match="a run that is not finished"):
        check_spec(model_of_run(workspace, str(folder)))
