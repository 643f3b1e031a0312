"""An arena from serving to pairs: simulated raters vote and are judged; held-out raters stay out of training."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import features
from dashboard.arena.make import Source, make_arena
from dashboard.arena.simulate import simulate_raters
from features.votes.judges import machine_judges, run_judge
from lurker.cli import run
from lurker.errors import CallError
from lurker.files import write_json, write_parquet
from lurker.pair_sets import read_pairs
from lurker.schema import PREDICTIONS, TRUTH, check
from lurker.votes.arenas import ArenaConfig, open_arena
from lurker.votes.store import read_raters, read_votes, undo_vote
from lurker.workspace import Workspace, open_workspace

HELD_OUT_SHARE = 0.5


@pytest.fixture(scope="module")
def voted(naive_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An arena on naive pairs, and 12 simulated raters with 40 votes each, one of them undone."""
    root = tmp_path_factory.mktemp("voted") / "workspace"
    shutil.copytree(naive_workspace, root)
    workspace = open_workspace(root)
    config = ArenaConfig(n_items=80, n_gold=10, n_qualifying=0, held_out_share=HELD_OUT_SHARE)
    arena = make_arena(workspace, "tea", Source(pairs="naive"), config)
    assert simulate_raters(arena, 12, 40) == 480
    assert simulate_raters(arena, 12, 40) == 0  # a call that was finished writes nothing more
    undo_vote(workspace, read_votes(workspace, "tea")["vote_id"][0])
    return workspace


def test_results_judge_raters_and_compare_judges(voted: Workspace) -> None:
    report = features.arena_results(voted, "tea").report
    assert report["ledger"]["kept"] == 479
    assert {row["reason"]: row["n"] for row in report["ledger"]["dropped"]} == {"undone by the rater": 1}
    assert not report["is_provisional"]
    assert report["alpha"]["low"] > 0
    agreement = {(row["first"], row["second"]): row for row in report["agreement"]}
    assert agreement["raters", "reddit"]["low"] <= agreement["raters", "reddit"]["agreement"]
    assert ("raters", "length") in agreement
    assert agreement["raters", "reddit"]["n"] > 300
    assert report["headline"] == "Raters agree with Reddit more often than a coin does"
    by_name = dict(read_raters(voted, "tea").select("rater", "name").rows())
    contrarian = [row for row in report["raters"] if "contrarian" in by_name[row["rater"]]]
    careful = [row for row in report["raters"] if "careful" in by_name[row["rater"]]]
    assert max(row["slope"] for row in contrarian) < min(row["slope"] for row in careful)
    assert "Krippendorff's alpha" in report["summary"]
    shown = str(features.arena_results(voted, "tea"))
    assert "undone by the rater" in shown
    assert sum(row["votes"] for row in report["timeline"]) == 479
    groups = {row["judge"]: row for row in report["rater_groups"]}
    assert {"another rater", "reddit", "length"} <= set(groups)
    assert groups["reddit"]["in_group_raters"] + groups["reddit"]["held_out_raters"] == 12
    assert "held-out raters" in shown


def test_a_run_is_judged_whichever_way_a_pair_was_swapped(voted: Workspace) -> None:
    """A run that always prefers the longer response agrees with the judge length, tested on pairs or on votes."""
    pairs = {
        "naive": read_pairs(voted, "naive"),
        "swapped": features.votes_to_pairs(voted, "swapped", arena="tea").frame,
    }
    arena = open_arena(voted, "tea")
    length = machine_judges(arena, arena.items())["length"].filter(pl.col("verdict") != 0.5)
    for name, frame in pairs.items():
        test = frame.filter(pl.col("split") == "test")
        margin = (pl.col("chosen_chars") - pl.col("rejected_chars")).cast(pl.Float64)
        rows = test.select("pair_id", "chosen_id", margin=margin, is_correct=margin.sign() / 2 + 0.5)
        folder = voted.folder("runs", f"longer-{name}")
        write_parquet(check(rows, PREDICTIONS), folder / "predictions" / f"{name}-test.parquet")
        write_json({}, folder / "result.json")
    shutil.copytree(voted.folder("runs", "longer-naive"), voted.folder("runs", "cell"))
    write_json({"cells": ["cell"]}, voted.folder("experiments", "scaled") / "manifest.json")
    judges = machine_judges(arena, arena.items())
    assert run_judge("cell") not in judges
    for name in pairs:
        both = judges[run_judge(f"longer-{name}")].join(length, on="item_id")
        assert both.height >= 3
        assert (both["verdict"] == both["verdict_right"]).all()


def test_votes_become_pairs_and_held_out_raters_are_apart(voted: Workspace) -> None:
    pairs = features.votes_to_pairs(voted, "voted", arena="tea").frame
    held_out = read_pairs(voted, "voted-held-out")
    source = read_pairs(voted, "naive")
    assert held_out["split"].unique().to_list() == ["test"]
    assert set(pairs["split"]) >= {"train", "test"}
    splits = dict(source.select("post_id", "split").unique().rows())
    assert all(splits[post] == split for post, split in pairs.select("post_id", "split").rows())
    assert pairs["recipe"].unique().to_list() == ["votes"]
    assert pairs["label_confidence"].is_between(0.5, 1).all()
    joined = pairs.join(source, on="pair_id", suffix="_reddit")
    is_same = joined["chosen_id"] == joined["chosen_id_reddit"]
    assert joined.height == pairs.height
    assert 0 < is_same.mean() < 1  # type: ignore[operator]
    flipped = joined.filter(~is_same)
    assert (flipped["chosen"] == flipped["rejected_reddit"]).all()
    assert (flipped["chosen_score"] == flipped["rejected_score_reddit"]).all()
    truth = dict(voted.scan(TRUTH).select("comment_id", "quality").collect().rows())
    right = [truth[one] > truth[other] for one, other in pairs.select("chosen_id", "rejected_id").rows()]
    assert sum(right) > 0.7 * len(right)
    with pytest.raises(CallError, match="already"):
        features.votes_to_pairs(voted, "voted")
    again = features.votes_to_pairs(voted, "voted", arena="tea", replace=True)
    assert again.frame.equals(pairs)
    with pytest.raises(CallError, match="votes of an arena"):
        features.audit(again)


def test_a_forgotten_rater_is_in_no_figure(voted: Workspace) -> None:
    features.arena_results(voted, "tea")
    rater = read_raters(voted, "tea")["rater"][0]
    assert run(["--workspace", str(voted.root), "arena", "raters", "tea", "--forget", rater[:10], "--json"]) == 0
    assert not (voted.folder("votes", "tea") / "results.json").exists()
    report = features.arena_results(voted, "tea").report
    assert rater not in json.dumps(report)
    assert len(report["raters"]) == 11
    assert run(["--workspace", str(voted.root), "arena", "raters", "tea", "--forget", ""]) != 0
