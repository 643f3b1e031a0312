import duckdb
import polars as pl
import pytest

from features.hashing import SPAN, hash_ids, hash_sql
from features.recipes import Recipe
from features.splits import assign_splits

IDS = pl.Series([f"p{n}" for n in range(5_000)])


def test_python_and_sql_agree_on_every_hash() -> None:
    ids = pl.DataFrame({"id": ["62bgi8", "p0", "", "ü"]})
    with duckdb.connect() as connection:
        connection.register("ids", ids.to_arrow())
        in_sql = [row[0] for row in connection.execute(f"SELECT {hash_sql('id', 'pair')} FROM ids").fetchall()]
    assert in_sql == hash_ids(ids["id"], "pair").tolist()
    assert min(in_sql) >= 0 and max(in_sql) < SPAN


def test_fractions_are_met_and_every_post_has_one_split() -> None:
    splits = assign_splits(pl.concat([IDS, IDS]), Recipe(name="test"))
    shares = splits["split"].value_counts(normalize=True)
    assert splits.height == 5_000
    for split, expected in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert shares.filter(pl.col("split") == split)["proportion"].item() == pytest.approx(expected, abs=0.02)


def test_a_post_does_not_move_when_more_data_comes() -> None:
    few = assign_splits(IDS[:100], Recipe(name="test"))
    many = assign_splits(IDS, Recipe(name="test"))
    assert few.join(many, on=["post_id", "split"], how="inner").height == 100


def test_the_splits_of_some_ids_are_frozen_for_good() -> None:
    splits = assign_splits(pl.Series(["62bgi8", "65qmqo", "p4", "p7"]), Recipe(name="test"))
    assert dict(splits.iter_rows()) == {"62bgi8": "train", "65qmqo": "train", "p4": "validation", "p7": "validation"}
