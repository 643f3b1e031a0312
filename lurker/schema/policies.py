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
