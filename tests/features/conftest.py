"""Small workspaces by hand, and a simulated community whose truth is known."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.recipes.presets import preset
from features.sets.build import build_pairs
from lurker.schema import COMMENTS, POSTS, TRUTH, check
from lurker.workspace import Workspace, open_workspace

Row = dict[str, Any]
START_UTC = 1_600_000_000


def post(post_id: str = "p1", **changes: Any) -> Row:
    row = {
        "post_id": post_id,
        "subreddit": "alpha",
        "title": f"Title of {post_id}",
        "body": "The question.",
        "author_hash": "asker",
        "created_utc": START_UTC,
        "score": 50,
        "upvote_ratio": 0.9,
        "n_comments": 2,
        "is_self": True,
        "is_nsfw": False,
        "is_edited": False,
        "is_deleted": False,
        "flair": None,
        "crosspost_of": None,
        "source": "dump",
        "retrieved_utc": START_UTC + 1_000_000,
    }
    return row | changes


def comment(comment_id: str, post_id: str = "p1", **changes: Any) -> Row:
    row = {
        "comment_id": comment_id,
        "post_id": post_id,
        "parent_id": post_id,
        "is_top_level": True,
        "subreddit": "alpha",
        "body": f"An answer named {comment_id}.",
        "author_hash": f"author-{comment_id}",
        "created_utc": START_UTC + 600,
        "score": 5,
        "is_score_hidden": False,
        "is_edited": False,
        "is_deleted": False,
        "is_stickied": False,
        "is_distinguished": False,
        "is_by_op": False,
        "source": "dump",
        "retrieved_utc": START_UTC + 1_000_000,
    }
    return row | changes


def write_rows(
    root: Path, posts: list[Row], comments: list[Row], truth: list[Row] | None = None, n_files: int = 1
) -> Workspace:
    """A workspace of these rows; every partition is cut into n_files files."""
    workspace = open_workspace(root, create=True)
    for table, rows in ((POSTS, posts), (COMMENTS, comments), (TRUTH, truth or [])):
        frame = check(pl.DataFrame(rows, schema=table.schema), table)
        for (subreddit,), group in frame.group_by("subreddit", maintain_order=True):
            size = max(1, -(-group.height // n_files))
            workspace.replace_partition(table, str(subreddit), list(group.iter_slices(size)))
    return workspace


def simulate_rows(
    n_posts: int = 60,
    n_comments: int = 20,
    *,
    seed: int = 0,
    delay_effect: float = 1.0,
    subreddits: tuple[str, ...] = ("alpha",),
) -> tuple[list[Row], list[Row], list[Row]]:
    """Posts, comments, truth: score = Poisson(exp(quality - delay_effect * log delay)); quality is in the words."""
    rng = np.random.default_rng(seed)
    posts, comments, truth = [], [], []
    for number, subreddit in itertools.product(range(n_posts), subreddits):
        post_id = f"{subreddit[0]}{number}"
        posts.append(post(post_id, subreddit=subreddit))
        for position in range(n_comments):
            quality = float(rng.normal())
            delay_s = int(np.exp(rng.uniform(5, 10)))
            expected = float(np.exp(2.5 + quality - delay_effect * (np.log1p(delay_s) - 7.5)))
            words = ["good" if rng.random() < 1 / (1 + np.exp(-2 * quality)) else "bad" for _ in range(12)]
            filler = ["word"] * int(rng.integers(0, 30))
            row_id = f"{post_id}c{position}"
            row = {
                "subreddit": subreddit,
                "body": " ".join([*words, *filler, row_id]),
                "score": int(rng.poisson(expected)),
            }
            comments.append(comment(row_id, post_id, created_utc=START_UTC + delay_s, **row))
            truth.append(
                {
                    "comment_id": row_id,
                    "post_id": post_id,
                    "subreddit": subreddit,
                    "quality": quality,
                    "log_exposure": -delay_effect * (float(np.log1p(delay_s)) - 7.5),
                    "expected_score": expected,
                }
            )
    return posts, comments, truth


@pytest.fixture
def write_workspace(tmp_path: Path) -> Callable[..., Workspace]:
    """`write_rows` into a new folder of this test."""
    numbers = itertools.count()
    return lambda *args, **kwargs: write_rows(tmp_path / f"workspace-{next(numbers)}", *args, **kwargs)


@pytest.fixture
def make_post() -> Callable[..., Row]:
    return post


@pytest.fixture
def make_comment() -> Callable[..., Row]:
    return comment


@pytest.fixture(scope="session")
def simulate() -> Callable[..., tuple[list[Row], list[Row], list[Row]]]:
    return simulate_rows


@pytest.fixture(scope="session")
def simulated_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with truth, where earlier responses score higher; read-only: tests copy it before they build."""
    root = tmp_path_factory.mktemp("simulated") / "workspace"
    write_rows(root, *simulate_rows(n_posts=150, n_comments=24, subreddits=("alpha", "beta")))
    return root


@pytest.fixture(scope="session")
def naive_workspace(simulated_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated workspace with its naive pairs and hard test; read-only: tests copy it before they change it."""
    root = Path(shutil.copytree(simulated_workspace, tmp_path_factory.mktemp("naive") / "workspace"))
    build_pairs(open_workspace(root), "naive", preset("naive"))
    return root


@pytest.fixture(scope="session")
def frozen_workspace(naive_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated workspace with its hard test, which a build need not make again; read-only."""
    root = Path(shutil.copytree(naive_workspace, tmp_path_factory.mktemp("frozen") / "workspace"))
    shutil.rmtree(root / "pairs/naive")
    return root
