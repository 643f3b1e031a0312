import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.blocks import Blocks
from features.pairing.select import select_pairs
from features.recipes.presets import hard_test_recipe, preset
from features.sets.build import build_pairs
from lurker.pair_sets import read_manifest, read_pairs
from lurker.schema import COMMENTS, PAIRS
from lurker.workspace import Workspace, open_workspace
from tests.features.conftest import write_rows


@pytest.fixture(scope="module")
def small_root(simulate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two subreddits without pairs; read-only."""
    root = tmp_path_factory.mktemp("small") / "workspace"
    return write_rows(root, *simulate(n_posts=70, n_comments=24, subreddits=("alpha", "beta"))).root


@pytest.fixture(scope="module")
def built_root(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the naive pair set `set` and the hard test; read-only."""
    root = Path(shutil.copytree(small_root, tmp_path_factory.mktemp("built") / "workspace"))
    build_pairs(open_workspace(root), "set", preset("naive"))
    return root


@pytest.fixture
def workspace(small_root: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(small_root, tmp_path / "copy")))


@pytest.fixture
def built(built_root: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(built_root, tmp_path / "built")))


def change_scores(workspace: Workspace, subreddit: str) -> None:
    """Newer votes: every other comment of the subreddit scores more."""
    comments = workspace.scan(COMMENTS, [subreddit]).collect()
    more = pl.col("score") + 20 * (pl.int_range(pl.len()) % 2)
    workspace.replace_partition(COMMENTS, subreddit, [comments.with_columns(score=more)])


def test_the_hard_test_satisfies_its_rules(built: Workspace) -> None:
    manifest = read_manifest(built, "set")
    pairs, own = read_pairs(built, "hard-test"), read_manifest(built, "hard-test")
    rules = hard_test_recipe()
    assert pairs.height >= 40
    assert (pairs["split"] == "test").all()
    assert (pairs["label_confidence"] >= rules.min_label_confidence).all()
    time, length = ((pairs[f"chosen_{x}"] - pairs[f"rejected_{x}"]).sign().sum() for x in ("delay_s", "chars"))
    assert (time, length) == (0, 0)
    assert ((pairs["chosen_delay_s"] - pairs["rejected_delay_s"]).abs() <= 3_600).all()
    ratio = (pairs["chosen_chars"].log() - pairs["rejected_chars"].log()).abs()
    assert ratio.max() <= math.log(1.5) + 1e-12
    assert (pairs["weight"] == 1).all()
    assert own["hard_test"] == manifest["hard_test"] and set(own["hard_test"]) == {"alpha", "beta"}
    ledger = own["ledger"]["pairs"]
    assert ledger["input"] == pairs.height + sum(line["n"] for line in ledger["dropped"])
    train = read_pairs(built, "set").filter(pl.col("split") != "test")
    assert train.join(pairs, on="post_id", how="semi").is_empty()


def test_new_votes_do_not_change_a_frozen_test(built: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    first = build_pairs(built, "set", preset("naive"))["hard_test"]
    frozen = (built.root / "pairs/hard-test/pairs.parquet").read_bytes()
    assert "frozen" not in capsys.readouterr().err
    change_scores(built, "alpha")
    assert build_pairs(built, "set", preset("naive"))["hard_test"] == first
    assert (built.root / "pairs/hard-test/pairs.parquet").read_bytes() == frozen
    assert "The hard test of r/alpha stays frozen" in capsys.readouterr().err


def test_refreeze_replaces_what_changed_and_deletes_its_audit(built: Workspace) -> None:
    first = read_manifest(built, "set")["hard_test"]
    audit = built.root / "pairs/hard-test/audit.json"
    audit.write_text("{}")
    change_scores(built, "alpha")
    second = build_pairs(built, "set", preset("naive"), refreeze=True)["hard_test"]
    assert second["alpha"] != first["alpha"] and second["beta"] == first["beta"]
    assert not audit.exists()


def test_a_new_subreddit_is_appended(workspace: Workspace) -> None:
    build_pairs(workspace, "one", preset("naive"), ["alpha"])
    alpha = read_pairs(workspace, "hard-test")
    manifest = build_pairs(workspace, "two", preset("naive"), ["beta"])
    both, own = read_pairs(workspace, "hard-test"), read_manifest(workspace, "hard-test")
    assert set(alpha["subreddit"]) == {"alpha"} and set(both["subreddit"]) == {"alpha", "beta"}
    assert both.filter(pl.col("subreddit") == "alpha").equals(alpha)
    assert set(manifest["hard_test"]) == {"beta"} and set(own["hard_test"]) == {"alpha", "beta"}


def test_another_recipe_shares_the_same_test(built: Workspace) -> None:
    naive = read_manifest(built, "set")["hard_test"]
    assert build_pairs(built, "matched", preset("matched"))["hard_test"] == naive


def test_it_is_built_again_only_if_its_input_changed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def select(blocks: Blocks, *rest: Any, **given: Any) -> Any:
        made.append(blocks.subreddits[0])
        return select_pairs(blocks, *rest, **given)

    monkeypatch.setattr("features.sets.hard_tests.select_pairs", select)
    build_pairs(workspace, "set", preset("naive"), ["alpha"])
    build_pairs(workspace, "other", preset("matched"), ["alpha"])
    assert made == ["alpha"]
    change_scores(workspace, "alpha")
    build_pairs(workspace, "set", preset("naive"), ["alpha"])
    build_pairs(workspace, "other", preset("matched"), ["alpha"])  # what the new input would give is remembered
    assert made == ["alpha", "alpha"]
    build_pairs(workspace, "set", preset("naive"), ["alpha"], refreeze=True)
    build_pairs(workspace, "set", preset("naive"), ["alpha"])
    assert made == ["alpha"] * 3


def test_a_subreddit_that_is_too_small_is_reported(
    write_workspace: Callable[..., Workspace],
    make_post: Callable[..., Any],
    make_comment: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = write_workspace([make_post()], [make_comment("a", score=1), make_comment("b", score=9)])
    manifest = build_pairs(workspace, "tiny", preset("naive"))
    assert manifest["hard_test"] == {} and manifest["n_pairs"] == 1
    assert "Too few comments for a hard test in r/alpha" in capsys.readouterr().err
    assert not (workspace.root / "pairs/hard-test").exists()
    monkeypatch.setattr("features.sets.hard_tests.select_pairs", None)  # remembered: not made a second time
    build_pairs(workspace, "tiny", preset("naive"))
    assert "Too few comments for a hard test in r/alpha" in capsys.readouterr().err


def test_the_frozen_file_is_a_pairs_table(built: Workspace) -> None:
    manifest = json.loads((built.root / "pairs/hard-test/manifest.json").read_text())
    frame = pl.read_parquet(built.root / "pairs/hard-test/pairs.parquet")
    assert frame.schema == PAIRS.schema
    assert manifest["recipe"]["name"] == "hard-test" and manifest["n_pairs"] == frame.height
