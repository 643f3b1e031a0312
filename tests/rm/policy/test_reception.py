"""Well-received responses: the score beyond what time, thread and length foretell finds quality; the score does not."""

import numpy as np
import polars as pl
import pytest

from rm.policy.reception import CONFOUNDERS, add_reception
from rm.policy.writer_config import writer_config
from rm.policy.writer_data import choose

N_POSTS, PER_POST = 600, 8


@pytest.fixture(scope="module")
def world() -> pl.DataFrame:
    """Responses whose votes follow quality, and as much their delay, thread and length; of two communities."""
    rng = np.random.default_rng(0)
    n = N_POSTS * PER_POST
    post = np.repeat(np.arange(N_POSTS), PER_POST)
    quality, delay, chars = rng.standard_normal(n), rng.lognormal(8.5, 1.5, n), rng.lognormal(4.5, 0.5, n)
    size = np.repeat(rng.lognormal(2, 1, N_POSTS), PER_POST)
    rate = 3 + 0.9 * quality + 0.8 * np.log(size / 7) - 0.7 * np.log1p(delay / 600) + 0.8 * np.log(chars / 90)
    rank = pl.DataFrame({"post": post, "delay": delay}).select(pl.col("delay").rank("ordinal").over("post") - 1)
    return pl.DataFrame(
        {
            "response_id": [f"r{number:05}" for number in range(n)],
            "post_id": [f"p{number}" for number in post],
            "subreddit": np.where(post % 3 == 0, "small", "large"),
            "split": np.where(post % 10 == 0, "test", np.where(post % 10 == 1, "validation", "train")),
            "score": 1 + rng.poisson(np.exp(rate) * rng.gamma(2.5, 1 / 2.5, n)),
            "quality": quality,
            "log_delay": np.log1p(delay),
            "log_rank": np.log1p(rank.to_series().to_numpy()),
            "log_chars": np.log(chars),
            "log_thread_size": np.log(size),
            "log_post_score": np.log1p(size) + rng.standard_normal(n),
        }
    )


def test_the_residual_chooses_quality_and_not_early_or_long_responses(world: pl.DataFrame) -> None:
    frame = add_reception(world)
    assert frame["response_id"].equals(world["response_id"])
    training = frame.filter(split="train")
    chosen = {
        by: choose(frame, writer_config("scratch-10k", 0, [f"selected_by={by}"])).filter(split="train")
        for by in ("residual", "score", "all")
    }
    assert chosen["residual"].height == chosen["score"].height == pytest.approx(0.3 * training.height, abs=2)
    assert chosen["all"].height == training.height
    quality = {by: float(part["quality"].mean()) for by, part in chosen.items()}  # type: ignore[arg-type]
    assert quality["residual"] > quality["score"] + 0.15 > quality["all"] + 0.15
    for name in ("log_delay", "log_chars"):
        values = {by: part[name].to_numpy() for by, part in {**chosen, "training": training}.items()}
        shift = {by: (one.mean() - values["training"].mean()) / values["training"].std() for by, one in values.items()}
        assert abs(shift["residual"]) < 0.2
        assert abs(shift["score"]) > 0.25


def test_held_out_responses_pass_the_bar_of_training_responses(world: pl.DataFrame) -> None:
    frame = add_reception(world)
    chosen = choose(frame, writer_config("scratch-10k", 0, []))
    for (subreddit,), part in chosen.group_by("subreddit"):
        bar = part.filter(split="train")["reception"].min()
        of_test = frame.filter(split="test", subreddit=subreddit)
        assert chosen.filter(split="test", subreddit=subreddit).height == (of_test["reception"] >= bar).sum()
        assert 0.2 < (of_test["reception"] >= bar).mean() < 0.4  # type: ignore[operator]


def test_no_score_of_a_post_moves_what_is_foretold_for_it(world: pl.DataFrame) -> None:
    before = add_reception(world)
    for split in ("train", "test"):
        post = world.filter(split=split)["post_id"][0]
        is_own = pl.col("post_id") == post
        changed = world.with_columns(score=pl.when(is_own).then(pl.col("score") * 50).otherwise("score"))
        after = add_reception(changed)
        assert after.filter(is_own)["expected"].to_numpy() == pytest.approx(
            before.filter(is_own)["expected"].to_numpy()
        )
        others = after.filter(~is_own)["expected"] - before.filter(~is_own)["expected"]
        assert (others.abs().max() > 1e-6) == (split == "train")  # type: ignore[operator]


def test_responses_of_threads_that_are_gone_are_ranked_too(world: pl.DataFrame) -> None:
    gone = world.with_columns(
        pl.when(pl.col("post_id") == "p3").then(None).otherwise(pl.col(name)).alias(name)
        for name in ("log_rank", "log_thread_size", "log_post_score")
    )
    assert set(CONFOUNDERS) <= set(gone.columns)
    frame = add_reception(gone)
    assert frame["reception"].is_finite().all()
    without = world.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in ("log_rank", "log_post_score"))
    assert add_reception(without)["reception"].is_finite().all()
