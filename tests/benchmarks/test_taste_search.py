"""The search learns a planted taste, counts what it tried, and refuses test posts among its training pairs."""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import taste_models
from taste_models import LABELS, label_use
from taste_search import report

from lurker.workspace import Workspace, open_workspace
from tests.rm.conftest import planted_pairs, save_encoder, save_pairs


def plant(root: Path, frame: pl.DataFrame) -> Workspace:
    """A workspace with these pairs and the hard test of their test posts."""
    workspace = open_workspace(root, create=True)
    save_pairs(workspace, "balanced", frame)
    save_pairs(workspace, "hard-test", frame.filter(pl.col("split") == "test"))
    return workspace


def options(workspace: Workspace, model: str) -> argparse.Namespace:
    fields = {"pairs": "balanced", "own": ["alpha"], "texts": ["24", "8+24"], "model": model, "judge": True}
    return argparse.Namespace(workspace=workspace.root, **fields)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return save_encoder(tmp_path / "small", n_layers=1)


def test_a_planted_taste_is_found_and_judged(tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EPOCHS", 3), ("PENALTIES", (1.0,)), ("EMBEDDING_PENALTIES", (0.1,))):
        monkeypatch.setattr(taste_models, name, value)
    workspace = plant(tmp_path / "workspace", planted_pairs(40, ("alpha", "beta")))
    lines = report(options(workspace, spec))
    assert "Trained on 144 own pairs, 288 all pairs." in lines
    told, _, judged = "\n".join(lines).partition("hard test: 48 pairs of 8 posts.")
    assert "Chosen of 21: " in told or "Chosen of 22: " in told  # one sum less if own TF-IDF is the best
    assert told.count("would see a difference of") == 2 and "choice − it" not in told
    cells = [line.split(" | ") for line in judged.partition("balanced test")[0].splitlines() if "[" in line]
    accuracies = {cell[0].lstrip("| "): float(cell[1].split()[0]) for cell in cells}
    assert accuracies["TF-IDF, own pairs"] > 0.9 and len(accuracies) >= 4


def test_a_test_prompt_in_training_ends_the_search(tmp_path: Path) -> None:
    frame = planted_pairs(30, ("alpha", "beta"))
    prompt = frame.filter(pl.col("split") == "test")["prompt"][0]
    is_first = pl.col("post_id") == "beta0"
    leaky = frame.with_columns(prompt=pl.when(is_first).then(pl.lit(prompt)).otherwise("prompt"))
    with pytest.raises(SystemExit, match="6 training pairs have a prompt of validation or tests"):
        report(options(plant(tmp_path / "workspace", leaky), "unread"))


def test_confidence_filters_weighs_or_softens() -> None:
    frame = pl.DataFrame({"label_confidence": [0.6, 0.9, 0.8], "weight": [1.0, 2.0, 1.0]})
    uses = {labels: [part.tolist() for part in label_use(frame, labels)] for labels in LABELS}
    assert uses["all"] == [[0, 1, 2], [1, 2, 1], [1, 1, 1]]
    assert uses["sure"] == [[1, 2], [2, 1], [1, 1]]
    assert uses["soft"] == [[0, 1, 2], [1, 2, 1], [0.6, 0.9, 0.8]]
    assert np.allclose(uses["weighed"][1], [0.2, 1.6, 0.6])
