"""Tables of a policy's drift from its writer: the alarms, and what the best of n samples is worth."""

import polars as pl

from lurker.schema.columns import Column, Table

DRIFT = Table(
    "drift",
    {
        "step": Column(pl.Int64, "optimiser step of the policy"),
        "alarm": Column(pl.String, "trait of the responses"),
        "value": Column(pl.Float64, "its mean over the policy's responses, one per prompt"),
        "low": Column(pl.Float64, "lower end of its 95 % interval"),
        "high": Column(pl.Float64, "upper end"),
        "reference": Column(pl.Float64, "mean over held-out responses that people wrote; for perplexity, the writer's"),
        "threshold": Column(pl.Float64, "mean at which the alarm rings"),
        "is_ringing": Column(pl.Boolean, "whether the mean is beyond it"),
        "sentence": Column(pl.String, "the alarm in words"),
    },
    key=("step", "alarm"),
)

BEST_OF_N = Table(
    "best-of-n",
    {
        "n": Column(pl.Int64, "samples of which the best by the proxy is taken"),
        "measure": Column(pl.String, "proxy, another judge, truth or length"),
        "value": Column(
            pl.Float64, "mean gain over a single sample, in standard deviations of samples to one prompt; length: words"
        ),
        "low": Column(pl.Float64, "lower end of its 95 % interval, clustered by prompt"),
        "high": Column(pl.Float64, "upper end"),
        "win_rate": Column(
            pl.Float64, "share of other samples that it beats by the measure; null if none is left", nullable=True
        ),
        "win_rate_low": Column(pl.Float64, "lower end of its 95 % interval", nullable=True),
        "win_rate_high": Column(pl.Float64, "upper end", nullable=True),
        "win_rate_at_equal_length": Column(
            pl.Float64, "the same read where both are equally long; null for the proxy and for length", nullable=True
        ),
        "win_rate_at_equal_length_low": Column(pl.Float64, "lower end of its 95 % interval", nullable=True),
        "win_rate_at_equal_length_high": Column(pl.Float64, "upper end", nullable=True),
        "kl_bound": Column(pl.Float64, "log n − (n − 1)/n, nats: an upper bound"),
        "kl": Column(pl.Float64, "estimated divergence from a single sample, with repeated outputs counted, nats"),
        "kl_low": Column(pl.Float64, "lower end of its 95 % interval"),
        "kl_high": Column(pl.Float64, "upper end"),
        "n_prompts": Column(pl.Int64, "number of prompts"),
    },
    key=("n", "measure"),
)
