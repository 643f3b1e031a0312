"""Simulated raters walk through an arena as people do, so that everything after it can be tried on known raters."""

import numpy as np
import polars as pl

from dashboard.arena.ballots import cast, position
from dashboard.arena.design import pool_of
from lurker.errors import LurkerError
from lurker.progress import advance, progress
from lurker.schema import TRUTH
from lurker.votes.arenas import Arena, digest, invite, rater_of
from lurker.votes.simulated import choose, simulated_raters
from lurker.votes.store import find_rater, mark_rater

FASTEST_MS, SLOWEST_MS = 1_500, 20_000


def simulate_raters(arena: Arena, n_raters: int, n_votes: int, *, careful_share: float = 0.7, seed: int = 0) -> int:
    """Let simulated raters vote by the true quality of simulated comments; a call that was stopped goes on.

    Args:
        n_votes: of each rater, at most; who fails to qualify stops before.
        careful_share: the others are careless, side-biased and contrarian in turn.

    Returns:
        The number of votes written.

    Raises:
        LurkerError: the quality of a response is not known: the items are not from a simulated Reddit.
    """
    items = arena.items()
    quality = _quality(arena, items)
    pool, texts = pool_of(items), {row["item_id"]: row for row in items.to_dicts()}
    n_written = 0
    with progress("Voting", n_raters * n_votes, "votes"):
        for number, rater in enumerate(simulated_raters(n_raters, careful_share)):
            token = f"simulated-{digest(arena.name, seed, number)}"
            own = rater_of(token)
            if find_rater(arena.workspace, arena.name, own) is None:
                invite(arena, f"simulated {rater.kind} {number}", token=token)
                for event in ("consented", "instructed"):
                    mark_rater(arena.workspace, own, event)
            rng = np.random.default_rng([seed, number])
            for _ in range(n_votes):
                now = position(arena, pool, texts, token, has_pace_limit=False)
                if now.ballot is None or now.n_cast >= n_votes:
                    break
                choice = choose(rater, quality[now.ballot.a_id], quality[now.ballot.b_id], rng)
                dwell_ms = int(rng.uniform(FASTEST_MS, SLOWEST_MS))
                n_written += cast(arena, own, now.ballot, choice, dwell_ms)
                advance(1)
    return n_written


def _quality(arena: Arena, items: pl.DataFrame) -> dict[str, float]:
    """comment_id -> true quality, scaled so that the differences of the items have a standard deviation of 1."""
    truth = arena.workspace.scan(TRUTH).select("comment_id", "quality").collect()
    sides = [
        items.select(comment_id=f"{side}_id").join(truth, on="comment_id", how="left")
        for side in ("chosen", "rejected")
    ]
    differences = sides[0]["quality"] - sides[1]["quality"]
    if differences.null_count():
        raise LurkerError(
            f"The true quality of {differences.null_count():,} items of {arena.name} is not known.",
            "Simulated raters need a simulated Reddit: `lurker ingest simulate`, then pairs and an arena from it.",
        )
    scale = float(np.std(differences.to_numpy())) or 1.0
    known = pl.concat(sides).unique("comment_id")
    return {comment: value / scale for comment, value in known.rows()}
