import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lurker.cli import run
from lurker.digest import frame_sha256
from lurker.engine import Engine
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json, write_parquet
from lurker.schema import PAIRS, RECIPE_DIFFERENCES, RECIPES, TRUTH, check
from lurker.workspace import Workspace, open_workspace
from rm.experiments.config import Experiment
from rm.experiments.recipe_comparison import RecipesConfig, run_recipes
from tests.rm.conftest import change_pairs

QUICK = ("epochs=1", "min_steps=20", "max_tokens=64", "vocabulary_size=400", "with_delay=true")
N_POSTS = 100
SIDES = (("chosen", ""), ("rejected", "_2"))
CHARS = pl.col("text").str.len_chars()


def responses(seed: int = 0) -> pl.DataFrame:
    """Six responses per post: quality determines good and bad words, filler the length; delay shows in no word."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(N_POSTS):
        for position in range(6):
            quality = float(rng.normal())
            words = rng.choice(["good", "bad"], size=8, p=[(p := 1 / (1 + np.exp(-2 * quality))), 1 - p])
            filler = ["word"] * int(rng.integers(0, 12))
            row = {"comment_id": f"p{number}c{position}", "post_id": f"p{number}", "quality": quality}
            rows.append(row | {"text": " ".join([*words, *filler]), "delay_s": int(rng.integers(10, 90_000))})
    return pl.DataFrame(rows)


def pair_set(items: pl.DataFrame, name: str, score: pl.Expr) -> pl.DataFrame:
    """PAIRS of every two responses of a post, by the given score; posts 60 and on are test, 45 to 59 validation."""
    scored = items.with_columns(score=(100 * score).round().cast(pl.Int64) + 500, chars=CHARS.cast(pl.Int64))
    both = scored.join(scored, on="post_id", suffix="_2").filter(pl.col("score") > pl.col("score_2"))
    number = pl.col("post_id").str.slice(1).cast(pl.Int64)
    columns = {"chosen": "text", "chosen_id": "comment_id", "chosen_score": "score", "chosen_delay_s": "delay_s"}
    columns |= {"chosen_chars": "chars"}
    sides = {f"{side}{title[6:]}": pl.col(f"{of}{end}") for title, of in columns.items() for side, end in SIDES}
    frame = both.select(
        post_id="post_id",
        pair_id=pl.min_horizontal("comment_id", "comment_id_2") + "-" + pl.max_horizontal("comment_id", "comment_id_2"),
        subreddit=pl.lit("alpha"),
        split=pl.when(number >= 60)
        .then(pl.lit("test"))
        .when(number >= 45)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train")),
        prompt=pl.lit("The question."),
        label_confidence=pl.lit(0.9),
        weight=pl.lit(1.0),
        recipe=pl.lit(name),
        **sides,
    )
    return check(frame.sort("pair_id"), PAIRS)


def save(workspace: Workspace, name: str, frame: pl.DataFrame, deconfound: str = "none", hard_test: str = "a") -> None:
    folder = workspace.folder("pairs", name)
    write_parquet(frame, folder / "pairs.parquet")
    recipe = {"name": name, "deconfound": deconfound}
    digest = frame_sha256(frame)
    content = {"recipe": recipe, "n_pairs": frame.height, "hard_test": {"alpha": hard_test}, "pairs_sha256": digest}
    write_json(content, folder / "manifest.json")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Workspace]:
    """A workspace with `balanced`, whose scores are quality, and `naive`, whose scores are mostly length and delay."""

    def made(*, has_truth: bool = True) -> Workspace:
        workspace = open_workspace(tmp_path / "workspace", create=True)
        items = responses()
        quality, length = pl.col("quality"), CHARS / 20
        fair = pair_set(items, "balanced", quality)
        save(workspace, "balanced", fair, "balance")
        save(workspace, "naive", pair_set(items, "naive", quality + 2 * length - 2 * pl.col("delay_s").log1p()))
        save(workspace, "hard-test", fair.filter(pl.col("split") == "test").with_columns(recipe=pl.lit("hard-test")))
        if has_truth:
            known = items.select("comment_id", "post_id", "quality", subreddit=pl.lit("alpha"))
            truth = known.with_columns(log_exposure=pl.lit(0.0), expected_score=pl.lit(1.0))
            workspace.replace_partition(TRUTH, "alpha", [check(truth, TRUTH)])
        return workspace

    return made


ENGINES: tuple[Engine, ...] = ("local", "ray")


def compare(
    workspace: Workspace, config: RecipesConfig, name: str = "r", engine: Engine = "local"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    result = run_recipes(Experiment(workspace, name, engine, n_workers=1), config)
    return result.frame, result.differences


def config(**changes: object) -> RecipesConfig:
    return RecipesConfig(**{"pairs": ("naive", "balanced"), "n_seeds": 2, **changes})  # type: ignore[arg-type]


def only(table: pl.DataFrame, **values: object) -> dict[str, float]:
    rows = table.filter(*(pl.col(name).eq_missing(value) for name, value in values.items()))
    assert rows.height == 1, rows
    return rows.row(0, named=True)


def test_the_recipe_without_shortcuts_ranks_truth_better_and_follows_length_less(
    make: Callable[..., Workspace],
) -> None:
    workspace = make()
    table, differences = compare(workspace, config(sizes=(None, 100)))
    folder = workspace.root / "experiments/r"
    assert check(pl.read_parquet(folder / "recipes.parquet"), RECIPES).equals(table)
    assert check(pl.read_parquet(folder / "differences.parquet"), RECIPE_DIFFERENCES).equals(differences)
    assert read_json(folder / "manifest.json")["tests"] == ["hard-test", "balanced"]
    assert table.select(RECIPES.key).is_unique().all()
    for name in ("quality", "length"):
        lead = only(differences, measure=name, pairs="naive", max_pairs=100)
        assert lead["low"] > 0 if name == "quality" else lead["high"] < 0
    fair, shortcut = (
        only(table, pairs=pairs, predictor="tfidf", measure="length", max_pairs=None) for pairs in ("balanced", "naive")
    )
    assert abs(fair["value"]) < 0.15
    assert shortcut["value"] > 0.4
    accuracy = only(differences, measured_on="truth", part="all", measure="accuracy", max_pairs=100)
    assert accuracy["low"] > 0 and accuracy["mcnemar_p"] < 0.05
    gapped = only(table, pairs="naive", predictor="tfidf", measured_on="hard-test", part="gap >= 5", max_pairs=None)
    assert 0.5 < gapped["value"] < 1 and gapped["standard_error"] > 0
    seeds = table.filter((pl.col("predictor") == "tfidf") & (pl.col("measured_on") == "hard-test"))
    assert seeds.filter(pl.col("max_pairs").is_null())["seed"].unique().to_list() == [0]
    assert sorted(seeds.filter(pl.col("max_pairs") == 100)["seed"].unique()) == [0, 1]


def test_baselines_are_in_the_table_and_match_a_computation_by_hand(make: Callable[..., Workspace]) -> None:
    table, _ = compare(make(), config())
    pairs = pair_set(responses(), "balanced", pl.col("quality")).filter(pl.col("split") == "test")
    longer = only(table, pairs="naive", predictor="length", measured_on="hard-test", part="all")
    by_hand = (np.sign((pairs["chosen_chars"] - pairs["rejected_chars"]).to_numpy()) + 1).mean() / 2
    assert longer["value"] == pytest.approx(by_hand) and longer["is_baseline"]
    assert only(table, pairs="naive", predictor="time", measure="delay")["value"] == pytest.approx(-1, abs=1e-6)


def test_a_finished_cell_is_not_run_again_unless_its_pair_set_changes(make: Callable[..., Workspace]) -> None:
    workspace = make()
    table, _ = compare(workspace, config())
    rewards = sorted((workspace.root / "experiments/r/rewards").iterdir())
    before = [path.stat().st_mtime_ns for path in rewards]
    again, _ = compare(workspace, config(pairs=("balanced", "naive")))
    assert [path.stat().st_mtime_ns for path in rewards] == before
    keys = ["pairs", "predictor", "measure", "measured_on", "part"]
    assert again.sort(keys).equals(table.sort(keys))
    change_pairs(workspace, "naive", confounder_log_odds=pl.lit(0.5))
    compare(workspace, config())
    assert len(list((workspace.root / "experiments/r/rewards").iterdir())) == 3


@pytest.mark.slow
def test_a_cluster_gives_the_same_tables(make: Callable[..., Workspace]) -> None:
    workspace = make()
    here, there = (compare(workspace, config(n_seeds=1), engine, engine) for engine in ENGINES)
    for one, other in zip(here, there, strict=True):
        assert one.drop("run_id", strict=False).equals(other.drop("run_id", strict=False))


def test_a_set_with_log_odds_trains_adjusted(make: Callable[..., Workspace]) -> None:
    workspace = make()
    path = workspace.root / "pairs/naive/pairs.parquet"
    pairs = pl.read_parquet(path)
    gain = 0.1 * (pl.col("chosen_chars") - pl.col("rejected_chars")) - 2 * (
        pl.col("chosen_delay_s").log1p() - pl.col("rejected_delay_s").log1p()
    )
    adjusted = pairs.with_columns(confounder_log_odds=gain, recipe=pl.lit("adjusted"))
    save(workspace, "adjusted", adjusted, "adjust")
    table, _ = compare(workspace, config(pairs=("naive", "adjusted")))
    naive, ours = (only(table, pairs=p, predictor="tfidf", measure="quality") for p in ("naive", "adjusted"))
    assert ours["low"] > naive["high"]
    cells = read_json(workspace.root / "experiments/r/manifest.json")["cells"]
    assert len(cells) == 2 and any("adjusted" in cell for cell in cells)


def test_a_transformer_cell_is_a_run_and_reads_delays_if_configured(make: Callable[..., Workspace]) -> None:
    workspace = make()
    wanted = config(models=("scratch-10k",), sizes=(300,), n_seeds=1, settings=QUICK)
    table, _ = compare(workspace, wanted)
    models = table.filter(~pl.col("is_baseline"))
    assert sorted(models["run_id"].unique()) == workspace.names("runs", "result.json")
    assert models["n_train_pairs"].unique().to_list() == [300]
    assert {"length", "delay", "quality", "accuracy"} == set(models["measure"])


def test_without_truth_only_the_tests_are_reported(
    make: Callable[..., Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = make(has_truth=False)
    call = ["--workspace", str(workspace.root), "experiment", "recipes", "naive", "balanced", "--workers", "1"]
    assert run(call) == 0
    shown = capsys.readouterr()
    assert "gap >= 5 (n = " in shown.out and "only the tests decide" in shown.out
    assert run([*call, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["measured_on"] for row in report["rows"]} == {"hard-test", "balanced"}
    assert not report["manifest"]["has_truth"]


def test_with_truth_the_correlations_are_shown(
    make: Callable[..., Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--workspace", str(make().root), "experiment", "recipes", "naive", "balanced", "--workers", "1"]
    assert run(call) == 0
    shown = capsys.readouterr().out
    assert "better is shorter" in shown and "balanced minus the others, on the same responses" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["naive"], "A comparison needs two pair sets, got naive"),
        (["naive", "naive"], "Pairs must differ, got naive, naive"),
        (["naive", "absent"], "absent"),
        (["naive", "balanced", "--models", "scratch-3k"], "scratch-3k"),
        (["naive", "balanced", "--sizes", "1"], "sizes at least 2"),
        (["naive", "balanced", "--sizes", "many"], "'many'"),
        (["naive", "balanced", "--reference", "matched"], "The reference matched is not one of naive, balanced"),
        (["naive", "balanced", "--set", "speed=3"], "speed"),
    ],
)
def test_wrong_arguments_give_one_sentence(
    make: Callable[..., Workspace], arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = make()
    assert run(["--workspace", str(workspace.root), "experiment", "recipes", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert not (workspace.root / "experiments").exists()


def test_sets_that_cannot_be_compared_are_refused(make: Callable[..., Workspace]) -> None:
    workspace = make()
    pairs = pl.read_parquet(workspace.root / "pairs/naive/pairs.parquet")
    save(workspace, "refrozen", pairs, hard_test="b")
    with pytest.raises(LurkerError, match="refrozen was built with another hard test of r/alpha"):
        compare(workspace, config(pairs=("naive", "refrozen")))
    leaking = pairs.with_columns(split=pl.when(pl.col("post_id") == "p70").then(pl.lit("train")).otherwise("split"))
    save(workspace, "leaking", leaking)
    with pytest.raises(LurkerError, match="1 posts of the tests of hard-test, balanced were trained on, p70"):
        compare(workspace, config(pairs=("balanced", "leaking")))
    save(workspace, "untested", pairs.filter(pl.col("split") != "test"))
    with pytest.raises(LurkerError, match="untested has no test pairs"):
        compare(workspace, config(tests=("untested",)))


def test_without_any_test_the_error_says_how_to_build_one(make: Callable[..., Workspace]) -> None:
    workspace = make()
    (workspace.root / "pairs/hard-test/manifest.json").unlink()
    pairs = pl.read_parquet(workspace.root / "pairs/naive/pairs.parquet")
    save(workspace, "other", pairs)
    with pytest.raises(CallError, match="no hard-test in"):
        compare(workspace, config(pairs=("naive", "other")))
