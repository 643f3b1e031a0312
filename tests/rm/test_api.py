"""What a notebook calls: results that show themselves, runs that resume, and the same runs as the command line."""

from typing import Any

import polars as pl
import pytest

import rm
from lurker.cli import run
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import PairSet, read_pair_set
from lurker.schema import EVALUATIONS, PREDICTIONS, SCALING, check
from lurker.workspace import Workspace
from rm.training.settings import as_settings, parse_settings

QUICK = {"epochs": 1, "min_steps": 8, "max_tokens": 64, "vocabulary_size": 400}


@pytest.fixture
def pairs(workspace: Workspace) -> PairSet:
    return read_pair_set(workspace, "planted")


def test_a_run_is_trained_read_scored_and_compared(pairs: PairSet) -> None:
    run = rm.train(pairs, model="scratch-10k", **QUICK)
    assert set(check(run.evaluations.frame, EVALUATIONS)["pairs"]) == {"planted", "hard-test"}
    assert run.metrics.height == run.result["steps"]
    assert check(run.predictions(pairs), PREDICTIONS).height == 144
    assert run.config.train.max_tokens == 64
    rewards = run.score(["the road", "tea"], ["amber cedar", "husk knot"])
    assert rewards.dtype == pl.Float64 and rewards[0] != rewards[1]
    assert rewards.to_list() == pytest.approx([run.score([p], [r])[0] for p, r in zip(*TEXTS, strict=True)], abs=1e-5)
    assert f"Run {run.run_id}" in repr(run) and "[0." in repr(run) and "<table>" in run._repr_html_()
    validated = run.evaluate(pairs, "validation")
    assert set(validated.frame["split"]) == {"validation"} and "subreddit" in repr(validated)
    comparison = rm.compare(run, "length", pairs)
    assert comparison.n_pairs == 144 and "against length on planted (test)" in " ".join(repr(comparison).split())
    assert comparison.sentence in repr(comparison) and "McNemar's p " in repr(comparison)
    assert rm.load(pairs.workspace, run.run_id).result == run.result
    tested = run.folder / "predictions/planted-test.parquet"
    pl.read_parquet(tested).with_columns(chosen_id=pl.lit("another")).write_parquet(tested)
    with pytest.raises(LurkerError, match="planted was built again since"):
        rm.compare(run, "length", pairs)


TEXTS = (["the road", "tea"], ["amber cedar", "husk knot"])


def test_the_same_call_returns_the_finished_run_and_other_content_is_refused(pairs: PairSet) -> None:
    first = rm.train(pairs, model="scratch-10k", **QUICK)
    written = (first.folder / "result.json").stat().st_mtime_ns
    again = rm.train(pairs, model="scratch-10k", **QUICK)
    assert again.run_id == first.run_id and (again.folder / "result.json").stat().st_mtime_ns == written
    with pytest.raises(CallError, match="another train"):
        rm.train(pairs, model="scratch-10k", run_id=first.run_id, seed=1, **QUICK)
    with pytest.raises(CallError, match="exists already"):
        rm.train(pairs, model="scratch-10k", run_id=first.run_id, resume=False, **QUICK)


def test_the_command_trains_the_same_run(pairs: PairSet) -> None:
    run_id = rm.train(pairs, model="scratch-10k", max_pairs=60, has_dropout=True, **QUICK).run_id
    call = ["--workspace", str(pairs.workspace.root), "rm", "train", "planted", "--model", "scratch-10k", "--resume"]
    settings = [f"--set={name}={value}" for name, value in {"has_dropout": "true", **QUICK}.items()]
    assert run([*call, "--max-pairs", "60", *settings]) == 0
    assert pairs.workspace.names("runs", "result.json") == [run_id]


def test_scaling_and_transfer_show_tables_and_the_charts_of_the_dashboard(pairs: PairSet) -> None:
    scaling = rm.scaling(pairs, ["scratch-10k"], [60], seeds=1, n_workers=1, **QUICK)
    assert check(scaling.frame, SCALING).height == 5 and scaling.failures == ()
    assert "60 pairs" in repr(scaling) and "<table>" in scaling._repr_html_()
    assert "Accuracy against data" in scaling.plot().to_json()
    assert "Accuracy against model size" in scaling.plot(against="parameters").to_json()
    transfer = rm.transfer(pairs, "scratch-10k", max_pairs=60, n_workers=1, **QUICK)
    assert transfer.matrix.columns == ["source", "alpha", "beta"] and transfer.matrix.height == 2
    assert "on alpha" in repr(transfer)
    assert "Accuracy by community" in transfer.plot().to_json()
    assert "in-domain" in transfer.plot(difference=True).to_json()


def test_search_takes_candidates_as_mappings(pairs: PairSet) -> None:
    result = rm.search(pairs, "scratch-10k", [[{"epochs": 1}, {"max_pairs": 60}]], start=QUICK, n_workers=1)
    assert result.frame["candidate"].to_list() == ["epochs=1", "max_pairs=60"]
    assert result.best["max_tokens"] == "64" and "lurker rm train planted" in result.train_command


def test_wrong_arguments_say_what_is_possible(pairs: PairSet) -> None:
    with pytest.raises(CallError, match="Unknown field 'speed'"):
        rm.train(pairs, model="scratch-10k", speed=3)
    with pytest.raises(CallError, match="Max_pairs must be at least 2, got 1"):
        rm.train(pairs, model="scratch-10k", max_pairs=1)
    with pytest.raises(CallError, match="no finished run 'absent'"):
        rm.load(pairs.workspace, "absent")
    with pytest.raises(CallError, match="needs two runs or more"):
        rm.average([])
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        rm.colour  # noqa: B018
    assert {"train", "load", "scaling", "Run"} <= set(dir(rm))
    assert not list(pairs.workspace.root.glob("runs/*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 1.5}, "seed takes int, got '1.5'"),
        ({"max_pairs": 60.5}, r"max_pairs takes a whole number, got 60.5 \(float\)"),
        ({"model": ["scratch-10k"]}, "The SPEC of one model is needed here, got"),
        ({"tests": [3]}, r"A pair set is needed here, got 3 \(int\)"),
        ({"subreddits": [None]}, r"subreddits takes text, got None"),
        ({"pairs": "planted"}, r"A pair set is needed here, got 'planted' \(str\).*features.load"),
    ],
)
def test_arguments_of_another_type_are_named(pairs: PairSet, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError, match=words):
        rm.train(**{"pairs": pairs, "model": "scratch-10k", **QUICK, **arguments})
    assert not list(pairs.workspace.root.glob("runs/*"))


def test_one_value_is_a_list_of_one(pairs: PairSet) -> None:
    run = rm.train(pairs, "scratch-10k", tests="planted", subreddits="alpha", **QUICK)
    assert (run.config.test_pairs, run.config.subreddits) == (("planted",), ("alpha",))
    scaling = rm.scaling(pairs, "scratch-10k", 60, seeds=1, n_workers=1, **QUICK)
    assert scaling.frame.filter(~pl.col("is_baseline"))["predictor"].to_list() == ["scratch-10k"]
    with pytest.raises(CallError, match="comparison needs two pair sets, got planted"):
        rm.recipes(pairs, models="tfidf")
    with pytest.raises(CallError, match="models takes text, got 3"):
        rm.scaling(pairs, [3], [60])  # type: ignore[list-item]
    for changed, words in (({"engine": "spark"}, "Unknown engine"), ({"n_workers": 0}, "n_workers takes a whole")):
        with pytest.raises(CallError, match=words):
            rm.scaling(pairs, "scratch-10k", 60, **changed)  # type: ignore[arg-type]


def test_what_is_scored_is_checked(pairs: PairSet) -> None:
    run = rm.train(pairs, model="scratch-10k", **QUICK)
    one = run.score("the road", "amber cedar")
    assert one.to_list() == run.score(["the road"], ["amber cedar"]).to_list()
    for arguments, words in (
        ((["a", "b"], ["c"]), "2 prompt and 1 response"),
        ((["a"], ["c"], [1, 2]), "1 prompt and 1 response and 2 delay_s"),
        (("a", None), "responses takes one value or a list, got None"),
        ((["a"], [None]), r"responses\[0\] is None"),
        ((["a"], ["x\ud800y"]), r"responses\[0\] is not valid Unicode: half a surrogate pair at character 1"),
        ((["a"], ["c"], [1.5]), r"delays_s\[0\] is 1.5"),
    ):
        with pytest.raises(CallError, match=words):
            run.score(*arguments)  # type: ignore[arg-type]


def test_a_comparison_takes_names_and_lists_baselines(pairs: PairSet) -> None:
    run = rm.train(pairs, model="scratch-10k", **QUICK)
    by_value = rm.compare(run, "length", pairs)
    assert rm.compare(run, "length", "planted") == by_value == rm.compare(run.run_id, "length", pairs)
    with pytest.raises(CallError, match=r"'tfidff' is not a finished run or a baseline.*length, time, both, tfidf"):
        rm.compare(run, "tfidff", "planted")
    with pytest.raises(CallError, match=r"only names: planted, a, length.*rm.load"):
        rm.compare("a", "length", "planted")
    with pytest.raises(CallError, match=r"A run is needed here, got 'a' \(str\)"):
        rm.evaluate("a", pairs)  # type: ignore[arg-type]


def test_a_run_that_is_not_finished_has_no_result(workspace: Workspace) -> None:
    with pytest.raises(LurkerError, match="Cannot read"):
        _ = rm.Run(workspace, "absent").result


def test_settings_are_texts_of_fields() -> None:
    assert as_settings({"epochs": 2, "adjusted": True, "train_layers": None}) == (
        "epochs=2",
        "adjusted=true",
        "train_layers=None",
    )
    assert parse_settings(["epochs=1", " epochs = 2"]) == {"epochs": "2"}
    with pytest.raises(CallError, match="Unknown field 'rate'"):
        parse_settings(["rate=1"])
    with pytest.raises(CallError, match="field=value, got 'epochs'"):
        parse_settings(["epochs"])
    with pytest.raises(CallError, match="Use `--seed N`"):
        parse_settings(["seed=1"])
