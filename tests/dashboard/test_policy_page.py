"""The Policy page: curves, alarms, best of n and texts, and what is missing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
from streamlit.testing.v1 import AppTest

from dashboard.style import COPY_LINK
from lurker.charts import policy_curves
from tests.dashboard.pages import charts_on, copy_of, texts
from tests.dashboard.policy_files import make_best_of_n, make_curve

OpenPage = Callable[..., AppTest]


def test_it_says_what_rings_and_where_the_truth_peaked(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "policy")
    shown = texts(app)
    assert "Alarms at step 64: 1 ring, 1 do not" in shown
    assert "Responses have another length. Since step 16." in shown
    assert "Truth is highest at √KL 1.50." in shown
    assert "Training stopped after step 64" in shown
    assert "run:naive-rm teaches best." in shown
    assert "Best of 1 to 4 samples of writer" in shown


def test_texts_are_shown_as_plain_text_with_their_rewards(open_page: OpenPage, full_root: Path) -> None:
    app = open_page(full_root, "policy")
    boxes = [body for box in app.get("html") if (body := str(box.proto.body)) != COPY_LINK]
    assert any("&lt;script&gt;" in box for box in boxes)
    assert not any("<script" in box or "<img" in box for box in boxes)
    shown = texts(app)
    assert "naive-rm +3.00" in shown  # the best by it
    assert "naive-rm +4.00" in shown  # what people wrote


def test_a_writer_and_an_unfinished_agent_say_what_to_run(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    shown = open_page(full_root, "policy", policy="writer")
    assert any("train-agent policy:writer" in str(code.value) for code in shown.code)
    root = copy_of(full_root, tmp_path)
    (root / "policies/agent/result.json").unlink()
    (root / "policies/agent/drift.parquet").unlink()
    (root / "samples/writer.naive.best-of-n.parquet").unlink()
    app = open_page(root, "policy")
    assert not app.exception
    assert "not finished" in texts(app)
    assert charts_on(app) == 2
    assert any("best-of-n" in str(code.value) for code in app.code)


def test_samples_alone_and_policies_alone(open_page: OpenPage, full_root: Path, tmp_path: Path) -> None:
    root = copy_of(full_root, tmp_path)
    shutil.rmtree(root / "policies")
    app = open_page(root, "policy")
    assert not app.exception
    assert charts_on(app) == 2
    shutil.rmtree(root / "samples")
    (root / "policies/w").mkdir(parents=True)
    (root / "policies/w/config.json").write_text("{}", encoding="utf-8")
    app = open_page(root, "policy")
    assert not app.exception
    assert "not finished yet" in texts(app)


def test_curves_mark_the_peak_and_keep_their_colours() -> None:
    rows = make_curve().with_columns(label=pl.lit("step"))
    spec = policy_curves(rows.filter(measure="truth"), "reward", peaks={"truth": (1.5, 1.2, 1.9)}).to_dict()
    assert len(spec["layer"]) == 6
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "rule", "line", "circle", "rule", "rule"]
    assert spec["layer"][2]["encoding"]["order"]["field"] == "step"  # a policy can come nearer to its writer again
    both = policy_curves(make_best_of_n().with_columns(label=pl.lit("n")), "reward").to_dict()
    scale = both["layer"][1]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["proxy", "held-out", "length"]
    assert [layer["mark"]["type"] for layer in both["layer"]] == ["rule", "area", "line", "circle"]


def test_the_samples_of_the_policy_in_the_address_are_shown(
    open_page: OpenPage, full_root: Path, tmp_path: Path
) -> None:
    root = copy_of(full_root, tmp_path)
    (root / "policies/agent/samples").mkdir()
    shutil.copy(root / "samples/writer.parquet", root / "policies/agent/samples/agent.parquet")
    app = open_page(root, "policy", policy="agent")
    assert app.selectbox(key="samples").value == "agent/samples/agent"
    app.selectbox(key="samples").select("writer").run()
    assert not app.exception and app.selectbox(key="samples").value == "writer"  # the reader's own choice stays
    assert "What writer writes" in texts(app)
    assert "Best of 1 to 4 samples of writer" in texts(app)
    assert open_page(root, "policy", policy="agent", samples="writer").selectbox(key="samples").value == "writer"
