"""What a transfer experiment shows: each cell against in-domain training, net transfer by community, one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lurker.decimals import decimal, difference
from lurker.schema import TRANSFER_DIFFERENCES, check
from lurker.stats import clustered_standard_error
from rm.experiments.outcomes import Outcomes
from rm.experiments.paired import ACCURACY, Estimate, Floats, combine, over_posts_and_seeds

SHORTCUT = "both"
"""The baseline that reads time and length, and no text."""
SIDES = ("source", "target")
Gains = tuple[dict[int, Floats], list[str]]
"""Seed -> difference of each test pair, [n_pairs]; and the pairs' posts."""


def compare_cells(outcomes: Outcomes, effect: float) -> pl.DataFrame:
    """TRANSFER_DIFFERENCES: each predictor on each source and target against the same one trained on the target.

    Args:
        outcomes: of all cells.
        effect: difference in accuracy whose power is told.
    """
    rows = []
    keys = ["predictor", "is_baseline", "source", "target"]
    cells = outcomes.frame.group_by(keys).agg(pl.col("n_train_pairs").max(), pl.col("seed").n_unique())
    for predictor, is_baseline, source, target, n_train, n_seeds in cells.sort(keys).iter_rows():
        own = outcomes.correct(predictor, source, target)
        assert own is not None
        shortcut = outcomes.correct(SHORTCUT, source, target)
        home = outcomes.correct(predictor, target, target) if source != target else None
        difference = None if home is None else own.minus(home)
        accuracy = over_posts_and_seeds(own.values, own.posts, ACCURACY)
        reached = None if shortcut is None else over_posts_and_seeds(shortcut.values, shortcut.posts, ACCURACY)
        row = {
            **{"predictor": predictor, "is_baseline": is_baseline, "source": source, "target": target},
            **{"n_train_pairs": n_train, "n_seeds": n_seeds, "n_test_pairs": len(own.posts)},
            "n_test_posts": accuracy.n_posts,
            **ends("accuracy", accuracy, unbounded=(0.0, 1.0)),
            **ends("shortcut", reached, unbounded=(0.0, 1.0)),
            **difference_columns(None if difference is None else over_posts_and_seeds(difference, own.posts), effect),
        }
        rows.append(row)
    order = list(TRANSFER_DIFFERENCES.columns)
    frame = pl.DataFrame(rows, schema_overrides=dict(TRANSFER_DIFFERENCES.schema)).select(order)
    return check(frame, TRANSFER_DIFFERENCES)


def difference_columns(difference: Estimate | None, effect: float) -> dict[str, Any]:
    """The columns of a paired difference and its power; null where there is none."""
    is_known = difference is not None and difference.is_known
    return {
        **ends("difference", difference),
        "smallest_effect": difference.smallest_effect() if difference and is_known else None,
        "posts_needed": difference.posts_needed(effect) if difference and is_known else None,
        "effect": effect,
    }


def ends(name: str, estimate: Estimate | None, unbounded: tuple[float, float] | None = None) -> dict[str, float | None]:
    """The columns NAME, NAME_low and NAME_high, within `unbounded` if it is given; null where there is no estimate."""
    if estimate is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = (estimate.low, estimate.high) if estimate.is_known else (unbounded or (None, None))
    if unbounded and low is not None and high is not None:
        low, high = max(low, unbounded[0]), min(high, unbounded[1])
    return {name: estimate.value, f"{name}_low": low, f"{name}_high": high}


def net_transfer(outcomes: Outcomes, predictor: str) -> dict[str, Any]:
    """Mean difference from in-domain training: over all cells, and by community as source and as target.

    Targets count alike, and so do the sources of a target. Each mean is paired by test pair; posts of different
    targets are independent, and seeds are shared by all.

    Returns:
        `all`: Estimate, or None without a cell out of domain; `source` and `target`: community -> Estimate.
    """
    differences: dict[tuple[str, str], Gains] = {}
    cells = outcomes.frame.filter(predictor=predictor).select(SIDES).unique().sort(SIDES)
    for source, target in cells.iter_rows():
        own, home = outcomes.correct(predictor, source, target), outcomes.correct(predictor, target, target)
        if source != target and own is not None and home is not None:
            by_seed = own.minus_by_seed(home)
            if by_seed:
                differences[source, target] = (by_seed, own.posts)
    named = {
        side: {
            name: _macro({cell: one for cell, one in differences.items() if cell[place] == name})
            for name in sorted({cell[place] for cell in differences})
        }
        for place, side in enumerate(SIDES)
    }
    return {"all": _macro(differences) if differences else None, **named}


def _macro(differences: Mapping[tuple[str, str], Gains]) -> Estimate:
    """The mean over targets of the mean over their sources; seeds count only where every cell has all of them."""
    seeds_of_cells = [set(by_seed) for by_seed, _ in differences.values()]
    is_complete = all(seeds == seeds_of_cells[0] for seeds in seeds_of_cells)
    by_target: dict[str, list[tuple[Floats, list[str]]]] = {}
    for (_, target), (by_seed, posts) in differences.items():
        rows = np.stack([by_seed[seed] for seed in sorted(by_seed)])
        one = rows if is_complete else rows.mean(axis=0, keepdims=True)
        by_target.setdefault(target, []).append((one, posts))
    values, variances, n_posts, seeds = [], [], [], []
    for ones in by_target.values():
        table = np.mean([values for values, _ in ones], axis=0)  # [n_seeds, n_pairs]
        codes: NDArray[np.int64] = np.unique(ones[0][1], return_inverse=True)[1].astype(np.int64)
        values.append(float(table.mean()))
        variances.append(clustered_standard_error(table.mean(axis=0), codes, np.ones(codes.size)) ** 2)
        n_posts.append(int(codes.max()) + 1)
        seeds.append(table.mean(axis=1))
    return combine(values, variances, n_posts, seeds=np.mean(seeds, axis=0))


def transfer_sentence(differences: pl.DataFrame, net: Estimate | None, predictor: str, effect: float) -> str:
    """What the experiment shows, by rule: an effect is named only if its interval excludes 0.

    Args:
        differences: TRANSFER_DIFFERENCES.
        net: mean difference over all cells out of domain.
        predictor: the model that the sentence is about.
        effect: difference in accuracy whose power is told.
    """
    own = differences.filter(predictor=predictor)
    home, away = own.filter(pl.col("source") == pl.col("target")), own.filter(pl.col("difference").is_not_null())
    n_beyond = home.filter(pl.col("accuracy_low") > 0.5).height
    parts = [f"In-domain, {predictor} is beyond chance in {n_beyond} of {home.height} communities."]
    if net is not None:
        change = difference(net.value, net.low, net.high)
        counted = f"{away.height} {'cell' if away.height == 1 else 'cells'}"
        if not net.is_known:
            parts.append(f"Training elsewhere cannot be compared with in-domain training over {counted}: one post.")
        elif net.is_named:
            verb = "loses" if net.value < 0 else "gains"
            parts.append(f"Training elsewhere {verb} accuracy against in-domain training: {change} over {counted}.")
        else:
            effect_shown = "gain" if net.value > 0 else "loss"
            parts.append(
                f"No {effect_shown} from training elsewhere is shown: {change} over {counted}, where a difference of "
                f"{decimal(net.smallest_effect())} would be detected in 80 % of tests."
            )
    if away.height > 1:
        n_named = away.filter((pl.col("difference_low") > 0) | (pl.col("difference_high") < 0)).height
        n_able = away.filter(pl.col("smallest_effect") <= effect).height
        parts.append(
            f"Of single cells {n_named} of {away.height} differ from in-domain at 95 %, where chance alone gives "
            f"{0.05 * away.height:.1f}; {n_able} could show a difference of {decimal(effect)}."
        )
    if own["n_seeds"].max() == 1:
        parts.append("One seed: the intervals hold for these models alone.")
    return " ".join(parts)


def net_rows(net: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Net transfer as rows: side (all, source, target), community, difference and its interval."""
    found: Sequence[tuple[str, str, Estimate]] = [
        *([("all", "all", net["all"])] if net["all"] else []),
        *((side, name, one) for side in SIDES for name, one in net[side].items()),
    ]
    return [{"side": side, "community": name, **ends("difference", one)} for side, name, one in found]
