"""Votes as a pair set: what most raters prefer, by their reliability, in the schema of all pairs.

A model that is trained on votes must not have seen the raters, nor the posts, that it is tested on. So the pair set
NAME holds the votes of raters that are not held out, and NAME-held-out those of held-out raters on test posts only.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from features.hashing import SPAN, hash_ids, salted
from features.ledger import Ledger, apply_rules
from features.recipes.recipe import Recipe
from features.sets.store import describe_blocks, write_pairs
from features.votes.evidence import Evidence, read_evidence
from features.votes.mistakes import fit_mistakes
from lurker.config import to_dict
from lurker.digest import frame_sha256
from lurker.errors import CallError, LurkerError
from lurker.pair_sets import HARD_TEST, PAIRS_FILE, SPLITS, VOTES_RECIPE, pair_set_names
from lurker.schema import PAIRS, check
from lurker.votes.arenas import arena_names, open_arena
from lurker.workspace import Workspace

SALT = "votes-split"
HELD_OUT = "-held-out"
"""Ends the name of the set of held-out raters' votes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VotePairsConfig:
    """How votes become pairs."""

    arena: str = ""
    """Name of the arena; the only one when empty."""
    min_confidence: float = 0.5
    """Smallest probability, given all votes, that chosen is the better one, 0.5-1."""
    min_votes: int = 1
    """Votes that an item needs."""
    validation_fraction: float = 0.1
    """Fraction of posts in validation, 0-1, of those that come from responses and are in no other pair set."""
    test_fraction: float = 0.2
    """Fraction of posts in test, 0-1, of those that come from responses and are in no other pair set."""
    seed: int = 0
    """Draws which posts are held out, where the items come from responses."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence must be between 0.5 and 1, got {self.min_confidence}")
        if self.min_votes < 1:
            raise ValueError(f"min_votes must be at least 1, got {self.min_votes}")
        if not 0 <= self.validation_fraction + self.test_fraction < 1:
            raise ValueError("validation_fraction + test_fraction must leave posts to train on")


def build_from_votes(
    workspace: Workspace, name: str, config: VotePairsConfig, *, replace: bool = False
) -> dict[str, Any]:
    """Write the pair set `name` from the votes of an arena, and `name`-held-out if held-out raters voted on test posts.

    Each item is one pair. label_confidence is P(chosen is better | all votes of these raters) by the mistake model, and
    weight is twice its distance from one half, at least 0.01. Posts stay in the split that the pair sets of the
    workspace give them, so that no run sees a test post.

    Returns:
        The manifest of `name`.

    Raises:
        CallError: the name is taken, or the arena is not named and not the only one.
        LurkerError: no vote is left.
    """
    arena = open_arena(workspace, config.arena or _only_arena(workspace))
    for one in (name, f"{name}{HELD_OUT}"):
        if one == HARD_TEST or (workspace.folder("pairs", one).exists() and not replace):
            raise CallError(f"There is a pair set {one!r} already.", "Choose another name, or add --replace.")
    evidence = read_evidence(arena)
    splits = _splits(workspace, evidence.items, arena.origin.get("pairs") is not None, config)
    manifests = {}
    with workspace.lock("pairs build"):
        for one, is_held_out in ((name, False), (f"{name}{HELD_OUT}", True)):
            pairs, ledger, n_votes = _pairs(evidence, splits, config, is_held_out=is_held_out)
            if pairs.is_empty() and is_held_out:
                continue
            if pairs.is_empty():
                dropped = ", ".join(f"{reason}: {n:,}" for reason, n in ledger.dropped) or "none was cast"
                raise LurkerError(f"No vote of {arena.name} makes a pair ({dropped}).", "Collect more votes.")
            communities = sorted(pairs["subreddit"].unique())
            described = describe_blocks([pairs], frame_sha256(pairs), one, Recipe(name=VOTES_RECIPE), communities)
            manifests[one] = described | {
                "recipe": {"name": VOTES_RECIPE, "source": "arena", **to_dict(config), "arena": arena.name},
                "settings": [f"arena={arena.name}"],
                "raters": {
                    "held_out": is_held_out,
                    "n": evidence.votes.filter(is_held_out=is_held_out)["rater"].n_unique(),
                    "n_votes": n_votes,
                },
                "ledger": {"votes": evidence.ledger.to_dict(), "items": ledger.to_dict()},
            }
            write_pairs(workspace, one, pairs, manifests[one])
    return manifests[name] | {"held_out_set": f"{name}{HELD_OUT}" if len(manifests) == 2 else None}


def _pairs(
    evidence: Evidence, splits: pl.DataFrame, config: VotePairsConfig, *, is_held_out: bool
) -> tuple[pl.DataFrame, Ledger, int]:
    """The items that these raters judged, as PAIRS sorted by pair_id, with the ledger of items and their votes."""
    votes = evidence.votes.filter(pl.col("is_held_out") == is_held_out)
    if votes.is_empty():
        return PAIRS.empty(), Ledger(0), 0
    judged = fit_mistakes(votes).items
    choices = votes.group_by("item_id").agg(
        is_bad=(pl.col("choice") == "both_bad").mean() > 0.5, is_level=(pl.col("outcome") == 0.5).mean() > 0.5
    )
    items = (
        evidence.items.drop("split").join(splits, on="post_id").join(judged, on="item_id").join(choices, on="item_id")
    )
    confidence = pl.max_horizontal(pl.col("p_chosen"), 1 - pl.col("p_chosen"))
    rules = {
        "both responses are bad, most raters say": pl.col("is_bad"),
        "level, most raters say": pl.col("is_level"),
        "fewer votes than min_votes": pl.col("n_votes") < config.min_votes,
        "less sure than min_confidence": confidence < config.min_confidence,
        "votes cancel out": confidence == 0.5,
        "held-out raters, but no test post": (pl.col("split") != "test") & pl.lit(is_held_out),
        "the same two responses as gold and as an item": ~pl.col("pair_id").is_first_distinct(),
        "a text was purged": pl.any_horizontal(pl.col("prompt", "chosen", "rejected") == ""),
    }
    kept, ledger = apply_rules(items, rules)
    is_flipped = pl.col("p_chosen") < 0.5
    swapped = {}
    for column in ("", "_id", "_score", "_delay_s", "_chars"):
        one, other = pl.col(f"chosen{column}"), pl.col(f"rejected{column}")
        swapped[f"chosen{column}"] = pl.when(is_flipped).then(other).otherwise(one)
        swapped[f"rejected{column}"] = pl.when(is_flipped).then(one).otherwise(other)
    odds = pl.col("confounder_log_odds")
    pairs = kept.with_columns(
        **swapped,
        confounder_log_odds=pl.when(is_flipped).then(-odds).otherwise(odds),
        label_confidence=confidence,
        weight=(2 * confidence - 1).clip(0.01),
        recipe=pl.lit(VOTES_RECIPE),
    )
    return check(pairs, PAIRS).sort("pair_id"), ledger, int(kept["n_votes"].sum())


def _splits(workspace: Workspace, items: pl.DataFrame, has_splits: bool, config: VotePairsConfig) -> pl.DataFrame:
    """post_id and split: as in the pair set that was asked about, else in any set of the workspace, else by hash."""
    if has_splits:
        return _most_held_out(items)
    posts = items["post_id"].unique().sort()
    files = [workspace.folder("pairs", name) / PAIRS_FILE for name in pair_set_names(workspace)]
    known = [
        pl.scan_parquet(file).select("post_id", "split").filter(pl.col("post_id").is_in(posts.implode())).unique()
        for file in files
    ]
    found = _most_held_out(pl.concat(known).collect() if known else items.select("post_id", "split").clear())
    posts = posts.filter(~posts.is_in(found["post_id"].implode()))
    place = pl.Series(hash_ids(posts, salted(SALT, config.seed)) / SPAN)
    held_out = config.test_fraction + config.validation_fraction
    split = (
        pl.when(pl.col("place") < config.test_fraction)
        .then(pl.lit("test"))
        .when(pl.col("place") < held_out)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    drawn = pl.DataFrame({"post_id": posts, "place": place}).select("post_id", split=split)
    return pl.concat([found, drawn]).sort("post_id")


def _most_held_out(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per post, of post_id and split: test before validation before train."""
    rank = pl.col("split").replace_strict({split: index for index, split in enumerate(SPLITS)}, return_dtype=pl.Int64)
    return rows.select("post_id", "split").sort(rank).unique("post_id", keep="last", maintain_order=True)


def _only_arena(workspace: Workspace) -> str:
    names = arena_names(workspace)
    if len(names) != 1:
        raise CallError(
            f"Which arena? {workspace.root} has {', '.join(names) or 'none'}.",
            "Name it: `--set arena=NAME`." if names else "Make one: `lurker arena serve NAME --pairs NAME`.",
        )
    return names[0]
