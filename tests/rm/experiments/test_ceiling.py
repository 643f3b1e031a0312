import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import rm
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import PairSet, read_pair_set
from lurker.schema import CEILING, COMMENTS, OBSERVATIONS, PAIRS, TRUTH, check
from lurker.workspace import Workspace, open_workspace
from rm.evaluation.metrics import prediction_table
from rm.experiments.ceiling_inputs import read_fuzz, read_looks
from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig, describe_run, predictions_file
from tests.rm.conftest import save_pairs

HOUR_S = 3600
N_POSTS = 400


def responses(fuzz: float = 0.0) -> pl.DataFrame:
    """Four responses a post with known quality and luck, and their scores at two looks, half of the votes later."""
    rng = np.random.default_rng(0)
    n = 4 * N_POSTS
    quality, luck = rng.normal(size=(2, n))
    rate = 8 * np.exp(0.7 * quality + 0.7 * luck)
    votes = rng.poisson(rate / 2, (2, n))
    noise = np.rint(fuzz * np.sqrt(1 + rate) * rng.normal(size=(2, n))).astype(np.int64)
    return pl.DataFrame(
        {
            "comment_id": [f"c{i:05}" for i in range(n)],
            "post_id": [f"p{i // 4:04}" for i in range(n)],
            "subreddit": "alpha",
            "created_utc": np.zeros(n, dtype=np.int64),
            "quality": quality,
            "net_vote_rate": rate,
            "first": 1 + votes[0] + noise[0],
            "score": 1 + votes.sum(axis=0) + noise[1],
        }
    )


def pairs_of(comments: pl.DataFrame) -> pl.DataFrame:
    """PAIRS of all responses to one post whose scores differ."""
    sides = comments.select("post_id", "subreddit", id="comment_id", score="score")
    both = sides.join(sides, on=("post_id", "subreddit"), suffix="_other").filter(
        pl.col("score") > pl.col("score_other")
    )
    texts = {name: pl.lit(name) for name in ("prompt", "chosen", "rejected", "recipe")}
    numbers = {f"{side}_{name}": pl.lit(60) for side in ("chosen", "rejected") for name in ("delay_s", "chars")}
    number = pl.col("post_id").str.slice(1).cast(pl.Int64) % 4
    return check(
        both.select(
            "post_id",
            "subreddit",
            pair_id=pl.format("{}-{}", pl.min_horizontal("id", "id_other"), pl.max_horizontal("id", "id_other")),
            split=pl.when(number == 0).then(pl.lit("validation")).otherwise(pl.lit("test")),
            chosen_id="id",
            rejected_id="id_other",
            chosen_score="score",
            rejected_score="score_other",
            label_confidence=pl.lit(0.93),
            weight=pl.lit(1.0),
            **texts,
            **{name: value.cast(pl.Int64) for name, value in numbers.items()},
        ),
        PAIRS,
    ).sort("pair_id")


def looks_of(comments: pl.DataFrame, first_h: int = 2, last_h: int = 48) -> pl.DataFrame:
    """OBSERVATIONS of the comments, both at these ages."""
    rows = [
        comments.select("subreddit", item_id="comment_id", score=score, observed_utc=pl.lit(age * HOUR_S))
        for score, age in (("first", first_h), ("score", last_h))
    ]
    looks = pl.concat(rows).with_columns(kind=pl.lit("comment"), observed_utc=pl.col("observed_utc").cast(pl.Int64))
    absent = {name: pl.lit(None, one.dtype) for name, one in OBSERVATIONS.columns.items() if name not in looks.columns}
    return looks.with_columns(**absent).select(list(OBSERVATIONS.columns))


def store(workspace: Workspace, comments: pl.DataFrame, looks: pl.DataFrame) -> None:
    """Write the columns that ceilings read: when a comment was written, and the looks at it."""
    absent = {name: pl.lit(None, one.dtype) for name, one in COMMENTS.columns.items() if name not in comments.columns}
    workspace.replace_partition(COMMENTS, "alpha", [comments.with_columns(**absent).select(list(COMMENTS.columns))])
    workspace.replace_partition(OBSERVATIONS, "alpha", [looks])


def save_run(
    workspace: Workspace, run_id: str, model: str, margins: dict[str, pl.DataFrame], name: str = "judged", **train: bool
) -> None:
    """A finished run with predictions; margins: split -> pair_id, margin."""
    folder = workspace.folder("runs", run_id)
    config = RunConfig(pairs=name, model=model, train=TrainConfig(learning_rate=1e-3, **train))  # type: ignore[arg-type]
    write_json(describe_run(config), folder / "config.json")
    for split, frame in margins.items():
        table = prediction_table(frame, frame["margin"].to_numpy())
        write_parquet(table, predictions_file(folder, name, split))
    write_json({}, folder / "result.json")


def margins_of(pairs: PairSet, comments: pl.DataFrame, noise: float, seed: int) -> dict[str, pl.DataFrame]:
    """Margins by split of a reader of quality with this much noise, in standard deviations."""
    rng = np.random.default_rng(seed)
    read = dict(
        zip(comments["comment_id"], comments["quality"] + noise * rng.normal(size=comments.height), strict=True)
    )
    margin = [read[one] - read[other] for one, other in pairs.frame.select("chosen_id", "rejected_id").iter_rows()]
    frame = pairs.frame.select("pair_id", "split", "chosen_id", margin=pl.Series(margin))
    return {str(split): part.drop("split") for (split,), part in frame.partition_by("split", as_dict=True).items()}


@pytest.fixture
def judged(tmp_path: Path) -> PairSet:
    """Pairs of real-looking votes that were seen once."""
    workspace = open_workspace(tmp_path / "workspace", create=True)
    save_pairs(workspace, "judged", pairs_of(responses()))
    return read_pair_set(workspace, "judged")


@pytest.fixture
def modelled(judged: PairSet) -> PairSet:
    """The same with two runs of differently built models."""
    save_run(judged.workspace, "small", "scratch-10k", margins_of(judged, responses(), 0.5, seed=1))
    save_run(judged.workspace, "large", "minilm", margins_of(judged, responses(), 1.0, seed=2))
    return judged


def row(result: pl.DataFrame, estimator: str, ceiling: str) -> dict[str, object]:
    (found,) = result.filter(estimator=estimator, ceiling=ceiling).to_dicts()
    return found


def test_without_models_and_second_looks_the_rest_is_told_and_what_to_do(judged: PairSet) -> None:
    result = rm.ceiling(judged)
    assert result.sentence.startswith("Text ceiling at most 0.930 on ")
    assert row(result.frame, "posterior", "vote")["value"] == pytest.approx(0.93)
    reasons = {one["estimator"]: str(one["reason"]) for one in result.frame.to_dicts()}
    assert "`lurker rm evaluate RUN --pairs judged --split test`" in reasons["bracket"]
    assert "--split validation`" in reasons["calibrated margins"]
    assert "differently built models" in reasons["triad"]
    assert (
        "`lurker ingest refresh`" in reasons["two looks"]
        and "`lurker ingest refresh`" in reasons["two-look reliability"]
    )
    assert "truth" not in reasons
    folder = judged.workspace.folder("experiments", "judged-ceiling")
    assert check(pl.read_parquet(folder / "ceiling.parquet"), CEILING).equals(result.frame)
    assert read_json(folder / "manifest.json")["sentence"] == result.sentence


def test_models_bound_the_text_ceiling_from_below(modelled: PairSet) -> None:
    result = rm.ceiling(modelled)
    assert result.best == "small"
    bracket, triad = row(result.frame, "bracket", "text"), row(result.frame, "triad", "text")
    assert result.best_accuracy is not None and bracket["low"] < result.best_accuracy < bracket["high"]  # type: ignore[operator]
    assert bracket["low"] < triad["value"] < 0.93 and "small and large" in str(triad["assumption"])  # type: ignore[operator]
    calibrated = row(result.frame, "calibrated margins", "text")
    assert calibrated["value"] == pytest.approx(result.best_accuracy, abs=0.03)
    assert "best model 0." in result.sentence and "between 0." in repr(result)
    only = rm.ceiling(modelled, runs="large", name="one")
    assert only.best == "large" and row(only.frame, "triad", "text")["value"] is None
    with pytest.raises(CallError, match="no finished run"):
        rm.ceiling(modelled, runs=["huge"])


def test_models_that_read_the_delay_or_other_pairs_do_not_count(judged: PairSet) -> None:
    margins = margins_of(judged, responses(), 0.5, seed=1)
    save_run(judged.workspace, "timed", "scratch-10k", margins, with_delay=True)
    part = {split: frame.head(50) for split, frame in margins.items()}
    save_run(judged.workspace, "partly", "scratch-10k", part)
    assert rm.ceiling(judged).best is None


def test_another_test_is_judged_with_the_runs_trained_on_the_set(modelled: PairSet) -> None:
    workspace = modelled.workspace
    save_pairs(workspace, "other", modelled.frame.filter(pl.col("split") == "test"))
    assert rm.ceiling(modelled, test="other").best is None
    save_run(workspace, "else", "scratch-10k", margins_of(modelled, responses(), 0.1, seed=1), name="other")
    assert rm.ceiling(modelled, test="other").best is None  # trained on other, not on judged
    assert rm.ceiling(read_pair_set(workspace, "other")).best == "else"


def test_two_looks_and_the_truth_of_a_simulated_reddit(modelled: PairSet) -> None:
    comments = responses()
    store(modelled.workspace, comments, looks_of(comments))
    modelled.workspace.replace_partition(TRUTH, "alpha", [truth_of(comments)])
    result = rm.ceiling(modelled)
    truths = {kind: row(result.frame, "truth", kind)["value"] for kind in ("vote", "text")}
    assert 0.85 < truths["vote"] < 0.97 and 0.6 < truths["text"] < 0.8  # type: ignore[operator]
    looks = row(result.frame, "two looks", "vote")
    assert looks["low"] < truths["vote"] < looks["high"] < 1  # type: ignore[operator]
    bracket = row(result.frame, "bracket", "text")
    assert bracket["low"] < truths["text"] < bracket["high"]  # type: ignore[operator]
    reliability = row(result.frame, "two-look reliability", "vote")
    assert reliability["value"] == pytest.approx(truths["vote"], abs=0.03)
    assert "Fuzz is not measured" in str(reliability["assumption"])


def truth_of(comments: pl.DataFrame) -> pl.DataFrame:
    """TRUTH of the comments."""
    absent = {name: pl.lit(0.0).cast(one.dtype) for name, one in TRUTH.columns.items() if name not in comments.columns}
    columns = [*TRUTH.columns, *({"net_vote_rate"} - set(TRUTH.columns))]
    return comments.with_columns(**absent).select(columns)


def test_fuzz_at_settled_scores_makes_two_looks_refuse(judged: PairSet) -> None:
    comments = responses(fuzz=1.0)
    save_pairs(judged.workspace, "fuzzed", pairs_of(comments))
    store(judged.workspace, comments, pl.concat([looks_of(comments), looks_of(responses(fuzz=1.0), 200, 300)]))
    fuzzed = read_pair_set(judged.workspace, "fuzzed")
    assert read_fuzz(judged.workspace, fuzzed.frame) is not None
    result = rm.ceiling(fuzzed)
    assert "noisy" in str(row(result.frame, "two looks", "vote")["reason"])


def test_pairs_seen_late_first_or_seen_again_since_are_left_out(judged: PairSet) -> None:
    comments = responses()
    looks = looks_of(comments).with_columns(
        observed_utc=pl.when(pl.col("item_id") == "c00000", pl.col("observed_utc") == 2 * HOUR_S)
        .then(40 * HOUR_S)
        .otherwise("observed_utc"),
        score=pl.when(pl.col("item_id") == "c00005", pl.col("observed_utc") == 48 * HOUR_S)
        .then(999)
        .otherwise("score"),
    )
    store(judged.workspace, comments, looks)
    found = read_looks(judged.workspace, judged.frame)
    assert found.first_share == pytest.approx(0.5, abs=0.02)
    posts = found.pairs["post_id"].value_counts()
    expected = judged.frame["post_id"].value_counts()
    missing = expected.join(posts, on="post_id", suffix="_found").filter(pl.col("count") != pl.col("count_found"))
    assert missing["post_id"].sort().to_list() == ["p0001"]  # late looks hold most of the votes


def test_labels_of_the_first_look_are_judged_by_all_later_votes(judged: PairSet) -> None:
    comments = responses()
    early = comments.with_columns(score="first")
    save_pairs(judged.workspace, "early", pairs_of(early))
    store(judged.workspace, comments, looks_of(comments))
    judged.workspace.replace_partition(TRUTH, "alpha", [truth_of(comments)])
    set_recipe(judged.workspace, "early", label_look="first")
    result = rm.ceiling(read_pair_set(judged.workspace, "early"))
    looks, truth = row(result.frame, "two looks", "vote"), row(result.frame, "truth", "vote")
    assert looks["n_pairs"] == truth["n_pairs"]
    assert looks["low"] < truth["value"] < looks["high"]  # type: ignore[operator]
    assert "labels of the first look" in str(row(result.frame, "two-look reliability", "vote")["reason"])
    set_recipe(judged.workspace, "early", label_look="first", require_agreeing_looks=True)
    agreeing = rm.ceiling(read_pair_set(judged.workspace, "early")).frame
    assert "two looks agree" in str(row(agreeing, "two looks", "vote")["reason"])
    assert row(agreeing, "two looks", "vote")["low"] is None


def set_recipe(workspace: Workspace, name: str, **fields: object) -> None:
    """Write fields of a set's recipe into its manifest."""
    path = workspace.folder("pairs", name) / "manifest.json"
    manifest = read_json(path)
    write_json(manifest | {"recipe": manifest["recipe"] | fields}, path)


def test_the_command_prints_a_sentence_or_one_json_object(
    modelled: PairSet, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--workspace", str(modelled.workspace.root), "experiment", "ceiling", "judged"]
    assert run(call) == 0
    printed = capsys.readouterr().out
    assert "Text ceiling between 0." in printed and "two-look reliability" in printed
    assert run([*call, "--json", "--runs", "small", "--split", "test"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["best_model"]["model"] == "small" and len(report["rows"]) == 6
    assert run([*call, "--split", "tests"]) == 2
    assert "train, validation, test" in capsys.readouterr().err


def test_the_chart_draws_brackets_as_bars_and_values_as_points(modelled: PairSet) -> None:
    chart = rm.ceiling(modelled).plot().to_dict()
    marks = [layer["mark"]["type"] for layer in chart["layer"]]
    assert marks.count("bar") == 1 and marks.count("point") == 1 and "text" in marks
    (bars,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "bar"]
    assert bars["transform"] == [{"filter": "!isValid(datum.value)"}]
    rows = bars["encoding"]["y"]["sort"]
    assert rows == ["text · bracket", "text · triad", "text · calibrated margins", "vote · posterior"]


def test_without_an_estimate_there_is_no_chart(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path, create=True)
    few = pairs_of(responses()).filter(pl.col("post_id").str.slice(1).cast(pl.Int64) < 40)
    save_pairs(workspace, "few", few.filter(pl.col("split") == "test").head(20))
    with pytest.raises(LurkerError, match="30 posts are needed"):
        rm.ceiling(read_pair_set(workspace, "few")).plot()


def test_the_posterior_of_votes_names_its_own_model(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path, create=True)
    save_pairs(workspace, "votes", pairs_of(responses()))
    set_recipe(workspace, "votes", label_model="votes", exposure_luck=0.75)
    found = row(rm.ceiling(read_pair_set(workspace, "votes")).frame, "posterior", "vote")
    assert "exposure_luck=0.75" in str(found["assumption"])


def test_pairs_that_people_judged_are_told_that_scores_do_not_apply(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "w", create=True)
    save_pairs(workspace, "judged", pairs_of(responses()).with_columns(label_confidence=pl.lit(1.0)))
    manifest = workspace.folder("pairs", "judged") / "manifest.json"
    for recipe, silent in (("external", 3), ("votes", 2)):
        write_json(read_json(manifest) | {"recipe": {"name": recipe}}, manifest)
        rows = rm.ceiling(read_pair_set(workspace, "judged")).frame.filter(ceiling="vote")
        reasons = rows["reason"].drop_nulls().to_list()
        assert len(reasons) == silent and all(one.startswith("it does not apply") for one in reasons)
        assert not any("refresh" in one for one in reasons)
