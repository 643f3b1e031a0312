"""Runs and Read: runs in every state, and pairs one at a time."""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.runs import seconds_left
from lurker.files import write_json
from tests.dashboard.pages import OpenPage, charts_on, copy_of, texts


def test_runs_that_train_are_seen_with_what_is_left_and_stale_ones_are_told(
    open_page: OpenPage, running_root: Path
) -> None:
    root = running_root
    run = root / "runs/young"
    app = open_page(root, "runs")
    assert not app.exception and charts_on(app) == 2
    assert "**young** is training: 4 of 100 steps" in texts(app) and app.dataframe[0].value["state"].tolist() == [
        "training"
    ]
    for file in run.iterdir():
        os.utime(file, (0, 0))
    stale = open_page(root, "runs")
    assert "**young** is stale" in texts(stale) and "Start it again with the same command to resume" in texts(stale)
    (run / "config.json").write_text("{", encoding="utf-8")
    broken = open_page(root, "runs")
    assert not broken.exception and "young/config.json" in str(broken.warning[0].value).replace("\\", "")


def test_a_diagnosed_run_shows_its_calibration(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    row = {"n_pairs": 45, "confidence": 0.7, "accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}
    found = {"calibration": {"expected_calibration_error": 0.1, "bins": [row, row | {"confidence": 0.9}]}}
    diagnosis = root / "runs/scratch-1m-4000-0/diagnoses/hard-test-test.json"
    write_json(found, diagnosis)
    app = open_page(root, "runs", run="scratch-1m-4000-0")
    assert not app.exception and charts_on(app) == 3
    assert "hard-test-test: 90 pairs; expected calibration error 0.100" in texts(app)
    diagnosis.write_text('{"calibration": {}}', encoding="utf-8")
    damaged = open_page(root, "runs", run="scratch-1m-4000-0")
    assert not damaged.exception and "lurker rm diagnose" in str(damaged.warning[0].value)


def test_a_run_that_is_selected_is_shown(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "runs")
    shown = app.dataframe[0].value["run"].to_list()
    app.selectbox(key="run").select(shown[1]).run()
    assert f"{shown[1]} is finished" in texts(app).replace("**", "")


def test_long_names_leave_the_table_room_for_its_figures(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    long = "balanced-transfer-scratch-10k-ApplyingToCollege-s0-7a3265a2"
    shutil.move(root / "runs/scratch-1m-4000-0", root / "runs" / long)
    config = {"pairs": "matched", "model": f"runs/{long}/model", "train": {"seed": 0, "epochs": 2}}
    write_json(config, root / "runs" / long / "config.json")
    app = open_page(root, "runs", run=long)
    table = app.dataframe[0].value
    assert "balanced-t…s0-7a3265a2" in table["run"].tolist()
    assert table["run"].str.len().max() <= 22 and table["model"].str.len().max() <= 18
    assert f"{long} is finished" in texts(app).replace("**", "")


def test_runs_collapse_seeds_and_show_how_configurations_differ(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    shutil.copytree(root / "runs/scratch-1m-4000-0", root / "runs/scratch-1m-4000-1")
    for seed in (0, 1):  # each seed draws its own subset of the pairs
        train = {"seed": seed, "epochs": 2}
        config = {"pairs": "matched", "model": "scratch-1m", "train": train, "max_pairs": 4000}
        write_json(config | {"data_digest": f"drawn-{seed}"}, root / f"runs/scratch-1m-4000-{seed}/config.json")
    app = open_page(root, "runs", run="scratch-1m-4000-1")
    table = app.dataframe[0].value
    assert sorted(table["n_seeds"]) == [1, 2]
    app.selectbox(key="other").select("scratch-1m-4000-0").run()
    assert app.dataframe[1].value["field"].tolist() == ["train.seed", "data_digest"]
    app.toggle(key="by_seed").set_value(True).run()
    assert len(app.dataframe[0].value) == 3


def test_remaining_time_needs_two_looks_and_follows_the_pace() -> None:
    assert seconds_left([(0.0, 10)], 100) is None
    assert seconds_left([(0.0, 10), (5.0, 20)], 100) == pytest.approx(40.0)
    assert seconds_left([(0.0, 10), (5.0, 20)], None) is None


def position(app: AppTest) -> str:
    value = app.query_params["pair"]
    return value if isinstance(value, str) else value[0]


def test_reading_steps_forward_and_back_and_keeps_the_pair_in_the_url(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "read", pairs="naive", split="any")
    first = position(app)
    app.button(key="next").click().run()
    assert position(app) != first
    assert "**2** of 60" in texts(app)
    app.button(key="previous").click().run()
    assert position(app) == first
    app.button(key="previous").click().run()
    assert "**60** of 60" in texts(app)
    assert not app.exception


def test_reading_starts_with_the_surest_mistakes_and_hides_the_answer(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "read", pairs="matched")
    assert "the model was" not in texts(app) and "liked more ·" not in texts(app)
    margins = [float(text.replace("−", "-")) for text in app.dataframe[0].value["margin"]]
    assert margins == sorted(margins) and margins[0] < 0
    app.button(key="reveal").click().run()
    assert "the model was wrong" in texts(app) and "· liked more" in texts(app)
    app.button(key="next").click().run()
    assert "the model was" not in texts(app)


def test_reading_opens_a_shared_pair_and_marks_what_was_searched(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "read", pairs="naive", pair="c017-r017", split="any", search="QUESTION 1")
    assert "<mark>question 1</mark>7" in texts(app)


def test_reading_finds_what_only_another_run_gets_right(open_page: OpenPage, full_root: Path) -> None:
    runs = {"run": "scratch-1m-4000-naive", "against": "scratch-1m-4000-0", "outcome": "wrong"}
    app = open_page(full_root, "read", pairs="matched", **runs)
    tested = [
        pl.read_parquet(full_root / f"runs/{run}/predictions/matched-test.parquet")
        for run in (runs["run"], runs["against"])
    ]
    both = tested[0].join(tested[1], on="pair_id", suffix="_other")
    n = both.filter((pl.col("is_correct") == 0) & (pl.col("is_correct_other") == 1)).height
    assert n and len(app.dataframe[0].value) == n


def test_a_search_without_a_hit_says_so(open_page: OpenPage, full_root: Path) -> None:
    assert "No pair passes" in texts(open_page(full_root, "read", pairs="matched", search="no text holds this"))


def test_a_huge_text_is_cut_with_a_note(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "read", pairs="matched", pair="c001-r001", split="any")
    assert "The first 20,000 of 300,000 characters." in texts(app)
    assert max(len(str(box.proto.body)) for box in app.get("html")) < 30_000


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("runs/scratch-1m-4000-0/config.json", '{"pairs": "matched", "model": 3, "train": {"seed": "x"}}'),
        ("runs/scratch-1m-4000-0/config.json", '{"pairs": NaN, "model": [1], "train": {"seed": NaN}}'),
        ("runs/scratch-1m-4000-0/metrics.jsonl", "[]\n{}"),
        ("runs/scratch-1m-4000-0/metrics.jsonl", '{"step": 1e300, "train_log_loss": 0.6, "validation_log_loss": 0.6}'),
        ("runs/scratch-1m-4000-0/metrics.jsonl", '{"step": NaN, "train_log_loss": 0.6, "validation_log_loss": null}'),
    ],
)
def test_a_run_whose_files_hold_something_else_is_still_listed(
    open_page: OpenPage, full_root: Path, tmp_path: Path, file: str, content: str
) -> None:
    root = copy_of(full_root, tmp_path)
    (root / file).write_text(content, encoding="utf-8")
    app = open_page(root, "runs", run="scratch-1m-4000-0")
    assert not app.exception and "2 finished" in texts(app)
