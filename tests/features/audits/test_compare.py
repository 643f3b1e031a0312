import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.audits import compare
from features.audits.compare import compare_sets, tfidf_correct
from features.audits.pair_audit import audit_pairs
from features.audits.probes import ProbeConfig
from features.recipes.presets import preset
from features.sets.build import build_pairs
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json
from lurker.pair_sets import read_pairs
from lurker.pairwise import PENALTIES
from lurker.schema import COMMENTS, POSTS, TRUTH, check
from lurker.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def built(simulate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with `naive` and `matched`; tests that change it copy it."""
    root = tmp_path_factory.mktemp("compared") / "workspace"
    workspace = open_workspace(root, create=True)
    posts, comments, truth = simulate(n_posts=150, n_comments=24)
    for table, rows in ((POSTS, posts), (COMMENTS, comments), (TRUTH, truth)):
        workspace.replace_partition(table, "alpha", [check(pl.DataFrame(rows, schema=table.schema), table)])
    build_pairs(workspace, "naive", dataclasses.replace(preset("naive"), max_pairs_per_post=8))
    build_pairs(workspace, "matched", preset("matched"))
    quick = ProbeConfig(n_folds=3, n_repeats=1, n_boosting_rounds=15, max_text_pairs=1_500)
    for name in ("naive", "matched", "hard-test"):
        audit_pairs(workspace, name, probes=quick)
    return root


def test_every_set_is_tested_on_the_same_hard_pairs(built: Path) -> None:
    workspace = Workspace(built)
    found = compare_sets(workspace, ["naive", "matched", "hard-test", "naive"])
    hard = read_pairs(workspace, "hard-test")
    assert found["hard_test"]["n_pairs"] == hard.height
    naive, matched, frozen = found["sets"]
    assert [one["pairs"] for one in found["sets"]] == ["naive", "matched", "hard-test"]
    answers = {name: tfidf_correct(read_pairs(workspace, name), hard, name) for name in ("naive", "matched")}
    assert matched["hard_test"]["value"] == pytest.approx(answers["matched"].mean())
    lead = matched["lead"]
    assert lead["value"] == pytest.approx((answers["matched"] - answers["naive"]).mean())
    assert lead["low"] < lead["value"] < lead["high"]
    assert naive["lead"] is None and frozen["hard_test"] is None and frozen["n_train_pairs"] == 0
    # Words tell the quality here: what the truth allows is not passed, and half of the way to it is made.
    truth = frozen["audit"]["truth"]["accuracy"]
    assert 0.5 + (truth - 0.5) / 2 < matched["hard_test"]["value"] < truth + 0.03
    assert naive["n_effective"] == pytest.approx(naive["n_pairs"])


def test_the_terminal_shows_both_tables(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--workspace", str(built), "pairs", "compare", "naive", "matched"]) == 0
    shown = capsys.readouterr().out
    assert "earlier wins" in shown and "Not clean" in shown and "TF-IDF on the hard test" in shown
    assert run(["--workspace", str(built), "pairs", "compare", "naive", "matched", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sets"][0]["audit"]["pairs"] == "naive"


def test_the_progress_of_text_models_moves_with_every_fit(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[float] = []
    monkeypatch.setattr(compare, "advance", moved.append)
    workspace = Workspace(built)
    pairs = read_pairs(workspace, "naive")
    tfidf_correct(pairs, read_pairs(workspace, "hard-test"), "naive")
    assert len(moved) == len(PENALTIES) and sum(moved) == pytest.approx(pairs.height)


def test_sets_that_cannot_be_compared_are_refused(built: Path, tmp_path: Path) -> None:
    workspace = Workspace(Path(shutil.copytree(built, tmp_path / "copy")))
    with pytest.raises(CallError, match="A comparison needs two pair sets, got naive"):
        compare_sets(workspace, ["naive", "naive"])
    with pytest.raises(LurkerError, match="no pair set 'absent'"):
        compare_sets(workspace, ["naive", "absent"])
    manifest = workspace.folder("pairs", "matched") / "manifest.json"
    content = read_json(manifest)
    write_json(content | {"hard_test": {"alpha": "0" * 64}}, manifest)
    with pytest.raises(LurkerError, match="matched was built with another hard test of r/alpha"):
        compare_sets(workspace, ["naive", "matched"])
    write_json(content | {"subreddits": ["gamma"], "hard_test": {}}, manifest)
    with pytest.raises(LurkerError, match="they share none"):
        compare_sets(workspace, ["naive", "matched"])


def test_a_set_that_trains_on_a_hard_post_is_refused(built: Path) -> None:
    hard = read_pairs(Workspace(built), "hard-test")
    pairs = read_pairs(Workspace(built), "naive")
    post = hard["post_id"].min()
    leaking = pairs.with_columns(split=pl.when(pl.col("post_id") == post).then(pl.lit("train")).otherwise("split"))
    with pytest.raises(LurkerError, match=rf"1 posts of the hard test are in naive \(train\), such as {post}"):
        tfidf_correct(leaking, hard, "naive")
    with pytest.raises(LurkerError, match="naive has no validation pairs"):
        tfidf_correct(pairs.filter(pl.col("split") == "train"), hard, "naive")
