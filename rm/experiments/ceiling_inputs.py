"""What ceilings are estimated from: looks at scores, predictions of runs, and the simulator's truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from lurker.files import read_json
from lurker.predictions import of_these_pairs
from lurker.schema import COMMENTS, OBSERVATIONS, TRUTH
from lurker.workspace import Workspace
from rm.experiments.vote_ceilings import Floats, Kind, early_enough, fuzz_spread
from rm.models.ladder import LADDER
from rm.training.run_folder import MODEL, RESULT, finished_run, predictions_file, run_config

SETTLED_AFTER_S = 7 * 86_400
"""Age from which a score has settled, seconds: what still changes is mostly noise."""
TEXT_BASELINES = ("tfidf", "embeddings")
"""Baselines that read texts alone."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The pairs whose responses were both seen twice, first early."""

    pairs: pl.DataFrame
    """post_id, first (score of chosen minus rejected at the first look), later (votes after it, likewise)"""
    first_share: float
    """share of their votes that were cast before the first look, 0–1"""


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model of texts that was evaluated on all of the pairs."""

    name: str
    """RUN, or RUN:BASELINE"""
    run_id: str
    predictor: str
    """model, tfidf or embeddings"""
    build: str
    """how it came about: models of different builds err most independently"""
    margins: Floats
    """[n_pairs]"""

    @property
    def is_correct(self) -> Floats:
        """1, 0, or 0.5 for a tie, [n_pairs]."""
        return np.asarray((np.sign(self.margins) + 1) / 2)

    @property
    def accuracy(self) -> float:
        """Share of pairs it gets right."""
        return float(self.is_correct.mean())


def read_looks(workspace: Workspace, pairs: pl.DataFrame, label: Literal["first", "last"] = "last") -> Looks:
    """The looks at the responses of these pairs, of pairs that were first seen early enough.

    Args:
        pairs: PAIRS. A pair whose label is of another look is left out, such as one seen again since it was made.
        label: look that gave the labels.
    """
    twice = _observations(workspace, pairs).filter(pl.len().over("item_id") > 1)
    ends = _first_and_last(twice).with_columns(age=pl.col("first_utc") - pl.col("created_utc"))
    joined = pairs.select("post_id", "chosen_id", "rejected_id", "chosen_score", "rejected_score")
    for side in ("chosen", "rejected"):
        columns = ends.select(pl.all().name.prefix(f"{side}_")).rename({f"{side}_item_id": f"{side}_id"})
        joined = joined.join(columns, on=f"{side}_id", how="inner", maintain_order="left")
        joined = joined.filter(pl.col(f"{side}_{label}") == pl.col(f"{side}_score"))
    votes = joined.select(  # without the author's own, which is the first
        first=sum((pl.col(f"{side}_first") - 1).clip(0) for side in ("chosen", "rejected")),
        last=sum((pl.col(f"{side}_last") - 1).clip(0) for side in ("chosen", "rejected")),
        age=pl.max_horizontal("chosen_age", "rejected_age"),
    )
    kept, share = early_enough(votes["age"], votes["first"], votes["last"])
    first = pl.col("chosen_first") - pl.col("rejected_first")
    last = pl.col("chosen_last") - pl.col("rejected_last")
    return Looks(joined.select("post_id", first=first, later=last - first).filter(kept), share)


def read_fuzz(workspace: Workspace, pairs: pl.DataFrame) -> float | None:
    """The noise in shown scores of these pairs' responses, in square roots of 1 + |score|.

    Returns:
        None if no response was seen twice after its score had settled.
    """
    looks = _observations(workspace, pairs)
    settled = looks.filter(pl.col("observed_utc") - pl.col("created_utc") >= SETTLED_AFTER_S)
    twice = _first_and_last(settled.filter(pl.len().over("item_id") > 1))
    return None if twice.is_empty() else fuzz_spread(twice["first"], twice["last"])


def _first_and_last(looks: pl.DataFrame) -> pl.DataFrame:
    """item_id, created_utc, first_utc, and the first and the last score of each response."""
    return (
        looks.sort("item_id", "observed_utc")
        .group_by("item_id", maintain_order=True)
        .agg(
            pl.col("created_utc").first(),
            first_utc=pl.col("observed_utc").first(),
            first=pl.col("score").first(),
            last=pl.col("score").last(),
        )
    )


def _observations(workspace: Workspace, pairs: pl.DataFrame) -> pl.DataFrame:
    """item_id, created_utc, observed_utc and score of each look at a response of these pairs."""
    responses = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique().implode()
    looks = workspace.scan(OBSERVATIONS).filter(pl.col("kind") == "comment", pl.col("item_id").is_in(responses))
    written = workspace.scan(COMMENTS).select("created_utc", item_id="comment_id").unique("item_id")
    dated = looks.join(written, on="item_id", how="inner").unique(["item_id", "observed_utc"])
    return dated.select("item_id", "created_utc", "observed_utc", "score").collect()


def chosen_gap(recipe: Mapping[str, Any], pairs: pl.DataFrame) -> int | None:
    """The smallest score gap that these pairs were chosen for.

    Args:
        recipe: of the pair set's manifest.
        pairs: PAIRS.

    Returns:
        0 if the recipe has other rules on the two scores; None if labels are of the first look.
    """
    if recipe.get("label_look", "last") == "first":
        return None
    has_other_rules = (
        recipe.get("min_label_confidence", 0.5) > 0.5
        or recipe.get("min_score_ratio", 1.0) > 1
        or recipe.get("min_held_out_rank_gap", 0.0) > 0
    )
    return 0 if has_other_rules else int((pairs["chosen_score"] - pairs["rejected_score"]).min())  # type: ignore[arg-type]


def read_predictors(
    workspace: Workspace, pairs: pl.DataFrame, name: str, split: str, runs: Sequence[str]
) -> list[Predictor]:
    """The text models of these runs that were evaluated on all of the pairs, each set of predictions once.

    Args:
        pairs: PAIRS of a split, in the order of the margins.
        name, split: the pair set and split they are of.
        runs: finished runs; models that read the delay are left out.
    """
    found: dict[bytes, Predictor] = {}
    for run_id in runs:
        folder = finished_run(workspace, run_id)
        config = run_config(read_json(folder / "config.json"))
        for predictor in (MODEL, *TEXT_BASELINES):
            if predictor == MODEL and config.train.with_delay:
                continue
            margins = _margins(workspace, run_id, predictor, pairs, name, split)
            if margins is None:
                continue
            label = run_id if predictor == MODEL else f"{run_id}:{predictor}"
            one = Predictor(label, run_id, predictor, _build(predictor, config.model), margins)
            found.setdefault(margins.tobytes(), one)
    return sorted(found.values(), key=lambda one: (-one.accuracy, one.name))


def read_margins(workspace: Workspace, one: Predictor, pairs: pl.DataFrame, name: str, split: str) -> Floats | None:
    """The margins of a predictor on another split, [n_pairs]; None if it was not evaluated on all of these pairs."""
    return _margins(workspace, one.run_id, one.predictor, pairs, name, split)


def _margins(
    workspace: Workspace, run_id: str, predictor: str, pairs: pl.DataFrame, name: str, split: str
) -> Floats | None:
    path = predictions_file(workspace.folder("runs", run_id), name, split, predictor)
    if not path.exists():
        return None
    predictions = of_these_pairs(pl.read_parquet(path), pairs).select("pair_id", "margin")
    joined = pairs.select("pair_id").join(predictions, on="pair_id", how="inner", maintain_order="left")
    return joined["margin"].to_numpy() if joined.height == pairs.height else None


def _build(predictor: str, model: str) -> str:
    if predictor == "tfidf":
        return "words"
    return "ladder" if predictor == MODEL and model in LADDER else "pretrained"


def finished_runs(workspace: Workspace, trained_on: str | None) -> list[str]:
    """All finished runs, or those that were trained on one pair set."""
    names = workspace.names("runs", RESULT)
    if trained_on is None:
        return names
    return [one for one in names if read_json(workspace.folder("runs", one) / "config.json")["pairs"] == trained_on]


def read_truth(workspace: Workspace, pairs: pl.DataFrame) -> dict[Kind, pl.DataFrame]:
    """Which oracle names the winner of these pairs, by ceiling: post_id, is_correct; empty on a real Reddit."""
    truth = workspace.scan(TRUTH)
    columns: dict[Kind, str] = {"vote": "net_vote_rate", "text": "quality"}
    known = {kind: name for kind, name in columns.items() if name in truth.collect_schema().names()}
    values = truth.select("comment_id", *known.values()).collect()
    found: dict[Kind, pl.DataFrame] = {}
    for kind, name in known.items():
        oracle = values.select("comment_id", name).drop_nulls()
        joined = pairs.select("post_id", "chosen_id", "rejected_id")
        for side in ("chosen", "rejected"):
            columns_of_side = {"comment_id": f"{side}_id", name: f"{side}_{name}"}
            joined = joined.join(oracle.rename(columns_of_side), on=f"{side}_id", how="inner", maintain_order="left")
        sign = (pl.col(f"chosen_{name}") - pl.col(f"rejected_{name}")).sign()
        if joined.height:
            found[kind] = joined.select("post_id", is_correct=(sign + 1) / 2)
    return found
