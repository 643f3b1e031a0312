"""What may be said in words: TF-IDF is named where it is best, and a fit says where it ends and what it foresaw."""

import polars as pl

from dashboard import claims
from lurker.charts import Ceiling, Fitted

ROW = {"pairs": "naive", "accuracy": 0.6, "accuracy_low": 0.55, "accuracy_high": 0.65}


def test_the_best_on_the_hard_test_may_be_words() -> None:
    words = {"tfidf": 0.62, "tfidf_low": 0.58, "tfidf_high": 0.66}
    best, said = claims.best_on_test("scratch-1m", ROW | words)
    assert best == (0.62, 0.58, 0.66)
    assert said == "TF-IDF on naive: 0.620 [0.580, 0.660]; scratch-1m reaches 0.600 [0.550, 0.650]"
    none = dict.fromkeys(words)
    of_model = (0.6, 0.55, 0.65)
    assert claims.best_on_test("scratch-1m", ROW | none) == (of_model, "scratch-1m on naive: 0.600 [0.550, 0.650]")
    coin = ROW | none | {"accuracy_low": 0.49}
    assert "no better than a coin" in claims.best_on_test("scratch-1m", coin)[1]


def test_room_is_up_to_the_ceiling_with_an_interval_that_takes_no_independence_for_granted() -> None:
    ceiling = Ceiling("the truth", 0.84, 0.82, 0.86)
    figure, said = claims.room((0.6, 0.57, 0.63), ceiling)
    assert figure == "0.240"
    assert said == "between 0.190 and 0.290; the truth allows 0.840 [0.820, 0.860]"
    assert claims.room((0.9, 0.88, 0.92), ceiling) == ("none seen", "the truth allows 0.840 [0.820, 0.860]")


def test_a_fit_says_where_it_levels_off_and_whether_it_foresaw_the_largest_size() -> None:
    curve = pl.DataFrame(
        {"predictor": ["m", "m", "tfidf"], "is_baseline": [False, False, True], "n_parameters": [9, 9, None]}
    ).with_columns(n_train_pairs=pl.Series([100, 200, 200]), accuracy=pl.Series([0.6, 0.66, 0.9]))
    drawn = pl.DataFrame({"predictor": ["m"], "n_train_pairs": [200.0], "accuracy": [0.66]})
    level, foreseen = claims.of_fit(Fitted(drawn, (0.7, 0.65, 0.8), (0.65, 0.62, 0.67)), curve)
    assert level == "The fitted curve levels off at 0.700 [0.650, 0.800]."
    assert foreseen.endswith("0.650 [0.620, 0.670]; 0.660 came, as predicted.")
    assert claims.of_fit(Fitted(drawn, None, (0.6, 0.58, 0.61)), curve)[0].endswith("outside its interval.")
    assert claims.of_fit(Fitted(drawn), curve) == []
