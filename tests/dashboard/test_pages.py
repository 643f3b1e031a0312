"""Each page, run by Streamlit's test runner: on a full, an empty, a damaged and a missing workspace."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from lurker.files import write_json, write_parquet
from lurker.schema import FEW_SHOT_DIFFERENCES

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
OpenPage = Callable[..., AppTest]
PAGES = ("overview", "scaling", "transfer", "recipes", "audit", "reader")


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    def run(root: Path, page: str, **query: str) -> AppTest:
        monkeypatch.setenv("LURKER_WORKSPACE", str(root))
        app = AppTest.from_file(str(APP), default_timeout=30)
        for name, value in query.items():
            app.query_params[name] = value
        if page != "overview":
            app.switch_page(f"views/{page}.py")
        return app.run()

    return run


def texts(app: AppTest) -> str:
    elements = (*app.title, *app.markdown, *app.caption, *app.warning, *app.info, *app.code, *app.subheader)
    return "\n".join(str(element.value) for element in elements)


def charts_on(app: AppTest) -> int:
    return len(app.get("arrow_vega_lite_chart")) + len(app.get("vega_lite_chart"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_full_workspace(open_page: OpenPage, full_root: Path, page: str) -> None:
    app = open_page(full_root, page)
    assert not app.exception
    assert not app.warning
    assert charts_on(app) == {"scaling": 2, "recipes": 2, "audit": 4, "reader": 0}.get(page, 1)


def test_the_learning_curve_of_a_run(open_page: OpenPage, empty_root: Path, tmp_path: Path) -> None:
    assert "lurker rm train" in texts(open_page(empty_root, "runs"))
    shutil.copytree(empty_root, tmp_path / "w")
    run = tmp_path / "w/runs/young"
    write_json({"model": "scratch-10k", "pairs": "p"}, run / "config.json")
    lines = [{"step": step, "train_log_loss": 0.7 - 0.01 * step} for step in range(1, 5)]
    lines[-1] |= {"validation_log_loss": 0.68, "validation_accuracy": 0.6}
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    app = open_page(tmp_path / "w", "runs")
    assert not app.exception and charts_on(app) == 2
    assert "unfinished, 4 steps" in texts(app).replace("\\", "")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_workspace_shows_what_to_run(open_page: OpenPage, empty_root: Path, page: str) -> None:
    app = open_page(empty_root, page)
    assert not app.exception
    assert any(str(code.value).startswith("lurker ") for code in app.code)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_a_workspace_shows_what_to_run(open_page: OpenPage, tmp_path: Path, page: str) -> None:
    app = open_page(tmp_path / "absent", page)
    assert not app.exception
    assert "There is no workspace" in texts(app).replace("\\", "")
    assert "lurker demo" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_damaged_files(open_page: OpenPage, damaged_root: Path, page: str) -> None:
    app = open_page(damaged_root, page)
    assert not app.exception
    named = "\n".join(str(warning.value) for warning in app.warning).replace("\\", "")
    expected = {
        "overview": ("naive/audit.json", "ladder/scaling.parquet", "posts/advice", "hard-test/manifest.json"),
        "scaling": ("ladder/scaling.parquet",),
        "transfer": ("across/transfer.parquet",),
        "recipes": ("taught/differences.parquet",),
        "audit": ("naive/audit.json", "hard-test/manifest.json"),
        "reader": ("hard-test/manifest.json",),
    }[page]
    for name in expected:
        assert name in named


def test_the_rest_of_a_damaged_workspace_is_drawn(open_page: OpenPage, damaged_root: Path) -> None:
    assert charts_on(open_page(damaged_root, "overview")) == 1
    assert charts_on(open_page(damaged_root, "audit")) == 4
    scaling = open_page(damaged_root, "scaling")
    scaling.selectbox(key="scaling_experiment").select("ladder-naive").run()
    assert charts_on(scaling) == 2


def test_the_overview_answers_the_question_first(open_page: OpenPage, full_root: Path) -> None:
    answers = [str(text.value) for text in open_page(full_root, "overview").markdown if "—" in str(text.value)]
    assert [answer.split("—")[0].strip() for answer in answers] == ["**matched**", "**naive**", r"**hard\-test**"]
    assert "predict the winner in **79.0%**" in answers[1]
    assert "the simulator's truth reaches 84.0% there" in answers[1]
    assert "shortcuts predict nothing" in answers[2]


def test_a_second_opinion_is_shown_below_the_first(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "asked"))
    verdict = "The second opinion finds a shortcut."
    (root / "pairs/matched/second-opinion.json").write_text(json.dumps({"verdict": verdict}), encoding="utf-8")
    said = [str(text.value) for text in open_page(root, "audit").markdown]
    assert sum("second opinion" in text for text in said) == 1
    of_matched = next(number for number, text in enumerate(said) if text.startswith("**matched**"))
    assert said[of_matched + 2].replace("\\", "") == verdict


@pytest.mark.parametrize("page", ["overview", "audit", "reader"])
def test_a_set_that_does_not_match_its_manifest_is_reported_and_not_drawn(
    open_page: OpenPage, full_root: Path, tmp_path: Path, page: str
) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "copy"))
    path = root / "pairs/naive/pairs.parquet"
    pl.read_parquet(path).head(59).write_parquet(path)
    app = open_page(root, page, pairs="naive")
    assert not app.exception
    (warning,) = app.warning
    assert "Pair set 'naive' is not what its manifest describes" in str(warning.value).replace("\\", "")
    assert "**naive**" not in texts(app)


@pytest.mark.parametrize("page", ["overview", "audit"])
def test_a_set_without_audit_shows_the_command(open_page: OpenPage, full_root: Path, tmp_path: Path, page: str) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "copy"))
    (root / "pairs/matched/audit.json").unlink()
    app = open_page(root, page)
    assert not app.exception
    assert not app.warning
    assert [str(info.value) for info in app.info] == ["**matched** has no audit yet: `lurker pairs audit matched`"]


def test_scaling_filters_come_from_the_url_and_reach_the_table(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "scaling", scaling_models="scratch-1m", scaling_sizes="4,000")
    table = app.dataframe[0].value
    assert set(table["predictor"]) == {"scratch-1m", "length", "time", "both", "tfidf"}
    assert set(table["n_train_pairs"]) == {4000}
    app.button_group(key="scaling_models").set_value([]).run()
    assert not app.exception
    assert "Choose at least one model" in texts(app)


def test_scaling_shows_what_the_command_concluded(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "fitted"))
    assert "its fitted curve" not in texts(open_page(root, "scaling", scaling_experiment="ladder"))  # of an old version
    sentence = "Doubling the data from 4,000 pairs adds 1.1 points of accuracy [0.4, 1.9]."
    point = {"predictor": "scratch-1m", "n_parameters": 1_000_000, "n_train_pairs": 4000.0, "accuracy": 0.6}
    fit = {"sentence": sentence, "left_out": "Not in the fit: minilm.", "curve": [point]}
    (root / "experiments/ladder/fit.json").write_text(json.dumps(fit), encoding="utf-8")
    app = open_page(root, "scaling", scaling_experiment="ladder")
    assert not app.exception and charts_on(app) == 2
    shown = texts(app).replace("\\", "")
    assert sentence in shown and "Not in the fit: minilm." in shown and "its fitted curve" in shown
    (root / "experiments/ladder/fit.json").write_text("{}", encoding="utf-8")
    damaged = open_page(root, "scaling", scaling_experiment="ladder")
    assert not damaged.exception and "fit.json is damaged" in str(damaged.warning[0].value).replace("\\", "")


def test_transfer_shows_the_loss_out_of_domain(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "transfer")
    assert float(app.metric[0].value) == pytest.approx(0.66, abs=0.01)
    assert float(app.metric[2].value) == pytest.approx(-6.0, abs=1.0)


def test_transfer_shows_what_an_experiment_found_in_its_own_words(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "copy"))
    names = ("cooking", "advice", "stories")
    ends = {"low": 0.4, "high": 1.0}
    cells = [{"source": a, "other": b, "correlation": 0.5 + 0.5 * (a == b), **ends} for a in names for b in names]
    places = [{"community": name, "x": float(place), "y": 0.0} for place, name in enumerate(names)]
    drawn = {"correlations": cells, "positions": places, "shown": 0.9}
    write_json(
        {"sentence": "Training elsewhere loses *nothing*.", "map": drawn}, root / "experiments/across/findings.json"
    )
    app = open_page(root, "transfer")
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
    app = open_page(root, "transfer", transfer_experiment="tuned")
    assert not app.exception and "No start gains" in texts(app) and charts_on(app) == 1
    assert app.dataframe[0].value["is worth"].tolist() == ["about 900 source pairs"]
    (tuned / "findings.json").write_text("{}", encoding="utf-8")
    damaged = open_page(root, "transfer", transfer_experiment="tuned")
    assert not damaged.exception and "findings.json is damaged" in str(damaged.warning[0].value).replace("\\", "")


def test_recipes_show_one_model_and_size_and_the_differences(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "recipes", recipes_size="4,000", recipes_test="truth")
    leads, figures = (frame.value for frame in app.dataframe)
    assert leads["pairs"].unique().tolist() == ["naive"]
    models = figures[figures["predictor"] == "tfidf"]
    assert set(models["n_train_pairs"]) == {4000} and set(models["n_seeds"]) == {2}
    assert "matched minus the others" in texts(app) and "Means over up to 2 seeds" in texts(app)
    assert charts_on(app) == 2


def test_recipes_without_truth_say_so(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full_root, tmp_path / "copy"))
    for name in ("recipes", "differences"):
        path = root / f"experiments/taught/{name}.parquet"
        pl.read_parquet(path).filter(pl.col("measured_on") != "truth").write_parquet(path)
    app = open_page(root, "recipes")
    assert not app.exception
    assert charts_on(app) == 1 and "only the tests can decide" in texts(app)


def test_the_reader_steps_forward_and_back_and_keeps_the_pair_in_the_url(open_page: OpenPage, full_root: Path) -> None:
    def shown_position() -> str:
        value = app.query_params["pair"]
        return value if isinstance(value, str) else value[0]

    app = open_page(full_root, "reader")
    assert app.query_params["pairs"] in ("hard-test", ["hard-test"])  # the default too: a link outlives it
    app = open_page(full_root, "reader", pairs="matched")
    first = shown_position()
    app.button(key="next").click().run()
    second = shown_position()
    assert second != first
    assert "**2** of 60" in texts(app)
    app.button(key="previous").click().run()
    assert shown_position() == first
    app.button(key="previous").click().run()
    assert "**60** of 60" in texts(app)
    app.button(key="random").click().run()
    assert "**60** of 60" not in texts(app)
    assert not app.exception


def test_the_reader_opens_a_shared_pair(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "reader", pairs="naive", pair="c017-r017")
    boxes = "".join(str(box.proto.body) for box in app.get("html"))
    assert "question 17" in boxes


def test_the_reader_shows_a_models_mistakes(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "reader")
    app.selectbox(key="pairs").select("matched").run()
    app.selectbox(key="run").select("scratch-1m-4000-0").run()
    app.selectbox(key="outcome").select("wrong").run()
    assert "the model was wrong" in texts(app)
    app.text_input(key="search").set_value("no text holds this").run()
    assert "No pair passes" in texts(app)


def test_a_huge_text_is_cut_with_a_note(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "reader", pairs="matched", pair="c001-r001")
    assert "The first 20,000 of 300,000 characters." in texts(app)
    assert max(len(str(box.proto.body)) for box in app.get("html")) < 30_000
