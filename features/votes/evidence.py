"""Votes as written -> votes that count, with what each says about the item's two responses."""

from dataclasses import dataclass

import polars as pl

from features.ledger import Ledger, apply_rules
from features.votes.design_weights import design_weights
from lurker.votes.arenas import Arena
from lurker.votes.store import read_raters, read_votes

MOST = 0.5
"""A filter that drops more than this share of the votes raises an alarm: it may be the filter that fails. A failing bot
check once cost another arena three months of honest votes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The votes of an arena that count."""

    items: pl.DataFrame
    """ITEMS"""
    votes: pl.DataFrame
    """VOTES and: post_id, split, reference, chosen_source, rejected_source, log_length (of chosen over rejected);
    `outcome`: 1 for chosen, 0 for rejected, 0.5 for level or both bad; `side`: 1 if chosen was shown as A, else -1;
    `weight`: corrects for the design; is_held_out"""
    ledger: Ledger

    @property
    def main(self) -> pl.DataFrame:
        """First votes on items that are neither gold nor practice: what estimates are made of."""
        return self.votes.filter((pl.col("phase") == "main") & (pl.col("occasion") == 0))

    @property
    def alarms(self) -> list[str]:
        """A sentence for each filter that drops most votes."""
        n = self.ledger.n_input
        return [
            f"The filter '{reason}' drops {dropped:,} of {n:,} votes: look whether it is right."
            for reason, dropped in self.ledger.dropped
            if dropped > MOST * n
        ]


def read_evidence(arena: Arena) -> Evidence:
    """The votes of an arena that count; each filter has its number in the ledger."""
    items, raters = arena.items(), read_raters(arena.workspace, arena.name)
    facts = items.select(
        *("item_id", "post_id", "split", "reference", "chosen_id", "chosen_source", "rejected_source"),
        log_length=((1 + pl.col("chosen_chars")) / (1 + pl.col("rejected_chars"))).log(),
    )
    votes = (
        read_votes(arena.workspace, arena.name)
        .join(facts, on="item_id", how="left", maintain_order="left")
        .join(raters.select("rater", "is_held_out", "revoked_utc", "failed_utc"), on="rater", how="left")
    )
    rules = {
        "undone by the rater": pl.col("undone_utc").is_not_null(),
        "of a rater whose invitation was withdrawn": pl.col("revoked_utc").is_not_null(),
        "of a rater who did not qualify": pl.col("failed_utc").is_not_null(),
        "practice": pl.col("phase") == "qualify",
        "skipped": pl.col("choice") == "skip",
        "on an item that is there no more": pl.col("post_id").is_null(),
    }
    weights = design_weights(votes.filter(pl.col("undone_utc").is_null()))  # of all draws: those dropped below too
    kept, ledger = apply_rules(votes, rules)
    is_a = pl.col("a_id") == pl.col("chosen_id")
    chose = pl.when(pl.col("choice") == "a").then(is_a).when(pl.col("choice") == "b").then(~is_a)
    kept = kept.with_columns(
        outcome=chose.cast(pl.Float64).fill_null(0.5),
        side=pl.when(is_a).then(1.0).otherwise(-1.0),
    ).drop("chosen_id", "revoked_utc", "failed_utc")
    weighted = kept.join(weights, on="vote_id", how="left", maintain_order="left")
    return Evidence(items, weighted.with_columns(pl.col("weight").fill_null(1.0)), ledger)
