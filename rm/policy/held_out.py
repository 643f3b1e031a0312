"""How well a policy predicts held-out human responses: nats per token, per word and per byte, with intervals by post.

Figures per word and per byte compare models with different tokenizers; the end of a response is predicted, too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lurker.stats import mean_interval
from rm.pairs.tokens import layout
from rm.policy.writer_config import WriterConfig
from rm.policy.writer_data import writer_sequences
from rm.policy.writer_step import RESPONSE, n_response_tokens

Floats = NDArray[np.float64]
Losses = tuple[Floats, Floats]
"""Nats and number of tokens of each response with its end token, [n] each."""


def held_out_losses(
    network: Any, frame: pl.DataFrame, tokenizer: Any, config: WriterConfig, training: pl.DataFrame | None = None
) -> Losses:
    """Negative log-probability of each response.

    Args:
        network: a `TokenLoss`; None for the unigram model of the training responses' tokens, each counted once more
            than it occurs.
        frame: responses with their prompts.
        tokenizer: of the network.
        config: how texts are read.
        training: responses that the unigram model counts.
    """
    sequences, n_separator = writer_sequences(frame, tokenizer, config), len(layout(tokenizer).separator)
    n_tokens = n_response_tokens(sequences, n_separator).astype(np.float64)
    if network is not None:
        network.model.eval()
        with torch.no_grad():  # by this process alone: the others have left when a policy is judged
            sums = network(sequences, config.tokens_per_batch)
        return -sums[:, RESPONSE].double().cpu().numpy(), n_tokens
    assert training is not None
    learned = writer_sequences(training, tokenizer, config)
    own = np.concatenate(
        [one[start:] for one, start in zip(learned.tokens, learned.n_prefix + n_separator, strict=True)]
    )
    counts = np.bincount(own, minlength=len(tokenizer)) + 1.0
    nats = -np.log(counts / counts.sum())
    parts = zip(sequences.tokens, sequences.n_prefix + n_separator, strict=True)
    return np.array([nats[one[start:]].sum() for one, start in parts]), n_tokens


def loss_rows(losses: Mapping[str, Losses], frame: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per predictor and unit: nats and perplexity with 95 % intervals clustered by post, and bits.

    Args:
        losses: of each predictor, on the same responses.
        frame: these responses, with post_id.
    """
    n_words = frame["response"].str.count_matches(r"\S+").to_numpy().clip(1).astype(np.float64)
    n_bytes = frame["response"].str.len_bytes().to_numpy().clip(1).astype(np.float64)
    posts = frame["post_id"].to_numpy()
    rows = []
    for predictor, (nats, n_tokens) in losses.items():
        for unit, size in (("token", n_tokens), ("word", n_words), ("byte", n_bytes)):
            found = mean_interval(nats / size, posts, size)
            rows.append(
                {
                    "predictor": predictor,
                    "unit": unit,
                    "nats": found.value,
                    "nats_low": found.low,
                    "nats_high": found.high,
                    "perplexity": float(np.exp(found.value)),
                    "n_units": int(size.sum()),
                    "n_responses": frame.height,
                    "n_posts": found.n_clusters,
                }
            )
    return rows
