"""What the simulator tells of votes: counts, Reddit's mark, contest threads, and first looks."""

import json

import numpy as np
import polars as pl
import pytest
import zstandard
from polars.testing import assert_frame_equal

import ingest
import lurker
from ingest.simulator.config import SimulationConfig
from ingest.simulator.dump import write_simulation
from ingest.simulator.votes import is_controversial
from ingest.simulator.world import simulate
from lurker.schema import COMMENTS, OBSERVATIONS, POSTS, TRUTH

VOTES = ("ups", "downs", "is_controversial", "score", "log_exposure", "expected_score", "log_herding", "fuzz")
BOTH_LOOKS = {"herding_effect": 0.8, "early_share": 0.2, "vote_fuzzing": 0.4}


def world(**knobs):
    """Posts, and comments without the moderators' ones, of a thousand posts."""
    ((posts, comments),) = simulate(SimulationConfig(n_posts=1_000, **knobs))
    return posts, comments.filter(~pl.col("is_sticky")).sort("comment_number")


@pytest.mark.parametrize(
    ("ups", "downs", "expected"),
    [
        (0, 6, False),  # 7 votes, of which the author's is up: 14 %
        (2, 3, False),  # 6 votes
        (2, 4, True),  # 3 of 7
        (3, 3, True),  # 4 of 7
        (3, 6, True),  # 4 of 10: 40 % exactly
        (5, 4, True),  # 6 of 10: 60 % exactly
        (6, 4, False),  # 7 of 11: 63.6 %
        (8, 6, True),  # 9 of 15: 60 % exactly
        (399, 600, True),
        (398, 601, False),
    ],
)
def test_the_mark_of_a_controversial_comment(ups, downs, expected):
    assert is_controversial(np.array([ups]), np.array([downs])).tolist() == [expected]


def test_scores_and_marks_follow_from_the_counts():
    _, comments = world(down_rate=0.05, vote_fuzzing=0.5)
    ups, downs, score, fuzz = (comments[name].to_numpy() for name in ("ups", "downs", "score", "fuzz"))
    assert (score - fuzz == 1 + ups - downs).all()
    flagged = comments["is_controversial"].to_numpy()
    assert flagged.sum() > 300
    n_votes = ups + downs + 1
    assert (n_votes[flagged] >= np.maximum(7, 5 * np.abs(1 + ups - downs)[flagged])).all()
    assert (n_votes[~flagged] < np.maximum(7, 5 * np.abs(1 + ups - downs)[~flagged])).all()


@pytest.mark.parametrize("knobs", [{}, {"herding_effect": 0.6, "early_share": 0.2}])
def test_the_net_vote_rate_is_what_counting_noise_is_about(knobs):
    """Scores minus rates: mean 0 at every rate, and the variance of two Poisson counts, not of gamma noise."""
    _, comments = world(**knobs)
    error = (1 + comments["ups"] - comments["downs"] - comments["net_vote_rate"]).to_numpy()
    for low, high in ((0, 2), (2, 6), (6, 20), (20, 100)):
        rows = ((comments["net_vote_rate"] > low) & (comments["net_vote_rate"] <= high)).to_numpy()
        assert rows.sum() > 300
        assert abs(error[rows].mean()) < 4 * error[rows].std() / np.sqrt(rows.sum())
    n_votes = (comments["ups"] + comments["downs"]).to_numpy()
    if not knobs:
        assert (error**2).sum() / n_votes.sum() == pytest.approx(1, abs=0.05)
    # With gamma noise of variance 1 / 2.5, scores spread far more around what is expected before luck.
    around_expected = (comments["score"] - comments["expected_score"]).to_numpy()
    assert (around_expected**2).sum() > 5 * (error**2).sum()


def test_contest_mode_changes_votes_of_its_threads_alone():
    plain_posts, plain = world(herding_effect=0.6)
    posts, comments = world(herding_effect=0.6, contest_share=0.3)
    assert not plain_posts["is_contest"].any()
    assert posts["is_contest"].mean() == pytest.approx(0.3, abs=0.05)
    assert_frame_equal(posts.drop("is_contest"), plain_posts.drop("is_contest"))
    changed = [*VOTES, "net_vote_rate", "is_contest"]
    assert_frame_equal(comments.drop(changed), plain.drop(changed))
    is_contest = comments["is_contest"]
    assert set(comments.filter(is_contest)["post"]) == set(posts.filter("is_contest")["post"]) & set(comments["post"])
    assert_frame_equal(comments.filter(~is_contest), plain.filter(~is_contest))
    assert (comments.filter(is_contest)["log_herding"] == 0).all()
    assert not comments.filter(is_contest)["ups"].equals(plain.filter(is_contest)["ups"])


def test_hidden_scores_lead_nobody_and_are_missing_at_early_first_looks_alone(tmp_path):
    looks = {"herding_effect": 0.6, "first_look_share": 0.3}
    _, plain = world(herding_effect=0.6)
    posts, comments = world(herding_effect=0.6, hidden_share=0.3, contest_share=0.2)
    assert not (posts["is_hidden"] & posts["is_contest"]).any()
    assert posts.filter(~pl.col("is_contest"))["is_hidden"].mean() == pytest.approx(0.3, abs=0.05)
    ordinary = ~comments["is_hidden"] & ~comments["is_contest"]
    assert_frame_equal(comments.filter(ordinary), plain.filter(ordinary))
    hidden, led = comments.filter("is_hidden"), plain.filter(comments["is_hidden"])
    assert hidden["log_exposure"].equals(led["log_exposure"]) and not hidden["ups"].equals(led["ups"])
    assert (hidden["log_herding"] == 0).all() and (led["log_herding"] != 0).any()
    report = ingest.simulate(tmp_path / "ws", n_posts=100, hidden_share=0.5, hidden_minutes=240, **looks)
    rows = lurker.open(tmp_path / "ws").scan(COMMENTS).collect()
    assert not rows["is_score_hidden"].any()
    seen = lurker.open(tmp_path / "ws").scan(OBSERVATIONS).filter(kind="comment").collect()
    n_looks = rows.select("comment_id", "was_score_hidden").join(
        seen.group_by("item_id").len(), left_on="comment_id", right_on="item_id"
    )
    assert n_looks.filter("was_score_hidden")["len"].unique().to_list() == [1]
    assert n_looks.filter(~pl.col("was_score_hidden"))["len"].unique().to_list() == [2]
    early = zstandard.ZstdDecompressor().stream_reader(report.files[2].open("rb")).read().splitlines()
    ages = [line["retrieved_on"] - line["created_utc"] for line in map(json.loads, early) if line["score_hidden"]]
    assert len(ages) > 50 and max(ages) < 240 * 60


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_readers_of_contest_threads_fall_with_delay_as_configured(effect):
    _, comments = world(contest_share=1.0, contest_delay_effect=effect, size_effect=0.0, down_rate=0.0, max_words=20)
    log_delay = np.log1p(comments["delay_s"].to_numpy() / 600)
    slope = np.polyfit(log_delay, comments["log_exposure"] + 0.5 * (comments["parent_index"] >= 0), 1)[0]
    assert slope == pytest.approx(-effect, abs=1e-9)
    binned = (
        comments.with_columns(bin=pl.Series(np.rint(log_delay))).group_by("bin").agg(pl.col("ups").mean(), pl.len())
    )
    common = binned.filter(pl.col("len") > 800)
    slope_of_votes = np.polyfit(common["bin"], np.log(common["ups"]), 1, w=np.sqrt(common["len"]))[0]
    assert slope_of_votes == pytest.approx(-effect, abs=0.08)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_first_looks_change_no_other_draw_and_are_a_thinning(share):
    _, once = world(down_rate=0.05)
    _, twice = world(down_rate=0.05, first_look_share=share)
    looks = ["first_score", "first_is_controversial", "first_look_s"]
    assert_frame_equal(once.drop(looks), twice.drop(looks))
    assert once.select(looks).null_count().row(0) == (once.height,) * 3
    votes, first = (twice["ups"] - twice["downs"]).to_numpy(), twice["first_score"].to_numpy() - 1
    assert (first <= twice["ups"].to_numpy()).all() and (first >= -twice["downs"].to_numpy()).all()
    n_votes = (twice["ups"] + twice["downs"]).to_numpy()
    error = first - share * votes
    assert abs(error.sum()) < 4 * np.sqrt(share * (1 - share) * n_votes.sum())
    assert (error**2).sum() / (share * (1 - share) * n_votes.sum()) == pytest.approx(1, abs=0.05)
    assert twice["first_look_s"].is_between(3_600, 43_200).all()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.6])
def test_the_herds_early_voters_are_seen_first(share):
    """Early upvotes follow from log_herding: a first look takes from them before it takes from the others."""
    config = SimulationConfig(herding_effect=0.8, early_share=0.2, down_rate=0.0)
    _, comments = world(herding_effect=0.8, early_share=0.2, down_rate=0.0, first_look_share=share)
    ups = comments["expected_score"].to_numpy() - 1
    early = np.exp(comments["log_herding"].to_numpy() / config.herding_effect) * (1 + config.early_share * ups) - 1
    early, first = np.rint(early).astype(int), comments["first_score"].to_numpy() - 1
    assert early.sum() > 1_000
    if share == config.early_share:
        assert (first == early).all()
    elif share < config.early_share:
        assert (first <= early).all()
        assert first.sum() / early.sum() == pytest.approx(share / config.early_share, abs=0.02)
    else:
        late, first_late = comments["ups"].to_numpy() - early, first - early
        assert (first_late >= 0).all() and (first_late <= late).all()
        assert first_late.sum() / late.sum() == pytest.approx(0.5, abs=0.02)


def test_each_look_has_its_own_fuzz():
    _, plain = world(first_look_share=0.4)
    _, fuzzed = world(first_look_share=0.4, vote_fuzzing=0.8)
    first_fuzz = (fuzzed["first_score"] - plain["first_score"]).to_numpy()
    standard = first_fuzz / np.sqrt(1 + plain["first_score"].abs().to_numpy())
    large = plain["first_score"].abs().to_numpy() > 20
    assert standard[large].std() == pytest.approx(0.8, rel=0.1)
    assert abs(np.corrcoef(first_fuzz[large], fuzzed["fuzz"].to_numpy()[large])[0, 1]) < 0.1


def test_both_looks_are_written_and_ingested(tmp_path):
    knobs = {"first_look_share": 0.3, "contest_share": 0.2, "deleted_share": 0.1, "down_rate": 0.05, **BOTH_LOOKS}
    report = ingest.simulate(tmp_path / "ws", n_posts=150, **knobs)
    assert [path.name for path in report.files] == ["RS_sim.zst", "RC_sim.zst", "RC_sim_early.zst"]
    ((posts, comments),) = simulate(SimulationConfig(n_posts=150, **knobs))
    workspace = lurker.open(tmp_path / "ws")
    rows = workspace.scan(COMMENTS).collect()
    assert rows["is_controversial"].sum() == comments["is_controversial"].sum() > 0
    assert rows["score"].sum() == comments["score"].sum()
    looks = workspace.scan(OBSERVATIONS).filter(kind="comment").sort("observed_utc").collect()
    first = looks.unique("item_id", keep="first", maintain_order=True)
    assert looks.height == 2 * comments.height and first.height == comments.height
    assert first["score"].sum() == comments["first_score"].sum()
    assert first["is_controversial"].sum() == comments["first_is_controversial"].sum() > 0
    gone = rows.filter("is_deleted")
    assert gone.height == (comments["removal"] != "").sum() > 10
    assert gone["body"].str.contains("^[A-Z].* ").all()  # the text of the first look
    delay = gone["first_retrieved_utc"] - gone["created_utc"]
    assert delay.is_between(3_600, 43_200).all()
    kept = workspace.scan(POSTS).collect()
    assert kept["is_contest"].sum() == posts.filter(~pl.col("is_nsfw"))["is_contest"].sum() > 0
    truth = workspace.scan(TRUTH).collect()
    assert truth["net_vote_rate"].null_count() == 0


def test_the_default_world_is_seen_once_and_keeps_its_fingerprint(tmp_path):
    """Version 2 wrote this fingerprint for the same parameters: its workspaces take the simulation again."""
    workspace = lurker.open(tmp_path / "ws")
    files = write_simulation(workspace, SimulationConfig(n_posts=1_500))
    assert [path.name for path in files] == ["RS_sim.zst", "RC_sim.zst"]
    assert workspace.manifest(TRUTH, "SimAdvice")["simulation"] == "6e7882fa9c04"
    lines = zstandard.ZstdDecompressor().stream_reader(files[1].open("rb")).read().splitlines()
    flags = [json.loads(line)["controversiality"] for line in lines[:5_000]]
    assert set(flags) <= {0, 1}


@pytest.mark.parametrize("field", ["contest_share", "hidden_share", "first_look_share"])
def test_shares_are_checked(field):
    with pytest.raises(ValueError, match=f"{field} must be between 0 and 1, got 1.5"):
        SimulationConfig(**{field: 1.5})
