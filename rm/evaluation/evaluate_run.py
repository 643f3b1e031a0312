"""Evaluate a run's model and its baselines on the same pairs: predictions pair by pair, and the EVALUATIONS table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lurker.decimals import accuracy_text
from lurker.errors import LurkerError
from lurker.files import read_json, write_json, write_parquet
from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.progress import progress
from lurker.report import Displayed, ResultTable
from lurker.schema import EVALUATIONS
from lurker.workspace import CACHE, Workspace
from rm.evaluation.baseline_margins import Baselines, baseline_margins, wanted_baselines
from rm.evaluation.baselines import BASELINES, Which
from rm.evaluation.embeddings import means_folder
from rm.evaluation.metrics import ALL, Margins, evaluation_table, model_margins, prediction_table
from rm.evaluation.trained_run import TrainedRun, load_trained
from rm.models.ladder import LADDER
from rm.pairs.tokenised import TokenisedPairs
from rm.training.head_only import head_margins
from rm.training.identity import unseen_by_ancestors
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import (
    CONFIG,
    MODEL,
    RESULT,
    RunConfig,
    RunPairs,
    finished_run,
    predictions_file,
    read_run_pairs,
    run_config,
    run_lock,
)

TEST_AND_PREDICTOR = ("pairs", "split", "predictor")


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation(Displayed):
    """A run and its baselines on one split of a pair set."""

    run_id: str
    pairs: str
    split: str
    frame: pl.DataFrame
    """EVALUATIONS: one row per predictor and subreddit, and one per predictor for all pairs."""

    def table(self) -> ResultTable:
        """Accuracy of each predictor by subreddit, with intervals."""
        title = f"Run {self.run_id} on {self.pairs} ({self.split})"
        return ResultTable(title, accuracy_rows(self.frame.to_dicts(), "subreddit"))


def accuracy_rows(rows: Sequence[dict[str, Any]], *columns: str) -> list[dict[str, Any]]:
    """Rows of EVALUATIONS as people read them, with these further columns after `pairs`."""
    return [
        {
            "pairs": row["pairs"],
            **{column: row[column] for column in columns},
            "predictor": row["predictor"],
            "accuracy": accuracy_text(row),
            "log loss": row["log_loss"],
            "test pairs": row["n_test_pairs"],
            "posts": row["n_test_posts"],
        }
        for row in rows
    ]


def evaluate_run(workspace: Workspace, run_id: str, pairs: str, split: str, baselines: Which = "all") -> Evaluation:
    """Evaluate a finished run on a split of any pair set; predictions and EVALUATIONS are added to the run's folder.

    The baselines are fitted on the run's own training pairs.

    Raises:
        CallError: there is no such run or pair set.
        LurkerError: the pair sets the run used have changed, or an evaluated post was trained on.
    """
    folder = finished_run(workspace, run_id)
    description = read_json(folder / CONFIG)
    trained_on = read_run_pairs(workspace, run_config(description))
    if trained_on.digest != description["data_digest"]:
        raise LurkerError(f"The pair sets that run {run_id} used have been rebuilt since.", "Train a new run on them.")
    frame = split_of(read_pairs(workspace, pairs), pairs, split)
    require_disjoint(trained_on.training, frame, pairs)
    spec = description["model"]
    frame = unseen_by_ancestors(folder / "model", spec, frame, pairs)
    evaluated = replace(trained_on, test={pairs: frame})
    table = evaluate_model(load_trained(workspace, run_id), evaluated, split, has_means=baselines == "all")
    with run_lock(workspace, run_id, waits=True):
        add_evaluations(folder, table)
        names = wanted_baselines(baselines, spec)
        if names:
            more, _ = evaluate_baselines(workspace, run_id, evaluated, names, split)
            table = pl.concat([table, more])
            add_evaluations(folder, table)
        result = read_json(folder / RESULT)
        write_json(result | {"evaluations": result_rows(folder, run_config(description))}, folder / RESULT)
    return Evaluation(run_id, pairs, split, table)


def add_evaluations(folder: Path, table: pl.DataFrame) -> None:
    """Write rows of EVALUATIONS into a run's folder, in place of those of the same predictors, pairs and split."""
    path = folder / "evaluations.parquet"
    known = pl.read_parquet(path) if path.exists() else EVALUATIONS.empty()
    merged = pl.concat([known.join(table, on=TEST_AND_PREDICTOR, how="anti"), table])
    tests = {test: place for place, test in enumerate(dict.fromkeys(merged.select("pairs", "split").rows()))}
    predictors = {name: place for place, name in enumerate((MODEL, *BASELINES))}
    order = [(tests[pairs, split], predictors[name]) for pairs, split, name in merged.select(TEST_AND_PREDICTOR).rows()]
    places = pl.DataFrame(order, schema=["test", "place"], orient="row")
    write_parquet(merged[places.select(pl.arg_sort_by("test", "place", maintain_order=True)).to_series()], path)


def result_rows(folder: Path, config: RunConfig) -> list[dict[str, Any]]:
    """The rows of EVALUATIONS that a run's `result.json` has: those of its own tests, over all subreddits."""
    table = pl.read_parquet(folder / "evaluations.parquet")
    own = table.filter(pl.col("pairs").is_in(config.test_pairs), split="test", subreddit=ALL)
    return own.drop("run_id", "subreddit").to_dicts()


def evaluate_model(run: TrainedRun, pairs: RunPairs, split: str = "test", *, has_means: bool = False) -> pl.DataFrame:
    """EVALUATIONS of a run's model on the run's test pairs; its predictions are written into the run's folder.

    A pair whose two sides are equal after truncation counts as a tie.

    Args:
        run: the trained model.
        pairs: the test pairs by name of their set.
        split: the split that the test pairs are of.
        has_means: also keep what the baseline `embeddings` needs, where the same pass yields it.
    """
    margins = model_margins_of_tests(run, pairs.test, has_means=has_means) if pairs.test else {}
    return _evaluated(run.folder, run.run_id, pairs, split, {MODEL: margins})


def evaluate_baselines(
    workspace: Workspace, run_id: str, pairs: RunPairs, names: Sequence[str], split: str = "test"
) -> tuple[pl.DataFrame, dict[str, str]]:
    """EVALUATIONS of baselines on a run's test pairs, and which were left out for what reason.

    Args:
        workspace: where the run is.
        run_id: a run whose config.json is written.
        pairs: training and validation pairs for the baselines, and the test pairs by name of their set.
        names: of BASELINES.
        split: the split that the test pairs are of.
    """
    folder = workspace.folder("runs", run_id)
    described = read_json(folder / CONFIG)
    cache = workspace.root / CACHE
    found = (
        baseline_margins(names, run_config(described), pairs, cache, described.get("model_digest"))
        if pairs.test
        else Baselines()
    )
    return _evaluated(folder, run_id, pairs, split, found.margins), found.left_out


def _evaluated(
    folder: Path, run_id: str, pairs: RunPairs, split: str, margins: dict[str, dict[str, Margins]]
) -> pl.DataFrame:
    """EVALUATIONS of predictors, whose predictions are written; margins: predictor -> test -> [n_pairs]."""
    tables = [EVALUATIONS.empty()]
    for name, frame in pairs.test.items():
        here = {predictor: values[name] for predictor, values in margins.items()}
        for predictor, values in here.items():
            write_parquet(prediction_table(frame, values), predictions_file(folder, name, split, predictor))
        if here:
            tables.append(evaluation_table(frame, here, run_id, name, split))
    return pl.concat(tables)


def model_margins_of_tests(
    run: TrainedRun, tests: dict[str, pl.DataFrame], *, has_means: bool = False
) -> dict[str, Margins]:
    """Margins of the run's model on each test, [n_pairs]; a response in several tests is scored once.

    Models of the ladder score tests one by one: that costs little, and keeps their figures to the last digit.
    """
    return margins_of_sets(run, tests, tokenised_tests(run, tests), has_means=has_means)


def tokenised_tests(run: TrainedRun, tests: dict[str, pl.DataFrame]) -> list[TokenisedPairs]:
    """The tests as the run's model reads them: one set for all, or one for each with a model of the ladder."""
    frames = [*tests.values()] if run.config.model in LADDER else [pl.concat(tests.values())]
    return [tokenise_for_model(frame, run.reward_model.tokenizer, run.config.train) for frame in frames]


def margins_of_sets(
    run: TrainedRun, tests: dict[str, pl.DataFrame], sets: Sequence[TokenisedPairs], *, has_means: bool = False
) -> dict[str, Margins]:
    """Margins of the run's model on each test, [n_pairs]; sets: as `tokenised_tests` returns them."""
    train = run.config.train
    scorer = run.reward_model.scorer(train.max_tokens)
    is_frozen = train.trained == "head"  # then the untrained model's embeddings are this model's
    means = means_folder(scorer, run.config, run.cache) if has_means and is_frozen else None
    parts = []
    with progress("Evaluating", sum(int(pairs.sequences.n_tokens.sum()) for pairs in sets), "tokens"):
        for pairs in sets:
            if train.trained == "head":
                parts.append(head_margins(scorer, pairs, train.tokens_per_batch, run.cache, means))
            else:
                parts.append(model_margins(scorer, pairs, train.tokens_per_batch))
    ends = np.cumsum([frame.height for frame in tests.values()])
    return dict(zip(tests, np.split(np.concatenate(parts), ends[:-1]), strict=True))
