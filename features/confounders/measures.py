"""What moves a score without taste, as numbers a probe can read: the text's words are never looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.confounders.context import POST_CONTEXT
from features.hashing import hash_ids
from features.text.formatting import FORM, form_counts

Group = Literal["time", "order", "length", "form", "calendar", "author", "joint"]
CONFOUNDERS: dict[str, tuple[str, ...]] = {
    "time": ("log_delay", "delay_s"),
    "order": ("log_rank", "thread_rank", "log_gap_before", "log_gap_after"),
    "length": ("log_chars", "chars"),
    "form": tuple(f"log_{name[2:]}" for name in FORM),
    "calendar": ("hour", "weekday"),
    "author": (
        "author_n_earlier",
        "author_here_earlier",
        "author_score_earlier",
        "author_votes_earlier",
        "author_best_earlier",
        "author_worst_earlier",
    ),
}
"""What each group holds of a response; `joint` is all of them and the levels of the post."""
GROUPS: tuple[Group, ...] = ("time", "order", "length", "form", "calendar", "author", "joint")
RANKED = tuple(
    name
    for names in CONFOUNDERS.values()
    for name in names
    if name not in ("delay_s", "thread_rank", "chars", "weekday")
)
"""Confounders whose normal scores and order a probe sees too: of those that are one another's logarithm only one."""
DIFFERENCES = tuple(name for names in CONFOUNDERS.values() for name in names)
OF_CONTEXT = (*CONFOUNDERS["order"], *CONFOUNDERS["calendar"], *CONFOUNDERS["author"])
SIDES = ("chosen", "rejected")


def add_confounders(pairs: pl.DataFrame, context: pl.DataFrame) -> pl.DataFrame:
    """The pairs with {chosen,rejected}_NAME for every confounder, and the levels of their post; the order is kept.

    context: as of `read_context`; what it lacks of a response (gone from the workspace) is taken as the other side's
    or 0, so that the difference tells nothing. Counts of form are those of the columns {side}_n_* where there are such
    (pairs without texts yet), else of the texts. Logs are of 1 + count, log_chars of characters, nats.
    """
    for side in SIDES:
        named = context.select("comment_id", *OF_CONTEXT).rename(
            {"comment_id": f"{side}_id", **{name: f"{side}_{name}" for name in OF_CONTEXT}}
        )
        pairs = pairs.join(named, on=f"{side}_id", how="left", maintain_order="left")
    of_post = context.select("post_id", *POST_CONTEXT).unique("post_id", keep="first", maintain_order=True)
    pairs = pairs.join(of_post, on="post_id", how="left", maintain_order="left")
    pairs = pairs.with_columns(pl.col(POST_CONTEXT).fill_null(0.0))
    for name in OF_CONTEXT:
        chosen, rejected = (pl.col(f"{side}_{name}") for side in SIDES)
        pairs = pairs.with_columns(chosen.fill_null(rejected).fill_null(0.0), rejected.fill_null(chosen).fill_null(0.0))
    columns: dict[str, pl.Expr] = {}
    for side in SIDES:
        has_counts = f"{side}_{FORM[0]}" in pairs.columns
        counts = {n: pl.col(f"{side}_{n}") for n in FORM} if has_counts else form_counts(pl.col(side))
        columns |= {f"{side}_log_{name[2:]}": count.cast(pl.Float64).log1p() for name, count in counts.items()}
        columns[f"{side}_log_delay"] = pl.col(f"{side}_delay_s").cast(pl.Float64).log1p()
        columns[f"{side}_log_chars"] = pl.col(f"{side}_chars").cast(pl.Float64).log()
    return pairs.with_columns(**columns)


def orientation(pair_ids: pl.Series) -> NDArray[np.bool_]:
    """Whether a pair is shown chosen-first, by a hash of its id: labels are half and half and tell nothing. [n]."""
    return (hash_ids(pair_ids, "orientation") & 1).astype(bool)


@dataclass(frozen=True, slots=True)
class Scale:
    """What values are ranked among and which subreddits there are: learned of some pairs, applied to any."""

    values: dict[str, NDArray[np.float64]]
    """Of both sides of every ranked confounder and of every level of the post, sorted."""
    subreddits: tuple[str, ...]
    """Sorted."""

    @classmethod
    def of(cls, pairs: pl.DataFrame, names: Iterable[str] = (*RANKED, *POST_CONTEXT)) -> "Scale":
        """The scale of these pairs, as of `add_confounders`."""
        sides = {name: [name, name] if name in POST_CONTEXT else [f"{side}_{name}" for side in SIDES] for name in names}
        values = {name: np.sort(np.concatenate([_floats(pairs, one) for one in two])) for name, two in sides.items()}
        return cls(values, tuple(sorted(pairs["subreddit"].unique())))

    def normal_scores(self, name: str, of: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles of the normal distribution by the rank among the scale's values, ties alike. [n]."""
        from scipy.stats import norm

        values = self.values[name]
        half = 0.5 / max(values.size, 1)
        rank = (np.searchsorted(values, of, "left") + np.searchsorted(values, of, "right") + 1) / 2
        share = np.clip((rank - 0.5) / max(values.size, 1), half, 1 - half)
        return np.asarray(norm.ppf(share), dtype=np.float64)

    def subreddit_numbers(self, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """The place of each pair's subreddit, from 1. [n]."""
        places = np.searchsorted(np.array(self.subreddits), pairs["subreddit"].to_numpy().astype(str))
        return places.astype(np.float64) + 1


def _floats(pairs: pl.DataFrame, name: str) -> NDArray[np.float64]:
    return pairs[name].to_numpy().astype(np.float64)


def confounder_matrix(
    pairs: pl.DataFrame, group: Group, chosen_first: NDArray[np.bool_], scale: Scale | None = None
) -> NDArray[np.float64]:
    """What a probe sees: [n, k]. pairs: as of `add_confounders`. chosen_first: [n], whether chosen is shown first.

    Of every confounder the difference (first minus second as shown) and the level (mean of both); of those in RANKED
    also the difference of the normal scores, without which a linear probe was seen to miss what another one found, and
    which of the two is larger. joint: all groups, the levels of the post, and its subreddit's number. scale: of other
    pairs; of these where None.
    """
    shown = np.where(chosen_first, 1.0, -1.0)
    columns: list[NDArray[np.float64]] = []
    for name, confounders in CONFOUNDERS.items():
        if group not in (name, "joint"):
            continue
        for confounder in confounders:
            chosen, rejected = (_floats(pairs, f"{side}_{confounder}") for side in SIDES)
            columns += [shown * (chosen - rejected), (chosen + rejected) / 2]
            if confounder in RANKED:
                ranked = scale or Scale.of(pairs, [confounder])
                scores = [ranked.normal_scores(confounder, side) for side in (chosen, rejected)]
                columns += [shown * (scores[0] - scores[1]), shown * np.sign(chosen - rejected)]
    if group == "joint":
        columns += [_floats(pairs, name) for name in POST_CONTEXT]
        columns.append((scale or Scale.of(pairs, [])).subreddit_numbers(pairs))
    return np.column_stack(columns)


def standardised_mean_differences(pairs: pl.DataFrame) -> list[dict[str, str | float]]:
    """Chosen minus rejected in pooled standard deviations, weighted: the data of a Love plot.

    Without those that vary on neither side. Source: Austin 2009, Statistics in Medicine 28(25), 3083-3107, eq. 1.
    """
    weight = pairs["weight"].to_numpy()
    rows: list[dict[str, str | float]] = []
    for name in DIFFERENCES:
        chosen, rejected = (pairs[f"{side}_{name}"].to_numpy().astype(np.float64) for side in SIDES)
        means = [np.average(side, weights=weight) for side in (chosen, rejected)]
        variances = [
            np.average((side - mean) ** 2, weights=weight) for side, mean in zip((chosen, rejected), means, strict=True)
        ]
        spread = float(np.sqrt(sum(variances) / 2))
        if spread > 0:
            rows.append({"confounder": name, "smd": float(means[0] - means[1]) / spread})
    return rows
