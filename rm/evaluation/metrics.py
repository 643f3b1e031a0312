"""How well predictors rank pairs: margins of a model, and accuracies with intervals as the EVALUATIONS table."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.progress import advance
from lurker.schema import EVALUATIONS, PREDICTIONS, check
from lurker.stats import accuracy_interval
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences

Margins = NDArray[np.float64]
ALL = "all"
"""`subreddit` of the rows over all pairs."""
BATCHES_PER_BLOCK = 8
"""Batches laid out together when pairs are scored: memory does not grow with the number of pairs."""
SHORTER = "shorter"
"""Predictor that the shorter response wins."""
WITHOUT_PROBABILITY = ("length", "time", SHORTER)
"""Predictors that only rank, so they have no log loss."""


def model_margins(scorer: Scorer, pairs: TokenisedPairs, tokens_per_batch: int) -> Margins:
    """Reward of chosen minus reward of rejected in log-odds, [n_pairs]; each response is scored once.

    Raises:
        LurkerError: a reward is not finite.
    """
    rewards = model_rewards(scorer, pairs, tokens_per_batch)
    return np.asarray(rewards[pairs.chosen] - rewards[pairs.rejected])


@torch.no_grad()
def model_rewards(scorer: Scorer, pairs: TokenisedPairs, tokens_per_batch: int) -> Margins:
    """The reward of each response, [n_sequences]; advances the open progress bar by tokens.

    Raises:
        LurkerError: a reward is not finite.
    """
    scorer.model.eval()
    rewards = np.empty(len(pairs.sequences))
    for block in _blocks(pairs.sequences, BATCHES_PER_BLOCK * tokens_per_batch):
        part = pairs.sequences.take(block)
        rewards[block] = scorer(part, tokens_per_batch).cpu().numpy()
        advance(int(part.n_tokens.sum()))
    if not np.isfinite(rewards).all():
        raise LurkerError(f"The model's rewards of {int((~np.isfinite(rewards)).sum()):,} responses are not finite.")
    return rewards


def _blocks(sequences: Sequences, tokens_per_block: int) -> list[Indices]:
    """Indices of the sequences in blocks of about `tokens_per_block` tokens, those of one prompt together."""
    order = np.argsort(sequences.prompt, kind="stable")
    ends = np.cumsum(sequences.n_tokens[order]) // tokens_per_block
    return np.split(order, np.flatnonzero(np.diff(ends)) + 1)


def is_correct(margins: Margins) -> NDArray[np.float64]:
    """1 where the margin is positive, 0 where it is negative, 0.5 for a tie. [n_pairs]."""
    return (np.sign(margins) + 1) / 2


def prediction_table(frame: pl.DataFrame, margins: Margins) -> pl.DataFrame:
    """The PREDICTIONS of one predictor, one row per pair of the frame."""
    columns = {"pair_id": frame["pair_id"], "margin": margins, "is_correct": is_correct(margins)}
    columns["chosen_id"] = frame["chosen_id"]
    return check(pl.DataFrame(columns, schema=PREDICTIONS.schema), PREDICTIONS)


def evaluation_table(
    frame: pl.DataFrame, margins: Mapping[str, Margins], run_id: str, pairs: str, split: str
) -> pl.DataFrame:
    """EVALUATIONS: one row per predictor and subreddit, and one per predictor for all pairs.

    Args:
        frame: PAIRS.
        margins: of each predictor, [n_pairs] in the frame's order.
        run_id, pairs, split: written into the columns of these names.
    """
    rows = []
    subreddits = frame["subreddit"].to_numpy()
    for name, values in margins.items():
        for subreddit in [ALL, *sorted(set(subreddits))]:
            rows_here = np.ones(frame.height, dtype=bool) if subreddit == ALL else subreddits == subreddit
            estimate = accuracy_interval(is_correct(values[rows_here]), frame["post_id"].to_numpy()[rows_here])
            has_probability = name not in WITHOUT_PROBABILITY
            rows.append(
                {
                    "run_id": run_id,
                    "pairs": pairs,
                    "split": split,
                    "subreddit": subreddit,
                    "predictor": name,
                    "n_test_pairs": estimate.n,
                    "n_test_posts": estimate.n_clusters,
                    "accuracy": estimate.value,
                    "accuracy_low": estimate.low,
                    "accuracy_high": estimate.high,
                    "log_loss": float(np.logaddexp(0.0, -values[rows_here]).mean()) if has_probability else None,
                }
            )
    return check(pl.DataFrame(rows, schema=EVALUATIONS.schema), EVALUATIONS)
