"""What people are asked in an arena, what they answer, and who they are."""

import polars as pl

from lurker.schema.columns import Column, Table
from lurker.schema.pairs import PAIRS

ITEMS = Table(
    "items",
    {
        "item_id": Column(pl.String, "hash of the arena and the pair"),
        "role": Column(pl.String, "main | gold | qualify: what the item is for"),
        **{name: column for name, column in PAIRS.columns.items() if name not in ("label_confidence", "weight")},
        "reference": Column(
            pl.String, "who chose: reddit | researcher; null if nobody did, and chosen is just the first", nullable=True
        ),
        "chosen_source": Column(pl.String, "what wrote chosen: human, or a name from the responses file"),
        "rejected_source": Column(pl.String, "what wrote rejected"),
        "chosen_reward": Column(
            pl.Float64, "reward that the responses file gives chosen; null without one", nullable=True, since=4
        ),
        "rejected_reward": Column(pl.Float64, "the same of rejected", nullable=True, since=4),
        "information": Column(pl.Float64, "how much a vote tells about the runs of the active design; 0 without one"),
        "reason": Column(pl.String, "why chosen is better, shown as feedback while qualifying", nullable=True),
    },
    key=("item_id",),
)

VOTES = Table(
    "votes",
    {
        "vote_id": Column(pl.String, "hash of arena, rater, item, occasion and attempt: a vote sent twice is one vote"),
        "arena": Column(pl.String, "arena in which it was cast"),
        "rater": Column(pl.String, "hash of the rater's token"),
        "item_id": Column(pl.String, "item_id of the item"),
        "a_id": Column(pl.String, "id of the response shown as A"),
        "b_id": Column(pl.String, "id of the response shown as B"),
        "choice": Column(pl.String, "a | b | level | both_bad | skip"),
        "phase": Column(pl.String, "main | gold | qualify"),
        "occasion": Column(pl.Int64, "0 the first time the rater sees the item, 1 when it comes again swapped"),
        "mode": Column(pl.String, "reddit: guess Reddit's choice | better: the rater's own judgement"),
        "design": Column(pl.String, "how the item was drawn: random | active, with the runs"),
        "propensity": Column(pl.Float64, "probability with which the design drew this item among those left"),
        "n_eligible": Column(pl.Int64, "items left to draw from"),
        "dwell_ms": Column(pl.Int64, "time from showing to voting, milliseconds"),
        "address": Column(pl.String, "salted hash of the network address; null if unknown", nullable=True),
        "shown_utc": Column(pl.Int64, "time of showing, seconds since 1970"),
        "voted_utc": Column(pl.Int64, "time of the vote, seconds since 1970"),
        "undone_utc": Column(pl.Int64, "time at which the rater took it back; null if not", nullable=True),
    },
    key=("vote_id",),
)

RATERS = Table(
    "raters",
    {
        "rater": Column(pl.String, "hash of the token, which is stored nowhere"),
        "arena": Column(pl.String, "arena it may vote in"),
        "name": Column(pl.String, "what the researcher calls the rater; empty if open to all"),
        "is_held_out": Column(pl.Boolean, "the votes are never trained on"),
        "address": Column(
            pl.String, "salted hash of the address that joined an open arena; null if unknown", nullable=True
        ),
        "joined_utc": Column(pl.Int64, "time of the invitation or of joining, seconds since 1970"),
        "consented_utc": Column(pl.Int64, "time of consent; null if not", nullable=True),
        "instructed_utc": Column(pl.Int64, "time of finishing the instructions; null if not", nullable=True),
        "qualified_utc": Column(pl.Int64, "time of passing the qualifying items; null if not", nullable=True),
        "failed_utc": Column(pl.Int64, "time of failing the qualifying items; null if not", nullable=True),
        "revoked_utc": Column(pl.Int64, "time at which the researcher revoked the token; null if not", nullable=True),
    },
    key=("rater",),
)

REMARKS = Table(
    "remarks",
    {
        "remark_id": Column(pl.String, "random id"),
        "arena": Column(pl.String, "arena in which it was written"),
        "rater": Column(pl.String, "hash of the rater's token"),
        "item_id": Column(pl.String, "item it is about"),
        "text": Column(pl.String, "what the rater tells the researcher"),
        "written_utc": Column(pl.Int64, "time of writing, seconds since 1970"),
    },
    key=("remark_id",),
)
