"""Quality in words, in their order and in what they answer: each part is what its share says, for the right reader."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import diags
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from ingest.simulator.communities import make_world
from ingest.simulator.config import SimulationConfig
from ingest.simulator.words import SUBJECT_WORDS, TURN_WORD
from ingest.simulator.world import simulate
from lurker.cli import run

ALL_PARTS = {"word_share": 0.4, "phrase_share": 0.35, "uptake_share": 0.25}
SHARES = [
    ALL_PARTS,
    {"word_share": 0.3, "phrase_share": 0.7, "uptake_share": 0.0},
    {"word_share": 0.6, "phrase_share": 0.0, "uptake_share": 0.4},
    {"word_share": 0.0, "phrase_share": 0.5, "uptake_share": 0.5},
]


def comments_of(config):
    """Comments without the moderators' ones, each with the title and the body of its post."""
    parts = []
    for posts, comments in simulate(config):
        prompts = posts.select("post", "title", prompt=pl.col("title") + " " + pl.col("body"))
        parts.append(comments.filter(~pl.col("is_sticky")).join(prompts, on="post", how="left"))
    return pl.concat(parts)


@pytest.fixture(scope="module")
def one_community():
    """All three parts, one community, 1,600 posts."""
    config = SimulationConfig(n_posts=1_600, n_subreddits=1, **ALL_PARTS)
    return make_world(config), comments_of(config)


def words_of(text):
    return text.lower().replace(".", "").split()


def standard(values):
    return (values - values.mean()) / values.std()


def read_parts(world, comments):
    """Mean weight of taste words, mean after minus before the turn, and share of the post's subject: from texts."""
    weight = dict(zip(world.words, world.weights[0], strict=False))
    rows = []
    for body, prompt in comments.select("body", "prompt").iter_rows():
        words = words_of(body)
        turn = words.index(TURN_WORD)
        before, after = (
            np.mean([weight[word] for word in half if word in weight]) for half in (words[:turn], words[turn + 1 :])
        )
        names = [word for word in words if word in SUBJECT_WORDS]
        (subject,) = {word for word in words_of(prompt) if word in SUBJECT_WORDS}
        rows.append(((before + after) / 2, after - before, np.mean([name == subject for name in names])))
    return np.array(rows)


def explained(features, quality):
    """Share of quality's variance that a linear reader, fitted on three quarters, explains in the rest."""
    n_known = 3 * len(quality) // 4
    fit = Ridge(alpha=1e-3, solver="sparse_cg" if hasattr(features, "tocsr") else "auto")
    fit.fit(features[:n_known], quality[:n_known])
    return 1 - np.var(quality[n_known:] - fit.predict(features[n_known:])) / np.var(quality[n_known:])


def bag_of_words(comments):
    """Share of each word among the words of a comment."""
    counts = CountVectorizer().fit_transform(comments["body"].to_list())
    return (diags(1 / np.asarray(counts.sum(axis=1)).ravel()) @ counts).tocsr()


def test_a_reader_of_all_parts_knows_quality_and_a_bag_of_words_its_share(one_community):
    """Within one length, since each part is standardised for its number of words."""
    world, comments = one_community
    same_length = comments.filter(pl.col("n_words").is_between(18, 22))
    parts, quality = read_parts(world, same_length), same_length["quality"].to_numpy()
    assert explained(parts, quality) > 0.97
    each = [explained(parts[:, [n]], quality) for n in range(3)]
    assert each == pytest.approx([*ALL_PARTS.values()], abs=0.05)
    everything = comments["quality"].to_numpy()
    assert explained(bag_of_words(comments), everything) == pytest.approx(ALL_PARTS["word_share"], abs=0.04)


@pytest.mark.parametrize("shares", SHARES)
def test_shares_are_shares_of_variance(shares):
    comments = comments_of(SimulationConfig(n_posts=2_000, n_subreddits=1, **shares))
    quality = comments["quality"].to_numpy()
    assert quality.mean() == pytest.approx(0, abs=0.03)
    assert quality.std() == pytest.approx(1, abs=0.04)
    assert explained(bag_of_words(comments), quality) == pytest.approx(shares["word_share"], abs=0.04)


def test_order_and_uptake_are_in_no_bag_of_words_and_no_bigrams():
    config = SimulationConfig(n_posts=2_000, n_subreddits=1, word_share=0.0, phrase_share=0.5, uptake_share=0.5)
    comments = comments_of(config)
    counts = CountVectorizer(ngram_range=(1, 2), min_df=5).fit_transform(comments["body"].to_list()).astype(float)
    fit = Ridge(alpha=30.0, solver="sparse_cg").fit(counts[::2], comments["quality"].to_numpy()[::2])
    assert abs(np.corrcoef(fit.predict(counts[1::2]), comments["quality"].to_numpy()[1::2])[0, 1]) < 0.07


def test_what_comes_after_the_turn_counts_for_more(one_community):
    """A phrase read backwards has the opposite value: weights of words before the turn count with a minus."""
    world, _ = one_community
    phrases = comments_of(SimulationConfig(n_posts=1_600, n_subreddits=1, word_share=0.0, phrase_share=1.0))
    weight = dict(zip(world.words, world.weights[0], strict=False))
    for sign, side in ((-1, 0), (1, 1)):
        halves = [words_of(body.lower().split(TURN_WORD)[side]) for body in phrases["body"]]
        means = [np.mean([weight[word] for word in half if word in weight]) for half in halves]
        assert np.corrcoef(means, phrases["quality"])[0, 1] == pytest.approx(sign / np.sqrt(2), abs=0.04)


def test_the_subject_is_known_from_the_post_alone(one_community):
    _, comments = one_community
    named = comments.select(
        "post", "title", name=pl.col("body").str.to_lowercase().str.extract_all("[a-z]+")
    ).explode("name", empty_as_null=True).filter(pl.col("name").is_in(SUBJECT_WORDS))  # fmt: skip
    is_own = named.select(pl.col("title").str.to_lowercase().str.contains(pl.col("name"))).to_series()
    assert is_own.mean() == pytest.approx(0.5, abs=0.01)
    by_name = named.with_columns(is_own=is_own).group_by("name").agg(pl.col("is_own").mean(), pl.len())
    assert by_name.height == 12
    assert by_name["is_own"].is_between(0.35, 0.65).all()  # threads of one subject may be larger by chance


@pytest.mark.parametrize("shares", SHARES)
def test_no_confounder_reads_any_part(shares):
    """Length in words and characters, sentences, delay and place in the thread."""
    comments = comments_of(SimulationConfig(n_posts=3_000, n_subreddits=1, **shares))
    confounders = comments.select(
        "n_words",
        "delay_s",
        "thread_index",
        chars=pl.col("body").str.len_chars(),
        sentences=pl.col("body").str.count_matches(r"\."),
        capitals=pl.col("body").str.count_matches("[A-Z]"),
        is_reply=pl.col("parent_index") >= 0,
    )
    for name in confounders.columns:
        values = confounders[name].cast(pl.Float64).rank().to_numpy()
        assert abs(np.corrcoef(values, comments["quality"].to_numpy())[0, 1]) < 0.04, name


def test_parts_change_neither_threads_nor_lengths():
    plain, parts = (comments_of(SimulationConfig(n_posts=300, **shares)) for shares in ({}, ALL_PARTS))
    kept = ["post", "thread_index", "parent_index", "created_utc", "n_words", "log_exposure"]
    assert parts.select(kept).equals(plain.select(kept))


def test_short_comments_have_room_for_every_part():
    config = SimulationConfig(n_posts=300, min_words=6, max_words=9, taste_word_share=0.5, **ALL_PARTS)
    comments = comments_of(config)
    assert set(comments["n_words"]) == {6, 7, 8, 9}
    assert comments["quality"].is_finite().all()
    assert comments["quality"].std() == pytest.approx(1, abs=0.1)
    assert (comments["body"].str.to_lowercase().str.count_matches(rf"\b{TURN_WORD}\b") == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["phrase_share=0.3"], "must sum to 1, got word_share=1.0, phrase_share=0.3, uptake_share=0.0"),
        (["word_share=-0.5", "phrase_share=1.5"], "word_share must be between 0 and 1, got -0.5"),
        (["word_share=0.5", "phrase_share=0.5", "min_words=4"], "min_words ≥ 6"),
        (["word_share=0.5", "uptake_share=0.5", "taste_word_share=0.8"], "taste_word_share ≤ 0.5"),
        (["n_subjects=1"], "n_subjects must be 2–24, got 1"),
        (["subject_word_share=0.5"], "subject_word_share must be between 0 and 0.25, got 0.5"),
    ],
)
def test_impossible_parts_are_named(tmp_path, capsys, settings, message):
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert run(["--workspace", str(tmp_path / "ws"), "ingest", "simulate", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
