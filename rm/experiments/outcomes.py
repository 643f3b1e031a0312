"""Which test pairs each model of an experiment gets right, on pairs that none of them has read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lurker.errors import LurkerError
from lurker.predictions import of_these_pairs
from lurker.progress import say
from lurker.schema import TRANSFER
from lurker.workspace import Workspace
from rm.evaluation.baselines import BASELINES
from rm.evaluation.metrics import ALL, evaluation_table
from rm.experiments.cells import Cell
from rm.experiments.paired import Floats
from rm.training.identity import is_unseen
from rm.training.run_folder import MODEL, predictions_file


@dataclass(frozen=True, slots=True)
class Taught:
    """A cell of a transfer experiment: what taught it, and where it is tested."""

    source: str
    """a community, or what several are called together"""
    targets: tuple[str, ...]
    cell: Cell
    predictor: str | None = None
    """what its model is called; the SPEC when absent"""


@dataclass(frozen=True, slots=True)
class Correct:
    """What a predictor got right, by seed and pair."""

    values: Floats
    """1, 0, or 0.5 for a tie, [n_seeds, n_pairs], in the order of pair_id"""
    seeds: list[int]
    posts: list[str]
    """post of each pair, [n_pairs]"""

    def minus(self, other: "Correct") -> Floats | None:
        """The difference on the same pairs by shared seed, [n_shared, n_pairs]; None if no seed is shared."""
        rows = [*self.minus_by_seed(other).values()]
        return np.stack(rows) if rows else None

    def minus_by_seed(self, other: "Correct") -> dict[int, Floats]:
        """The difference on the same pairs, [n_pairs], of each seed that both have."""
        shared = [seed for seed in self.seeds if seed in other.seeds]
        return {seed: self.values[self.seeds.index(seed)] - other.values[other.seeds.index(seed)] for seed in shared}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Predictions of every model and baseline, pair by pair."""

    frame: pl.DataFrame
    """predictor, source, target, seed, run_id, n_train_pairs, pair_id, post_id, chosen_id, rejected_id, margin,
    is_correct; baselines keep the run they were fitted for"""
    n_left_out: int
    """test pairs that a model or its ancestors have read, which nothing is tested on"""

    def correct(self, predictor: str, source: str, target: str | None = None) -> Correct | None:
        """What a predictor got right after one source, on one target or all; None if untested."""
        rows = self.frame.filter(predictor=predictor, source=source)
        rows = (rows if target is None else rows.filter(target=target)).sort("seed", "pair_id")
        if rows.is_empty():
            return None
        seeds = rows["seed"].unique().sort().to_list()
        posts = rows["post_id"].head(rows.height // len(seeds)).to_list()
        return Correct(rows["is_correct"].to_numpy().reshape(len(seeds), -1), seeds, posts)


def read_outcomes(workspace: Workspace, taught: Sequence[Taught], test_pairs: str, test: pl.DataFrame) -> Outcomes:
    """Read the predictions of finished cells.

    A pair counts only if no model tested on its community, nor an ancestor, has read its post or its prompt under
    another id (a crosspost), so that all are compared on the same pairs.

    Args:
        workspace: where the runs are.
        taught: finished cells.
        test_pairs: name of the pair set tested on.
        test: its PAIRS.

    Raises:
        LurkerError: a run was tested on other pairs.
    """
    columns = ("pair_id", "post_id", "prompt", "subreddit", "chosen_id", "rejected_id")
    kept = test.select(columns)
    for one in taught:
        folder = workspace.folder("runs", one.cell.run_id)
        unseen = is_unseen(folder / "model", one.cell.config.model, kept)
        kept = kept.filter(unseen | ~pl.col("subreddit").is_in(one.targets))
    n_left_out = test.height - kept.height
    if n_left_out:
        say(f"{n_left_out:,} test pairs are left out: a model, or one it started from, has read their post or prompt.")
    parts = []
    for one in taught:
        folder = workspace.folder("runs", one.cell.run_id)
        here = kept.filter(pl.col("subreddit").is_in(one.targets)).drop("prompt").rename({"subreddit": "target"})
        for predictor in (MODEL, *BASELINES):
            file = predictions_file(folder, test_pairs, "test", predictor)
            if file.exists():
                label = (one.predictor or one.cell.config.model) if predictor == MODEL else predictor
                known = of_these_pairs(pl.read_parquet(file), here).drop("chosen_id")
                known = known.join(here, on="pair_id", how="inner")
                if known.height < here.height:
                    raise LurkerError(
                        f"Run {one.cell.run_id} was tested on other pairs of {test_pairs} than there are now.",
                        f"Test it again: `lurker rm evaluate {one.cell.run_id} --pairs {test_pairs}`.",
                    )
                facts = {"predictor": label, "source": one.source, "seed": one.cell.config.train.seed}
                facts |= {"run_id": one.cell.run_id, "n_train_pairs": one.cell.n_train_pairs}
                facts |= {"is_baseline": predictor != MODEL}
                parts.append(known.with_columns(**{name: pl.lit(value) for name, value in facts.items()}))
    return Outcomes(pl.concat(parts), n_left_out)


def transfer_rows(outcomes: Outcomes, pairs: str, test_pairs: str) -> pl.DataFrame:
    """TRANSFER: one row per predictor, source, target and seed."""
    rows = []
    keys = ["predictor", "is_baseline", "source", "target", "seed"]
    for values, part in outcomes.frame.group_by(keys, maintain_order=True):
        predictor, is_baseline, source, target, seed = values
        margins = {str(predictor): part["margin"].to_numpy()}
        named = part.rename({"target": "subreddit"})
        (row,) = evaluation_table(named, margins, "", test_pairs, "test").filter(subreddit=ALL).to_dicts()
        row |= {"pairs": pairs, "test_pairs": test_pairs, "is_baseline": is_baseline, "source": source}
        row |= {"target": target, "seed": seed, "n_train_pairs": part["n_train_pairs"][0]}
        row |= {"run_id": None if is_baseline else part["run_id"][0]}
        rows.append({name: row[name] for name in TRANSFER.columns})
    frame = pl.DataFrame(rows, schema=TRANSFER.schema)
    return frame.sort("is_baseline", "predictor", "source", "target", "seed")
