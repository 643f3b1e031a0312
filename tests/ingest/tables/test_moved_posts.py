"""A post that archives hold in two subreddits has one row, whatever is ingested first."""

import itertools
import json
from pathlib import Path

import pytest

import ingest
import lurker
from lurker.schema import POSTS

POST = {"title": "Which tea?", "selftext": "Tell me.", "author": "ann", "created_utc": 1_500_000_000, "score": 10}


def write(path: Path, **fields: object) -> Path:
    rows = [POST | {"id": "n1"} | fields, POST | {"id": f"own-{path.stem}"[:7], "subreddit": fields["subreddit"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("order", itertools.permutations(("old", "new")))
@pytest.mark.parametrize("at_once", [True, False])
def test_the_newest_retrieval_is_kept(order: tuple[str, str], at_once: bool, tmp_path: Path) -> None:
    files = {
        "old": write(tmp_path / "old.ndjson", subreddit="coffee", retrieved_on=1_500_400_000, upvote_ratio=0.5),
        "new": write(tmp_path / "new.ndjson", subreddit="tea", retrieved_on=1_500_900_000, upvote_ratio=0.9),
    }
    workspace = lurker.open(tmp_path / "ws")
    for names in [order] if at_once else [[name] for name in order]:
        ingest.dumps(workspace, *(files[name] for name in names))
    posts = workspace.scan(POSTS).collect()
    assert posts["post_id"].is_unique().all() and posts.height == 3
    assert posts.filter(post_id="n1").select("subreddit", "upvote_ratio").row(0) == ("tea", pytest.approx(0.9))
