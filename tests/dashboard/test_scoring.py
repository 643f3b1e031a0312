"""One's own texts: who beats whom, where a reward stands, and what is unlike a community's responses."""

from pathlib import Path

import pytest

from dashboard.pairs import pairs_file
from dashboard.scoring import Scored, beats, references, score
from lurker.errors import LurkerError
from lurker.workspace import Workspace


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
