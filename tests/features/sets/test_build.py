import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.build_context import BuildOptions
from features.recipes.presets import preset
from features.recipes.recipe import Recipe
from features.sets.build import build_pairs
from lurker.config import override
from lurker.engine import THREAD_VARIABLES
from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.pair_sets import read_pairs
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(frozen_workspace: Path, tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(frozen_workspace, tmp_path / "copy")))


def test_a_pair_has_the_texts_and_scores_of_its_responses_and_post(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    rows = [
        make_comment("b", "p7", body="The better one. EDIT: thanks for the gold!", score=9, created_utc=1_600_000_060),
        make_comment("a", "p7", body="The other.", score=2, created_utc=1_600_000_030),
    ]
    workspace = write_workspace([make_post("p7", title="Which?", body="A or B?")], rows)
    manifest = build_pairs(workspace, "one", preset("naive"))
    pairs = read_pairs(workspace, "one")
    (pair,) = pairs.rows(named=True)
    assert pair["label_confidence"] > 0.5
    assert {name: pair[name] for name in pair if name != "label_confidence"} == {
        "pair_id": "a-b",
        "post_id": "p7",
        "subreddit": "alpha",
        "split": "validation",
        "prompt": "Which?\n\nA or B?",
        "chosen": "The better one.",
        "rejected": "The other.",
        "chosen_id": "b",
        "rejected_id": "a",
        "chosen_score": 9,
        "rejected_score": 2,
        "chosen_delay_s": 60,
        "rejected_delay_s": 30,
        "chosen_chars": 15,
        "rejected_chars": 10,
        "weight": 1.0,
        "confounder_log_odds": 0.0,
        "recipe": "naive",
    }
    assert manifest["pairs_by_split"] == {"train": 0, "validation": 1, "test": 0}


def test_the_manifest_adds_up_and_describes_the_file(workspace: Workspace) -> None:
    manifest = build_pairs(workspace, "college", preset("matched"))
    pairs = check(pl.read_parquet(workspace.root / "pairs/college/pairs.parquet"), PAIRS)
    assert json.loads((workspace.root / "pairs/college/manifest.json").read_text()) == manifest
    for ledger in manifest["ledger"].values():
        assert ledger["input"] == ledger["kept"] + sum(line["n"] for line in ledger["dropped"])
    assert manifest["ledger"]["responses"]["input"] == 2 * 150 * 24
    assert manifest["ledger"]["pairs"]["kept"] == manifest["n_pairs"] == pairs.height > 300
    assert sum(manifest["pairs_by_split"].values()) == pairs.height
    assert manifest["recipe"]["max_delay_difference_s"] == 3_600
    assert [line["subreddit"] for line in manifest["inputs"]] == ["alpha", "beta"]
    assert pairs.group_by("post_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert (pairs["chosen_chars"] == pairs["chosen"].str.len_chars()).all()


@pytest.mark.parametrize("recipe", ["naive", "matched", "litbench"])
def test_order_of_rows_number_of_files_and_memory_limit_change_no_byte(
    write_workspace: Callable[..., Workspace], simulate: Callable[..., Any], recipe: str
) -> None:
    posts, comments, _ = simulate(n_posts=40, n_comments=12, subreddits=("alpha", "beta"))
    rules = override(preset(recipe), ["min_score=none", "min_words=0"])
    contents = []
    for n_files, options in ((1, BuildOptions()), (3, BuildOptions(memory_limit="100MB"))):
        workspace = write_workspace(posts, comments, n_files=n_files)
        build_pairs(workspace, "set", rules, options=options)
        contents.append(
            [
                (workspace.root / "pairs" / name).read_bytes()
                for name in ("set/pairs.parquet", "set/manifest.json", "hard-test/pairs.parquet")
            ]
        )
        random.Random(n_files).shuffle(comments)
        random.Random(n_files).shuffle(posts)
    assert contents[0] == contents[1]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["matched", "balanced", "adjusted"])
def test_the_number_of_threads_changes_no_byte(
    write_workspace: Callable[..., Workspace], simulate: Callable[..., Any], recipe: str
) -> None:
    posts, comments, _ = simulate(n_posts=150, n_comments=20, subreddits=("alpha", "beta"))
    contents = []
    for n_threads in (1, 4):
        workspace = write_workspace(posts, comments, n_files=n_threads)
        build = [sys.executable, "-m", "lurker", "--workspace", str(workspace.root), "pairs", "build", "set"]
        threads = {name: str(n_threads) for name in THREAD_VARIABLES}
        subprocess.run([*build, "--recipe", recipe], env=os.environ | threads, check=True)
        files = ("set/pairs.parquet", "set/manifest.json", "hard-test/pairs.parquet")
        contents.append([(workspace.root / "pairs" / name).read_bytes() for name in files])
        random.Random(n_threads).shuffle(comments)
    assert contents[0] == contents[1]


def test_a_subreddit_gives_the_same_pairs_alone_as_with_others(workspace: Workspace) -> None:
    build_pairs(workspace, "both", preset("matched"))
    build_pairs(workspace, "one", preset("matched"), ["r/ALPHA"])
    both, one = read_pairs(workspace, "both"), read_pairs(workspace, "one")
    assert one.height > 100
    assert both.filter(pl.col("subreddit") == "alpha").equals(one)


def test_recipes_agree_on_the_winner_and_split_of_a_shared_pair(workspace: Workspace) -> None:
    build_pairs(workspace, "naive", preset("naive"))
    build_pairs(workspace, "matched", preset("matched"))
    naive, matched = read_pairs(workspace, "naive"), read_pairs(workspace, "matched")
    shared = naive.join(matched, on="pair_id", how="inner")
    assert shared.height > 20
    for column in ("chosen_id", "split", "label_confidence"):
        assert (shared[column] == shared[f"{column}_right"]).all()


def test_with_newer_must_win_no_older_response_wins(workspace: Workspace) -> None:
    build_pairs(workspace, "shp", override(preset("shp"), ["min_post_score=none"]))
    pairs = read_pairs(workspace, "shp")
    assert pairs.height > 50
    assert (pairs["chosen_delay_s"] >= pairs["rejected_delay_s"]).all()
    assert pairs["post_id"].value_counts()["count"].max() == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"min_score": 10_000}, "'score below min_score'"), ({"min_score_gap": 10_000}, "'below min_score_gap'")],
)
def test_no_pairs_left_names_the_rule_that_dropped_most_and_writes_nothing(
    workspace: Workspace, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(LurkerError) as caught:
        build_pairs(workspace, "none", Recipe(name="strict", **fields))
    assert words in caught.value.message and "lurker pairs build none" in caught.value.next_step
    assert [path.name for path in (workspace.root / "pairs").iterdir()] == ["hard-test"]


def test_replies_are_not_blamed_if_another_rule_dropped_responses(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    replies = [make_comment(f"r{n}", is_top_level=False) for n in range(5)]
    workspace = write_workspace([make_post()], [make_comment("a", score=1), *replies])
    with pytest.raises(LurkerError, match="the rule 'score below min_score' dropped 1"):
        build_pairs(workspace, "none", Recipe(name="strict", min_score=2))


def test_equal_scores_are_reported(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    workspace = write_workspace([make_post()], [make_comment("a"), make_comment("b")])
    with pytest.raises(LurkerError, match="the rule 'scores equal' dropped 1"):
        build_pairs(workspace, "flat", preset("naive"))


def test_posts_with_a_single_response_are_reported(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    workspace = write_workspace([make_post()], [make_comment("a")])
    with pytest.raises(LurkerError, match="no post has two of the 1 eligible responses"):
        build_pairs(workspace, "lonely", preset("naive"))


def test_an_empty_workspace_and_an_unknown_subreddit_give_the_next_step(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(LurkerError, match="No comments in") as caught:
        build_pairs(open_workspace(tmp_path / "new", create=True), "x", preset("naive"))
    assert "lurker ingest dump" in caught.value.next_step
    with pytest.raises(LurkerError, match=r"r/gamma.*it has: alpha, beta"):
        build_pairs(workspace, "x", preset("naive"), ["gamma"])


def test_the_name_of_the_hard_test_is_reserved(workspace: Workspace) -> None:
    with pytest.raises(CallError, match="frozen test"):
        build_pairs(workspace, "hard-test", preset("naive"))


def test_a_file_that_does_not_match_its_manifest_is_refused(workspace: Workspace) -> None:
    build_pairs(workspace, "set", preset("matched"))
    path = workspace.root / "pairs/set/pairs.parquet"
    pl.read_parquet(path).head(3).write_parquet(path)
    with pytest.raises(LurkerError, match="manifest"):
        read_pairs(workspace, "set")


def test_a_build_says_what_ingest_left_out_as_over_18(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    build_pairs(workspace, "before", preset("naive"))
    assert "over 18" not in capsys.readouterr().err
    for name, n in (("a", 3), ("b", 4)):
        write_json({"report": {"dropped": {"nsfw": n}}}, workspace.root / "ingested" / f"{name}.json")
    build_pairs(workspace, "after", preset("naive"))
    assert "7 rows marked over 18 are not in this set: ingest left them out" in capsys.readouterr().err
