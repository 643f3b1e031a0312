import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

import lurker.progress
from lurker.cli import run
from lurker.errors import CallError
from lurker.files import read_json
from lurker.schema import SCALING, TRANSFER, check
from lurker.workspace import Workspace
from rm.experiments.config import Experiment
from rm.experiments.scaling import ScalingConfig, plan_scaling, run_scaling
from rm.experiments.transfer import TransferConfig, run_transfer
from tests.rm.conftest import change_pairs

QUICK = ("epochs=1", "min_steps=8", "max_tokens=64", "vocabulary_size=400")


def scaling(**changes: object) -> ScalingConfig:
    values: dict[str, object] = {
        "pairs": "planted",
        "models": ("scratch-10k",),
        "sizes": (60, 120),
        "n_seeds": 2,
        "settings": QUICK,
    }
    return ScalingConfig(**{**values, **changes})  # type: ignore[arg-type]


def local(workspace: Workspace, name: str) -> Experiment:
    return Experiment(workspace, name, n_workers=1)


def finished_at(workspace: Workspace) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in workspace.root.glob("runs/*/result.json")}


def test_scaling_completes_the_grid_and_runs_no_cell_twice(workspace: Workspace) -> None:
    table = run_scaling(local(workspace, "grid"), scaling()).frame
    assert check(pl.read_parquet(workspace.root / "experiments/grid/scaling.parquet"), SCALING).equals(table)
    models = table.filter(~pl.col("is_baseline"))
    sizes_and_seeds = [(60, 0), (60, 1), (120, 0), (120, 1)]
    assert models.select("n_train_pairs", "seed").rows() == sizes_and_seeds
    for baseline in ("length", "time", "both", "tfidf"):
        rows = table.filter(pl.col("predictor") == baseline).select("n_train_pairs", "seed").rows()
        assert rows == sizes_and_seeds
    assert read_json(workspace.root / "experiments/grid/manifest.json")["test_pairs"] == "hard-test"
    items = read_json(workspace.root / "experiments/grid/checklist.json")
    answers = {item["question"]: item["answer"] for item in items}
    assert answers["On how much data each?"].startswith("60, 120 pairs") and all(answers.values())
    page = (workspace.root / "experiments/grid/checklist.md").read_text()
    assert "2502.18969" in page and page.count("|---|---|---|") == 4
    before = finished_at(workspace)
    assert len(before) == 4
    again = run_scaling(local(workspace, "grid"), scaling(sizes=(60, 120, 180))).frame
    after = finished_at(workspace)
    assert {path: after[path] for path in before} == before
    assert len(after) == 6
    assert again.filter(pl.col("n_train_pairs") < 180).equals(table)


def test_a_smaller_grid_keeps_the_cells_of_a_larger_one(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = run_scaling(local(workspace, "grid"), scaling(n_seeds=1)).frame
    again = run_scaling(local(workspace, "grid"), scaling(sizes=(60,), n_seeds=1)).frame
    assert again.equals(table)
    assert "of an earlier grid" in capsys.readouterr().err
    third = run_scaling(local(workspace, "grid"), scaling(sizes=(60,), n_seeds=1))  # the smaller grid came in between
    assert third.frame.equals(table)
    assert read_json(workspace.root / "experiments/grid/manifest.json")["sizes"] == [60, 120]
    assert read_json(workspace.root / "experiments/grid/fit.json")["sentence"] == third.fit.sentence
    assert "2 data sizes, and 4 are needed" in third.fit.sentence


def test_a_table_is_not_replaced_by_one_of_other_settings(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = run_scaling(local(workspace, "grid"), scaling(sizes=(60,), n_seeds=1)).frame
    other = scaling(sizes=(60,), n_seeds=1, settings=(*QUICK, "patience=1"))
    with pytest.raises(CallError, match=r"a table for settings: .* This call has .*patience=1") as refused:
        run_scaling(local(workspace, "grid"), other)
    assert "--name OTHER" in (refused.value.next_step or "")
    with pytest.raises(CallError, match="an experiment of another kind: scaling"):
        run_transfer(local(workspace, "grid"), TransferConfig(pairs="planted", model="scratch-10k", settings=QUICK))
    assert pl.read_parquet(workspace.root / "experiments/grid/scaling.parquet").equals(table)
    beside = run_scaling(local(workspace, "grid-2"), other).frame
    command = ["--workspace", str(workspace.root), "experiment", "delete", "grid"]
    assert run([*command, "--dry-run"]) == 0 and "Would be deleted" in capsys.readouterr().out
    assert run([*command, "--runs"]) == 0
    assert not (workspace.root / "experiments/grid").exists()
    kept = {path.name for path in (workspace.root / "runs").iterdir()}
    assert kept == set(beside["run_id"].drop_nulls())  # the runs of the other experiment
    assert run(command) == 2 and "There is no experiment 'grid'" in capsys.readouterr().err
    assert run_scaling(local(workspace, "grid"), other).frame["accuracy"].equals(beside["accuracy"])


def test_a_model_that_does_not_load_is_named_before_any_work(
    workspace: Workspace, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it asks the hub again and again
    bare = shutil.copytree(pretrained, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    for model, reason in (("nobody/no-such-model", "nobody/no-such-model"), (str(bare), "none of model.safetensors")):
        with pytest.raises(CallError, match=reason):
            run_scaling(local(workspace, "grid"), scaling(models=("scratch-10k", model)))
    assert not list(workspace.root.glob("runs/*")) and not list(workspace.root.glob("experiments/*"))


def test_pretrained_models_of_two_sizes_make_a_frozen_ladder(
    workspace: Workspace, pretrained: Path, tmp_path: Path
) -> None:
    """As with ids of a hub: the head of each is trained at every size, on texts that it has read once."""
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "smaller")
    tokenizer.save_pretrained(tmp_path / "smaller")
    models = (str(tmp_path / "smaller"), str(pretrained))
    frozen = scaling(models=models, n_seeds=1, settings=("trained=head", "max_tokens=64", "epochs=2"))
    table = run_scaling(local(workspace, "frozen"), frozen).frame
    own = table.filter(~pl.col("is_baseline"))
    assert own.select("predictor", "n_train_pairs").rows() == [(model, size) for model in models for size in (60, 120)]
    assert own["n_parameters"].n_unique() == 2 and own["n_parameters"].is_sorted()
    assert table.filter(pl.col("predictor").str.starts_with("embeddings"))["predictor"].to_list() == [
        *["embeddings-small"] * 2,
        *["embeddings-smaller"] * 2,
    ]
    assert table.filter(predictor="tfidf").height == 2
    assert len(list(workspace.root.glob("cache/features-*"))) == 2  # one for each model, shared by its sizes


def test_one_pass_with_too_few_points_for_a_curve_says_so(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tuple(one for one in QUICK if not one.startswith(("epochs", "min_steps")))
    config = scaling(sizes=(300,), n_seeds=1, settings=settings, protocol="online")
    plan_scaling(local(workspace, "short"), config)
    assert "evaluated at 1 size, and a curve needs 4: ask for 2,048 pairs" in capsys.readouterr().err


def test_the_progress_of_a_cell_is_shown_while_it_runs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lurker.progress, "LOG_EVERY_S", 0.01)
    monkeypatch.setattr(lurker.progress, "REPORT_EVERY_S", 0.0)
    (cell,) = plan_scaling(local(workspace, "shown"), scaling(sizes=(60,), n_seeds=1))[0]
    stale_report = workspace.folder("runs", cell.run_id) / "progress.txt"
    stale_report.parent.mkdir(parents=True)
    stale_report.write_text("Training: 99% of 8 steps, 1 s left")
    run_scaling(local(workspace, "shown"), scaling(sizes=(60,), n_seeds=1))
    lines = capsys.readouterr().err.splitlines()
    stages = {line.removeprefix(f"{cell.run_id}: ").split(":")[0] for line in lines if line.startswith(cell.run_id)}
    assert "Training" in stages and stages <= {"starting", "Training", "Evaluating", "Baselines"}
    assert not any("99%" in line or "without embeddings" in line for line in lines)
    assert not stale_report.exists()


def test_cells_change_with_their_data_and_settings(workspace: Workspace) -> None:
    ids = {cell.run_id for cell in plan_scaling(local(workspace, "grid"), scaling())[0]}
    assert len(ids) == 4
    changed = {
        cell.run_id for cell in plan_scaling(local(workspace, "grid"), scaling(settings=(*QUICK, "patience=1")))[0]
    }
    change_pairs(workspace, "planted", weight=pl.lit(0.5))
    rebuilt = {cell.run_id for cell in plan_scaling(local(workspace, "grid"), scaling())[0]}
    assert not ids & changed and not ids & rebuilt


def test_transfer_completes_the_matrix_in_worker_processes(workspace: Workspace) -> None:
    config = TransferConfig(pairs="planted", model="scratch-10k", settings=QUICK)
    table = run_transfer(Experiment(workspace, "matrix", n_workers=2), config).frame
    assert check(pl.read_parquet(workspace.root / "experiments/matrix/transfer.parquet"), TRANSFER).equals(table)
    models = table.filter(~pl.col("is_baseline"))
    expected = [("alpha", "alpha"), ("alpha", "beta"), ("beta", "alpha"), ("beta", "beta")]
    assert models.select("source", "target").rows() == expected
    assert models["n_train_pairs"].unique().to_list() == [216]
    config_of = {
        source: read_json(workspace.root / "runs" / run / "config.json")
        for source, run in models.select("source", "run_id").unique().iter_rows()
    }
    assert {source: config["subreddits"] for source, config in config_of.items()} == {
        "alpha": ["alpha"],
        "beta": ["beta"],
    }


@pytest.mark.slow
def test_scaling_runs_on_ray(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    table = run_scaling(Experiment(workspace, "grid", engine="ray"), scaling(sizes=(60,))).frame
    assert table.filter(~pl.col("is_baseline")).height == 2
    here = run_scaling(local(workspace, "here"), scaling(sizes=(60,))).frame
    keys = ["predictor", "seed", "accuracy"]
    assert table.select(keys).equals(here.select(keys))


def test_a_size_beyond_the_data_says_how_many_there_are(workspace: Workspace) -> None:
    with pytest.raises(CallError, match="planted has 432 training pairs"):
        run_scaling(local(workspace, "grid"), scaling(sizes=(60, 5000)))
    assert not list(workspace.root.glob("runs/*"))


def test_transfer_needs_two_communities(workspace: Workspace) -> None:
    with pytest.raises(CallError, match="two communities"):
        run_transfer(local(workspace, "m"), TransferConfig(pairs="planted", model="scratch-10k", subreddits=("alpha",)))
