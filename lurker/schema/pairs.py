"""Preference pairs."""

import polars as pl

from lurker.schema.columns import Column, Table

PAIRS = Table(
    "pairs",
    {
        "pair_id": Column(pl.String, "the two response ids, sorted and joined by '-'; the same in every recipe"),
        "post_id": Column(pl.String, "post_id of the post that both reply to"),
        "subreddit": Column(pl.String, "display name without r/"),
        "split": Column(pl.String, "train | validation | test, by hash of post_id"),
        "prompt": Column(pl.String, "title and text of the post, as given to models"),
        "chosen": Column(pl.String, "text of the response with the higher score"),
        "rejected": Column(pl.String, "text of the response with the lower score"),
        "chosen_id": Column(pl.String, "comment_id of chosen"),
        "rejected_id": Column(pl.String, "comment_id of rejected"),
        "chosen_score": Column(pl.Int64, "score of chosen"),
        "rejected_score": Column(pl.Int64, "score of rejected"),
        "chosen_delay_s": Column(pl.Int64, "seconds from post to chosen"),
        "rejected_delay_s": Column(pl.Int64, "seconds from post to rejected"),
        "chosen_chars": Column(pl.Int64, "length of chosen in characters"),
        "rejected_chars": Column(pl.Int64, "length of rejected in characters"),
        "label_confidence": Column(
            pl.Float64, "P(chosen is truly liked more | scores), 0.5–1; with label_model=votes also given flags, 0–1"
        ),
        "weight": Column(pl.Float64, "weight in training and audits, > 0"),
        "confounder_log_odds": Column(
            pl.Float64,
            "log-odds that chosen wins given confounders alone, cross-fitted; 0 if unknown",
            default=0.0,
        ),
        "recipe": Column(pl.String, "recipe that built the pair"),
    },
    key=("pair_id",),
)
