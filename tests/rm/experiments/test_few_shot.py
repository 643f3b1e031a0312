"""Few-shot transfer on planted tastes, its exchange rates, and that no pair read before is judged."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lurker.errors import CallError
from lurker.files import read_json
from lurker.pair_sets import read_pair_set
from lurker.schema import FEW_SHOT, FEW_SHOT_DIFFERENCES, check
from lurker.workspace import Workspace
from rm.api import few_shot, train
from rm.experiments.exchange import in_words, worth
from rm.experiments.few_shot import FewShot
from rm.experiments.few_shot_findings import _rate, _rate_sentence
from tests.rm.conftest import planted_pairs, planted_workspace, save_pairs

QUICK = {"epochs": 2, "min_steps": 20, "max_tokens": 64, "vocabulary_size": 400, "learning_rate": "3e-3"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> FewShot:
    workspace = planted_workspace(tmp_path_factory.mktemp("few-shot") / "workspace")
    pairs = read_pair_set(workspace, "planted")
    return few_shot(pairs, "scratch-10k", "beta", sizes=(0, 30), source_sizes=(30, 200), n_workers=1, **QUICK)


def test_a_start_taught_elsewhere_stands_beside_nothing(result: FewShot) -> None:
    folder = result.experiment.folder
    assert check(pl.read_parquet(folder / "few-shot.parquet"), FEW_SHOT).equals(result.frame)
    assert check(pl.read_parquet(folder / "few-shot-differences.parquet"), FEW_SHOT_DIFFERENCES).height > 6
    models = result.differences.filter(~pl.col("is_baseline"))
    arms = models.select("start", "n_target_pairs", "n_validation_pairs", "n_source_pairs").rows()
    assert arms == [("others", 0, 0, 30), ("others", 0, 0, 200), ("nothing", 30, 20, None), ("others", 30, 20, 200)]
    assert models.filter(n_source_pairs=200)["accuracy"].min() > 0.8  # alpha and beta share their taste
    assert read_json(folder / "findings.json")["sentence"] == result.sentence
    assert "30 target pairs alone" in str(result) and result.report()["sentence"] == result.sentence
    drawn = result.plot().to_json()
    assert "nothing" in drawn and "others" in drawn


def test_gains_are_paired_with_the_same_pairs_of_nothing(result: FewShot) -> None:
    accuracy = {
        (row["start"], row["n_source_pairs"]): row for row in result.differences.filter(n_target_pairs=30).to_dicts()
    }
    tuned, alone = accuracy["others", 200], accuracy["nothing", None]
    assert tuned["difference"] == pytest.approx(tuned["accuracy"] - alone["accuracy"])
    assert tuned["difference_low"] < tuned["difference"] < tuned["difference_high"]
    assert (tuned["difference_low"] > 0) == ("a start gains over nothing" in result.sentence)


def test_a_start_that_has_read_the_target_is_refused(result: FewShot, tmp_path: Path) -> None:
    pairs = read_pair_set(result.experiment.workspace, "planted")
    run = train(pairs, "scratch-10k", max_pairs=40, subreddits="beta", tests="planted", run_id="seen", **QUICK)
    with pytest.raises(CallError, match="trained on pairs of r/beta already"):
        few_shot(pairs, "scratch-10k", "beta", sizes=(30,), starts=f"run:{run.run_id}")
    elsewhere = shutil.move(run.folder / "model", tmp_path / "export")  # what it has read travels with the model
    shutil.rmtree(run.folder)
    with pytest.raises(CallError, match=r"has read [\d,]+ of the [\d,]+ posts of beta"):
        few_shot(pairs, "scratch-10k", "beta", sizes=(30,), starts=str(elsewhere))
    with pytest.raises(CallError, match="Unknown model ''"):
        few_shot(pairs, "scratch-10k", "beta", sizes=(30,), starts="")
    with pytest.raises(CallError, match="holds Reddit's votes, and the target is external"):
        few_shot(pairs, "scratch-10k", "external")
    with pytest.raises(CallError, match="216 training pairs, 900 are needed"):
        few_shot(pairs, "scratch-10k", "beta", sizes=(900,))


def test_prompts_that_an_ancestor_has_read_under_another_id_are_not_judged(workspace: Workspace) -> None:
    """A crosspost: one test prompt of gamma is, in capitals, also a training prompt of the run that is the start."""
    run = train(
        read_pair_set(workspace, "planted"), "scratch-10k", max_pairs=60, tests="planted", run_id="votes", **QUICK
    )
    read = pl.read_parquet(workspace.root / "pairs/planted/pairs.parquet").filter(split="train")
    read = read.filter(subreddit="alpha")["prompt"].to_list()
    gamma = planted_pairs(20, ("gamma",), seed=5)
    test_posts = gamma.filter(split="test")["post_id"].unique().sort().to_list()
    trained = pl.DataFrame({"prompt": sorted(set(read))})
    from rm.training.identity import is_unseen

    unseen = is_unseen(run.folder / "model", "scratch-10k", trained.with_columns(post_id=pl.lit("none")))
    known = trained.filter(~unseen)["prompt"][0]
    prompt = pl.when(post_id=test_posts[0]).then(pl.lit(known.upper())).otherwise("prompt")
    save_pairs(workspace, "gamma", gamma.with_columns(prompt=prompt))
    found = few_shot(
        read_pair_set(workspace, "gamma"),
        "scratch-10k",
        "gamma",
        sizes=(0, 30),
        starts="run:votes",
        test="gamma",
        n_workers=1,
        **QUICK,
    )
    n_copied = gamma.filter(post_id=test_posts[0]).height
    assert found.findings["pairs_left_out"] == n_copied
    n_tested = gamma.filter(split="test").height - n_copied
    assert found.frame["n_test_pairs"].unique().to_list() == [n_tested]  # the start from nothing too


@pytest.fixture(scope="module")
def curve() -> tuple[tuple[int, ...], list[np.ndarray], np.ndarray]:
    """Accuracies .55, .65 and .75 at 100, 1,000 and 10,000 pairs, on 4,000 pairs of 400 posts."""
    rng = np.random.default_rng(3)
    draws = rng.random(4000)
    tables = [(draws < accuracy)[None].astype(float) for accuracy in (0.55, 0.65, 0.75)]
    return (100, 1_000, 10_000), tables, np.repeat(np.arange(400), 10)


def test_the_exchange_rate_recovers_the_size_that_reaches_a_goal(curve) -> None:
    sizes, tables, posts = curve
    rng = np.random.default_rng(4)
    goal = (rng.random((1, 4000)) < 0.70).astype(float)
    found = worth(sizes, tables, goal, posts)
    truth = 1_000 * 10**0.5
    assert found.low < truth < found.high and found.low > 1_000 and found.high < 10_000
    assert in_words(found, sizes).startswith("about")


@pytest.mark.parametrize(
    ("accuracy", "words"), [(0.85, "more than 10,000"), (0.4, "fewer than 100"), (0.745, "or more")]
)
def test_a_rate_beyond_the_sizes_is_a_bound(curve, accuracy: float, words: str) -> None:
    sizes, tables, posts = curve
    goal = (np.random.default_rng(5).random((1, 4000)) < accuracy).astype(float)
    assert words in in_words(worth(sizes, tables, goal, posts), sizes)


def test_a_flat_curve_cannot_tell(curve) -> None:
    sizes, _, posts = curve
    rng = np.random.default_rng(6)
    flat = [(rng.random((1, 4000)) < 0.6).astype(float) for _ in sizes]
    goal = (rng.random((1, 4000)) < 0.6).astype(float)
    assert in_words(worth(sizes, flat, goal, posts), sizes).startswith("cannot tell")


def test_one_size_cannot_tell_a_rate_and_the_sentence_says_so(curve) -> None:
    sizes, tables, posts = curve
    found = worth(sizes[:1], tables[:1], tables[1], posts)
    assert in_words(found, sizes[:1]) == "cannot tell: 1 size, and 2 are needed"
    rate = _rate("50 target pairs alone", found, sizes[:1], "source pairs")
    assert rate["words"] == "cannot tell: 1 size, and 2 are needed"
    assert _rate_sentence(rate) == "50 target pairs alone: their worth in source pairs cannot be told."
