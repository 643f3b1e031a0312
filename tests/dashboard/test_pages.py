"""Each page, run by Streamlit's test runner: on a full, an empty, a damaged and a missing workspace."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.runs import seconds_left
from lurker.files import read_json, write_json, write_parquet
from lurker.schema import FEW_SHOT_DIFFERENCES

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
OpenPage = Callable[..., AppTest]
PAGES = ("findings", "scaling", "compare", "runs", "policy", "read", "arena", "score", "data")


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    def run(root: Path, page: str, **query: str) -> AppTest:
        monkeypatch.setenv("LURKER_WORKSPACE", str(root))
        app = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        if page != "findings":
            app.switch_page(f"views/{page}.py")
        return app.run()

    return run


def texts(app: AppTest) -> str:
    elements = (*app.title, *app.markdown, *app.caption, *app.warning, *app.info, *app.code, *app.subheader)
    shown = [str(element.value) for element in elements] + [str(box.proto.body) for box in app.get("html")]
    return "\n".join(shown).replace("\\", "")


def charts_on(app: AppTest) -> int:
    return len(app.get("arrow_vega_lite_chart")) + len(app.get("vega_lite_chart"))


def copy_of(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_full_workspace(open_page: OpenPage, full_root: Path, page: str) -> None:
    app = open_page(full_root, page)
    assert not app.exception
    assert not app.warning
    n_charts = {"findings": 2, "scaling": 1, "compare": 2, "runs": 2, "policy": 4, "data": 3}
    assert charts_on(app) == n_charts.get(page, 0)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_workspace_shows_what_to_run(open_page: OpenPage, empty_root: Path, page: str) -> None:
    app = open_page(empty_root, page)
    assert not app.exception
    assert any(str(code.value).startswith("lurker ") for code in app.code)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_a_workspace_shows_what_to_run(open_page: OpenPage, tmp_path: Path, page: str) -> None:
    app = open_page(tmp_path / "absent", page)
    assert not app.exception
    assert "There is no workspace" in texts(app)
    assert "lurker demo" in texts(app)


@pytest.mark.parametrize(
    ("page", "query", "named"),
    [
        ("findings", {}, ("naive/audit.json", "hard-test/manifest.json")),
        ("scaling", {}, ("ladder/scaling.parquet",)),
        ("compare", {}, ("taught/differences.parquet",)),
        ("compare", {"part": "transfer"}, ("across/transfer.parquet",)),
        ("policy", {}, ("agent/curve.parquet", "writer.best-of-n.parquet", "writer.teachers.json")),
        ("read", {}, ("hard-test/manifest.json",)),
        ("data", {}, ("naive/audit.json", "hard-test/manifest.json", "posts/advice")),
    ],
)
def test_a_page_names_damaged_files_and_what_to_do(
    open_page: OpenPage, damaged_root: Path, page: str, query: dict[str, str], named: tuple[str, ...]
) -> None:
    app = open_page(damaged_root, page, **query)
    assert not app.exception
    warnings = [str(warning.value).replace("\\", "") for warning in app.warning]
    for name in named:
        assert any(name in warning for warning in warnings), name
    assert all("`" in warning or "again" in warning for warning in warnings)


def test_the_rest_of_a_damaged_workspace_is_drawn(open_page: OpenPage, damaged_root: Path) -> None:
    assert charts_on(open_page(damaged_root, "findings")) >= 1
    assert charts_on(open_page(damaged_root, "scaling", scaling_experiment="ladder-naive")) == 1


def test_findings_name_an_effect_only_if_its_interval_excludes_nothing(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    run = root / "runs/scratch-1m-4000-0/predictions/hard-test-test.parquet"
    assert "not told apart on the hard test" in open_page(root, "findings").title[0].value.replace("\\", "")
    pl.read_parquet(run).with_columns(is_correct=pl.lit(1.0)).write_parquet(run)
    title = open_page(root, "findings").title[0].value.replace("\\", "")
    assert title == "Pairs of matched teach .533 more accuracy than pairs of naive"


def test_findings_compare_like_with_like_and_show_the_ceiling(open_page: OpenPage, full_root: Path) -> None:
    shown = texts(open_page(full_root, "findings"))
    assert "scratch-1m, 4,000 training pairs of each set, all tested on hard-test" in shown
    assert "strongest shortcut .790" in shown  # of naive
    assert "the truth allows .840 [.820, .860]" in shown


def test_findings_of_audits_alone_name_the_leak(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    shutil.rmtree(root / "runs")
    app = open_page(root, "findings")
    assert not app.exception and charts_on(app) == 1
    assert "shortcuts name the winners of naive .790 of the time" in texts(app)


def test_a_second_opinion_is_shown_below_the_first(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    verdict = "The second opinion finds a shortcut."
    (root / "pairs/matched/second-opinion.json").write_text(json.dumps({"verdict": verdict}), encoding="utf-8")
    assert verdict in texts(open_page(root, "data", set="matched"))
    assert verdict not in texts(open_page(root, "data", set="naive"))


@pytest.mark.parametrize("page", ["findings", "data", "read"])
def test_a_set_that_does_not_match_its_manifest_is_reported_and_not_drawn(
    open_page: OpenPage, full_root: Path, tmp_path: Path, page: str
) -> None:
    root = copy_of(full_root, tmp_path)
    path = root / "pairs/naive/pairs.parquet"
    pl.read_parquet(path).head(59).write_parquet(path)
    app = open_page(root, page, pairs="naive")
    assert not app.exception
    (warning,) = app.warning
    assert "Pair set 'naive' is not what its manifest describes" in str(warning.value).replace("\\", "")


@pytest.mark.parametrize("page", ["findings", "data"])
def test_a_set_without_audit_shows_the_command(open_page: OpenPage, full_root: Path, tmp_path: Path, page: str) -> None:
    root = copy_of(full_root, tmp_path)
    for name in ("matched", "naive"):
        (root / f"pairs/{name}/audit.json").unlink()
    path = root / "pairs/naive/manifest.json"
    manifest = read_json(path)
    write_json(manifest | {"recipe": {"name": "external"}}, path)  # people's judgements have nothing to audit
    app = open_page(root, page)
    assert not app.exception
    assert not app.warning
    assert [str(info.value) for info in app.info] == ["**matched** has no audit yet: `lurker pairs audit matched`"]


def test_scaling_takes_its_axis_from_the_url(open_page: OpenPage, full_root: Path) -> None:
    assert "Accuracy against model size" in texts(open_page(full_root, "scaling", scaling_axis="model size"))
    by_time = open_page(full_root, "scaling", scaling_axis="time")
    assert not by_time.exception and "Accuracy against training time" in texts(by_time)


def test_scaling_shows_what_the_command_concluded(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    assert "its fitted curve" not in texts(open_page(root, "scaling", scaling_experiment="ladder"))  # of an old version
    sentence = "Doubling the data from 4,000 pairs adds 1.1 points of accuracy [0.4, 1.9]."
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
    assert "Training elsewhere loses" in texts(app) and charts_on(app) == 2
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
    assert "matched is more accurate than naive on truth by .100 [.050, .150]." in texts(app)
    assert "means of up to 2 seeds" in texts(app)


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


def test_runs_that_train_are_seen_with_what_is_left_and_stale_ones_are_told(
    open_page: OpenPage, empty_root: Path, tmp_path: Path
) -> None:
    root = copy_of(empty_root, tmp_path)
    run = root / "runs/young"
    write_json({"model": "scratch-10k", "pairs": "p", "train": {"seed": 0}}, run / "config.json")
    lines = [{"step": step, "train_log_loss": 0.7 - 0.01 * step} for step in range(1, 5)]
    lines[-1] |= {"validation_log_loss": 0.68, "validation_accuracy": 0.6, "planned_steps": 100}
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
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


def test_runs_collapse_seeds_and_show_how_configurations_differ(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    shutil.copytree(root / "runs/scratch-1m-4000-0", root / "runs/scratch-1m-4000-1")
    config = {"pairs": "matched", "model": "scratch-1m", "train": {"seed": 1, "epochs": 2}}
    write_json(config, root / "runs/scratch-1m-4000-1/config.json")
    app = open_page(root, "runs", run="scratch-1m-4000-1")
    table = app.dataframe[0].value
    assert sorted(table["n_seeds"]) == [1, 2]
    app.selectbox(key="other").select("scratch-1m-4000-0").run()
    assert app.dataframe[1].value["field"].tolist() == ["train.seed"]
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
    margins = app.dataframe[0].value["margin"].tolist()
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
