"""The fitted curve of a scaling experiment: from its runs' predictions to fit.json, a table and one sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lurker.report import ResultTable
from lurker.stats import clustered_standard_error
from lurker.workspace import Workspace
from rm.experiments.curve_findings import (
    Finding,
    HeldOut,
    data_gain,
    data_over_parameters,
    held_out_model,
    held_out_size,
    last_step,
    observed_fall,
    pairs_for,
    parameter_gain,
    parameters,
)
from rm.experiments.curves import MIN_MODEL_SIZES, Curve, CurveFit, Points, cannot_fit, first_fitting_size, fit_curve
from rm.models.ladder import LADDER
from rm.training.run_folder import predictions_file

LOG_LOSS, ERROR = "log loss", "1 - accuracy"
"""What is fitted: nats, and the share of wrong pairs."""
CURVE_POINTS = 25
"""Data sizes at which a chart draws the curve."""
CURVE_SCHEMA = {"predictor": pl.String, "n_parameters": pl.Int64, "n_train_pairs": pl.Float64, "accuracy": pl.Float64}


@dataclass(frozen=True, slots=True)
class Gains:
    """Fall of one loss for a doubling at the largest size, and where time is better spent."""

    data: Finding
    model: Finding
    time: Finding
    """gain of time spent on data minus that of time spent on parameters"""


@dataclass(frozen=True, slots=True)
class ScalingFit:
    """What the curves of a scaling experiment say."""

    sentence: str
    """what may be claimed: an effect is named only if its interval excludes 0"""
    reason: str
    """why no curve is fitted; empty if one is"""
    models: tuple[str, ...]
    """SPECs of the models in the fit"""
    left_out: str
    """models and data sizes that are not in the fit, and why; empty if there are none"""
    figures: tuple[dict[str, Any], ...]
    """measure, figure, value, low, high, note: every parameter, gain and prediction"""
    curve: pl.DataFrame
    """the fitted accuracy of each model at a range of data sizes: columns as in CURVE_SCHEMA"""

    def table(self) -> ResultTable:
        """The figures with their intervals, and the sentence below."""
        rows = [
            {
                "measure": row["measure"],
                "figure": row["figure"],
                "value": row["value"],
                "from": row["low"],
                "to": row["high"],
                "note": row["note"],
            }
            for row in self.figures
        ]
        note = f"{self.left_out}\n{self.sentence}" if self.left_out else self.sentence
        title = "Loss = E + A·pairs^-alpha + B·parameters^-beta" if rows else "How accuracy grows"
        return ResultTable(title, rows, note)

    def to_json(self) -> dict[str, Any]:
        """The content of fit.json."""
        return {
            "sentence": self.sentence,
            "reason": self.reason,
            "models": list(self.models),
            "left_out": self.left_out,
            "figures": list(self.figures),
            "curve": self.curve.to_dicts(),
        }


def fit_from_json(content: dict[str, Any]) -> ScalingFit:
    """The fit in the content of fit.json.

    Raises:
        KeyError, TypeError, ValueError: the content is damaged.
    """
    curve = pl.DataFrame(content["curve"], schema=CURVE_SCHEMA)
    texts = {name: str(content[name]) for name in ("sentence", "reason", "left_out")}
    return ScalingFit(models=tuple(content["models"]), figures=tuple(content["figures"]), curve=curve, **texts)


def fit_scaling(workspace: Workspace, cells: pl.DataFrame, test: pl.DataFrame) -> ScalingFit:
    """Fit log loss and accuracy against data and model size.

    Args:
        workspace: where the runs are.
        cells: SCALING of an experiment.
        test: PAIRS that all runs were tested on.
    """
    runs = cells.filter(~pl.col("is_baseline"))
    fitted, left_out = comparable_models(runs)
    points = {measure: read_points(workspace, fitted, test, measure) for measure in (LOG_LOSS, ERROR)}
    models = tuple(fitted["predictor"].unique(maintain_order=True))
    if reason := cannot_fit(points[LOG_LOSS]):
        sentence = _without_curve(points[ERROR], fitted.sort("n_parameters")["predictor"][-1], reason)
        return ScalingFit(sentence, reason, models, left_out, (), pl.DataFrame(schema=CURVE_SCHEMA))
    first = max(first_fitting_size(part) for part in points.values())
    fitted, left_out = (
        fitted.filter(pl.col("n_train_pairs") >= first),
        f"{left_out}{_sizes_left_out(fitted, first)}".strip(),
    )
    points = {measure: part.take(part.n_pairs >= first) for measure, part in points.items()}
    seconds = fitted["train_time_s"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    rng = np.random.default_rng(0)
    fits = {measure: fit_curve(points[measure], rng) for measure in points}
    gains = {
        measure: Gains(data_gain(fit), parameter_gain(fit), data_over_parameters(fit, seconds))
        for measure, fit in fits.items()
    }
    figures = [figure for measure, fit in fits.items() for figure in _figures(measure, fit, gains[measure], rng)]
    most_pairs = f"{points[ERROR].n_pairs.max():,.0f} pairs"
    sentence = claims(gains[LOG_LOSS], gains[ERROR], most_pairs, fitted.sort("n_parameters")["predictor"][-1])
    return ScalingFit(sentence, "", models, left_out, tuple(figures), _curve_rows(fits[ERROR].curve, fitted))


def _without_curve(error: Points, model: str, reason: str) -> str:
    """What the runs show where no curve can be fitted, in a sentence."""
    no_curve = f"No curve is fitted: {reason}."
    gain = observed_fall(error)
    if gain.value is None:
        return no_curve
    value, low, high = (100 * float(number or 0) for number in (gain.value, gain.low, gain.high))
    span = f"from {error.n_pairs.min():,.0f} to {error.n_pairs.max():,.0f} pairs"
    if not gain.is_named:
        return f"{no_curve} No gain of {model} {span} shows (at most {high:.1f} points of accuracy)."
    verb = "gains" if value > 0 else "loses"
    ends = sorted((abs(low), abs(high)))
    interval = f"{abs(value):.1f} points of accuracy [{ends[0]:.1f}, {ends[1]:.1f}]"
    return f"{no_curve} {model} {verb} {interval} {span}, by test posts; the luck of single runs comes on top."


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
    sizes = runs.filter(pl.col("n_train_pairs") < first)["n_train_pairs"].unique().sort()
    if sizes.is_empty():
        return ""
    named = ", ".join(f"{size:,}" for size in sizes)
    return f" Not in the fit: {named} pairs, where the curve misses the runs by more than seeds differ."


def read_points(workspace: Workspace, runs: pl.DataFrame, test: pl.DataFrame, measure: str) -> Points:
    """The test losses of runs, by post.

    Args:
        workspace: where the runs are.
        runs: rows of SCALING without baselines, all tested on the same pairs.
        test: PAIRS that they were tested on.
        measure: LOG_LOSS or ERROR.
    """
    margin = pl.col("margin")
    log_loss = margin.neg().clip(0) + margin.abs().neg().exp().log1p()  # log(1 + exp(-margin)), for any margin
    loss = log_loss if measure == LOG_LOSS else 1 - pl.col("is_correct")
    posts = test.select("pair_id", "post_id")
    sums, variances, n_pairs = [], [], np.zeros(0)
    for run_id, test_pairs in runs.select("run_id", "test_pairs").iter_rows():
        predictions = pl.read_parquet(predictions_file(workspace.folder("runs", run_id), test_pairs, "test"))
        losses = predictions.join(posts, on="pair_id").select("post_id", loss=loss).sort("post_id")
        by_post = losses.group_by("post_id", maintain_order=True).agg(pl.col("loss").sum(), n=pl.len())
        codes = losses["post_id"].rle_id().to_numpy().astype(np.int64)
        error = clustered_standard_error(losses["loss"].to_numpy(), codes, np.ones(losses.height))
        sums.append(by_post["loss"].to_numpy())
        n_pairs = by_post["n"].to_numpy().astype(np.float64)
        variances.append(error**2)
    matrix, variance = np.array(sums), np.array(variances)
    if not (np.isfinite(variance) & (variance > 0)).all():  # one post, or no wrong pair: all runs weigh the same
        variance = np.ones(len(sums))
    of_data, of_models = (runs[name].cast(pl.Float64).to_numpy() for name in ("n_train_pairs", "n_parameters"))
    return Points(of_data, of_models, matrix.sum(axis=1) / n_pairs.sum(), variance, matrix, n_pairs)


def claims(loss: Gains, error: Gains, pairs: str, model: str) -> str:
    """One sentence; an effect is named only if its interval excludes 0, in accuracy or else in log loss.

    Args:
        loss: gains in log loss, nats.
        error: gains in accuracy.
        pairs: the largest data size, in words.
        model: SPEC of the largest model.
    """
    parts = [
        _claim(f"doubling the data from {pairs}", error.data, loss.data),
        _claim(f"doubling the parameters of {model}", error.model, loss.model),
    ]
    for finding, by in ((error.time, ""), (loss.time, ", by log loss")):
        if finding.is_named:
            better = "data" if float(finding.value or 0) > 0 else "parameters"
            parts.append(f"the next hour is better spent on {better}{by}")
            break
    else:
        if error.time.value is not None:
            parts.append("whether the next hour is better spent on data or parameters cannot be told")
    text = "; ".join(filter(None, parts))
    return f"{text[0].upper()}{text[1:]}."


def _claim(what: str, error: Finding, loss: Finding) -> str:
    if error.value is None or loss.value is None:
        return ""
    value, low, high = (100 * float(number or 0) for number in (error.value, error.low, error.high))
    if error.is_named:
        return f"{what} adds {value:.1f} points of accuracy [{low:.1f}, {high:.1f}]"
    if loss.is_named:
        gain = f"{loss.value:.3f} nats [{loss.low:.3f}, {loss.high:.3f}]"
        return f"{what} lowers the log loss by {gain}, but no gain in accuracy shows (at most {high:.1f} points)"
    return f"no gain from {what} shows (at most {high:.1f} points of accuracy)"


def _figures(measure: str, fit: CurveFit, gains: Gains, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the table for one measure."""
    rows = list(parameters(fit).items())
    rows += [("gain of the last data size, measured", last_step(fit.points))]
    rows += [("gain of twice the data", gains.data), ("gain of twice the parameters", gains.model)]
    rows += [("gain of time on data over time on parameters", gains.time)]
    if measure == ERROR:
        rows += [("more pairs for one more point of accuracy", pairs_for(fit))]
    figures = [_figure(measure, name, finding) for name, finding in rows]
    held_out = (("largest data size", held_out_size), ("largest model", held_out_model))
    return figures + [_prediction(measure, what, predict(fit.points, rng)) for what, predict in held_out]


def _figure(measure: str, name: str, finding: Finding, note: str = "") -> dict[str, Any]:
    note = f"cannot tell: {finding.reason}" if finding.reason else note
    values = {"value": finding.value, "low": finding.low, "high": finding.high}
    return {"measure": measure, "figure": name, **values, "note": note}


def _prediction(measure: str, what: str, held_out: HeldOut) -> dict[str, Any]:
    note = ""
    if held_out.came is not None:
        note = f"came {held_out.came:.3f}, {'within' if held_out.is_as_predicted else 'outside'}"
    return _figure(measure, f"{what}, predicted from the others", held_out.predicted, note)


def _curve_rows(curve: Curve, runs: pl.DataFrame) -> pl.DataFrame:
    """The fitted accuracy of each model over the data sizes of the experiment."""
    n_pairs = runs["n_train_pairs"].to_numpy()
    sizes = np.geomspace(n_pairs.min(), n_pairs.max(), CURVE_POINTS)
    models = runs.select("predictor", "n_parameters").unique(maintain_order=True).rows()
    rows = [
        {"predictor": model, "n_parameters": n, "n_train_pairs": size, "accuracy": 1 - float(curve.loss(size, n))}
        for model, n in models
        for size in sizes.tolist()
    ]
    return pl.DataFrame(rows, schema=CURVE_SCHEMA)
