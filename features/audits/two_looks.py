"""What second looks say about labels: does the response that led at the first look also win the votes cast afterwards?

Any two neighbours (by a hash) of a thread are paired, whether or not the pair set has the pair: pairs chosen by their
last score would already know how the later votes fell. The label is that of the first look, and the votes between the
first and the last look judge it. A confidence is calibrated if the agreement it predicts, given how many votes come
later, is the agreement seen.

What late votes owe to early ones is not removed: if leaders are seen more because they lead (herding), agreement rises
with it, and so does the confidence that is calibrated against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.hashing import hash_ids, salted
from features.pairing.later_votes import later_vote_distributions, probability_of_more
from features.pairing.second_window import FIRST_GAPS, GAP_NAMES
from features.pairing.votes_cast import (
    FLAGGED,
    UNKNOWN,
    Look,
    VotesCast,
    confidence_from_votes,
    count_looks,
    fit_votes_cast,
    look,
)
from lurker.errors import LurkerError
from lurker.files import write_json
from lurker.pair_sets import read_manifest
from lurker.progress import progress
from lurker.schema import COMMENTS, OBSERVATIONS
from lurker.stats import accuracy_interval, mean_interval
from lurker.workspace import Workspace

TWO_LOOKS = "two-looks.json"
HOUR_S = 3_600
AGES_H = (0, 1, 2, 4, 6, 9, 12, 18, 24)
"""Edges of the age at the first look, hours: how many votes are still to come depends on it."""
LUCKS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
DRIFTS = (0.0, 0.125, 0.25, 0.375, 0.5)
"""Values of exposure_luck and controversial_drift that are tried."""
FLAGS = {
    (0, 0): "neither flagged",
    (0, 1): "the lower flagged",
    (1, 0): "the higher flagged",
    (1, 1): "both flagged",
}
"""(flag of the leader, flag of the other) -> how people read it."""
_SEE_AGAIN = "Look again later: `lurker ingest refresh`, or ingest an earlier dump of the same comments."


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoLooksConfig:
    """Which looks are compared."""

    n_neighbours: int = 8
    """Following responses that each response is paired with, responses."""
    min_hours_between: float = 6.0
    """Shortest time between the two looks, hours."""
    max_first_age_h: float = 24.0
    """Oldest response at its first look, hours: later, hardly any votes come, and their sign is noise."""
    max_pairs: int = 60_000
    """A larger number is sampled by post, pairs."""
    min_pairs: int = 200
    """Fewest pairs to say anything, pairs."""
    n_bins: int = 10
    """Bins of the reliability diagram, of equal numbers of pairs."""


Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of responses by their first look, the leader first."""

    posts: pl.Series
    leader: Look
    other: Look
    ages: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Bin of AGES_H at the first look."""
    agrees: Floats
    """1 if the later votes prefer the leader, 0 if the other, 0.5 for a draw, shape [n]."""


def two_looks(workspace: Workspace, name: str, config: TwoLooksConfig | None = None) -> dict[str, Any]:
    """Judge labels of first looks by later votes in the subreddits of a pair set, and write its two-looks.json.

    Raises:
        LurkerError: too few responses were observed twice.
    """
    config = config or TwoLooksConfig()
    manifest = read_manifest(workspace, name)
    with progress("Comparing looks", 3, "steps") as advance:
        responses = read_looks(workspace, manifest["subreddits"], config)
        pairs = _pair(responses, config)
        if len(pairs.agrees) < config.min_pairs:
            raise LurkerError(
                f"Only {len(pairs.agrees):,} pairs of {name}'s subreddits were seen twice, at least "
                f"{config.min_hours_between:g} hours apart; {config.min_pairs:,} are needed.",
                _SEE_AGAIN,
            )
        if pairs.posts.n_unique() < 2:
            raise LurkerError(f"All pairs of {name}'s subreddits that were seen twice are of one post.", _SEE_AGAIN)
        advance(1)
        report = _describe(pairs) | _calibration(responses, pairs, config, advance)
    report = {"pairs": name, "n_responses": responses.height, **report}
    write_json(report, workspace.folder("pairs", name) / TWO_LOOKS)
    return report


def read_looks(workspace: Workspace, subreddits: Sequence[str], config: TwoLooksConfig) -> pl.DataFrame:
    """Comments seen twice: comment_id, post_id, score, flag and age_h at the first look, later_votes."""
    first, last = pl.col("observed_utc").arg_min(), pl.col("observed_utc").arg_max()
    looks = (
        workspace.scan(OBSERVATIONS, subreddits)
        .filter(pl.col("kind") == "comment")
        .group_by(comment_id="item_id")
        .agg(
            seen_utc=pl.col("observed_utc").min(),
            between_s=pl.col("observed_utc").max() - pl.col("observed_utc").min(),
            score=pl.col("score").get(first),
            is_controversial=pl.col("is_controversial").get(first),
            later_votes=pl.col("score").get(last) - pl.col("score").get(first),
        )
        .filter(pl.col("between_s") >= config.min_hours_between * HOUR_S)
    )
    # A comment gets no votes once it is deleted: its later votes would be a draw or a defeat, whoever led.
    is_response = pl.col("is_top_level") & ~pl.col("is_stickied") & ~pl.col("is_deleted")
    comments = workspace.scan(COMMENTS, subreddits).filter(is_response)
    joined = comments.select("comment_id", "post_id", "created_utc").join(looks, on="comment_id")
    age_h = (pl.col("seen_utc") - pl.col("created_utc")) / HOUR_S
    rows = joined.with_columns(age_h=age_h).filter(pl.col("age_h").is_between(0, config.max_first_age_h, closed="left"))
    return rows.sort("post_id", "comment_id").collect()


def _pair(responses: pl.DataFrame, config: TwoLooksConfig) -> _Pairs:
    """Each response with its next neighbours in the order of a hash; pairs of equal first scores say nothing."""
    order = pl.Series(hash_ids(responses["comment_id"], salted("two-looks", 0)))
    rows = responses.with_columns(order=order).sort("post_id", "order").with_row_index("row")
    shifted = [
        rows.select("row", other=pl.col("row").shift(-step).over("post_id")).drop_nulls()
        for step in range(1, config.n_neighbours + 1)
    ]
    index = pl.concat(shifted).sort("row", "other")
    scores = rows["score"].to_numpy()
    a, b = index["row"].to_numpy(), index["other"].to_numpy()
    is_ahead = scores[a] > scores[b]
    leader, other = np.where(is_ahead, a, b), np.where(is_ahead, b, a)
    differs = scores[a] != scores[b]
    leader, other = leader[differs], other[differs]
    if len(leader) > config.max_pairs:
        post_hash = hash_ids(rows["post_id"], salted("two-looks-sample", 0))
        limit = np.quantile(post_hash[leader], config.max_pairs / len(leader))
        kept = post_hash[leader] < limit
        leader, other = leader[kept], other[kept]
    later = rows["later_votes"].to_numpy()
    bins = np.digitize(rows["age_h"].to_numpy(), AGES_H) - 1
    flags = rows["is_controversial"]
    return _Pairs(
        posts=rows["post_id"][leader],
        leader=look(scores[leader], flags[leader]),
        other=look(scores[other], flags[other]),
        ages=(bins[leader], bins[other]),
        agrees=(np.sign(later[leader] - later[other]) + 1) / 2,
    )


def _describe(pairs: _Pairs) -> dict[str, Any]:
    """How often later votes agree with the first look: in all, by gap and age, and by flags and gap."""
    gap = pairs.leader.scores - pairs.other.scores
    age = np.maximum(*pairs.ages)
    everything = np.ones(gap.shape, dtype=bool)
    in_gap = {name: (gap >= low) & (gap <= high) for name, (low, high) in zip(GAP_NAMES, FIRST_GAPS, strict=True)}
    in_age = {f"{low}-{high} h": age == number for number, (low, high) in enumerate(pairwise(AGES_H))}
    of_flags = {
        label: (pairs.leader.flags == of_leader) & (pairs.other.flags == of_other)
        for (of_leader, of_other), label in FLAGS.items()
    }
    return {
        "agreement": _agreement(pairs, everything),
        "by_gap_and_age": [
            {"gap": gap_name, "age": age_name} | _agreement(pairs, rows & others)
            for gap_name, rows in in_gap.items()
            for age_name, others in in_age.items()
            if (rows & others).any()
        ],
        "by_flags": [
            {"flags": label, "gap": gap_name} | _agreement(pairs, rows & others)
            for label, rows in of_flags.items()
            for gap_name, others in {"all": everything, **in_gap}.items()
            if (rows & others).any()
        ],
    }


def _agreement(pairs: _Pairs, rows: NDArray[np.bool_]) -> dict[str, Any]:
    one = accuracy_interval(pairs.agrees[rows], pairs.posts.filter(pl.Series(rows)))
    draws = float((pairs.agrees[rows] == 0.5).mean())
    counts = {"n_pairs": one.n, "n_posts": one.n_clusters}
    return counts | {"agreement": one.value, "low": one.low, "high": one.high, "draws": draws}


def _calibration(responses: pl.DataFrame, pairs: _Pairs, config: TwoLooksConfig, advance: Any) -> dict[str, Any]:
    """Luck and drift that predict the later votes best, and the reliability of both label models with them."""
    model = fit_votes_cast(count_looks(look(responses["score"], responses["is_controversial"])))
    windows = _window_lengths(responses)
    fitted = min(
        (replace(model, exposure_luck=luck) for luck in LUCKS),
        key=lambda one: float(_losses(pairs, _predicted(pairs, one, windows)).mean()),
    )
    advance(1)
    fitted = min(
        (replace(fitted, controversial_drift=drift) for drift in DRIFTS),
        key=lambda one: float(_losses(pairs, _predicted(pairs, one, windows)).mean()),
    )
    unflagged = _without_flags(pairs)
    predicted = {"votes": _predicted(pairs, fitted, windows), "score": _predicted(unflagged, fitted, windows)}
    reliability = []
    for label_model, read in (("votes", pairs), ("score", unflagged)):
        confidence = confidence_from_votes(read.leader, read.other, fitted)
        bins = _reliability(pairs, predicted[label_model], confidence, config.n_bins)
        reliability += [{"label_model": label_model} | row for row in bins]
    advance(1)
    return {
        "exposure_luck": fitted.exposure_luck,
        "controversial_drift": fitted.controversial_drift,
        "log_loss": {name: float(_losses(pairs, p).mean()) for name, p in predicted.items()},
        "flag_gain": _flag_gain(pairs, predicted),
        "reliability": reliability,
    }


def _flag_gain(pairs: _Pairs, predicted: dict[str, Floats]) -> dict[str, Any] | None:
    """How much lower the log loss is with the flag, nats per pair that has one; None if fewer than two posts do."""
    has_flag = (pairs.leader.flags == FLAGGED) | (pairs.other.flags == FLAGGED)
    posts = pairs.posts.filter(pl.Series(has_flag))
    if posts.n_unique() < 2:
        return None
    gain = (_losses(pairs, predicted["score"]) - _losses(pairs, predicted["votes"]))[has_flag]
    one = mean_interval(gain, posts)
    return {"n_pairs": one.n, "value": one.value, "low": one.low, "high": one.high}


def _window_lengths(responses: pl.DataFrame) -> Floats:
    """Votes after the first look per vote before it, by bin of age, shape [n_ages]."""
    liked = responses.filter(pl.col("score") > 1)  # in others, ups and downs cancel
    bins = np.digitize(liked["age_h"].to_numpy(), AGES_H) - 1
    early = np.bincount(bins, liked["score"].to_numpy() - 1, len(AGES_H) - 1)
    late = np.bincount(bins, liked["later_votes"].to_numpy(), len(AGES_H) - 1)
    return np.asarray(np.maximum(late, 0.01 * early) / np.maximum(early, 1.0))


def _without_flags(pairs: _Pairs) -> _Pairs:
    unknown = np.full(pairs.agrees.shape, UNKNOWN, dtype=np.int64)
    return replace(pairs, leader=pairs.leader._replace(flags=unknown), other=pairs.other._replace(flags=unknown))


def _predicted(pairs: _Pairs, model: VotesCast, windows: Floats) -> Floats:
    """P(the later votes prefer the leader) + P(draw) / 2, shape [n]."""
    scores, flags = (np.concatenate(sides) for sides in zip(pairs.leader[:2], pairs.other[:2], strict=True))
    later = later_vote_distributions(Look(scores, flags), windows[np.concatenate(pairs.ages)], model)
    return probability_of_more(*later.split(len(pairs.agrees)))


def _losses(pairs: _Pairs, predicted: Floats) -> Floats:
    """Log loss of each pair, nats, shape [n]."""
    p = np.clip(predicted, 1e-3, 1 - 1e-3)
    return np.asarray(-(pairs.agrees * np.log(p) + (1 - pairs.agrees) * np.log(1 - p)))


def _reliability(pairs: _Pairs, predicted: Floats, confidence: Floats, n_bins: int) -> list[dict[str, Any]]:
    """Agreement in bins of the predicted agreement, with equal numbers of pairs."""
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, n_bins + 1)[1:-1]))
    bins = np.digitize(predicted, edges)
    return [
        {"predicted": float(predicted[rows].mean()), "label_confidence": float(confidence[rows].mean())}
        | _agreement(pairs, rows)
        for rows in (bins == number for number in range(len(edges) + 1))
        if rows.any()
    ]
