"""How well predictors name the winner: margins of the model and the baselines on the same pairs, with intervals."""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lurker.errors import LurkerError
from lurker.progress import ignore
from lurker.schema import EVALUATIONS, PREDICTIONS, check
from lurker.stats import accuracy_interval
from rm.models.scorer import Scorer
from rm.pairs.tokenised import TokenisedPairs
from rm.pairs.tokens import Indices, Sequences

Margins = NDArray[np.float64]
ALL = "all"
BATCHES_PER_BLOCK = 8
"""Batches that are laid out together when pairs are judged: what is held does not grow with their number."""
TIMELESS = ("length", "time")
"""Predictors that rank and give no probability: they have no log loss."""


def model_margins(
    scorer: Scorer, pairs: TokenisedPairs, tokens_per_batch: int, advance: Callable[[float], None] = ignore
) -> Margins:
    """Reward of chosen minus reward of rejected, [n_pairs], in log-odds; each response is scored once.

    Errors: LurkerError when a reward is not finite.
    """
    scores = model_rewards(scorer, pairs, tokens_per_batch, advance)
    return np.asarray(scores[pairs.chosen] - scores[pairs.rejected])


@torch.no_grad()
def model_rewards(
    scorer: Scorer, pairs: TokenisedPairs, tokens_per_batch: int, advance: Callable[[float], None] = ignore
) -> Margins:
    """The reward of each of the pairs' sequences, [n_sequences]; advance is told of tokens.

    Errors: LurkerError when one is not finite.
    """
    scorer.model.eval()
    scores = np.empty(len(pairs.sequences))
    for block in _blocks(pairs.sequences, BATCHES_PER_BLOCK * tokens_per_batch):
        part = pairs.sequences.take(block)
        scores[block] = scorer(part, tokens_per_batch).cpu().numpy()
        advance(int(part.n_tokens.sum()))
    if not np.isfinite(scores).all():
        raise LurkerError(f"The model's reward of {int((~np.isfinite(scores)).sum()):,} responses is not a number.")
    return scores


def _blocks(sequences: Sequences, tokens_per_block: int) -> list[Indices]:
    """Numbers of the sequences, those of one prompt together, in blocks of about so many tokens."""
    order = np.argsort(sequences.prompt, kind="stable")
    ends = np.cumsum(sequences.n_tokens[order]) // tokens_per_block
    return np.split(order, np.flatnonzero(np.diff(ends)) + 1)


def predictions(frame: pl.DataFrame, margins: Margins) -> pl.DataFrame:
    """The PREDICTIONS table of one predictor; a margin of 0 is half right."""
    columns = {"pair_id": frame["pair_id"], "margin": margins, "is_correct": is_correct(margins)}
    return check(pl.DataFrame(columns, schema=PREDICTIONS.schema), PREDICTIONS)


def is_correct(margins: Margins) -> NDArray[np.float64]:
    """1 where the margin is over 0, 0 where it is under, 0.5 for a tie."""
    return (np.sign(margins) + 1) / 2


def evaluate(frame: pl.DataFrame, margins: Mapping[str, Margins], run_id: str, pairs: str, split: str) -> pl.DataFrame:
    """The EVALUATIONS table: every predictor on the same pairs, by subreddit and for all together.

    frame: PAIRS. margins: of each predictor, [n_pairs] in the frame's order.
    """
    rows = []
    subreddits = frame["subreddit"].to_numpy()
    for name, values in margins.items():
        for subreddit in [ALL, *sorted(set(subreddits))]:
            of = np.ones(frame.height, dtype=bool) if subreddit == ALL else subreddits == subreddit
            estimate = accuracy_interval(is_correct(values[of]), frame["post_id"].to_numpy()[of])
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
                    "log_loss": None if name in TIMELESS else float(np.logaddexp(0.0, -values[of]).mean()),
                }
            )
    return check(pl.DataFrame(rows, schema=EVALUATIONS.schema), EVALUATIONS)
