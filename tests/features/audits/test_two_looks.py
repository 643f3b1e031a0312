import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import features
import ingest
from features.audits.two_looks import TwoLooksConfig, read_looks, two_looks
from features.results import TwoLooks
from ingest.simulator.config import SimulationConfig
from ingest.simulator.world import simulate
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, OBSERVATIONS, Table
from lurker.stats import Estimate, accuracy_interval
from lurker.workspace import Workspace, open_workspace


def seen_twice(root: Path, **settings: Any) -> Workspace:
    workspace = open_workspace(root, create=True)
    world = {"seed": 5, "n_posts": 600, "n_subreddits": 1, "first_look_share": 0.3, "down_rate": 0.05} | settings
    ingest.simulate(workspace, **world)
    features.build(workspace, "naive", name="naive")
    return workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return seen_twice(tmp_path_factory.mktemp("looks"))


@pytest.fixture(scope="module")
def report(workspace: Workspace) -> dict[str, Any]:
    return two_looks(workspace, "naive")


def test_agreement_grows_with_the_gap_and_counts_add_up(report: dict[str, Any]) -> None:
    by_gap = {row["gap"]: row for row in report["by_flags"] if row["flags"] == "neither flagged"}
    agreements = [by_gap[gap]["agreement"] for gap in ("1-2", "3-5", "6-9", "10 and more")]
    assert agreements == sorted(agreements)
    of_flags = [row["n_pairs"] for row in report["by_flags"] if row["gap"] == "all"]
    assert sum(of_flags) == report["agreement"]["n_pairs"] == sum(row["n_pairs"] for row in report["by_gap_and_age"])


def test_predicted_agreement_is_the_agreement_seen_where_readers_are_the_same_in_both_windows(
    report: dict[str, Any],
) -> None:
    assert report["exposure_luck"] <= 0.25  # the simulator's comments keep their readers
    bins = [row for row in report["reliability"] if row["label_model"] == "votes"]
    errors = [abs(row["predicted"] - row["agreement"]) for row in bins]
    assert max(errors) < 0.09
    assert sum(errors) / len(errors) < 0.03
    assert report["flag_gain"]["value"] > 0


def test_herding_raises_the_agreement_of_early_looks() -> None:
    def agreement(herding_effect: float) -> Estimate:
        """Of neighbours in a thread: does the leader at the first look win the later votes?"""
        config = SimulationConfig(seed=4, n_posts=1_000, first_look_share=0.1, herding_effect=herding_effect)
        rows = pl.concat([comments for _, comments in simulate(config)], how="diagonal").filter(~pl.col("is_sticky"))
        rows = rows.with_columns(later=pl.col("score") - pl.col("first_score")).sort("post", "thread_index")
        gap, lead = (pl.col(name) - pl.col(name).shift(1).over("post") for name in ("later", "first_score"))
        pairs = rows.select("post", gap=gap.sign(), lead=lead.sign()).drop_nulls().filter(pl.col("lead") != 0)
        return accuracy_interval((pairs["gap"] * pairs["lead"] + 1) / 2, pairs["post"])

    assert agreement(1.0).low > agreement(0.0).high + 0.02


def test_the_command_prints_what_it_writes(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--workspace", str(workspace.root), "pairs", "audit", "naive", "--looks"]
    assert run([*command, "--json"]) == 0
    written = json.loads((workspace.folder("pairs", "naive") / "two-looks.json").read_text())
    assert json.loads(capsys.readouterr().out) == written
    result = TwoLooks(written)
    assert "Reliability" in str(result.details()[1])
    assert f"exposure_luck={written['exposure_luck']:g}" in result.verdict
    assert len(result.plot().to_dict()["layer"]) == 3


def test_one_look_is_not_enough(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=120, first_look_share=0.0)
    with pytest.raises(LurkerError, match="seen twice"):
        two_looks(workspace, "naive")


def test_labels_of_the_first_look_and_pairs_whose_looks_agree(workspace: Workspace) -> None:
    first = features.build(workspace, "naive", name="first", label_look="first")
    assert first.manifest["second_window"]["n_pairs"] == first.manifest["n_pairs"]  # every label has later votes
    for label_look in ("last", "first"):
        agreeing = features.build(
            workspace, "naive", name=f"agreeing-{label_look}", require_agreeing_looks=True, label_look=label_look
        )
        dropped = {row["reason"]: row["n"] for row in agreeing.manifest["ledger"]["pairs"]["dropped"]}
        assert dropped["looks disagree"] > 0


def test_certain_labels_weigh_more(workspace: Workspace) -> None:
    votes = features.build(workspace, "naive", name="weighed", label_model="votes", weight_by_confidence=True)
    frame = votes.frame
    assert frame["label_confidence"].min() < 0.5  # a flag makes some leaders less likely than not
    expected = (2 * frame["label_confidence"] - 1).clip(0.01)
    assert (frame["weight"] - expected).abs().max() < 1e-9
    without = features.build(workspace, "naive", name="unflagged", exclude_controversial=True)
    dropped = {row["reason"]: row["n"] for row in without.manifest["ledger"]["responses"]["dropped"]}
    assert dropped["controversial"] > 100


def change_looks(workspace: Workspace, table: Table, rows: pl.Expr) -> None:
    """Write a table of the only subreddit again, after a change of its rows."""
    frame = workspace.scan(table).with_columns(rows).collect()
    workspace.replace_partition(table, frame["subreddit"][0], [frame])


def test_without_flags_nothing_is_claimed_of_them(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=300)
    change_looks(workspace, OBSERVATIONS, pl.lit(None, pl.Boolean).alias("is_controversial"))
    report = two_looks(workspace, "naive")
    assert report["flag_gain"] is None
    assert "nothing is known of the flag" in TwoLooks(report).verdict


def test_the_looks_of_one_post_give_no_interval(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=300)
    change_looks(workspace, COMMENTS, pl.lit("one").alias("post_id"))
    with pytest.raises(LurkerError, match="of one post"):
        two_looks(workspace, "naive")


def test_deleted_comments_judge_nothing(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=300, deleted_share=0.0)
    config = TwoLooksConfig()
    before = read_looks(workspace, ["SimStories"], config)
    gone = before["comment_id"].head(50)
    change_looks(workspace, COMMENTS, pl.col("is_deleted") | pl.col("comment_id").is_in(gone.implode()))
    after = read_looks(workspace, ["SimStories"], config)
    assert after["comment_id"].to_list() == before["comment_id"].to_list()[50:]


def test_of_three_looks_in_any_order_the_first_and_the_last_count(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=60)
    before = read_looks(workspace, ["SimStories"], TwoLooksConfig())
    rows = workspace.scan(OBSERVATIONS).collect()
    comments = rows.filter(kind="comment")
    between = comments.group_by("item_id").agg(pl.col("observed_utc").mean().cast(pl.Int64))
    third = comments.unique("item_id").drop("observed_utc").join(between, on="item_id").select(rows.columns)
    looks = pl.concat([rows, third.with_columns(score=pl.lit(9_999, pl.Int64), is_controversial=pl.lit(True))])
    workspace.replace_partition(OBSERVATIONS, "SimStories", [looks.sample(fraction=1, shuffle=True, seed=1)])
    assert_frame_equal(read_looks(workspace, ["SimStories"], TwoLooksConfig()), before)


def test_an_unknown_flag_of_the_first_look_stays_unknown(tmp_path: Path) -> None:
    workspace = seen_twice(tmp_path, n_posts=300)
    rules = {"label_look": "first", "exclude_controversial": True}
    known = features.build(workspace, "naive", name="known", **rules)
    assert {row["reason"] for row in known.manifest["ledger"]["responses"]["dropped"]} >= {"controversial"}
    change_looks(workspace, OBSERVATIONS, pl.lit(None, pl.Boolean).alias("is_controversial"))
    unknown = features.build(workspace, "naive", name="unknown", **rules)
    dropped = {row["reason"]: row["n"] for row in unknown.manifest["ledger"]["responses"]["dropped"]}
    assert not dropped.get("controversial")
