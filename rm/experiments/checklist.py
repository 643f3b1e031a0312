"""The checklist of "(Mis)Fitting" for studies of scaling, filled in from an experiment and its fit.

Source:
    Li, Kudugunta & Zettlemoyer 2025, "(Mis)Fitting: A survey of scaling laws", arXiv 2502.18969, the checklist of
    its appendix, in our words; every column of the authors' survey of papers (`sheet.csv` of the repository
    hadasah/scaling_laws) has a question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lurker import __version__
from lurker.decimals import counted
from lurker.fits import ERROR
from rm.experiments.curves import LEVEL, MIN_DATA_SIZES, N_DRAWS
from rm.experiments.power_laws import EXPONENTS, MIN_MODEL_SIZES
from rm.experiments.scaling_fit import AXES, ScalingFit
from rm.experiments.scaling_plan import ScalingConfig
from rm.training.config import TrainConfig

CHECKLIST = "checklist"
"""Name of its files in an experiment's folder, as JSON and as Markdown."""
HYPOTHESIS, SETUP, COLLECTION, FITTING = "hypothesis", "training setup", "data collection", "fit"
TOLD = ("learning_rate", "schedule", "warmup_fraction", "weight_decay", "pairs_per_step", "epochs", "patience")
"""Fields of TrainConfig that the checklist names; config.json of each run has all."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question and what the experiment answers."""

    part: str
    question: str
    answer: str
    is_open: bool = False
    """whether the answer is that the experiment does not show it"""


def checklist(
    config: ScalingConfig, train: Sequence[TrainConfig], table: pl.DataFrame, fit: ScalingFit
) -> tuple[Item, ...]:
    """Every question of the checklist with its answer.

    Args:
        config: of the experiment.
        train: of each model, in the order of config.models.
        table: SCALING.
        fit: the curve through the runs.
    """
    runs = table.filter(~pl.col("is_baseline"))
    return (*_hypothesis(fit), *_setup(config, train, runs), *_collection(config, runs), *_fitting(runs, fit))


def _hypothesis(fit: ScalingFit) -> list[Item]:
    unit = AXES[fit.x].unit
    terms = "both" if any(row["figure"] == "beta" for row in fit.figures) else "the data alone"
    return [
        Item(HYPOTHESIS, "What is the form of the law?", f"loss = E + A·{unit}^-alpha + B·parameters^-beta"),
        Item(HYPOTHESIS, "What is it for?", "to tell what more data, a larger model or another hour would bring"),
        Item(HYPOTHESIS, "Which variables are in it?", f"{unit} and parameters; fitted here: {terms}"),
        Item(HYPOTHESIS, "Which parameters are fitted?", "E, A, B >= 0 and alpha, beta in the grid's range"),
        Item(HYPOTHESIS, "Where does the form come from?", "Hoffmann et al. 2022, eq. 2; assumed, not derived"),
        Item(HYPOTHESIS, "What does it assume of the variables?", "data and parameters add up and do not interact"),
    ]


def _setup(config: ScalingConfig, train: Sequence[TrainConfig], runs: pl.DataFrame) -> list[Item]:
    sizes = runs.select("predictor", "n_parameters").unique(maintain_order=True).rows()
    models = ", ".join(f"{name} ({n:,})" for name, n in sizes)
    data = ", ".join(f"{size:,}" for size in sorted(runs["n_train_pairs"].unique()))
    is_online = config.protocol == "online"
    chosen = "; ".join(f"{model}: {_told(one)}" for model, one in zip(config.models, train, strict=True))
    rates = {one.learning_rate for one in train}
    seeds = f"{runs['seed'].n_unique()} seeds of subset, initial weights and order"
    communities = f", {', '.join(config.subreddits)}" if config.subreddits else ""
    return [
        Item(SETUP, "How many models are trained?", f"{runs['run_id'].n_unique()} runs, {seeds}"),
        Item(SETUP, "Of which sizes?", models),
        Item(SETUP, "On how much data each?", f"{data} pairs; for one seed, smaller sets are parts of larger ones"),
        Item(SETUP, "On which data?", f"train split of {config.pairs}{communities}; its manifest has the recipe"),
        Item(SETUP, "Is data repeated?", "no: one pass" if is_online else f"yes: up to {train[0].epochs} epochs"),
        Item(SETUP, "How is model size counted?", "all weights without embeddings"),
        Item(SETUP, "How is data size counted?", "pairs; tokens read and seconds of training are in scaling.parquet"),
        Item(SETUP, "How is compute counted?", "by measured seconds of training; no count of operations"),
        Item(SETUP, "How are hyperparameters chosen?", f"{chosen}; not searched per size", is_open=True),
        Item(SETUP, "Do they change with scale?", "the learning rate, by model" if len(rates) > 1 else "no"),
        Item(SETUP, "How do width and depth grow?", "with the model alone, never with the data"),
        Item(SETUP, "Is the code open?", f"yes, lurker {__version__}; env.json of each run has versions and machine"),
    ]


def _collection(config: ScalingConfig, runs: pl.DataFrame) -> list[Item]:
    if config.protocol == "online":
        points = f"{runs['n_train_pairs'].n_unique()} points of one pass at a constant rate, not runs of their own"
    else:
        points = "one per run: the step with the best validation log loss"
    test, n_pairs, n_posts = runs.select("test_pairs", "n_test_pairs", "n_test_posts").row(0)
    return [
        Item(COLLECTION, "Are checkpoints provided?", "the final model of each run, in its folder"),
        Item(COLLECTION, "How many checkpoints of a model are evaluated?", points),
        Item(COLLECTION, "How many points are there?", f"{runs.height:,}, one for each run and number of pairs"),
        Item(COLLECTION, "Which measure?", "log loss and 1 - accuracy"),
        Item(
            COLLECTION,
            "On which data?",
            f"test split of {test}: {counted(n_pairs, 'pair')} of {counted(n_posts, 'post')}",
        ),
        Item(COLLECTION, "Are the measures changed before the fit?", "no"),
        Item(COLLECTION, "Are they provided?", "yes: scaling.parquet, and the predictions pair by pair of each run"),
    ]


def _fitting(runs: pl.DataFrame, fit: ScalingFit) -> list[Item]:
    held = [row for row in fit.figures if row["measure"] == ERROR and "predicted" in row["figure"]]
    told = [row for row in held if row["value"] is not None]
    came = "; ".join(f"{row['figure'].split(',')[0]}: {row['note']}" for row in held) or fit.reason
    grid = f"alpha and beta in {EXPONENTS[0]:g} to {EXPONENTS[-1]:g}, {EXPONENTS.size} values each"
    unknown = sorted({row["figure"] for row in fit.figures if row["note"].startswith("cannot tell")})
    used = fit.reason or fit.left_out or "all are used"
    return [
        Item(FITTING, "Which loss does the fit minimise?", "squares, weighted by inverse variances clustered by post"),
        Item(FITTING, "Which algorithm?", "variable projection: grid, non-negative least squares, Nelder-Mead"),
        Item(FITTING, "With which settings and starts?", f"{grid}; then a simplex from the best"),
        Item(FITTING, "Are all points used?", used),
        Item(FITTING, "Is it one fit?", f"one per measure, of {', '.join(fit.models)}"),
        Item(FITTING, "How large is the range fitted?", _range(runs)),
        Item(FITTING, "Does it predict held-out sizes?", came, is_open=not told),
        Item(FITTING, "Are there intervals?", f"{LEVEL:.0%}, {N_DRAWS} bootstrap draws over runs and test posts"),
        Item(
            FITTING,
            "Which parameters cannot be told?",
            ", ".join(unknown) if unknown else fit.reason or "none",
            is_open=bool(unknown or fit.reason),
        ),
        Item(
            FITTING,
            "How is goodness of fit judged?",
            f"F test of lack of fit; from {MIN_DATA_SIZES} data sizes and, for parameters, {MIN_MODEL_SIZES} models on",
        ),
    ]


def _range(runs: pl.DataFrame) -> str:
    pairs, parameters = (runs[name].to_numpy() for name in ("n_train_pairs", "n_parameters"))
    decades = (float(np.log10(values.max() / values.min())) for values in (pairs, parameters))
    return "{:.1f} decades of data, {:.1f} of parameters".format(*decades)


def _told(train: TrainConfig) -> str:
    return ", ".join(f"{name}={getattr(train, name)}" for name in TOLD)


def open_questions(items: Sequence[Item]) -> str:
    """A line on how much of the checklist is answered, and what is open."""
    still = [item.question for item in items if item.is_open]
    named = f"; open: {' '.join(still)}" if still else ""
    return f"Checklist of (Mis)Fitting, {len(items)} questions: {len(items) - len(still)} answered{named}"


def to_markdown(items: Sequence[Item], title: str) -> str:
    """The checklist as a page."""
    lines = [f"# {title}", "", "After Li, Kudugunta & Zettlemoyer 2025, arXiv 2502.18969.", ""]
    for part in dict.fromkeys(item.part for item in items):
        lines += [f"## {part[0].upper()}{part[1:]}", "", "| question | answer | |", "|---|---|---|"]
        rows = [item for item in items if item.part == part]
        lines += [
            f"| {one.question} | {one.answer.replace('|', '/')} | {'open' if one.is_open else ''} |" for one in rows
        ]
        lines.append("")
    return "\n".join(lines)


def from_json(rows: Sequence[dict[str, Any]]) -> tuple[Item, ...]:
    """The checklist in the content of checklist.json.

    Raises:
        TypeError: the content is damaged.
    """
    return tuple(Item(**row) for row in rows)
