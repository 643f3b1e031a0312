"""The library functions: keyword arguments in, results that show themselves out."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import features
from features.audits import pair_audit
from features.audits.probes import ProbeConfig
from features.results import Audit
from lurker.errors import CallError, LurkerError
from lurker.files import write_json
from lurker.pair_sets import PairSet, build_command
from lurker.report import Displayed
from lurker.workspace import Workspace, open_workspace

FAST = ProbeConfig(n_folds=3, n_repeats=1, n_boosting_rounds=5, max_text_pairs=600, max_split_pairs=1_000)


@pytest.fixture(scope="module")
def pairs(frozen_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    """The naive pairs of a workspace where earlier responses score higher."""
    root = Path(shutil.copytree(frozen_workspace, tmp_path_factory.mktemp("api") / "copy"))
    return features.build(open_workspace(root), "naive", subreddits=["alpha"], max_pairs_per_post=20)


@pytest.fixture
def fast_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_audit, "ProbeConfig", lambda: FAST)


def test_build_takes_recipe_fields_and_names_the_set_after_the_recipe(pairs: PairSet) -> None:
    assert pairs.name == "naive"
    assert pairs.manifest["recipe"]["max_pairs_per_post"] == 20 and pairs.manifest["subreddits"] == ["alpha"]
    assert pairs.frame.height == pairs.manifest["n_pairs"]
    assert {row["stage"] for row in pairs.ledger} == {"responses", "pairs"}
    assert features.load(pairs.workspace, "naive").frame.equals(pairs.frame)


def test_a_recipe_can_be_a_value_and_the_set_can_have_a_name(
    write_workspace: Callable[..., Workspace], simulate: Callable[..., Any]
) -> None:
    workspace = write_workspace(*simulate(n_posts=20, n_comments=8))
    recipe = features.presets()["naive"]
    assert isinstance(recipe, features.Recipe)
    mine = features.build(workspace, recipe, name="mine", min_score_gap=2)
    gaps = mine.frame["chosen_score"] - mine.frame["rejected_score"]
    assert mine.name == "mine" and gaps.min() >= 2


@pytest.mark.parametrize(
    ("recipe", "fields", "words"),
    [
        ("magic", {}, "Unknown recipe 'magic'"),
        ("naive", {"minimum": 3}, "Unknown field 'minimum'"),
        ("naive", {"min_score_gap": 1.5}, "min_score_gap takes int, got '1.5'"),
        ("naive", {"deconfound": "perhaps"}, "deconfound takes none | balance | adjust, got 'perhaps'"),
        ("naive", {"memory_limit": "plenty"}, "'plenty'"),
        ("hard-test", {}, "'hard-test' is reserved"),
    ],
)
def test_wrong_arguments_give_a_clear_error(pairs: PairSet, recipe: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError) as error:
        features.build(pairs.workspace, recipe, **fields)
    assert words in str(error.value)


def shown(result: Displayed) -> str:
    """What a terminal shows, on one line: a table breaks long sentences."""
    return " ".join(str(result).split())


def lowest(audit: Audit, confounders: str) -> float:
    """Lower end of the interval of the boosted probe over all pairs."""
    rows = (row for row in audit.report["probes"] if (row["split"], row["subreddit"]) == ("all", "all"))
    return next(
        float(row["accuracy_low"]) for row in rows if (row["confounders"], row["probe"]) == (confounders, "boosting")
    )


@pytest.mark.usefixtures("fast_probes")
def test_the_audit_of_a_pair_set_shows_its_verdict(pairs: PairSet) -> None:
    audit = features.audit(pairs)
    assert (pairs.workspace.root / "pairs/naive/audit.json").exists()
    assert not audit.is_clean and "Not clean" in audit.verdict and audit.verdict in shown(audit)
    names = ["time", "order", "length", "formatting", "hour and weekday", "author's past"]
    assert [row["confounders"] for row in audit.table()] == [*names, "all confounders", "text (TF-IDF)"]
    rows = {row["confounders"]: row for row in audit.report["probes"] if row["probe"] != "logistic"}
    assert set(rows) == {"time", "order", "length", "form", "calendar", "author", "joint", "text"}
    assert lowest(audit, "time") > 0.7
    assert "<table>" in audit._repr_html_()


@pytest.mark.usefixtures("fast_probes")
def test_a_frame_is_audited_without_a_workspace(pairs: PairSet) -> None:
    frame = pairs.frame.drop("label_confidence", "confounder_log_odds", "recipe")
    audit = features.audit(frame.with_columns(weight=pl.lit(2.0)))
    assert {row["confounders"] for row in audit.report["probes"]} == {
        "time",
        "order",
        "length",
        "form",
        "joint",
        "text",
    }
    assert lowest(audit, "time") > 0.7 and lowest(audit, "joint") > 0.7
    assert set(audit.limits) == {"order", "author", "post score", "thread size", "calendar"}
    assert "author's past needs a workspace" in shown(audit) and audit.report["label_confidence_mean"] is None
    timed = features.audit(frame.with_columns(post_created_utc=pl.lit(1_600_000_000)))
    assert "hour and weekday" in {row["confounders"] for row in timed.table()} and "calendar" not in timed.limits


def test_a_frame_without_the_columns_of_pairs_is_refused(pairs: PairSet) -> None:
    with pytest.raises(CallError, match="no column chosen_delay_s, chosen_chars"):
        features.audit(pairs.frame.drop("chosen_delay_s", "chosen_chars"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": pl.when(pl.int_range(pl.len()) > 1).then("chosen")}, "column chosen has 2 missing values"),
        ({"chosen_delay_s": pl.col("chosen_delay_s").cast(pl.String)}, "chosen_delay_s is String, expected Int64"),
        ({"rejected_delay_s": pl.lit(-5)}, "a delay is below 0 in"),
        ({"chosen_chars": pl.lit(0)}, "a length is below 1 in"),
        ({"rejected_delay_s": pl.lit(2**62)}, "a time is beyond 2^53 s in"),
        ({"post_created_utc": pl.lit(-(2**62))}, "a time is beyond 2^53 s in"),
        *(({"weight": pl.lit(one)}, "weight is not from 1e-09 to 1e+09 in") for one in (0.0, float("nan"), 1e300)),
        ({"label_confidence": pl.lit(float("nan"))}, "label_confidence is not from 0 to 1 in"),
        ({"split": pl.lit("all")}, "split is none of train, validation, test in"),
        ({"pair_id": pl.lit("a-b")}, "pair_id is not unique in"),
        ({"post_created_utc": pl.lit(None)}, "column post_created_utc is Null, expected Int64"),
    ],
)
def test_a_frame_with_values_that_no_pair_has_is_refused(pairs: PairSet, change: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError, match="cannot be audited") as error:
        features.audit(pairs.frame.with_columns(**change))
    assert words in str(error.value)


def test_narrow_numbers_are_taken_and_what_is_no_frame_is_not(pairs: PairSet) -> None:
    narrow = pairs.frame.head(0).with_columns(pl.col("chosen_chars", "rejected_chars").cast(pl.Int16))
    with pytest.raises(LurkerError, match="all 0 posts fall into one fold"):
        features.audit(narrow)
    with pytest.raises(CallError, match=r"frame is needed here, got 'naive' \(str\)"):
        features.audit("naive")  # type: ignore[arg-type]


def test_a_name_or_a_path_where_something_else_is_meant(pairs: PairSet, tmp_path: Path) -> None:
    for call in (features.second_opinion, lambda name: features.export(name, "ids", tmp_path / "x")):
        with pytest.raises(CallError, match=r"A pair set is needed here, got 'naive' \(str\).*features.load"):
            call("naive")
    assert features.load(str(pairs.workspace.root), "naive").frame.equals(pairs.frame)
    with pytest.raises(CallError, match=r"takes a path, as text or a Path, got 3 \(int\)"):
        features.load(3, "naive")  # type: ignore[arg-type]
    with pytest.raises(CallError, match="no workspace at"):
        features.build(tmp_path / "absent", "naive")


def test_one_subreddit_is_a_list_of_one_and_none_is_refused(pairs: PairSet) -> None:
    one = features.build(pairs.workspace, "naive", name="one", subreddits="alpha", max_pairs_per_post=20)
    assert one.frame.equals(pairs.frame)
    for nothing, words in (([], "No subreddits were given"), ([3], "subreddits takes names, got 3")):
        with pytest.raises(CallError, match=words):
            features.build(pairs.workspace, "naive", name="none", subreddits=nothing)


def test_another_recipe_does_not_replace_a_set_unless_asked(pairs: PairSet) -> None:
    workspace = pairs.workspace
    mine = features.build(workspace, "naive", name="kept", subreddits=["alpha"])
    write_json({"pairs": "kept"}, workspace.folder("runs", "trained") / "config.json")
    for changed in ({"min_score_gap": 9}, {"subreddits": ["beta"]}):
        with pytest.raises(CallError, match="could no longer be evaluated: 1") as error:
            features.build(workspace, "naive", name="kept", **changed)  # type: ignore[arg-type]
        assert "another name" in error.value.next_step and "replace=True" in error.value.next_step
    assert "min_score_gap was 1, now 9" in str(_refusal(workspace, min_score_gap=9))
    again = features.build(workspace, "naive", name="kept", subreddits=["r/ALPHA"])
    assert again.manifest["pairs_sha256"] == mine.manifest["pairs_sha256"]
    replaced = features.build(workspace, "naive", name="kept", subreddits=["alpha"], min_score_gap=9, replace=True)
    assert replaced.manifest["recipe"]["min_score_gap"] == 9
    assert build_command("kept", replaced.manifest) == "lurker pairs build kept --recipe naive --set min_score_gap=9"


def _refusal(workspace: Workspace, **fields: Any) -> CallError:
    with pytest.raises(CallError) as error:
        features.build(workspace, "naive", name="kept", **fields)
    return error.value


def test_a_description_names_rules_ledger_audit_and_runs(pairs: PairSet) -> None:
    fresh = features.build(pairs.workspace, "naive", name="fresh", max_pairs_per_post=20)
    write_json({"pairs": "fresh"}, pairs.workspace.folder("runs", "first") / "config.json")
    description = features.describe(fresh)
    assert description.rules["max_pairs_per_post"] == 20 and "min_score_gap" not in description.rules
    assert description.report["runs"] == ["first"] and description.report["audit"] is None
    for words in ("Runs trained on it: first.", "Not audited: `lurker pairs audit fresh`.", "Ledger of fresh"):
        assert words in shown(description)


def test_export_and_rehydrate_return_what_they_wrote(pairs: PairSet, tmp_path: Path) -> None:
    export = features.export(pairs, "ids", tmp_path / "ids")
    assert export.report["n_pairs"] == pairs.manifest["pairs_by_split"] and "naive as ids" in str(export)
    again = features.rehydrate(pairs.workspace, tmp_path / "ids", name="again")
    assert again.frame.sort("pair_id").equals(pairs.frame.sort("pair_id"))


def test_the_strongest_probe_of_each_group_is_shown() -> None:
    def row(probe: str, accuracy: float, split: str = "all") -> dict[str, Any]:
        scores = {f"{name}{end}": accuracy for name in ("accuracy", "auc") for end in ("", "_low", "_high")}
        names = {"split": split, "subreddit": "all", "confounders": "time", "probe": probe}
        return names | {"n_pairs": 9, "n_posts": 3} | scores

    rows = [row("logistic", 0.5), row("boosting", 0.6), row("logistic", 0.9, "test")]
    audit = Audit({"pairs": "x", "probes": rows, "verdict": "Clean: yes.", "is_clean": True})
    assert [(one["probe"], one["accuracy"]) for one in audit.table()] == [("boosting", "0.600 [0.600, 0.600]")]


def test_public_names_are_listed() -> None:
    assert {"build", "load", "audit", "compare", "second_opinion", "export", "rehydrate"} <= set(dir(features))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        features.absent  # noqa: B018
