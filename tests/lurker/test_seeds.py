"""Intervals of mean accuracies hold the test posts and the seeds, apart."""

import numpy as np
import polars as pl
import pytest

from lurker.schema import SCALING, check
from lurker.seeds import mean_over_seeds

N_SEEDS = 3
SIZES = (100, 200, 400, 800)


def cells(rng: np.random.Generator, by_posts: float, by_seeds: float, *, is_online: bool = False) -> pl.DataFrame:
    """SCALING of one model whose accuracy is .6 at each size, moved by test posts and by seeds; both are deviations."""
    of_posts = rng.normal(0, by_posts)
    rows = []
    for seed in range(N_SEEDS):
        of_run = rng.normal(0, by_seeds)
        for size in SIZES:
            accuracy = 0.6 + of_posts + (of_run if is_online else rng.normal(0, by_seeds))
            rows.append(
                {"pairs": "a", "test_pairs": "a", "predictor": "m", "is_baseline": False, "n_parameters": 9}
                | {"n_train_pairs": size, "seed": seed, "run_id": f"s{seed}" if is_online else f"s{seed}-{size}"}
                | {"train_time_s": 1.0, "n_tokens": 10, "n_test_pairs": 99, "n_test_posts": 9, "log_loss": 0.7}
                | {"accuracy": accuracy, "accuracy_low": accuracy - 1.96 * by_posts}
                | {"accuracy_high": accuracy + 1.96 * by_posts}
            )
    return check(pl.DataFrame(rows, schema=SCALING.schema), SCALING)


@pytest.mark.parametrize("is_online", [False, True])
@pytest.mark.parametrize(("by_posts", "by_seeds"), [(0.02, 0.002), (0.002, 0.02), (0.01, 0.01)])
def test_intervals_cover_the_truth_whichever_varies(by_posts: float, by_seeds: float, is_online: bool) -> None:
    rng = np.random.default_rng(0)
    curves = [mean_over_seeds(cells(rng, by_posts, by_seeds, is_online=is_online)) for _ in range(200)]
    ends = pl.concat(curves).filter(n_train_pairs=SIZES[-1])
    covered = ((ends["accuracy_low"] <= 0.6) & (ends["accuracy_high"] >= 0.6)).mean()
    assert 0.91 < float(covered) <= 1.0  # type: ignore[arg-type]
    assert ends["by_posts"].to_list() == pytest.approx([1.96 * by_posts] * 200)
    of_seeds = (4.303 if is_online else 2.306) * by_seeds / np.sqrt(N_SEEDS)  # t of 2 and of 8 degrees of freedom
    assert 0.6 < float(ends["by_seeds"].median()) / of_seeds < 1.2  # type: ignore[arg-type]
