"""Manifests and audits as frames, or an error that names the file."""

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest

from dashboard import documents
from lurker.errors import LurkerError
from lurker.workspace import Workspace


def test_the_waterfall_runs_from_the_input_to_what_was_kept(full_root: Path) -> None:
    ledger = documents.pair_set(Workspace(full_root), "matched").ledger
    pairs = ledger.filter(pl.col("stage") == "pairs")
    assert pairs.select("step", "start", "end").rows() == [
        ("input", 0, 84_000),
        ("scores equal", 63_000, 84_000),
        ("delay apart", 33_000, 63_000),
        ("over the cap of the post", 24_000, 33_000),
        ("kept", 0, 24_000),
    ]


def test_an_audit_keeps_every_probe_and_the_truth(full_root: Path) -> None:
    audit = documents.audit(Workspace(full_root), "matched")
    assert audit.probes.height == 2 * 4 * (3 * 2 + 1)
    assert audit.truth == (0.84, 0.82, 0.86)
    assert audit.rates["longer_wins"] == (0.52, 0.51, 0.53)
    assert not audit.is_clean


def test_real_data_has_no_truth(full_root: Path, tmp_path: Path) -> None:
    content = json.loads((full_root / "pairs/matched/audit.json").read_text(encoding="utf-8"))
    del content["truth"]
    folder = tmp_path / "pairs/matched"
    folder.mkdir(parents=True)
    (folder / "audit.json").write_text(json.dumps(content), encoding="utf-8")
    assert documents.audit(Workspace(tmp_path), "matched").truth is None


def test_the_strongest_probe_is_the_most_accurate(full_root: Path) -> None:
    strongest = documents.strongest_probes(documents.audit(Workspace(full_root), "naive").probes)
    assert strongest.filter(pl.col("confounders") == "joint")["probe"].unique().to_list() == ["boosting"]
    assert strongest.height == 2 * 4 * 4


def test_the_widest_split_has_the_most_pairs(full_root: Path) -> None:
    assert documents.widest_split(documents.audit(Workspace(full_root), "naive").probes) == "train"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Cannot read"),
        ("[]", "is damaged"),
        ('{"recipe": {"name": "x"}}', "it lacks 'ledger'"),
        (
            '{"ledger": {}, "recipe": {"name": "x"}, "subreddits": [], "n_pairs": "many", "n_posts": 0}',
            "is damaged: invalid literal",
        ),
    ],
)
def test_a_damaged_manifest_is_named_with_the_reason(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "pairs/odd/manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(LurkerError, match=reason) as caught:
        documents.pair_set(Workspace(tmp_path), "odd")
    assert str(path) in caught.value.message


def test_reading_several_documents_continues_after_an_error(damaged_root: Path) -> None:
    workspace = Workspace(damaged_root)
    found, damaged = documents.read_each(["naive", "matched"], lambda name: documents.audit(workspace, name))
    assert list(found) == ["matched"]
    assert len(damaged) == 1


@pytest.mark.parametrize(
    ("is_clean", "low", "expected"), [(True, 0.49, "clean"), (False, 0.49, "undecided"), (False, 0.51, "not clean")]
)
def test_a_wide_interval_around_chance_is_undecided_not_clean(
    full_root: Path, is_clean: bool, low: float, expected: str
) -> None:
    audit = documents.audit(Workspace(full_root), "naive")
    probes = audit.probes.with_columns(accuracy_low=pl.lit(low))
    assert documents.cleanness(dataclasses.replace(audit, is_clean=is_clean, probes=probes)) == expected


def test_a_probe_below_chance_decides_if_the_strongest_finds_nothing(full_root: Path) -> None:
    audit = documents.audit(Workspace(full_root), "naive")
    row = audit.probes.filter(confounders="joint", subreddit="all", split=documents.widest_split(audit.probes)).head(1)
    intervals = (("logistic", 0.493, 0.486, 0.499), ("boosting", 0.497, 0.490, 0.504))
    names = ("probe", "accuracy", "accuracy_low", "accuracy_high")
    probes = pl.concat(
        row.with_columns(pl.lit(value).alias(name) for name, value in zip(names, values, strict=True))
        for values in intervals
    )
    audit = dataclasses.replace(audit, is_clean=False, probes=probes)
    probe = documents.deciding_probe(audit)
    assert probe is not None
    assert (probe["probe"], documents.cleanness(audit)) == ("logistic", "not clean")


def test_without_probes_nothing_is_decided(full_root: Path) -> None:
    audit = documents.audit(Workspace(full_root), "naive")
    assert documents.cleanness(dataclasses.replace(audit, probes=audit.probes.clear())) == "undecided"
