"""Confounders as numbers a probe can read: what moves a score besides taste. The words of a text are never read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.confounders.context import AUTHOR_RECORD, POST_CONTEXT
from features.hashing import hash_ids
from lurker.formatting import FORMATTING_COUNTS, formatting_counts

Group = Literal["time", "order", "length", "form", "calendar", "author", "joint"]
CONFOUNDERS: dict[str, tuple[str, ...]] = {
    "time": ("log_delay", "delay_s"),
    "order": ("log_rank", "thread_rank", "log_gap_before", "log_gap_after"),
    "length": ("log_chars", "chars"),
    "form": tuple(f"log_{name[2:]}" for name in FORMATTING_COUNTS),
    "calendar": ("hour", "weekday"),
    "author": AUTHOR_RECORD,
}
"""Confounders of each group; the group `joint` is all of them and the columns of the post."""
GROUPS: tuple[Group, ...] = ("time", "order", "length", "form", "calendar", "author", "joint")
ALL_CONFOUNDERS = tuple(name for names in CONFOUNDERS.values() for name in names)
RANKED = tuple(name for name in ALL_CONFOUNDERS if name not in ("delay_s", "thread_rank", "chars", "weekday"))
"""Confounders whose normal scores and order a probe sees too; of a number and its logarithm only one."""
CONTEXT_CONFOUNDERS = (*CONFOUNDERS["order"], *CONFOUNDERS["calendar"], *CONFOUNDERS["author"])
"""Confounders that come from `read_context`, not from the pairs themselves."""
SIDES = ("chosen", "rejected")


def add_confounders(pairs: pl.DataFrame, context: pl.DataFrame) -> pl.DataFrame:
    """Add {chosen,rejected}_NAME for every confounder, and the columns of the post; the order is kept.

    Logs are log(1 + count); log_chars is log(characters).

    Args:
        pairs: PAIRS columns; formatting is counted in the texts unless columns {side}_n_* hold the counts already.
        context: as returned by `read_context`. A value it lacks for one response is set to the other response's, or
            to 0, so that the difference carries no information.
    """
    for side in SIDES:
        named = context.select("comment_id", *CONTEXT_CONFOUNDERS).rename(
            {"comment_id": f"{side}_id", **{name: f"{side}_{name}" for name in CONTEXT_CONFOUNDERS}}
        )
        pairs = pairs.join(named, on=f"{side}_id", how="left", maintain_order="left")
    posts = context.select("post_id", *POST_CONTEXT).unique("post_id", keep="first", maintain_order=True)
    pairs = pairs.join(posts, on="post_id", how="left", maintain_order="left")
    pairs = pairs.with_columns(pl.col(POST_CONTEXT).fill_null(0.0))
    for name in CONTEXT_CONFOUNDERS:
        chosen, rejected = (pl.col(f"{side}_{name}") for side in SIDES)
        pairs = pairs.with_columns(chosen.fill_null(rejected).fill_null(0.0), rejected.fill_null(chosen).fill_null(0.0))
    columns: dict[str, pl.Expr] = {}
    for side in SIDES:
        has_counts = f"{side}_{FORMATTING_COUNTS[0]}" in pairs.columns
        counts = (
            {name: pl.col(f"{side}_{name}") for name in FORMATTING_COUNTS}
            if has_counts
            else formatting_counts(pl.col(side))
        )
        columns |= {f"{side}_log_{name[2:]}": count.cast(pl.Float64).log1p() for name, count in counts.items()}
        columns[f"{side}_log_delay"] = pl.col(f"{side}_delay_s").cast(pl.Float64).log1p()
        columns[f"{side}_log_chars"] = pl.col(f"{side}_chars").cast(pl.Float64).log()
    return pairs.with_columns(**columns)


def is_chosen_first(pair_ids: pl.Series) -> NDArray[np.bool_]:
    """Whether a pair is presented chosen-first, by a hash of its id, so that labels are balanced. Shape [n]."""
    return (hash_ids(pair_ids, "orientation") & 1).astype(bool)


@dataclass(frozen=True, slots=True)
class Scale:
    """Reference values for ranks, and the known subreddits: learned from some pairs, applied to any."""

    values: dict[str, NDArray[np.float64]]
    """Distinct sorted values of both sides of every ranked confounder, and of the columns of the post."""
    scores: dict[str, NDArray[np.float64]]
    """Normal score below the first value, of it, between it and the second, of that, and so on. Shape [2 values + 1]"""
    subreddits: tuple[str, ...]
    """Sorted names."""

    @classmethod
    def from_pairs(cls, pairs: pl.DataFrame, names: Iterable[str] = (*RANKED, *POST_CONTEXT)) -> "Scale":
        """The scale of these pairs, which have the columns of `add_confounders`."""
        columns = {
            name: (name, name) if name in POST_CONTEXT else tuple(f"{side}_{name}" for side in SIDES) for name in names
        }
        values, scores = {}, {}
        for name, both in columns.items():
            every = np.concatenate([_floats(pairs, column) for column in both])
            values[name], counts = np.unique(every, return_counts=True)
            scores[name] = _normal_scores(counts)
        return cls(values, scores, tuple(sorted(pairs["subreddit"].unique())))

    def normal_scores(self, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normal quantiles of the values' ranks among the reference values; ties get the same score. Shape [n]."""
        reference = self.values[name]
        below = np.searchsorted(reference, values)
        is_known = reference[np.minimum(below, max(reference.size - 1, 0))] == values if reference.size else False
        return self.scores[name][2 * below + is_known]

    def subreddit_numbers(self, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """The number of each pair's subreddit, from 1. Shape [n]."""
        numbers = np.searchsorted(np.array(self.subreddits), pairs["subreddit"].to_numpy().astype(str))
        return numbers.astype(np.float64) + 1


def _normal_scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normal quantiles of the ranks of distinct values and of the gaps around them. Shape [2 values + 1].

    Args:
        counts: how often each value occurs, shape [values].
    """
    from scipy.special import ndtri

    n = max(int(counts.sum()), 1)
    up_to = np.append(0, np.cumsum(counts))
    below, through = np.repeat(up_to, 2)[:-1], np.repeat(up_to, 2)[1:]
    share = (below + through) / (2 * n)
    return np.asarray(ndtri(np.clip(share, 0.5 / n, 1 - 0.5 / n)), dtype=np.float64)


def _floats(pairs: pl.DataFrame, name: str) -> NDArray[np.float64]:
    return pairs[name].to_numpy().astype(np.float64)


def confounder_matrix(
    pairs: pl.DataFrame, group: Group, chosen_first: NDArray[np.bool_], scale: Scale | None = None
) -> NDArray[np.float64]:
    """What a probe sees of the pairs.

    Each confounder contributes its difference (first minus second as presented) and its level (mean of both). Those in
    RANKED add the difference of their normal scores, without which a linear probe missed what another one found, and
    the sign of their difference. The group `joint` adds the columns of the post and the subreddit's number.

    Args:
        pairs: with the columns of `add_confounders`.
        chosen_first: whether the chosen response is presented first, shape [n].
        scale: reference for normal scores; these pairs when None.

    Returns:
        Shape [n, number of columns].
    """
    sign = np.where(chosen_first, 1.0, -1.0)
    columns: list[NDArray[np.float64]] = []
    for name in grouped(group):
        chosen, rejected = (_floats(pairs, f"{side}_{name}") for side in SIDES)
        columns += [sign * (chosen - rejected), (chosen + rejected) / 2]
        if name in RANKED:
            reference = scale or Scale.from_pairs(pairs, [name])
            scores = [reference.normal_scores(name, side) for side in (chosen, rejected)]
            columns += [sign * (scores[0] - scores[1]), sign * np.sign(chosen - rejected)]
    if group == "joint":
        columns += [_floats(pairs, name) for name in POST_CONTEXT]
        columns.append((scale or Scale.from_pairs(pairs, [])).subreddit_numbers(pairs))
    return np.column_stack(columns)


def grouped(group: Group) -> tuple[str, ...]:
    """The confounders of a group."""
    return ALL_CONFOUNDERS if group == "joint" else CONFOUNDERS[group]


def _joint_columns() -> list[tuple[str, str]]:
    """The confounder and kind of every column of `confounder_matrix` for the group `joint`."""
    kinds = ("difference", "level", "score", "sign")
    columns = [(name, kind) for name in ALL_CONFOUNDERS for kind in kinds[: 4 if name in RANKED else 2]]
    return columns + [(name, "post") for name in (*POST_CONTEXT, "subreddit")]


def columns_of(group: Group) -> list[int]:
    """The columns of the joint `confounder_matrix` that belong to a group."""
    return [n for n, (name, _) in enumerate(_joint_columns()) if group == "joint" or name in CONFOUNDERS[group]]


def columns_for_trees(group: Group) -> list[int]:
    """The columns of the joint `confounder_matrix` that carry all of a group that trees can use.

    A threshold on a difference also gives its sign, and trees do not mind a monotone scale: of a number and its
    logarithm one level is enough, and where there are normal scores, their difference replaces the plain one.
    """
    columns = _joint_columns()

    def is_used(name: str, kind: str) -> bool:
        return kind == "post" or kind in (("score", "level") if name in RANKED else ("difference",))

    return [number for number in columns_of(group) if is_used(*columns[number])]


def standardised_mean_differences(pairs: pl.DataFrame) -> list[dict[str, str | float]]:
    """Chosen minus rejected in pooled standard deviations, weighted: the data of a Love plot.

    Confounders that vary on neither side are omitted.

    Source: Austin 2009, Statistics in Medicine 28(25), 3083-3107, eq. 1.
    """
    weight = pairs["weight"].to_numpy()
    rows: list[dict[str, str | float]] = []
    for name in ALL_CONFOUNDERS:
        sides = [pairs[f"{side}_{name}"].to_numpy().astype(np.float64) for side in SIDES]
        means = [np.average(side, weights=weight) for side in sides]
        variances = [np.average((side - mean) ** 2, weights=weight) for side, mean in zip(sides, means, strict=True)]
        spread = float(np.sqrt(sum(variances) / 2))
        if spread > 0:
            rows.append({"confounder": name, "smd": float(means[0] - means[1]) / spread})
    return rows
