"""What `lurker arena results` wrote, as figures and tables for the researcher's page."""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import documents, experiments, layout
from dashboard.figures import show_figure
from dashboard.queries import version
from dashboard.tables import show_table
from lurker import charts, decimals
from lurker.charts.figure import Figure
from lurker.decimals import counted
from lurker.errors import LurkerError
from lurker.pair_sets import VOTES_RECIPE, read_manifest
from lurker.votes.arenas import OTHERS, Arena

Report = dict[str, Any]
MOST_RATERS = 40
"""Raters that one chart shows; the table has all."""
WORTH_NOTE = (
    "All starts are tested on the same votes. “nothing” is the model without earlier training; bars are 95 % intervals "
    "over test posts, and over seeds if there are several."
)
SOURCES_NOTE = (
    "Bradley–Terry with Davidson's ties; intervals are 95 %, clustered by item and by rater. Sources of one tier are "
    "not told apart. At equal length: the strength if all sources wrote as much."
)
GROUPS_NOTE = (
    "Held-out raters' votes are in no training data: a judge that agrees less with them learned these raters, not "
    "people. Intervals are 95 %, clustered by post; 0.5 is a coin."
)

RATERS_NOTE = (
    "Brackets are 95 % intervals. Agrees with self: the same choice when a pair came again with its sides swapped. "
    "Slope: how strongly a rater's votes follow the quality that all votes speak for; at 0 they do not."
)


def show(report: Report, arena: Arena) -> None:
    """Draw the report: key figures, sources, groups of raters, worth of votes, raters, agreement, votes over time."""
    layout.cards(_key_figures(report))
    if report["ratings"]:
        _sources(report)
    if report.get("rater_groups"):
        _groups(report)
    _worth(arena)
    _raters(report)
    st.subheader("How often two judges prefer the same response", anchor=False)
    agreement = [
        {"judge": row["first"], "and": row["second"], "agree": _shown(row, "agreement", "low", "high")}
        | {"n": row["n"], "posts": row["n_posts"]}
        for row in report["agreement"]
    ]
    show_table(agreement)
    _votes(report)


def _key_figures(report: Report) -> list[tuple[str, str, str]]:
    """Votes, agreement of the raters with and without suspicious ones, and the mistake model against the majority."""
    alpha, without = report["alpha"], report["alpha_without_suspicious"]
    n_doubted = sum(bool(row["suspicious"]) for row in report["raters"])
    cards = [
        ("votes that count", f"{report['n_votes']:,}", f"on {counted(report['n_items'], 'item')}"),
        ("Krippendorff's alpha", *_alpha(alpha, "all raters")),
        ("alpha without suspicious raters", *_alpha(without or alpha, f"{n_doubted} suspicious")),
    ]
    if (mistakes := report["mistakes"]) is not None:
        gain = mistakes["gain_log_loss"]
        words = "told apart" if gain["low"] > 0 or gain["high"] < 0 else "not told apart"
        _, _, ends = decimals.difference(gain["value"], gain["low"], gain["high"]).partition(" ")
        line = f"{ends} nats a vote over the majority; {words}"
        cards.append(("mistake model", decimals.signed(gain["value"]), line))
    return cards


def _alpha(alpha: dict[str, float] | None, line: str) -> tuple[str, str]:
    if alpha is None:
        return "–", "no item has two votes"
    ends = f"[{decimals.decimal(alpha['low'])}, {decimals.decimal(alpha['high'])}]"
    return decimals.decimal(alpha["value"]), f"{ends}, {line}"


def _sources(report: Report) -> None:
    rows = report["ratings"]
    on = f"{counted(report['n_votes'], 'vote')} on {counted(report['n_items'], 'item')}, {len(rows)} sources"
    chart = charts.source_ratings(rows)
    figure = Figure(
        "sources", report["arena"], "What raters prefer, by source", on, chart, SOURCES_NOTE, height_px=46 * len(rows)
    )
    show_figure(figure, "arena", pl.DataFrame(rows))
    shown = [
        {
            "source": row["source"],
            "tier": row["tier"],
            "strength": _shown(row, "strength", "low", "high"),
            "at equal length": _shown(row, "at_equal_length"),
            "votes": row["votes"],
            "votes to flip with the next": "–" if row["votes_to_flip"] is None else f"{row['votes_to_flip']:,}",
        }
        for row in rows
    ]
    with st.expander("As a table"):
        show_table(shown)


def _groups(report: Report) -> None:
    rows = report["rater_groups"]
    n_raters = [max(row[f"{group}_raters"] for row in rows) for group in ("in_group", "held_out")]
    on = f"votes of {n_raters[0]} raters that are trained on, and of {n_raters[1]} that are held out"
    title = "How often judges prefer what raters voted for"
    chart = charts.judges_by_group(rows)
    figure = Figure("rater-groups", report["arena"], title, on, chart, GROUPS_NOTE, height_px=46 * len(rows))
    show_figure(figure, "arena", pl.DataFrame(rows))
    shown = [
        {
            "judge": row["judge"],
            "raters trained on": _shown(row, "in_group"),
            "held-out raters": _shown(row, "held_out"),
            "held out minus the others": _difference(row),
        }
        for row in rows
    ]
    with st.expander("As a table"):
        show_table(shown)


def _worth(arena: Arena) -> None:
    """What a vote is worth: the few-shot experiments on pair sets made from this arena."""
    st.subheader("What a vote is worth", anchor=False)
    found = [name for name in experiments.experiment_names(arena.workspace, "few-shot") if _is_of(arena, name)]
    if not found:
        target = f"{arena.name}-votes"
        commands = [
            f"lurker pairs build {target} --recipe votes --set arena={arena.name}",
            f"lurker experiment transfer {target} --design few-shot --target external --sizes 0,100,300 "
            "--model scratch-50k --start run:RUN",
        ]
        what = "No experiment has tuned models on these votes yet."
        layout.show_missing(what, commands, "RUN is the run to start from, such as one of Reddit's votes.")
        return
    name = found[0] if len(found) == 1 else layout.select_in_url(st.columns(3)[0], "Experiment", found, "worth")
    differences = experiments.few_shot_differences(
        version(experiments.experiment_file(arena.workspace, name, "few-shot-differences"))
    )
    manifest = documents.experiment_manifest(arena.workspace, name)
    raters = read_manifest(arena.workspace, str(manifest["pairs"]))["raters"]
    n_votes = f"{raters['n_votes']:,} votes" if "n_votes" in raters else "votes"  # older sets do not say how many
    on = f"tuned on {manifest['pairs']} ({n_votes} of {raters['n']} raters), tested on {manifest['test_pairs']}"
    chart = charts.few_shot_curves(differences, "pairs of votes")
    show_figure(
        Figure("vote-worth", str(manifest["test_pairs"]), "Accuracy against votes bought", on, chart, WORTH_NOTE),
        name,
        differences,
    )
    if (findings := documents.findings(arena.workspace, name)) is not None:
        st.markdown(layout.escape_with_code(findings["sentence"]))


def _is_of(arena: Arena, experiment: str) -> bool:
    """Whether an experiment tunes on pairs made from votes of this arena; a damaged one does not."""
    try:
        pairs = documents.experiment_manifest(arena.workspace, experiment)["pairs"]
        recipe = read_manifest(arena.workspace, str(pairs))["recipe"]
    except (LurkerError, KeyError):
        return False
    return bool(recipe["name"] == VOTES_RECIPE and recipe.get("arena") == arena.name)


def _raters(report: Report) -> None:
    st.subheader("Raters", anchor=False)
    with_gold = [row for row in report["raters"] if row["gold"] is not None][:MOST_RATERS]
    if with_gold:
        n_doubted = sum(bool(row["suspicious"]) for row in with_gold)
        on = f"the {len(with_gold)} raters with most votes and gold items; {n_doubted} suspicious by fixed rules"
        chart = charts.raters_on_gold(with_gold)
        note = "Bars are 95 % intervals; 0.5 is a coin. Gold items are those whose answer is near certain."
        height_px = 23 * len(with_gold)
        figure = Figure("raters", report["arena"], "Accuracy on gold, by rater", on, chart, note, height_px=height_px)
        show_figure(figure, "arena", pl.DataFrame(with_gold).drop("suspicious"))
    show_table([_rater(row) for row in report["raters"]])
    st.caption(RATERS_NOTE)


def _rater(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rater": row["rater"][:8],
        "votes": row["votes"],
        "gold": _shown(row, "gold"),
        "chose A": _shown(row, "side_a"),
        "agrees with self": _shown(row, "self_agreement"),
        "slope": _shown(row, "slope"),
        "seconds a vote": f"{row['dwell_ms'] / 1000:.1f}",
        "held out": "yes" if row["is_held_out"] else "",
        "suspicious": ", ".join(row["suspicious"]),
    }


def _votes(report: Report) -> None:
    if len(report.get("timeline") or ()) > 1:  # one hour is a block that says nothing
        on = f"{sum(row['votes'] for row in report['timeline']):,} votes that raters did not take back, by hour"
        chart = charts.votes_over_time(report["timeline"])
        show_figure(
            Figure("votes", report["arena"], "Votes over time", on, chart), "arena", pl.DataFrame(report["timeline"])
        )
    st.subheader("Votes that count", anchor=False)
    ledger = [{"votes": "written", "number": f"{report['ledger']['input']:,}"}]
    ledger += [{"votes": one["reason"], "number": f"−{one['n']:,}"} for one in report["ledger"]["dropped"]]
    n_others = report["ledger"]["kept"] - report["n_votes"]
    ledger += [{"votes": OTHERS, "number": f"−{n_others:,}"}] if n_others else []
    ledger.append({"votes": "that count", "number": f"{report['n_votes']:,}"})
    show_table(ledger, columns={"number": st.column_config.TextColumn("number", alignment="right")})


def _shown(row: dict[str, Any], name: str, low: str = "", high: str = "") -> str:
    if row[name] is None:
        return "–"
    return decimals.interval(row[name], row[low or f"{name}_low"], row[high or f"{name}_high"])


def _difference(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return "–"
    return decimals.difference(row["difference"], row["difference_low"], row["difference_high"])
