"""The simulator's truth is recovered from what it writes."""

import itertools
import json

import numpy as np
import polars as pl
import pytest
import zstandard

from ingest.simulator.communities import make_world, tastes
from ingest.simulator.config import SimulationConfig
from ingest.simulator.dump import write_simulation
from ingest.simulator.world import simulate
from lurker.cli import run
from lurker.errors import LurkerError
from lurker.schema import COMMENTS, POSTS, TASTES, TRUTH, check
from lurker.workspace import open_workspace


@pytest.fixture(scope="module")
def reddit(tmp_path_factory):
    """A workspace with 3,000 simulated posts, ingested."""
    root = tmp_path_factory.mktemp("simulated") / "ws"
    assert run(["--workspace", str(root), "ingest", "simulate", "--seed", "1", "--json"]) == 0
    return open_workspace(root)


@pytest.fixture(scope="module")
def responses(reddit):
    """Top-level comments with their truth, delay and length."""
    posts = reddit.scan(POSTS).select("post_id", post_utc="created_utc")
    return (
        reddit.scan(COMMENTS)
        .filter("is_top_level")
        .join(reddit.scan(TRUTH).drop("post_id", "subreddit"), on="comment_id")
        .join(posts, on="post_id")
        .with_columns(
            delay_s=pl.col("created_utc") - pl.col("post_utc"), chars=pl.col("body").str.len_chars().cast(pl.Int64)
        )
        .collect()
    )


@pytest.fixture(scope="module")
def pairs(responses):
    """Any two responses of a post with different scores, at most 50 a post."""
    columns = responses.select("post_id", "comment_id", "delay_s", "chars", "score", "quality")
    both = columns.join(columns, on="post_id", suffix="_2").filter(
        (pl.col("comment_id") < pl.col("comment_id_2")) & (pl.col("score") != pl.col("score_2"))
    )
    order = pl.concat_str("comment_id", "comment_id_2").hash(0).rank("ordinal").over("post_id")
    return both.filter(order <= 50)


def names_the_winner(pairs, larger):
    """Share of pairs whose winner has the larger value; ties count half."""
    won = pl.col("score") > pl.col("score_2")
    difference = pl.col(larger) - pl.col(f"{larger}_2")
    agrees = pl.when(difference == 0).then(0.5).otherwise(((difference > 0) == won).cast(pl.Float64))
    return pairs.select(agrees.mean()).item()


def test_the_truth_is_complete(reddit, responses):
    assert reddit.subreddits(TRUTH) == ["SimAdvice", "SimScience", "SimStories"]
    truth = check(reddit.scan(TRUTH).collect(), TRUTH)
    comments = reddit.scan(COMMENTS).filter(~pl.col("is_deleted"), ~pl.col("is_stickied")).collect()
    assert set(truth["comment_id"]) == set(comments["comment_id"])
    known = check(pl.read_parquet(reddit.root / "truth" / "tastes.parquet"), TASTES)
    assert known.height == 3 * 120


def test_quality_depends_on_the_words_only(reddit, responses):
    """Weights read from tastes.parquet, words from the ingested text: the mean weight orders like the quality."""
    weights = pl.read_parquet(reddit.root / "truth" / "tastes.parquet")
    words = responses.select(
        "comment_id", "subreddit", "quality", word=pl.col("body").str.to_lowercase().str.extract_all("[a-z]+")
    ).explode("word", empty_as_null=True)
    means = words.join(weights, on=["subreddit", "word"]).group_by("comment_id").agg(
        pl.col("weight").mean(), pl.col("quality").first(), n_taste=pl.len()
    )  # fmt: skip
    for (_,), same_length in means.filter(pl.col("n_taste") < 12).group_by("n_taste"):
        assert same_length.select(pl.corr("weight", "quality")).item() == pytest.approx(1, abs=0.01)


def test_quality_is_standardised_and_independent_of_length(responses):
    assert responses["quality"].mean() == pytest.approx(0, abs=0.03)
    for (_,), part in responses.group_by(pl.col("chars") // 60):
        if part.height > 1_000:
            assert part["quality"].std() == pytest.approx(1, abs=0.05)
            assert abs(part["quality"].mean()) < 0.1


def test_the_shortcuts_are_as_strong_as_on_reddit(pairs):
    earlier = 1 - names_the_winner(pairs, "delay_s")
    assert 0.74 < earlier < 0.81
    assert 0.54 < names_the_winner(pairs, "chars") < 0.60


def test_quality_predicts_the_winner_at_matched_time_and_length(pairs):
    delay, length = pl.col("delay_s") / pl.col("delay_s_2"), pl.col("chars") / pl.col("chars_2")
    matched = pairs.filter(delay.log().abs() < np.log(1.25), length.log().abs() < np.log(1.25))
    assert matched.height > 700
    assert 0.73 < names_the_winner(matched, "quality") < 0.81
    assert 0.45 < names_the_winner(matched, "chars") < 0.56


def test_the_expected_score_is_the_mean_of_the_scores(responses):
    for (_,), part in responses.group_by(pl.col("expected_score").clip(0.1).log().round().cast(pl.Int64)):
        if part.height > 500:
            error = (part["score"] - part["expected_score"]).mean()
            spread = (part["score"] - part["expected_score"]).std() / np.sqrt(part.height)
            assert abs(error) < 5 * spread


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.5, 1.0])
def test_tastes_correlate_as_configured(shared):
    weights = make_world(SimulationConfig(taste_shared=shared, n_subreddits=4)).weights
    for one, other in itertools.combinations(weights, 2):
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(shared, abs=1e-9)
    assert weights.std(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0])
def test_tastes_of_a_chain_correlate_less_the_farther_apart(shared):
    weights = make_world(SimulationConfig(taste_shared=shared, taste_layout="chain", n_subreddits=4)).weights
    steps = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    assert np.corrcoef(weights) == pytest.approx(shared**steps, abs=1e-9)
    assert weights.std(axis=1) == pytest.approx(1)


def test_taste_transfers_by_its_shared_part(responses, reddit):
    """Learned from scores alone: regress log score on words in each community, then correlate the coefficients."""
    weights = pl.read_parquet(reddit.root / "truth" / "tastes.parquet")
    words = sorted(set(weights["word"]))
    learned = []
    for name in reddit.subreddits(TRUTH):
        part = responses.filter(pl.col("subreddit") == name)
        column = {word: number for number, word in enumerate(words)}
        counts = np.zeros((part.height, len(words)))
        for row, body in enumerate(part["body"]):
            for word in body.lower().replace(".", "").split():
                if word in column:
                    counts[row, column[word]] += 1
        counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
        target = np.log(part["score"].clip(1).to_numpy()) - np.log1p(np.exp(part["log_exposure"].to_numpy()) / 10)
        learned.append(np.linalg.lstsq(np.c_[counts, np.ones(part.height)], target, rcond=None)[0][:-1])
        truth = weights.filter(pl.col("subreddit") == name).sort("word")["weight"].to_numpy()
        assert np.corrcoef(learned[-1], truth)[0, 1] > 0.9
    for one, other in itertools.combinations(learned, 2):
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("knobs", "low", "high"), [({"delay_effect": 0.0}, 0.47, 0.53), ({"delay_effect": 3.0}, 0.85, 1.0)]
)
def test_the_delay_effect_sets_the_time_shortcut(knobs, low, high):
    _, comments = next(simulate(SimulationConfig(n_posts=1_000, **knobs)))
    top = comments.filter(pl.col("parent_index") < 0, ~pl.col("is_sticky")).select("post", "delay_s", "score")
    both = top.join(top, on="post", suffix="_2").filter(
        pl.col("delay_s") < pl.col("delay_s_2"), pl.col("score") != pl.col("score_2")
    )
    assert (
        low
        < names_the_winner(both.with_columns(delay_s=-pl.col("delay_s"), delay_s_2=-pl.col("delay_s_2")), "delay_s")
        < high
    )


def readable(**knobs):
    """Comments of two thousand posts by position, without the moderators' ones."""
    chunks = [comments for _, comments in simulate(SimulationConfig(n_posts=2_000, **knobs))]
    return pl.concat(chunks).filter(~pl.col("is_sticky")).sort("comment_number")


def mean_ups(comments, config):
    """Upvotes a comment gets on average without herding, from its truth."""
    return config.up_rate * np.exp(
        comments["log_exposure"].to_numpy()
        + config.length_effect * np.log(comments["n_words"].to_numpy() / config.median_words)
        + config.quality_effect * comments["quality"].to_numpy()
    )


def test_herding_changes_votes_as_recorded_in_the_truth():
    """Early upvotes follow from log_herding; the later ones must be what they and the vote's spread predict."""
    config = SimulationConfig(herding_effect=0.6)
    alone, herd = readable(), readable(herding_effect=0.6)
    assert herd["quality"].equals(alone["quality"])
    assert (alone["log_herding"] == 0).all()
    ups, log_herding = mean_ups(herd, config), herd["log_herding"].to_numpy()
    early = np.exp(log_herding / config.herding_effect) * (1 + config.early_share * ups) - 1
    assert early == pytest.approx(np.rint(early), abs=1e-6)
    assert np.corrcoef(early, config.early_share * ups)[0, 1] > 0.7
    spread = (config.vote_spread + early) / (config.vote_spread + config.early_share * ups)
    downs = 1 + ups - herd["expected_score"].to_numpy()
    foretold = 1 + early + (1 - config.early_share) * ups * spread * np.exp(log_herding) - downs
    for low, high in ((-9, -0.3), (-0.3, -0.1), (-0.1, 0.1), (0.1, 0.4), (0.4, 9)):
        rows = (log_herding > low) & (log_herding <= high)
        error = herd["score"].to_numpy()[rows] - foretold[rows]
        assert rows.sum() > 200
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(rows.sum())


def test_herding_makes_luck_larger_and_taste_harder_to_read():
    def spread_of_luck(comments):
        seen = comments.filter(pl.col("expected_score") > 20)
        return (seen["score"].clip(1) / seen["expected_score"]).log().std()

    assert spread_of_luck(readable(herding_effect=1.0)) > 1.1 * spread_of_luck(readable())


def test_fuzz_matches_the_truth_and_the_configured_size():
    plain, fuzzed = readable(), readable(vote_fuzzing=0.8)
    assert (plain["fuzz"] == 0).all()
    assert (fuzzed["score"] - fuzzed["fuzz"]).equals(plain["score"], check_names=False)
    standard = fuzzed["fuzz"] / (1 + plain["score"].abs()).sqrt()
    assert standard.mean() == pytest.approx(0, abs=0.03)
    large = standard.filter(plain["score"].abs() > 30)
    assert large.std() == pytest.approx(0.8, rel=0.06)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_deleted_share_is_as_configured(share):
    comments = readable(deleted_share=share)
    assert (comments["removal"] != "").mean() == pytest.approx(share, abs=0.01)
    assert (comments.filter(pl.col("removal") == "deleted")["author"] == "[deleted]").all()


def test_deletion_depends_on_quality_as_configured():
    """Log-odds of deletion fall by the knob for each standard deviation of quality."""
    comments = readable(deleted_share=0.3, deletion_effect=0.9)
    by_quality = comments.group_by(pl.col("quality").round()).agg(
        (pl.col("removal") != "").mean().alias("gone"), pl.len()
    )
    common = by_quality.filter(pl.col("len") > 1_000).sort("quality")
    odds = (common["gone"] / (1 - common["gone"])).log()
    slope = np.polyfit(common["quality"], odds, 1, w=np.sqrt(common["len"]))[0]
    assert common.height >= 4
    assert slope == pytest.approx(-0.9, abs=0.12)
    assert common.filter(pl.col("quality") == 0)["gone"].item() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(("effect", "low", "high"), [(0.0, 0.47, 0.53), (1.6, 0.58, 0.8)])
def test_the_length_effect_sets_the_length_shortcut(effect, low, high):
    comments = readable(length_effect=effect).filter(pl.col("parent_index") < 0)
    columns = comments.select("post", "subreddit", "thread_index", "n_words", "score")
    both = columns.join(columns, on=["post", "subreddit"], suffix="_2").filter(
        pl.col("thread_index") < pl.col("thread_index_2"), pl.col("score") != pl.col("score_2")
    )
    assert low < names_the_winner(both, "n_words") < high


@pytest.mark.parametrize("effect", [0.0, 0.8, 1.2])
def test_exposure_depends_on_thread_size_as_configured(effect):
    """Log of the mean score against log of the thread's size, among top-level comments: its slope is the knob."""
    comments = readable(size_effect=effect, delay_effect=0.0, down_rate=0.0).filter(pl.col("parent_index") < 0)
    sized = comments.with_columns(size=pl.len().over(pl.col("created_utc") - pl.col("delay_s"), "subreddit"))
    means = sized.group_by((pl.col("size").log() * 2).round()).agg(
        (pl.col("score") - 1).mean().log().alias("log_mean"), pl.col("size").log().mean().alias("log_size"), pl.len()
    )
    means = means.filter(pl.col("len") > 300)
    assert means.height >= 4
    assert np.polyfit(means["log_size"], means["log_mean"], 1)[0] == pytest.approx(effect, abs=0.12)


def test_the_same_seed_writes_the_same_lines(tmp_path):
    def lines(name, **knobs):
        workspace = open_workspace(tmp_path / name, create=True)
        files = write_simulation(workspace, SimulationConfig(n_posts=60, **knobs))
        return [zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read() for path in files]

    one = lines("one")
    assert one == lines("two")
    assert one != lines("three", seed=1)
    post, comment = (json.loads(content.split(b"\n")[0]) for content in one)
    assert len(post) > 50
    assert len(comment) > 45


def test_a_thread_does_not_depend_on_the_number_of_posts():
    (small, _), (large, _) = (next(simulate(SimulationConfig(n_posts=n))) for n in (40, 900))
    assert large.head(40).equals(small)


def test_every_irregularity_is_simulated_and_survives_ingest(reddit):
    comments = reddit.scan(COMMENTS).collect()
    for flag in ("is_deleted", "is_stickied", "is_distinguished", "is_by_op", "is_edited"):
        assert 0 < comments[flag].mean() < 0.2, flag
    assert 0 < comments["author_hash"].is_null().mean() < 0.2
    assert 0.2 < (~comments["is_top_level"]).mean() < 0.5
    assert set(comments["source"]) == {"simulator"}
    answered = comments.filter(~pl.col("is_top_level")).join(
        comments.select("post_id", parent_id="comment_id", parent_utc="created_utc"), on=["post_id", "parent_id"]
    )
    assert answered.height == (~comments["is_top_level"]).sum()
    assert (answered["parent_utc"] <= answered["created_utc"]).all()
    assert 0 < 3_000 - reddit.scan(POSTS).collect().height < 100  # NSFW posts are left out


def test_a_workspace_holds_one_simulation(tmp_path):
    workspace = open_workspace(tmp_path / "ws", create=True)
    write_simulation(workspace, SimulationConfig(n_posts=20))
    write_simulation(workspace, SimulationConfig(n_posts=20))
    with pytest.raises(LurkerError, match="another seed"):
        write_simulation(workspace, SimulationConfig(n_posts=20, seed=1))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("taste_shared=2", "taste_shared"),
        ("early_share=-1", "early_share"),
        ("vote_fuzzing=-1", "vote_fuzzing"),
        ("herding_effect=much", "herding_effect"),
        ("n_subreddits=0", "1–8"),
        ("colour=red", "Unknown field"),
        ("seed", "field"),
    ],
)
def test_an_invalid_parameter_is_named(tmp_path, capsys, assignment, message):
    assert run(["--workspace", str(tmp_path / "ws"), "ingest", "simulate", "--set", assignment]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()


def test_no_ingest_writes_only_dumps_and_truth(tmp_path, capsys):
    root = tmp_path / "ws"
    assert run(["--workspace", str(root), "ingest", "simulate", "--posts", "20", "--no-ingest"]) == 0
    assert "ingest dump" in capsys.readouterr().out
    workspace = open_workspace(root)
    assert workspace.subreddits(COMMENTS) == []
    assert workspace.subreddits(TRUTH) != []
    assert tastes(make_world(SimulationConfig())).equals(pl.read_parquet(root / "truth" / "tastes.parquet"))
