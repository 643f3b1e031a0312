"""What a transfer experiment shows: order by overlap of tastes, paired differences, power, the map, the sentence."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import features
import ingest
from lurker.errors import CallError
from lurker.files import read_json
from lurker.pair_sets import read_pair_set
from lurker.schema import TRANSFER_DIFFERENCES, check
from lurker.workspace import Workspace
from rm.api import transfer
from rm.experiments.community_map import classical_scaling
from rm.experiments.outcomes import Outcomes
from rm.experiments.paired import combine, over_posts_and_seeds
from rm.experiments.transfer import Transfer
from rm.experiments.transfer_findings import net_transfer
from tests.rm.conftest import planted_workspace, save_pairs

QUICK = {"epochs": 1, "min_steps": 8, "max_tokens": 64, "vocabulary_size": 400, "max_validation_pairs": 50}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return planted_workspace(tmp_path_factory.mktemp("transfer") / "workspace")


@pytest.fixture(scope="module")
def left_out(planted: Workspace) -> Transfer:
    pairs = read_pair_set(planted, "planted")
    return transfer(pairs, "scratch-10k", design="leave-one-out", seeds=2, n_workers=1, **QUICK)


def test_leave_one_out_compares_the_others_with_in_domain_at_equal_size(left_out: Transfer) -> None:
    folder = left_out.experiment.folder
    written = check(pl.read_parquet(folder / "transfer-differences.parquet"), TRANSFER_DIFFERENCES)
    assert written.equals(left_out.differences)
    own = written.filter(~pl.col("is_baseline"))
    cells = [("all others", "alpha"), ("all others", "beta"), ("alpha", "alpha"), ("beta", "beta")]
    assert own.select("source", "target").rows() == cells
    assert own["n_train_pairs"].unique().to_list() == [216] and own["n_seeds"].unique().to_list() == [2]
    runs = {
        row["source"] + row["target"]: read_json(
            left_out.experiment.workspace.root / "runs" / row["run_id"] / "config.json"
        )
        for row in left_out.frame.filter(~pl.col("is_baseline"), seed=0).to_dicts()
    }
    assert runs["all othersalpha"]["subreddits"] == ["beta"]  # nothing of the target is trained on
    assert runs["all othersalpha"]["test_subreddits"] == ["alpha"]


def test_differences_are_paired_and_their_interval_holds_posts_and_seeds(left_out: Transfer) -> None:
    rows = left_out.differences.filter(~pl.col("is_baseline")).to_dicts()
    accuracy = {(row["source"], row["target"]): row["accuracy"] for row in rows}
    for row in rows:
        if row["source"] == row["target"]:
            assert row["difference"] is None and row["posts_needed"] is None
        else:
            home = accuracy[row["target"], row["target"]]
            assert row["difference"] == pytest.approx(row["accuracy"] - home)
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert left_out.report()["sentence"] == left_out.sentence
    assert left_out.sentence in str(left_out)


def test_designs_share_their_cells_and_name_what_is_left_out(
    left_out: Transfer, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = read_pair_set(left_out.experiment.workspace, "planted")
    pooled = transfer(pairs, "scratch-10k", design="pooled", seeds=2, n_workers=1, **QUICK)
    assert "4 of 6 cells are already finished." in capsys.readouterr().err
    assert set(pooled.differences["source"]) == {"all communities", "alpha", "beta"}
    with pytest.raises(CallError, match="217 training pairs"):
        transfer(pairs, "scratch-10k", min_pairs=217)
    assert "r/alpha is left out: 216 training pairs, and 217 are needed" in capsys.readouterr().err
    with pytest.raises(CallError, match="function of its own"):
        transfer(pairs, "scratch-10k", design="few-shot")  # type: ignore[arg-type]
    assert "the target itself" in pooled.plot().to_json()
    with pytest.raises(CallError, match="no map"):
        pooled.plot_map()


def test_a_crosspost_of_what_a_source_has_read_is_judged_by_no_model(planted: Workspace) -> None:
    frame = pl.read_parquet(planted.root / "pairs/planted/pairs.parquet")
    read = frame.filter(subreddit="alpha", split="train")["prompt"][0]
    copied = frame.filter(subreddit="beta", split="test")["post_id"][0]
    prompt = pl.when(post_id=copied).then(pl.lit(f"  {read.upper()}")).otherwise("prompt")
    save_pairs(planted, "crossposted", frame.with_columns(prompt=prompt))
    pairs = read_pair_set(planted, "crossposted")
    result = transfer(pairs, "scratch-10k", test="crossposted", n_workers=1, **QUICK)
    n_copied = frame.filter(post_id=copied).height
    assert result.findings["pairs_left_out"] == n_copied
    n_beta = frame.filter(subreddit="beta", split="test").height
    assert result.frame.filter(target="beta")["n_test_pairs"].unique().to_list() == [n_beta - n_copied]


@pytest.mark.slow
def test_the_order_of_transfer_is_that_of_the_overlap_of_tastes(tmp_path: Path) -> None:
    """SimStories, SimAdvice, SimScience, SimGames: neighbours share .6 of their tastes, two steps .36, three .22."""
    world = {"n_taste_words": 40, "delay_effect": 0.0, "length_effect": 0.0, "median_words": 12, "quality_effect": 1.5}
    ingest.simulate(tmp_path, n_posts=1_600, n_subreddits=4, taste_layout="chain", taste_shared=0.6, **world)
    pairs = features.build(tmp_path, "naive", max_pairs_per_post=10)
    result = transfer(pairs, "scratch-10k", test="naive", n_workers=1, **QUICK)
    place = {name: step for step, name in enumerate(("SimStories", "SimAdvice", "SimScience", "SimGames"))}
    for predictor in ("scratch-10k", "tfidf"):
        steps: dict[int, list[float]] = {0: [], 1: [], 2: [], 3: []}
        for row in result.differences.filter(predictor=predictor).to_dicts():
            steps[abs(place[row["source"]] - place[row["target"]])].append(row["accuracy"])
        means = [float(np.mean(values)) for values in steps.values()]
        assert means[0] > means[1] > max(means[2], means[3]), (predictor, means)
    order = [place[one["community"]] for one in result.findings["map"]["positions"]]
    assert order in ([0, 1, 2, 3], [3, 2, 1, 0])
    assert "loses accuracy" in result.sentence
    assert "Rank correlation" in result.plot_map().to_json()
    for one in result.findings["map"]["correlations"]:
        assert one["low"] <= one["correlation"] + 1e-9 and one["correlation"] <= one["high"] + 1e-9
        assert one["source"] != one["other"] or one["low"] == pytest.approx(1)


def test_the_interval_covers_a_known_difference_with_posts_and_seeds() -> None:
    """60 seeds' worth of tables whose mean is known: the interval misses it about as often as it should."""
    rng = np.random.default_rng(0)
    posts = np.repeat(np.arange(40), 5)
    misses = 0
    for _ in range(300):
        of_seeds, of_posts = rng.normal(0, 0.03, (4, 1)), np.repeat(rng.normal(0, 0.2, 40), 5)
        values = 0.05 + of_seeds + of_posts + rng.normal(0, 0.5, (4, 200))
        found = over_posts_and_seeds(values, posts)
        misses += not found.low <= 0.05 <= found.high
    assert misses <= 30  # 15 are expected at most; variances of posts and seeds overlap a little


@pytest.mark.parametrize("seeds", [(0, 1), (0, 2)])
def test_net_transfer_joins_seeds_by_their_number(seeds: tuple[int, int]) -> None:
    """Two sources, the second with other seeds than the first or the same: only common seeds have a variance."""
    rng = np.random.default_rng(3)
    posts = [f"p{number:02}" for number in range(40)]

    def rows(source: str, seeds: tuple[int, ...]) -> pl.DataFrame:
        one = {"pair_id": posts, "post_id": posts, "source": source, "predictor": "m", "target": "home"}
        parts = [pl.DataFrame({**one, "seed": seed, "is_correct": rng.integers(0, 2, 40) * 1.0}) for seed in seeds]
        return pl.concat(parts)

    home, sources = rows("home", (0, 1, 2)).with_columns(is_correct=pl.lit(0.5)), [rows("a", (0, 1)), rows("b", seeds)]
    net = net_transfer(Outcomes(pl.concat([home, *sources]), 0), "m")["all"]
    values = np.mean([part["is_correct"].to_numpy().reshape(2, 40) - 0.5 for part in sources], axis=0)
    expected = over_posts_and_seeds(values if seeds == (0, 1) else values.mean(axis=0), posts)
    assert (net.value, net.error) == pytest.approx((expected.value, expected.error))


def test_models_that_agree_on_few_posts_show_neither_an_effect_nor_that_there_is_none() -> None:
    """The same difference on every post has no variance: three posts name no effect, and no power is claimed."""
    for gain in (0.0, 1.0):
        found = over_posts_and_seeds(np.full((2, 9), gain), np.repeat(np.arange(3), 3))
        assert not found.is_named and found.low < gain - 0.5
        assert found.smallest_effect() > 0.5 and (found.posts_needed(0.02) or 0) > 1_000
    assert over_posts_and_seeds(np.ones((2, 30)), np.repeat(np.arange(10), 3)).is_named
    several = combine([1.0, 1.0], [0.0, 0.0], [3, 3])
    assert several.low == over_posts_and_seeds(np.ones((1, 3)), np.arange(3)).low  # either may have missed some


def test_power_is_what_a_simulation_finds() -> None:
    """At the number of posts that is told, the difference is found in about 80 % of tests."""
    rng = np.random.default_rng(1)
    pilot = over_posts_and_seeds(rng.normal(0.0, 1.0, (1, 2_000)), np.arange(2_000))
    n_posts = pilot.posts_needed(0.1)
    assert n_posts == pytest.approx(785, rel=0.1)  # (2.80 / 0.1)²
    found = [over_posts_and_seeds(rng.normal(0.1, 1.0, (1, n_posts)), np.arange(n_posts)).is_named for _ in range(300)]
    assert 0.72 < np.mean(found) < 0.88


def test_positions_recover_points_in_the_plane() -> None:
    points = np.random.default_rng(2).normal(size=(6, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    positions, shown = classical_scaling(distances)
    assert np.linalg.norm(positions[:, None] - positions[None], axis=2) == pytest.approx(distances, abs=1e-9)
    assert shown == pytest.approx(1)
