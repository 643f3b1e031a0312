"""Simulated raters walk through an arena as people do, so that everything after it can be tried on known raters."""

import numpy as np
import polars as pl

from dashboard.arena.ballots import cast, position
from dashboard.arena.design import pool_of
from lurker.errors import LurkerError
from lurker.progress import advance, progress
from lurker.schema import POSTS, TRUTH
from lurker.true_quality import read_quality_rule, true_quality
from lurker.votes.arenas import Arena, digest, invite, rater_of
from lurker.votes.simulated import choose, simulated_raters
from lurker.votes.store import find_rater, mark_rater

FASTEST_MS, SLOWEST_MS = 1_500, 20_000


def simulate_raters(arena: Arena, n_raters: int, n_votes: int, *, careful_share: float = 0.7, seed: int = 0) -> int:
    """Let simulated raters vote by the true quality of the responses; a call that was stopped goes on.

    Args:
        n_votes: of each rater, at most; who fails to qualify stops before.
        careful_share: the others are careless, side-biased and contrarian in turn.

    Returns:
        The number of votes written.

    Raises:
        LurkerError: the quality of a response is not known: the prompts are not from a simulated Reddit.
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
    """Id of a response -> true quality, scaled so that the differences of the items have a standard deviation of 1.

    Comments have theirs in TRUTH; that of other texts, such as a model's, follows from the rule of the simulation.
    """
    sides = [
        items.select("post_id", "subreddit", "prompt", response=f"{side}_id", text=side)
        for side in ("chosen", "rejected")
    ]
    texts = pl.concat(sides).unique("response", maintain_order=True)
    truth = arena.workspace.scan(TRUTH).select(response="comment_id", quality="quality").collect()
    known = texts.join(truth, on="response", how="left", maintain_order="left")
    if (unknown := known.filter(pl.col("quality").is_null())).height:
        known = pl.concat([known.drop_nulls("quality"), _of_any_text(arena, unknown)])
    quality = dict(known.select("response", "quality").iter_rows())
    first, second = (side["response"].replace_strict(quality).to_numpy() for side in sides)
    scale = float(np.std(first - second)) or 1.0
    return {response: value / scale for response, value in quality.items()}


def _of_any_text(arena: Arena, texts: pl.DataFrame) -> pl.DataFrame:
    """The texts with their quality by the rule of the simulation, as readers of the prompt's community judge them."""
    rule = read_quality_rule(arena.workspace)
    posts = arena.workspace.scan(POSTS).select("post_id", community="subreddit").collect()
    placed = texts.join(posts, on="post_id", how="left", maintain_order="left")
    placed = placed.with_columns(pl.coalesce("community", "subreddit"))
    if elsewhere := sorted(set(placed["community"]) - set(rule.subreddits)):
        raise LurkerError(
            f"{arena.name} has prompts of {', '.join(elsewhere)}, and the simulation has {', '.join(rule.subreddits)}.",
            "Name the community of each prompt: `topic` of the responses file, or `prompt_id`, the id of a post.",
        )
    columns = (placed[name].to_list() for name in ("community", "prompt", "text"))
    return texts.with_columns(quality=pl.Series(true_quality(rule, *columns)))
