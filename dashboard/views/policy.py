"""Policy page: what a policy gains as it leaves its writer, which alarms ring, and what it writes."""

from pathlib import Path
from typing import Any

import polars as pl
import streamlit as st

from dashboard import layout, policies
from dashboard.figures import show_figure
from dashboard.tables import show_table
from lurker import charts
from lurker.charts import look
from lurker.charts.figure import Figure
from lurker.charts.policy import MEASURES, WIN_RATES
from lurker.decimals import signed
from lurker.drift import ringing
from lurker.listings import RESULT
from lurker.report import true_minus
from lurker.workspace import Workspace

TRAIN_WRITER = "lurker policy train-writer balanced --model scratch-1m --id writer"
TRAIN_AGENT = "lurker policy train-agent policy:{} --judge run:A --held-out run:B"
SAMPLE = "lurker policy sample writer --pairs balanced --n 64 --human"
SUBTITLE = "What it gains as it leaves its writer, and what it loses"
REWARDS = ("proxy", "held-out", "truth")
REWARD_AXIS = "reward (sd of the writer)"
TEACHER_COLUMNS = {
    "judge": "judge",
    "accuracy": "accuracy",
    "calibration_slope": "slope",
    "calibration_error": "calibration error",
    "reward_sd": "sd within prompts",
    "length_correlation": "with length",
    "tail": "tail",
    "gain": "gain",
}
TERMS = (
    "KL: divergence from the writer in nats. Proxy: the judge that training, or the choice, follows; held-out: a judge "
    "that it does not; truth: the simulator's quality."
)
SHOWN_CHARS = 4_000
TEXT_PX = 260
_POLICY_BEFORE = "policy before"
"""In the session: the policy that the page showed last."""


def render() -> None:
    """Draw one policy's curves and alarms, then best of n, teachers and texts of one file of samples."""
    workspace = layout.open_page()
    names, files = policies.policy_names(workspace), policies.sample_files(workspace)
    if not names and not files:
        layout.header("No policy yet", "A policy writes responses; a judge says which are good")
        layout.show_missing(
            "There is no policy and there are no samples in this workspace yet.",
            [layout.BUILD_PAIRS, TRAIN_WRITER, SAMPLE, "lurker policy best-of-n workspace/samples/writer.parquet "
             "--judge RUN --held-out RUN"],
        )  # fmt: skip
        return
    layout.header("What a judge makes of a writer", SUBTITLE)
    if names:
        name = layout.select_in_url(st.container().columns(2)[0], "Policy", names, "policy")
        layout.guarded(name, _policy, workspace, name)
        _follow(name, list(files))
    else:
        layout.show_missing("There is no policy in this workspace, only samples.", [TRAIN_WRITER])
    st.divider()
    if not files:
        layout.show_missing("There are no samples yet.", [SAMPLE])
        return
    chosen = layout.select_in_url(st.container().columns(2)[0], "Samples", list(files), "samples")
    for part in (_best_of_n, _teachers, _texts):
        layout.guarded(chosen, part, chosen, files[chosen])


def _follow(policy: str, files: list[str]) -> None:
    """Show the policy's own samples below, if it has any, until the reader chooses others."""
    before = st.session_state.get(_POLICY_BEFORE)
    st.session_state[_POLICY_BEFORE] = policy
    own = [file for file in files if file.startswith(f"{policy}/")]
    if own and ((before is None and "samples" not in st.query_params) or before not in (None, policy)):
        st.query_params["samples"] = own[0]
        if before is not None:
            st.session_state["samples"] = own[0]


def _policy(workspace: Workspace, name: str) -> None:
    folder = workspace.folder("policies", name)
    curve = policies.curve(workspace, name)
    result = policies.document(folder / RESULT)
    if said := result.get("sentence"):
        st.markdown(f"**{layout.escape(str(said))}**")
    if curve is None or curve.is_empty():
        is_finished = policies.is_finished(workspace, name)
        what = "has no curve: it is a writer, from which agents start." if is_finished else "is not finished yet."
        next_commands = [TRAIN_AGENT.format(name)] if is_finished else []
        layout.show_missing(f"{name} {what}", [f"lurker policy show {name}", *next_commands])
        return
    if not policies.is_finished(workspace, name):
        st.info(f"{layout.escape(name)} is not finished: its curve is as far as it came.")
    fits = policies.document(folder / policies.FITS_FILE)
    on = f"{name}, {int(look.largest(curve['n_prompts'])):,} prompts"
    _curves(name, curve, on, policies.peaks(fits), policies.sentences(fits))
    _drift(policies.drift(workspace, name), name)


def _curves(source: str, rows: pl.DataFrame, on: str, peaks: dict[str, list[float]], said: list[str]) -> None:
    """Rewards on the left, win rates on the right; what was not measured is left out."""
    rewards = rows.filter(pl.col("measure").is_in(REWARDS))
    won = rows.filter(pl.col("measure").is_in(WIN_RATES))
    left, right = st.columns(2, gap="medium")
    what = "Lines join steps in order; vertical ones" if "step" in rows.columns else "Bands"
    bands = f"{what}: 95 % intervals, clustered by prompt. 0 is the writer. {TERMS}"
    marked = " Dotted: the fitted peak, its interval below it." if peaks else ""
    with left:
        figure = charts.policy_curves(rewards, REWARD_AXIS, peaks=peaks)
        show_figure(Figure("rewards", source, "Rewards by distance", on, figure, bands + marked), "policy", rewards)
    with right:
        if won.is_empty():
            st.info("No win rate was measured: it takes a held-out judge or the truth.")
        else:
            figure = charts.policy_curves(won, "share of the writer's responses beaten", zero=0.5)
            note = f"{what}: 95 % intervals, clustered by prompt. 0.5 is a coin."
            show_figure(Figure("wins", source, "Win rate by distance", on, figure, note), "policy", won)
    for sentence in said:
        st.markdown(f"- {layout.escape(sentence)}")


def _drift(rows: pl.DataFrame | None, name: str) -> None:
    """The alarms that ring, in words, and the figures of all."""
    if rows is None or rows.is_empty():
        st.caption(f"No alarms were asked of {layout.escape(name)}.")
        return
    said = ringing(rows)
    last = int(look.largest(rows["step"]))
    quiet = rows.filter(pl.col("step") == last).height - len(said)
    st.markdown(f"**Alarms at step {last:,}: {len(said)} ring, {quiet} do not**")
    for sentence in said:
        st.markdown(f":red[**!**] {layout.escape(sentence)}")
    with st.expander("All alarms"):
        now = rows.filter(pl.col("step") == last).select(
            "alarm", "value", "low", "high", "reference", "threshold", rings="is_ringing"
        )
        show_table(now, {"reference": "people"})


def _best_of_n(name: str, path: Path) -> None:
    files = policies.judged_files(path)
    if not files:
        command = f"lurker policy best-of-n {path} --judge RUN --held-out RUN"
        layout.show_missing(f"No judge has chosen the best of {name} yet.", [command])
        return
    names = list(files)
    judge = names[0]
    if len(names) > 1:
        judge = st.columns(2)[0].selectbox("Chosen by", names, key=f"best-by-{name}")
    rows, found = policies.best_of_n(files[judge]), policies.document(files[judge].with_suffix(".json"))
    named = (found.get("judges") or {}).items()
    judges = ", ".join(what if what == judge else f"{what} {judge}" for what, judge in named)
    largest = int(look.largest(rows["n"]))
    st.markdown(f"**Best of 1 to {largest} samples of {layout.escape(name)}**  \n:gray[{layout.escape(judges)}]")
    shown = pl.concat([rows.select("n", "kl", "label", "measure", "value", "low", "high"), policies.wins(rows)],
                      how="diagonal")  # fmt: skip
    on = f"{name}, {int(look.largest(rows['n_prompts'])):,} prompts"
    _curves(f"{name}-best-of-n", shown, on, policies.peaks(found), policies.sentences(found))


def _teachers(name: str, path: Path) -> None:
    report = policies.document(path.with_name(f"{path.stem}.teachers.json"))
    if not report:
        st.caption(f"Which judge teaches best: `lurker policy teachers {path} --judge A --judge B`.")
        return
    st.markdown(f"**Teachers of {layout.escape(name)}**  \n{layout.escape(str(report['sentence']))}")
    rows = [{name: _cell(row, column) for column, name in TEACHER_COLUMNS.items()} for row in report["teachers"]]
    show_table(rows)


def _texts(name: str, path: Path) -> None:
    """What people, the policy and the best by each judge wrote to one prompt, as plain text."""
    rows = policies.samples(path)
    judges = rows.columns[5:]
    prompts = rows["prompt_id"].unique(maintain_order=True).to_list()
    st.markdown(f"**What {layout.escape(name)} writes**")
    left, right = st.columns(2)
    number = int(left.number_input("Prompt", 1, len(prompts), 1, key=f"prompt-{name}"))
    chosen_by = st.session_state.get(f"best-by-{name}")
    place = judges.index(chosen_by) if chosen_by in judges else 0
    judge = right.selectbox("The best by", judges, place, key=f"judge-{name}") if judges else None
    here = rows.filter(pl.col("prompt_id") == prompts[number - 1]).sort("sample")
    st.html(layout.text_box(_short(here["prompt"][0]), accent=look.TEXT, max_height_px=TEXT_PX))
    own, people = here.filter(pl.col("source") != policies.HUMAN), here.filter(pl.col("source") == policies.HUMAN)
    best = own.sort(judge, descending=True, nulls_last=True).head(1) if judge else own.clear()
    shown = [("People", people.head(1), look.BASELINE), ("First sample", own.head(1), MEASURES["held-out"]),
             (f"Best of {own.height}", best, MEASURES["proxy"])]  # fmt: skip
    boxes = [(what, row.row(0, named=True), accent) for what, row, accent in shown if row.height]
    for column, (what, row, accent) in zip(st.columns(max(len(boxes), 1)), boxes, strict=False):
        rewards = " · ".join(f"{one} {signed(row[one], 2)}" for one in judges if row[one] is not None)
        column.markdown(f"**{layout.escape(what)}**  \n:gray[{layout.escape(rewards) or 'not judged'}]")
        column.html(layout.text_box(_short(row["response"]), accent=accent, max_height_px=TEXT_PX))


def _cell(row: dict[str, Any], column: str) -> str:
    """A figure of a teacher with its interval, where it has one."""
    value = row.get(column)
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    return true_minus(f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]")


def _short(text: str) -> str:
    """The text, cut where it is very long."""
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} …"


if __name__ == "__main__":
    render()
