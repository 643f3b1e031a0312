"""What a policy gains and loses while it learns from a judge."""

import polars as pl

from lurker.schema.columns import Column, Table

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
