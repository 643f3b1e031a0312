"""A run's model and its baselines on the same pairs, written pair by pair and as a table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from lurker.errors import LurkerError
from lurker.pair_sets import read_pairs, require_disjoint, split_of
from lurker.progress import progress
from lurker.schema import EVALUATIONS
from lurker.workspace import CACHE, Workspace, read_json, write_parquet
from rm.evaluation.baselines import N_FITS, fit_baselines
from rm.evaluation.embeddings import embeddings
from rm.evaluation.metrics import evaluate, model_margins, predictions
from rm.models.ladder import LADDER, RewardModel, load
from rm.models.scorer import Scorer, move_to_device
from rm.training.head_only import head_margins
from rm.training.reward_step import tokenise_for_model
from rm.training.run_folder import (
    MODEL,
    RunConfig,
    RunPairs,
    finished_run,
    predictions_file,
    read_run_pairs,
    run_config,
)

SIDES = ("chosen", "rejected")


def evaluate_run(workspace: Workspace, run_id: str, pairs_name: str, split: str) -> pl.DataFrame:
    """Judge a finished run on a split of any pair set, all its subreddits; adds to the run's predictions and table.

    The baselines are fitted again on the run's own training pairs.
    Errors: CallError when there is no such run or pair set; LurkerError when the pairs it was trained on have changed
    or a judged post is among them.
    """
    folder = finished_run(workspace, run_id)
    described = read_json(folder / "config.json")
    config = run_config(described)
    trained_on = read_run_pairs(workspace, config)
    if trained_on.digest != described["data_digest"]:
        raise LurkerError(f"The pair sets that run {run_id} used were built anew since.", "Train a new run on them.")
    frame = split_of(read_pairs(workspace, pairs_name), pairs_name, split)
    require_disjoint(trained_on.training, frame, pairs_name)
    pairs = replace(trained_on, test={pairs_name: frame})
    reward_model = load(folder / "model")
    move_to_device(reward_model.model, reward_model.n_parameters)
    scorer = reward_model.scorer(config.train.max_tokens)
    table = judge(reward_model, scorer, pairs, config, run_id, folder, workspace.root / CACHE, split)
    path = folder / "evaluations.parquet"
    others = pl.read_parquet(path).filter((pl.col("pairs") != pairs_name) | (pl.col("split") != split))
    write_parquet(pl.concat([others, table]), path)
    return table


def judge(
    reward_model: RewardModel,
    scorer: Scorer,
    pairs: RunPairs,
    config: RunConfig,
    run_id: str,
    folder: Path,
    cache: Path,
    split: str = "test",
    *,
    is_quiet: bool = False,
) -> pl.DataFrame:
    """Judge the model and the baselines on the same pairs; write the predictions of each, return EVALUATIONS.

    A pair whose two sides are equal after cutting stays in, as a tie. cache: folder of what serves later runs too.
    """
    if not pairs.test:
        return EVALUATIONS.empty()
    train = config.train
    tokenised = {name: tokenise_for_model(frame, reward_model.tokenizer, train) for name, frame in pairs.test.items()}
    n_tokens = sum(int(read.sequences.n_tokens.sum()) for read in tokenised.values())
    with progress("Judging", n_tokens, "tokens", is_quiet=is_quiet) as advance:
        margins = {
            name: head_margins(scorer, read, train.tokens_per_batch, cache)
            if train.trained == "head"
            else model_margins(scorer, read, train.tokens_per_batch, advance)
            for name, read in tokenised.items()
        }
    embed = _embedder(pairs, config.model, cache)
    with progress("Baselines", N_FITS, "fits", is_quiet=is_quiet) as advance:
        baselines = fit_baselines(pairs.training, pairs.validation, embed, advance, is_adjusted=train.adjusted)
    tables = []
    for name, frame in pairs.test.items():
        everyone = {MODEL: margins[name], **{baseline: predict(frame) for baseline, predict in baselines.items()}}
        for predictor, values in everyone.items():
            write_parquet(predictions(frame, values), predictions_file(folder, name, split, predictor))
        tables.append(evaluate(frame, everyone, run_id, name, split))
    return pl.concat(tables)


def _embedder(pairs: RunPairs, spec: str, cache: Path) -> Callable[[Sequence[str]], Any] | None:
    """Frozen embeddings by the model that the run started from; None for one from scratch, which knows nothing yet.

    All texts of the run are embedded at once, so that the remaining time is of all of them.
    """
    if spec in LADDER:
        return None
    frames = (pairs.training, pairs.validation, *pairs.test.values())
    embeddings(spec, sorted({text for frame in frames for side in SIDES for text in frame[side]}), cache)
    return partial(embeddings, spec, folder=cache)
