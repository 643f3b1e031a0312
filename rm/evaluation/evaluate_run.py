"""Evaluate a run's model and its baselines on the same pairs: predictions pair by pair, and the EVALUATIONS table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import polars as pl

from lurker.errors import LurkerError
from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.progress import progress, say
from lurker.report import Displayed, ResultTable
from lurker.schema import EVALUATIONS
from lurker.workspace import Workspace, read_json, write_parquet
from rm.evaluation.baselines import N_FITS, fit_baselines
from rm.evaluation.embeddings import embeddings
from rm.evaluation.metrics import Margins, evaluation_table, model_margins, prediction_table
from rm.evaluation.trained_run import TrainedRun, load_trained
from rm.models.ladder import LADDER
from rm.training.head_only import head_margins
from rm.training.identity import ancestor_posts, model_digest, require_unseen
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import MODEL, RunPairs, finished_run, predictions_file, read_run_pairs, run_config


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
            "accuracy": f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]",
            "log loss": row["log_loss"],
            "test pairs": row["n_test_pairs"],
            "posts": row["n_test_posts"],
        }
        for row in rows
    ]


def evaluate_run(workspace: Workspace, run_id: str, pairs: str, split: str) -> Evaluation:
    """Evaluate a finished run on a split of any pair set; predictions and EVALUATIONS are added to the run's folder.

    The baselines are fitted again on the run's own training pairs.

    Raises:
        CallError: there is no such run or pair set.
        LurkerError: the pair sets the run used have changed, or an evaluated post was trained on.
    """
    folder = finished_run(workspace, run_id)
    description = read_json(folder / "config.json")
    trained_on = read_run_pairs(workspace, run_config(description))
    if trained_on.digest != description["data_digest"]:
        raise LurkerError(f"The pair sets that run {run_id} used have been rebuilt since.", "Train a new run on them.")
    frame = split_of(read_pairs(workspace, pairs), pairs, split)
    require_disjoint(trained_on.training, frame, pairs)
    spec = description["model"]
    require_unseen(ancestor_posts(folder / "model", spec), spec, frame, pairs)
    table = evaluate_predictors(load_trained(workspace, run_id), replace(trained_on, test={pairs: frame}), split)
    path = folder / "evaluations.parquet"
    others = pl.read_parquet(path).filter((pl.col("pairs") != pairs) | (pl.col("split") != split))
    write_parquet(pl.concat([others, table]), path)
    return Evaluation(run_id, pairs, split, table)


def evaluate_predictors(run: TrainedRun, pairs: RunPairs, split: str = "test") -> pl.DataFrame:
    """Evaluate a run's model and its baselines on the run's test pairs, and write the predictions of each.

    A pair whose two sides are equal after truncation counts as a tie.

    Args:
        run: the trained model.
        pairs: training and validation pairs for the baselines, and the test pairs by name of their set.
        split: the split that the test pairs are of.

    Returns:
        EVALUATIONS.
    """
    if not pairs.test:
        return EVALUATIONS.empty()
    margins = _model_margins(run, pairs.test)
    embed = _frozen_embeddings(run, pairs)
    with progress("Baselines", N_FITS, "fits"):
        baselines = fit_baselines(pairs.training, pairs.validation, embed, is_adjusted=run.config.train.adjusted)
    tables = []
    for name, frame in pairs.test.items():
        predictors = {MODEL: margins[name], **{baseline: predict(frame) for baseline, predict in baselines.items()}}
        for predictor, values in predictors.items():
            write_parquet(prediction_table(frame, values), predictions_file(run.folder, name, split, predictor))
        tables.append(evaluation_table(frame, predictors, run.run_id, name, split))
    return pl.concat(tables)


def _model_margins(run: TrainedRun, tests: dict[str, pl.DataFrame]) -> dict[str, Margins]:
    """Margins of the run's model on each test, [n_pairs]."""
    train = run.config.train
    scorer = run.reward_model.scorer(train.max_tokens)
    tokenised = {name: tokenise_for_model(frame, run.reward_model.tokenizer, train) for name, frame in tests.items()}
    n_tokens = sum(int(pairs.sequences.n_tokens.sum()) for pairs in tokenised.values())
    with progress("Evaluating", n_tokens, "tokens"):
        if train.trained == "head":
            return {
                name: head_margins(scorer, pairs, train.tokens_per_batch, run.cache)
                for name, pairs in tokenised.items()
            }
        return {name: model_margins(scorer, pairs, train.tokens_per_batch) for name, pairs in tokenised.items()}


def _frozen_embeddings(run: TrainedRun, pairs: RunPairs) -> Callable[[Sequence[str]], Any] | None:
    """Embeddings by the pretrained model that the run started from; None for a model from scratch.

    All texts of the run are embedded at once, so that the progress bar covers all of them.
    """
    spec = run.config.model
    if spec in LADDER:
        return None
    if read_json(run.folder / "config.json").get("model_digest") != model_digest(spec):
        say(f"The baseline `embeddings` is left out: the weights or the tokenizer of {spec} have changed since.")
        return None
    frames = (pairs.training, pairs.validation, *pairs.test.values())
    texts = {text for frame in frames for side in ("chosen", "rejected") for text in frame[side]}
    embeddings(spec, sorted(texts), run.cache)
    return partial(embeddings, spec, folder=run.cache)
