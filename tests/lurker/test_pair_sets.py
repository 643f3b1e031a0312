import polars as pl

from lurker.pair_sets import TEXTS, with_texts


def test_pairs_that_lack_a_text_are_dropped_and_counted(capsys):
    whole = {"pair_id": "whole", **dict.fromkeys(TEXTS, "text")}
    pairs = pl.DataFrame([whole, *({**whole, "pair_id": role, role: ""} for role in TEXTS)])
    assert with_texts(pairs, "mine")["pair_id"].to_list() == ["whole"]
    assert "3 pairs of mine" in capsys.readouterr().err
    with_texts(pairs.head(1), "mine")
    assert capsys.readouterr().err == ""
