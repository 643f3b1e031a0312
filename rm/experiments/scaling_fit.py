"""The fitted curve of a scaling experiment: from its runs' predictions to fit.json, a table and one sentence."""

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import polars as pl

from lurker.decimals import decimal
from lurker.errors import CallError, LurkerError
from lurker.fits import ERROR, HELD_OUT
from lurker.report import ResultTable
from lurker.stats import clustered_standard_error
from lurker.workspace import Workspace
from rm.evaluation.curve_points import point_predictions
from rm.experiments.curve_findings import (
    Finding,
    HeldOut,
    data_gain,
    data_over_parameters,
    held_out_model,
    held_out_size,
    last_step,
    pairs_for,
    parameter_gain,
    parameters,
    unknown,
)
from rm.experiments.curves import CurveFit, cannot_fit, first_fitting_size, fit_curve
from rm.experiments.power_laws import MIN_MODEL_SIZES, Curve, Floats, Points
from rm.experiments.scaling_claims import Gains, claims, without_curve
from rm.models.ladder import LADDER

LOG_LOSS = "log loss"
"""What is fitted besides ERROR, the share of wrong pairs: nats."""
CURVE_POINTS = 25
"""Data sizes at which a chart draws the curve."""
X = Literal["pairs", "tokens", "time"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What the curve takes as the amount of data."""

    column: str
    """of SCALING"""
    unit: str
    """plural, as in 4,000 pairs"""
    what: str
    """what is doubled"""


AXES = {
    "pairs": Axis("n_train_pairs", "pairs", "the data"),
    "tokens": Axis("n_tokens", "tokens", "the data"),
    "time": Axis("train_time_s", "seconds", "the training time"),
}


def require_axis(x: str) -> X:
    """The name of an axis, if it is one.

    Raises:
        CallError: it is not.
    """
    if x not in get_args(X):
        raise CallError(f"The x-axis is one of {', '.join(get_args(X))}, got {x!r}.")
    return cast(X, x)


@dataclass(frozen=True, slots=True)
class ScalingFit:
    """What the curves of a scaling experiment say."""

    sentence: str
    """what may be claimed: an effect is named only if its interval excludes 0"""
    reason: str
    """why no curve is fitted; empty if one is"""
    models: tuple[str, ...]
    """SPECs of the models in the fit"""
    x: X
    """what the curve takes as the amount of data: training pairs, tokens read in training, or seconds of training"""
    left_out: str
    """models and data sizes that are not in the fit, and why; empty if there are none, or no fit"""
    figures: tuple[dict[str, Any], ...]
    """measure, figure, value, low, high, by_posts, by_seeds, note: every parameter, gain and prediction"""
    curve: pl.DataFrame
    """the fitted accuracy of each model over the data: predictor, n_parameters, the column of the axis, accuracy"""

    def table(self) -> ResultTable:
        """The figures with their intervals, and the sentence below."""
        rows = [
            {
                "measure": row["measure"],
                "figure": row["figure"],
                "value": row["value"],
                "from": row["low"],
                "to": row["high"],
                "± posts": row["by_posts"],
                "± seeds": row["by_seeds"],
                "note": row["note"],
            }
            for row in self.figures
        ]
        note = f"{self.left_out}\n{self.sentence}" if self.left_out else self.sentence
        title = f"Loss = E + A·{AXES[self.x].unit}^-alpha + B·parameters^-beta" if rows else "How accuracy grows"
        return ResultTable(title, rows, note)

    def to_json(self) -> dict[str, Any]:
        """The content of fit.json."""
        return {
            "sentence": self.sentence,
            "reason": self.reason,
            "models": list(self.models),
            "x": self.x,
            "left_out": self.left_out,
            "figures": list(self.figures),
            "curve": self.curve.to_dicts(),
        }


def fit_from_json(content: dict[str, Any]) -> ScalingFit:
    """The fit in the content of fit.json.

    Raises:
        KeyError, TypeError, ValueError: the content is damaged.
    """
    x = require_axis(content.get("x", "pairs"))
    figures = tuple({"by_posts": None, "by_seeds": None, **row} for row in content["figures"])
    curve = pl.DataFrame(content["curve"], schema=_curve_schema(AXES[x]))
    texts = {name: str(content[name]) for name in ("sentence", "reason", "left_out")}
    return ScalingFit(models=tuple(content["models"]), x=x, figures=figures, curve=curve, **texts)


def fit_scaling(workspace: Workspace, cells: pl.DataFrame, test: pl.DataFrame, x: X = "pairs") -> ScalingFit:
    """Fit log loss and accuracy against data and model size.

    Args:
        workspace: where the runs are.
        cells: SCALING of an experiment.
        test: PAIRS that all runs were tested on.
        x: what the curve takes as the amount of data.

    Raises:
        LurkerError: the tokens or the time of a run are not known.
    """
    runs = cells.filter(~pl.col("is_baseline"))
    fitted, left_out = comparable_models(with_amount(runs, x))
    axis = AXES[x]
    points = {measure: read_points(workspace, fitted, test, measure) for measure in (LOG_LOSS, ERROR)}
    models = tuple(fitted["predictor"].unique(maintain_order=True))
    if reason := cannot_fit(points[LOG_LOSS]):
        sentence = without_curve(points[ERROR], fitted.sort("n_parameters")["predictor"][-1], reason, axis.unit)
        return ScalingFit(sentence, reason, models, x, "", (), _curve_rows(None, fitted, axis))
    first = max(first_fitting_size(part) for part in points.values())
    fitted, left_out = (
        fitted.filter(pl.col("amount") >= first),
        f"{left_out}{_sizes_left_out(fitted, first)}".strip(),
    )
    points = {measure: part.take(part.n_pairs >= first) for measure, part in points.items()}
    seconds = fitted["train_time_s"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    rng = np.random.default_rng(0)
    fits = {measure: fit_curve(points[measure], rng) for measure in points}
    gains = {
        measure: Gains(data_gain(fit), parameter_gain(fit), _time_gain(fit, seconds, x))
        for measure, fit in fits.items()
    }
    figures = [figure for measure, fit in fits.items() for figure in _figures(measure, fit, gains[measure], rng, axis)]
    doubled = f"{axis.what} from {points[ERROR].n_pairs.max():,.0f} {axis.unit}"
    sentence = claims(gains[LOG_LOSS], gains[ERROR], doubled, fitted.sort("n_parameters")["predictor"][-1])
    return ScalingFit(sentence, "", models, x, left_out, tuple(figures), _curve_rows(fits[ERROR].curve, fitted, axis))


def _time_gain(fit: CurveFit, seconds: Floats, x: X) -> Finding:
    return unknown("the curve is over time itself") if x == "time" else data_over_parameters(fit, seconds)


def with_amount(runs: pl.DataFrame, x: X) -> pl.DataFrame:
    """SCALING with a column `amount`: the data of each run on the axis x, the mean over seeds of a model and size.

    Raises:
        LurkerError: it is not known of a run.
    """
    column = AXES[x].column
    if n_unknown := runs[column].null_count():
        raise LurkerError(f"The {AXES[x].unit} of {n_unknown} of {runs.height} runs are not known.", "Use `--x pairs`.")
    return runs.with_columns(amount=pl.col(column).cast(pl.Float64).mean().over("predictor", "n_train_pairs"))


def comparable_models(runs: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The runs of one family of models, the ladder or pretrained ones, whichever has more sizes.

    With too few sizes for a comparison only the largest model is kept.

    Args:
        runs: rows of SCALING without baselines.

    Returns:
        Their rows, and a sentence on the models that are left out.
    """
    is_ladder = pl.col("predictor").is_in(list(LADDER))
    parts = (runs.filter(is_ladder), runs.filter(~is_ladder))
    fewer, kept = sorted(parts, key=lambda part: part["n_parameters"].n_unique())
    others = ", ".join(fewer["predictor"].unique(maintain_order=True))
    reasons = [f"{others}: of another family than {kept['predictor'][0]}"] if others else []
    if 1 < kept["n_parameters"].n_unique() < MIN_MODEL_SIZES:
        is_largest = kept["n_parameters"] == kept["n_parameters"].max()
        smaller = ", ".join(kept.filter(~is_largest)["predictor"].unique(maintain_order=True))
        reasons.append(f"{smaller}: a comparison needs {MIN_MODEL_SIZES} model sizes")
        kept = kept.filter(is_largest)
    return kept, f"Not in the fit: {'; '.join(reasons)}." if reasons else ""


def _sizes_left_out(runs: pl.DataFrame, first: float) -> str:
    """A sentence on the data sizes below the first that fits; empty if there are none."""
    sizes = runs.filter(pl.col("amount") < first)["n_train_pairs"].unique().sort()
    if sizes.is_empty():
        return ""
    named = ", ".join(f"{size:,}" for size in sizes)
    return f" Not in the fit: {named} pairs, where the curve misses the runs by more than seeds differ."


def read_points(workspace: Workspace, runs: pl.DataFrame, test: pl.DataFrame, measure: str) -> Points:
    """The test losses of runs, by post.

    Args:
        workspace: where the runs are.
        runs: rows of SCALING without baselines, all tested on the same pairs, with their `amount` of data; those of
            one run are the points of its pass.
        test: PAIRS that they were tested on.
        measure: LOG_LOSS or ERROR.

    Raises:
        LurkerError: the runs were tested on different pairs.
    """
    margin = pl.col("margin")
    log_loss = margin.neg().clip(0) + margin.abs().neg().exp().log1p()  # log(1 + exp(-margin)), for any margin
    loss = log_loss if measure == LOG_LOSS else 1 - pl.col("is_correct")
    posts = test.select("pair_id", "post_id")
    sums, variances, n_pairs = [], [], np.zeros(0)
    for run_id, test_pairs, size in runs.select("run_id", "test_pairs", "n_train_pairs").iter_rows():
        predictions = pl.read_parquet(point_predictions(workspace.folder("runs", run_id), size, test_pairs))
        losses = predictions.join(posts, on="pair_id").select("post_id", loss=loss).sort("post_id")
        by_post = losses.group_by("post_id", maintain_order=True).agg(pl.col("loss").sum(), n=pl.len())
        codes = losses["post_id"].rle_id().to_numpy().astype(np.int64)
        error = clustered_standard_error(losses["loss"].to_numpy(), codes, np.ones(losses.height))
        sums.append(by_post["loss"].to_numpy())
        if sums[1:] and len(sums[-1]) != len(sums[0]):
            raise LurkerError(
                f"Runs of one experiment were tested on different pairs: {runs['run_id'][0]} on {len(sums[0]):,} "
                f"posts, {run_id} on {len(sums[-1]):,}.",
                "Remove its runs and repeat it: `lurker experiment delete NAME --runs`.",
            )
        n_pairs = by_post["n"].to_numpy().astype(np.float64)
        variances.append(error**2)
    matrix, variance = np.array(sums), np.array(variances)
    if not (np.isfinite(variance) & (variance > 0)).all():  # one post, or no wrong pair: all runs weigh the same
        variance = np.ones(len(sums))
    of_data, of_models = (runs[name].cast(pl.Float64).to_numpy() for name in ("amount", "n_parameters"))
    run = runs["run_id"].rank("dense").cast(pl.Int64).to_numpy()
    return Points(of_data, of_models, matrix.sum(axis=1) / n_pairs.sum(), variance, matrix, n_pairs, run)


def _figures(measure: str, fit: CurveFit, gains: Gains, rng: np.random.Generator, axis: Axis) -> list[dict[str, Any]]:
    """Rows of the table for one measure."""
    rows = list(parameters(fit).items())
    rows += [("gain of the last data size, measured", last_step(fit.points))]
    rows += [(f"gain of twice {axis.what}", gains.data), ("gain of twice the parameters", gains.model)]
    rows += [("gain of time on data over time on parameters", gains.time)]
    if measure == ERROR:
        rows += [(f"more {axis.unit} for 0.01 more accuracy", pairs_for(fit))]
    figures = [_figure(measure, name, finding) for name, finding in rows]
    held_out = ((HELD_OUT, held_out_size), ("largest model, predicted from the others", held_out_model))
    return figures + [_prediction(measure, name, predict(fit.points, rng)) for name, predict in held_out]


def _figure(measure: str, name: str, finding: Finding, note: str = "") -> dict[str, Any]:
    note = f"cannot tell: {finding.reason}" if finding.reason else note
    values: dict[str, Any] = {"value": finding.value, "low": finding.low, "high": finding.high}
    values |= {"by_posts": finding.by_posts, "by_seeds": finding.by_seeds}
    return {"measure": measure, "figure": name, **values, "note": note}


def _prediction(measure: str, name: str, held_out: HeldOut) -> dict[str, Any]:
    note = ""
    if held_out.came is not None:
        note = f"came {decimal(held_out.came)}, {'within' if held_out.is_as_predicted else 'outside'}"
    return _figure(measure, name, held_out.predicted, note)


def _curve_rows(curve: Curve | None, runs: pl.DataFrame, axis: Axis) -> pl.DataFrame:
    """The fitted accuracy of each model over the data sizes of the experiment; no rows without a curve."""
    amounts = runs["amount"].to_numpy()
    sizes = np.geomspace(amounts.min(), amounts.max(), CURVE_POINTS)
    models = runs.select("predictor", "n_parameters").unique(maintain_order=True).rows()
    rows = [
        {"predictor": model, "n_parameters": n, axis.column: size, "accuracy": 1 - float(curve.loss(size, n))}
        for model, n in models
        for size in sizes.tolist()
        if curve is not None
    ]
    return pl.DataFrame(rows, schema=_curve_schema(axis))


def _curve_schema(axis: Axis) -> dict[str, Any]:
    return {"predictor": pl.String, "n_parameters": pl.Int64, axis.column: pl.Float64, "accuracy": pl.Float64}
