"""What policies write."""

import polars as pl

from lurker.schema.columns import Column, Table

SAMPLES = Table(
    "samples",
    {
        "prompt_id": Column(pl.String, "post_id of the post, or the row's number in a file of prompts"),
        "prompt": Column(pl.String, "title and text of the post, as given to models"),
        "subreddit": Column(pl.String, "display name without r/; null if not known", nullable=True),
        "source": Column(pl.String, "id of the policy that wrote the response, or human"),
        "sample": Column(pl.Int64, "number of the response among those of its prompt and source, from 0"),
        "response": Column(pl.String, "text of the response"),
        "n_tokens": Column(pl.Int64, "tokens written, with the end token"),
        "is_finished": Column(pl.Boolean, "whether it ended by itself, not at the limit of tokens"),
        "log_prob": Column(
            pl.Float64,
            "log-probability of the response under the policy at temperature 1, nats; null for people's",
            nullable=True,
        ),
        "reference_log_prob": Column(
            pl.Float64, "the same under the reference policy, nats; null without one", nullable=True
        ),
    },
    key=("prompt_id", "source", "sample"),
)

CURVE = Table(
    "curve",
    {
        "step": Column(pl.Int64, "optimiser steps done; 0 is the writer"),
        "kl": Column(pl.Float64, "divergence from the writer, nats per response: mean log-ratio of drawn responses"),
        "kl_low": Column(pl.Float64, "lower end of its 95 % interval, clustered by prompt"),
        "kl_high": Column(pl.Float64, "upper end of its 95 % interval"),
        "measure": Column(pl.String, "proxy | held-out | truth | win rate | win rate at equal length | length"),
        "value": Column(
            pl.Float64,
            "of a judge: mean reward in the writer's standard deviations within prompts, its mean being 0; of a win "
            "rate: share of pairs with the writer's responses, 0–1; of length: tokens",
        ),
        "low": Column(pl.Float64, "lower end of its 95 % interval, clustered by prompt"),
        "high": Column(pl.Float64, "upper end of its 95 % interval"),
        "n_prompts": Column(pl.Int64, "prompts, the clusters"),
    },
    key=("step", "measure"),
)
