"""What a notebook calls: results that show themselves, runs that resume, and the same runs as the command line."""

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
    assert set(check(run.evaluations, EVALUATIONS)["pairs"]) == {"planted", "hard-test"}
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
    assert rm.load(pairs.workspace, run.run_id).result == run.result


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
