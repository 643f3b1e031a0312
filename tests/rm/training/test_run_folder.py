"""The pairs of a run."""

from pathlib import Path

import polars as pl

from rm.training.config import TrainConfig
from rm.training.run_folder import RunConfig, read_run_pairs
from tests.rm.conftest import planted_workspace

TRAIN = TrainConfig(learning_rate=1e-3)


def test_a_few_training_pairs_of_one_community_leave_the_test_of_all(tmp_path: Path) -> None:
    workspace = planted_workspace(tmp_path / "workspace")

    def of_size(max_pairs: int) -> tuple[set[str], pl.DataFrame]:
        config = RunConfig(
            pairs="planted", model="scratch-10k", train=TRAIN, max_pairs=max_pairs, test_pairs=("hard-test",)
        )
        pairs = read_run_pairs(workspace, config)
        return set(pairs.training["subreddit"]), pairs.test["hard-test"]

    (few, few_test), (many, many_test) = of_size(4), of_size(200)
    assert len(few) == 1 and len(many) == 2
    assert few_test["pair_id"].to_list() == many_test["pair_id"].to_list()
