"""Findings, Scaling, Compare and Data: what they show of results, and in which words."""

import html
import json
import shutil
from pathlib import Path

import polars as pl

from lurker.files import write_json, write_parquet
from lurker.schema import FEW_SHOT_DIFFERENCES
from tests.dashboard.pages import OpenPage, charts_on, copy_of, texts


def test_findings_name_an_effect_only_if_its_interval_excludes_nothing(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    pairs = root / "pairs/hard-test/pairs.parquet"
    pl.read_parquet(pairs).with_columns(post_id="pair_id").write_parquet(pairs)  # five posts are too few for an effect
    run = root / "runs/scratch-1m-4000-0/predictions/hard-test-test.parquet"
    assert "not told apart on the hard test" in open_page(root, "findings").title[0].value.replace("\\", "")
    pl.read_parquet(run).with_columns(is_correct=pl.lit(1.0)).write_parquet(run)
    title = open_page(root, "findings").title[0].value.replace("\\", "")
    assert title == "Pairs of matched teach 0.533 more accuracy than pairs of naive"


def test_findings_compare_like_with_like_and_show_the_ceiling(open_page: OpenPage, full_root: Path) -> None:
    shown = texts(open_page(full_root, "findings"))
    assert "scratch-1m, 4,000 training pairs of each set, all tested on hard-test" in shown
    assert "strongest shortcut 0.790" in shown  # of naive
    assert "the truth allows 0.840 [0.820, 0.860]" in shown


def test_findings_of_audits_alone_name_the_leak(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    shutil.rmtree(root / "runs")
    app = open_page(root, "findings")
    assert not app.exception and charts_on(app) == 1
    assert "shortcuts name the winners of naive 0.790 of the time" in texts(app)


def test_a_second_opinion_is_shown_below_the_first(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    verdict = "The second opinion finds a shortcut."
    (root / "pairs/matched/second-opinion.json").write_text(json.dumps({"verdict": verdict}), encoding="utf-8")
    assert verdict in texts(open_page(root, "data", set="matched"))
    assert verdict not in texts(open_page(root, "data", set="naive"))


def test_scaling_takes_its_axis_from_the_url(open_page: OpenPage, full_root: Path) -> None:
    assert "Accuracy against model size" in texts(open_page(full_root, "scaling", scaling_axis="model size"))
    by_time = open_page(full_root, "scaling", scaling_axis="time")
    assert not by_time.exception and "Accuracy against training time" in texts(by_time)


def test_scaling_shows_what_the_command_concluded(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    assert "its fitted curve" not in texts(open_page(root, "scaling", scaling_experiment="ladder"))  # of an old version
    sentence = "Doubling the data from 4,000 pairs adds 0.011 [0.004, 0.019] of accuracy."
    point = {"predictor": "scratch-1m", "n_parameters": 1_000_000, "n_train_pairs": 4000.0, "accuracy": 0.6}
    gain = {"measure": "log loss", "figure": "gain", "value": 0.01, "low": None, "high": None, "note": ""}
    fit = {"sentence": sentence, "left_out": "Not in the fit: minilm.", "curve": [point], "figures": [gain | {"x": 1}]}
    (root / "experiments/ladder/fit.json").write_text(json.dumps(fit), encoding="utf-8")
    app = open_page(root, "scaling", scaling_experiment="ladder")
    assert not app.exception and charts_on(app) == 1
    shown = texts(app)
    assert sentence in shown and "Not in the fit: minilm." in shown and "its fitted curve" in shown
    assert app.dataframe[0].value["figure"].tolist() == ["gain"]
    (root / "experiments/ladder/fit.json").write_text("{}", encoding="utf-8")
    damaged = open_page(root, "scaling", scaling_experiment="ladder")
    assert not damaged.exception and "fit.json is damaged" in str(damaged.warning[0].value).replace("\\", "")


def test_transfer_hides_differences_without_an_interval(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "compare", part="transfer", transfer_view="difference from in-domain")
    assert not app.exception and charts_on(app) == 0
    assert "have no interval" in texts(app)


def test_transfer_shows_what_an_experiment_found_in_its_own_words(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    names = ("cooking", "advice", "stories")
    ends = {"low": 0.4, "high": 1.0}
    cells = [{"source": a, "other": b, "correlation": 0.5 + 0.5 * (a == b), **ends} for a in names for b in names]
    places = [{"community": name, "x": float(place), "y": 0.0} for place, name in enumerate(names)]
    drawn = {"correlations": cells, "positions": places, "shown": 0.9}
    write_json(
        {"sentence": "Training elsewhere loses *nothing*.", "map": drawn}, root / "experiments/across/findings.json"
    )
    app = open_page(root, "compare", part="transfer")
    assert "Training elsewhere loses" in texts(app) and charts_on(app) == 3
    tuned = root / "experiments/tuned"
    row = {"start": "nothing", "is_baseline": False, "n_target_pairs": 100, "n_validation_pairs": 25}
    row |= {"n_source_pairs": None, "n_seeds": 1, "n_test_pairs": 50, "n_test_posts": 9}
    row |= {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}
    empty = dict.fromkeys(("difference", "difference_low", "difference_high", "smallest_effect", "posts_needed"))
    frame = pl.DataFrame([row | empty | {"effect": 0.02}], schema=FEW_SHOT_DIFFERENCES.schema)
    write_parquet(frame, tuned / "few-shot-differences.parquet")
    write_parquet(frame, tuned / "few-shot.parquet")
    rate = {"what": "100 target pairs alone", "words": "about 900 source pairs"}
    write_json({"sentence": "No start gains.", "exchange": [rate]}, tuned / "findings.json")
    write_json({"kind": "few-shot"}, tuned / "manifest.json")
    app = open_page(root, "compare", part="transfer", transfer_experiment="tuned")
    assert not app.exception and "No start gains" in texts(app) and charts_on(app) == 1
    assert app.dataframe[0].value["is worth"].tolist() == ["about 900 source pairs"]
    (tuned / "findings.json").write_text("{}", encoding="utf-8")
    damaged = open_page(root, "compare", part="transfer", transfer_experiment="tuned")
    assert not damaged.exception and "findings.json is damaged" in str(damaged.warning[0].value).replace("\\", "")


def test_recipes_show_one_model_and_size_and_what_is_told_apart(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "compare", recipes_size="4,000", recipes_test="truth")
    leads, figures = (frame.value for frame in app.dataframe)
    assert leads["pairs"].unique().tolist() == ["naive"]
    models = figures[figures["predictor"] == "tfidf"]
    assert set(models["n_train_pairs"]) == {4000} and set(models["n_seeds"]) == {2}
    assert "matched is more accurate than naive on truth by 0.100 [0.050, 0.150]." in texts(app)
    assert "; 2 seeds" in texts(app)


def test_recipes_without_truth_say_so(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    for name in ("recipes", "differences"):
        path = root / f"experiments/taught/{name}.parquet"
        pl.read_parquet(path).filter(pl.col("measured_on") != "truth").write_parquet(path)
    app = open_page(root, "compare")
    assert not app.exception
    assert charts_on(app) == 1 and "only the tests can decide" in texts(app)


def test_two_runs_are_compared_pair_by_pair(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "compare", part="two runs", compared_on="matched (test)")
    assert not app.exception
    shown = texts(app)
    assert "scratch-1m-4000-0 and scratch-1m-4000-naive are not told apart on matched" in shown
    assert "lurker rm compare scratch-1m-4000-0 scratch-1m-4000-naive --pairs matched --split test" in shown


def test_compare_opens_on_what_the_workspace_has(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    shutil.rmtree(root / "experiments/taught")
    assert "Accuracy across communities" in texts(open_page(root, "compare"))
    shutil.rmtree(root / "experiments/across")
    assert "McNemar's p" in html.unescape(texts(open_page(root, "compare")))
    assert "no finished comparison of recipes" in texts(open_page(root, "compare", part="recipes"))
