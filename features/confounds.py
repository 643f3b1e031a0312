"""What moves a score without taste, as numbers a probe can read: the text is never looked at."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.hashing import hash_ids

Group = Literal["time", "length", "joint"]
GROUPS: tuple[Group, ...] = ("time", "length", "joint")
DIFFERENCES = ("log_delay", "delay_s", "log_chars", "chars")


def add_confounders(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with {chosen,rejected}_log_delay = log(1 + delay in seconds) and _log_chars, nats."""
    return pairs.with_columns(
        *(pl.col(f"{side}_delay_s").log1p().alias(f"{side}_log_delay") for side in ("chosen", "rejected")),
        *(pl.col(f"{side}_chars").log().alias(f"{side}_log_chars") for side in ("chosen", "rejected")),
    )


def orientation(pair_ids: pl.Series) -> NDArray[np.bool_]:
    """Whether a pair is shown chosen-first, by a hash of its id: labels are half and half and tell nothing. [n]."""
    return (hash_ids(pair_ids, "orientation") & 1).astype(bool)


def confounder_matrix(pairs: pl.DataFrame, group: Group, chosen_first: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What a probe sees: [n, k]. pairs: as of `add_confounders`. chosen_first: [n], as of `orientation`.

    time: difference and level of log delay, difference in seconds, order in time. length: difference and level of log
    characters, difference in characters, order in length. joint: both. Differences are first minus second as shown.
    """
    shown = np.where(chosen_first, 1.0, -1.0)
    columns: list[NDArray[np.float64]] = []
    if group in ("time", "joint"):
        columns += _differences_and_level(pairs, "log_delay", "delay_s", shown)
    if group in ("length", "joint"):
        columns += _differences_and_level(pairs, "log_chars", "chars", shown)
    return np.column_stack(columns)


def _differences_and_level(
    pairs: pl.DataFrame, log_name: str, plain_name: str, shown: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    chosen, rejected = (pairs[f"{side}_{log_name}"].to_numpy() for side in ("chosen", "rejected"))
    plain = (pairs[f"chosen_{plain_name}"] - pairs[f"rejected_{plain_name}"]).to_numpy().astype(np.float64)
    return [shown * (chosen - rejected), (chosen + rejected) / 2, shown * plain, shown * np.sign(plain)]


def standardised_mean_differences(pairs: pl.DataFrame) -> list[dict[str, str | float | None]]:
    """Chosen minus rejected in pooled standard deviations, weighted: the data of a Love plot.

    Null where neither side varies. Source: Austin 2009, Statistics in Medicine 28(25), 3083-3107, eq. 1.
    """
    weight = pairs["weight"].to_numpy()
    rows: list[dict[str, str | float | None]] = []
    for name in DIFFERENCES:
        chosen, rejected = (pairs[f"{side}_{name}"].to_numpy().astype(np.float64) for side in ("chosen", "rejected"))
        means = [np.average(side, weights=weight) for side in (chosen, rejected)]
        variances = [
            np.average((side - mean) ** 2, weights=weight) for side, mean in zip((chosen, rejected), means, strict=True)
        ]
        spread = float(np.sqrt(sum(variances) / 2))
        rows.append({"confounder": name, "smd": float(means[0] - means[1]) / spread if spread > 0 else None})
    return rows
