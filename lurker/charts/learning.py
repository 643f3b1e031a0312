"""Loss and accuracy of one run by step."""

import altair as alt
import polars as pl

from lurker.charts.look import GREEN, TASTE, layered, share_axis
from lurker.learning_curves import LearningCurve

HEIGHT_PX = 260
STEPS = alt.X("step:Q", title="optimiser step", axis=alt.Axis(grid=False, tickCount=6, tickMinStep=1, format=",d"))
LINES = {"training": TASTE, "validation": GREEN}


def learning_losses(curve: LearningCurve) -> alt.LayerChart:
    """Log loss by step: the training loss as a line, the validation loss as points."""
    trained = pl.DataFrame(curve.training_losses(), schema={"step": pl.Float64, "loss": pl.Float64}, orient="row")
    rows = [{"step": row["step"], "loss": row["validation_log_loss"]} for row in curve.rows()]
    validated = pl.DataFrame(rows, schema={"step": pl.Float64, "loss": pl.Float64})
    colour = alt.Color(
        "of:N",
        scale=alt.Scale(domain=list(LINES), range=list(LINES.values())),
        legend=alt.Legend(orient="top", title=None),
    )
    y = alt.Y("loss:Q", title="log loss", scale=alt.Scale(zero=False), axis=share_axis(tickCount=6))
    tooltip = [alt.Tooltip("step:Q", format=",.0f"), alt.Tooltip("loss:Q", format=".4f")]
    frames = [frame.with_columns(of=pl.lit(name)) for frame, name in zip((trained, validated), LINES, strict=True)]
    line = alt.Chart(frames[0]).mark_line(strokeWidth=2)
    points = alt.Chart(frames[1]).mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=80, filled=True))
    return layered(
        line.encode(x=STEPS, y=y, color=colour), points.encode(x=STEPS, y=y, color=colour, tooltip=tooltip)
    ).properties(height=HEIGHT_PX, title="Log loss")


def learning_accuracy(curve: LearningCurve) -> alt.LayerChart:
    """Accuracy on the validation pairs by step; runs of earlier versions have none."""
    rows = [{"step": row["step"], "accuracy": row["validation_accuracy"]} for row in curve.rows()]
    frame = pl.DataFrame(rows, schema={"step": pl.Float64, "accuracy": pl.Float64}).drop_nulls()
    line = alt.Chart(frame).mark_line(color=GREEN, strokeWidth=1.5, point=alt.OverlayMarkDef(size=80, color=GREEN))
    drawn = line.encode(
        x=STEPS,
        y=alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(zero=False), axis=alt.Axis(format=".3f", tickCount=6)),
        tooltip=[alt.Tooltip("step:Q", format=",.0f"), alt.Tooltip("accuracy:Q", format=".3f")],
    )
    return layered(drawn).properties(height=HEIGHT_PX, title="Accuracy on the validation pairs")
