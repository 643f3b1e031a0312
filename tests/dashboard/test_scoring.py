"""One's own texts: who beats whom, where a reward stands, and what is unlike a community's responses."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dashboard.pairs import pairs_file
from dashboard.queries import version
from dashboard.scoring import Scored, beats, references, score, tfidf
from lurker.errors import LurkerError
from lurker.workspace import Workspace
from tests.dashboard.made_tables import COMMUNITIES, make_pairs


def test_probabilities_of_two_answers_add_up_and_follow_the_rewards() -> None:
    assert beats(1.0, 1.0) == 0.5
    assert beats(2.0, 0.5) == pytest.approx(0.8176, abs=1e-4)
    assert beats(2.0, 0.5) + beats(0.5, 2.0) == pytest.approx(1.0)


def test_a_percentile_counts_ties_half() -> None:
    scored = Scored([1.0], [0.0, 1.0, 1.0, 2.0])
    assert scored.percentile(1.0) == 0.5
    assert (scored.percentile(-1.0), scored.percentile(3.0)) == (0.0, 1.0)


def test_an_answer_unlike_the_community_is_warned_about(full_root: Path) -> None:
    sample = references(pairs_file(Workspace(full_root), "naive"), "cooking")
    ordinary = next(text for text in sample.responses if 100 < len(text) < 500)
    assert sample.warnings(ordinary) == []
    strange = " ".join(f"zyx{number}" for number in range(40))
    assert any("of its words do not occur" in reason for reason in sample.warnings(strange))
    assert any("characters, while most have" in reason for reason in sample.warnings(ordinary * 100_000))


def test_a_run_without_a_model_says_what_to_do(full_root: Path) -> None:
    sample = references(pairs_file(Workspace(full_root), "naive"), "cooking")
    with pytest.raises(LurkerError):
        score(Workspace(full_root), "scratch-1m-4000-0", "How?", ["So.", "Or so."], sample)


def test_tfidf_learns_the_word_that_wins(tmp_path: Path) -> None:
    pairs = make_pairs("naive", np.random.default_rng(0), n=240).with_columns(
        chosen=pl.format("a kind answer number {}", pl.int_range(pl.len())),
        rejected=pl.format("a rude answer number {}", pl.int_range(pl.len())),
    )
    pairs.write_parquet(tmp_path / "pairs.parquet")
    fitted = tfidf(version(tmp_path / "pairs.parquet"), COMMUNITIES, 60)
    assert fitted is not None and 50 <= fitted.n_pairs <= 60
    kind, rude = fitted.reward(["be kind", "be rude"])
    assert kind > rude
    pairs.filter(pl.col("split") != "validation").write_parquet(tmp_path / "unsplit.parquet")
    assert tfidf(version(tmp_path / "unsplit.parquet"), COMMUNITIES, 60) is None
