"""A small workspace with every kind of file that the dashboard reads, written with the real schema."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from lurker.files import write_json, write_parquet
from lurker.schema import (
    COMMENTS,
    POSTS,
    PREDICTIONS,
    check,
)
from lurker.workspace import Workspace, open_workspace
from tests.dashboard.made_tables import (
    COMMUNITIES,
    HOSTILE,
    make_audit,
    make_manifest,
    make_pairs,
    make_recipes,
    make_scaling,
    make_transfer,
)
from tests.dashboard.pages import APP, OpenPage
from tests.dashboard.policy_files import damage, write_policies


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


@pytest.fixture(scope="session")
def full_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_workspace(tmp_path_factory.mktemp("full") / "workspace")


@pytest.fixture
def damaged_root(full_root: Path, tmp_path: Path) -> Path:
    """Every kind of file damaged once, next to an intact one."""
    root = tmp_path / "workspace"
    shutil.copytree(full_root, root)
    (root / "pairs/naive/audit.json").write_text('{"pairs": "naive"', encoding="utf-8")
    (root / "pairs/hard-test/manifest.json").write_text('{"name": "hard-test"}', encoding="utf-8")
    (root / "pairs/hard-test/pairs.parquet").write_bytes(b"PAR1 cut")
    (root / "experiments/across/transfer.parquet").write_bytes(b"PAR1 cut")
    (root / "experiments/taught/differences.parquet").write_bytes(b"PAR1 cut")
    pl.DataFrame({"predictor": ["scratch-50k"]}).write_parquet(root / "experiments/ladder/scaling.parquet")
    next((root / "posts/advice").glob("*.parquet")).write_bytes(b"")
    (root / "comments/cooking/manifest.json").write_text("{}", encoding="utf-8")
    damage(root)
    return root


@pytest.fixture
def empty_root(tmp_path: Path) -> Path:
    return open_workspace(tmp_path / "empty", create=True).root


@pytest.fixture
def partial_root(full_root: Path, tmp_path: Path) -> Path:
    """Pair sets of which one is audited, a run that is finished and one that is not, and no finished experiment."""
    root = tmp_path / "partial"
    shutil.copytree(full_root, root)
    for file in ("pairs/matched/audit.json", "pairs/hard-test/audit.json", "runs/scratch-1m-4000-naive/result.json"):
        (root / file).unlink()
    for manifest in root.glob("experiments/*/manifest.json"):
        manifest.unlink()
    return root


@pytest.fixture
def running_root(empty_root: Path, tmp_path: Path) -> Path:
    """A run that trains, and nothing else."""
    root = tmp_path / "running"
    shutil.copytree(empty_root, root)
    run = root / "runs/young"
    write_json({"model": "scratch-10k", "pairs": "p", "train": {"seed": 0}}, run / "config.json")
    lines = [{"step": step, "train_log_loss": 0.7 - 0.01 * step} for step in range(1, 5)]
    lines[-1] |= {"validation_log_loss": 0.68, "validation_accuracy": 0.6, "planned_steps": 100}
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return root


def build_workspace(root: Path) -> Path:
    """Write posts, comments, three pair sets with audits, a run with predictions, and experiments."""
    workspace = open_workspace(root, create=True)
    rng = np.random.default_rng(7)
    for community in COMMUNITIES:
        _write_items(workspace, community)
    for recipe, joint in (("naive", 0.79), ("matched", 0.585), ("hard-test", 0.503)):
        pairs = make_pairs(recipe, rng)
        folder = workspace.folder("pairs", recipe)
        write_parquet(pairs, folder / "pairs.parquet")
        write_json(make_audit(recipe, joint), folder / "audit.json")
        write_json(make_manifest(recipe, pairs), folder / "manifest.json")
    for name, lift in (("ladder", 0.0), ("ladder-naive", -0.025)):
        scaling = make_scaling(rng, lift, "naive" if lift else "matched")
        write_parquet(scaling, workspace.folder("experiments", name) / "scaling.parquet")
        write_json({"name": name}, workspace.folder("experiments", name) / "manifest.json")
    write_parquet(make_transfer(rng), workspace.folder("experiments", "across") / "transfer.parquet")
    write_json({"name": "across"}, workspace.folder("experiments", "across") / "manifest.json")
    figures, differences = make_recipes()
    write_parquet(figures, workspace.folder("experiments", "taught") / "recipes.parquet")
    write_parquet(differences, workspace.folder("experiments", "taught") / "differences.parquet")
    write_json({"name": "taught"}, workspace.folder("experiments", "taught") / "manifest.json")
    _write_run(workspace, rng, "scratch-1m-4000-0", "matched", wrong_every=3)
    _write_run(workspace, rng, "scratch-1m-4000-naive", "naive", wrong_every=2)
    write_policies(workspace, HOSTILE)
    return root


def _write_items(workspace: Workspace, community: str) -> None:
    item = {"subreddit": community, "author_hash": "a1", "created_utc": 1_600_000_000, "score": 5, "is_edited": False}
    item |= {"is_deleted": False, "source": "simulator", "retrieved_utc": 1_700_000_000, "body": "text"}
    posts = [
        item
        | {"post_id": f"{community}{index}", "title": "t", "upvote_ratio": 0.9, "n_comments": 3, "is_self": True}
        | {"is_nsfw": False, "flair": None, "crosspost_of": None}
        for index in range(20)
    ]
    comments = [
        item
        | {"comment_id": f"{community}{index}", "post_id": f"{community}{index % 20}", "parent_id": "x"}
        | {"is_top_level": True, "is_score_hidden": False, "is_stickied": False, "is_distinguished": False}
        | {"is_by_op": False, "created_utc": 1_600_000_000 + 3600 * index}
        for index in range(120)
    ]
    for table, rows in ((POSTS, posts), (COMMENTS, comments)):
        workspace.replace_partition(table, community, [check(pl.DataFrame(rows, schema=table.schema), table)])


def _write_run(workspace: Workspace, rng: np.random.Generator, run_id: str, trained: str, wrong_every: int) -> None:
    """A run trained on one set, tested on the matched set and the hard test, wrong on every so manieth pair."""
    folder = workspace.folder("runs", run_id)
    for test in ("matched", "hard-test"):
        pairs = pl.read_parquet(workspace.folder("pairs", test) / "pairs.parquet").filter(pl.col("split") == "test")
        signs = np.where(np.arange(pairs.height) % wrong_every == 0, -1, 1)
        margins = rng.uniform(0.1, 3.0, pairs.height) * signs
        correct = (margins > 0).astype(float)
        predictions = pairs.select("pair_id", "chosen_id", margin=margins, is_correct=correct)
        write_parquet(check(predictions, PREDICTIONS), folder / "predictions" / f"{test}-test.parquet")
    right = 1 - 1 / wrong_every
    evaluations = [
        {"pairs": test, "split": "test", "predictor": predictor, "n_test_pairs": 900, "n_test_posts": 300}
        | {"accuracy": accuracy, "accuracy_low": accuracy - 0.025, "accuracy_high": accuracy + 0.025, "log_loss": 0.66}
        for test in ("matched", "hard-test")
        for predictor, accuracy in (("model", right), ("tfidf", 0.58), ("time", 0.5))
    ]
    result = {"run_id": run_id, "pairs": trained, "model": "scratch-1m", "n_parameters": 1_000_000, "seed": 0}
    result |= {"n_train_pairs": 4000, "subreddits": list(COMMUNITIES), "evaluations": evaluations}
    write_json({"pairs": trained, "model": "scratch-1m", "train": {"seed": 0, "epochs": 2}}, folder / "config.json")
    steps = [
        {"step": step, "train_log_loss": 0.7 - 0.005 * step, "learning_rate": 0.001}
        | ({"validation_log_loss": 0.68, "validation_accuracy": 0.6} if step % 10 == 0 else {})
        for step in range(1, 31)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(step) for step in steps), encoding="utf-8")
    write_json(result, folder / "result.json")
