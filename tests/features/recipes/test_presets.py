import pytest

from features.recipes.presets import PRESETS, preset
from features.recipes.recipe import Recipe
from lurker.config import override
from lurker.errors import CallError


def test_every_preset_has_its_own_name() -> None:
    assert {name: preset(name).name for name in PRESETS} == {name: name for name in PRESETS}


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(CallError, match="'balance'") as caught:
        preset("balance")
    assert "naive" in caught.value.next_step and "matched" in caught.value.next_step


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("min_score_gap=0", "min_score_gap must be at least 1, got 0"),
        ("min_score_ratio=nan", "min_score_ratio takes a finite number, got nan"),
        ("n_neighbours=1000", "n_neighbours is at most 64, got 1000"),
        ("max_chars=0", "max_chars must not be below min_chars"),
        ("test_fraction=0.01", "test_fraction must be at least 0.1, got 0.01"),
        ("validation_fraction=0.95", "must leave posts to train on"),
        ("min_label_confidence=1.5", "at most 1, got 1.5"),
        ("neighbour_order=length", "delay | random"),
        ("split_by=subreddit", "post | author | time"),
        ("test_from_utc=5", "test_from_utc needs split_by=time, got split_by=post"),
        ("exposure_luck=1", "exposure_luck needs label_model=votes, got label_model=score"),
        ("controversial_drift=0.25", "controversial_drift needs label_model=votes, got label_model=score"),
        ("min_copy_similarity=0.3", "min_copy_similarity must be at least 0.5, got 0.3"),
        ("vote_fuzz=-1", "vote_fuzz must be at least 0, got -1"),
        ("exposure=known", "equal | fitted"),
        ("no_such_field=1", "Unknown field 'no_such_field'"),
        ("max_pairs_per_post=many", "takes int, got 'many'"),
    ],
)
def test_an_invalid_value_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        override(preset("naive"), [assignment])
    assert message in caught.value.message


def test_a_rule_can_be_switched_off() -> None:
    assert override(preset("naive"), ["max_pairs_per_post=none"]).max_pairs_per_post is None


def test_a_recipe_with_every_rule_off_is_valid() -> None:
    assert Recipe(name="free").min_score_gap == 1


def test_shp_has_the_rules_of_its_card_for_posts_and_none_more_for_responses() -> None:
    shp = preset("shp")
    assert (shp.exclude_edited_posts, shp.exclude_edited, shp.exclude_deleted_authors) == (True, False, True)
