"""Findings page: per pair set, what shortcuts know of its winners and what the same model learns from it."""

from dataclasses import dataclass
from typing import Any

import polars as pl
import streamlit as st

from dashboard import claims, documents, layout, like_for_like
from dashboard.ceilings import ceiling_of
from dashboard.documents import Audit, PairSetSummary
from dashboard.figures import show_figure
from dashboard.ingested import ingested_rows
from dashboard.like_for_like import LikeForLike
from lurker import charts
from lurker.charts import Ceiling
from lurker.charts.figure import Figure
from lurker.comparison import Comparison
from lurker.confounders import CONFOUNDER_NAMES
from lurker.decimals import decimal, interval
from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, pair_set_names
from lurker.seeds import seeds_in_words
from lurker.workspace import Workspace

SOURCE = "findings"


@dataclass(frozen=True, slots=True)
class Found:
    """What the page stands on."""

    probes: dict[str, dict[str, Any]]
    """the strongest probe of each pair set, the most accurate first, the hard test last"""
    audits: dict[str, Audit]
    group: LikeForLike | None
    compared: Comparison | None
    """the model of the cleanest set with a model against that of the leakiest"""
    ceiling: Ceiling | None


def render() -> None:
    """Draw the headline, four figures, two charts, and where to read on."""
    workspace = layout.open_page()
    names = pair_set_names(workspace)
    sets, errors = documents.read_each(names, lambda name: documents.pair_set(workspace, name))
    found, more = _find(workspace, sets)
    errors += more
    unaudited = layout.unaudited(sets, found.audits)
    if not found.probes and found.group is None:
        layout.header("Nothing has been measured yet", f"Workspace {workspace.root}")
        layout.show_missing("There is no audit and no model in this workspace yet.", _first_commands(workspace, names))
    else:
        leakiest = next(iter(found.probes.items()), None)
        layout.header(claims.headline(leakiest, found.compared), _subtitle(workspace, found))
        layout.cards(_figures(found))
        _charts(found, unaudited)
    layout.show_errors(errors)
    if found.probes or found.group is None:  # else they stand in place of the chart of audits
        layout.show_unaudited(unaudited)


def _find(workspace: Workspace, sets: dict[str, PairSetSummary]) -> tuple[Found, list[LurkerError]]:
    audited = [name for name in workspace.names("pairs", "audit.json") if name in sets]
    audits, errors = documents.read_each(audited, lambda name: documents.audit(workspace, name))
    probes = {name: probe for name, audit in audits.items() if (probe := documents.strongest_probe(audit))}
    probes = dict(sorted(probes.items(), key=lambda item: (item[0] == HARD_TEST, -item[1]["accuracy"])))
    runs, run_errors = documents.read_each(
        workspace.names("runs", "result.json"), lambda run_id: documents.run_result(workspace, run_id)
    )
    errors += run_errors
    group = like_for_like.like_for_like(runs.values(), {name: one.subreddits for name, one in sets.items()})
    compared = None
    trained = [] if group is None else [name for name in probes if name in group.rows["pairs"].to_list()]
    if group is not None and len(trained) > 1:
        try:
            compared = like_for_like.paired(workspace, group, trained[-1], trained[0])
        except LurkerError as error:
            errors.append(error)
    return Found(probes, audits, group, compared, ceiling_of(workspace, HARD_TEST, audits)), errors


def _first_commands(workspace: Workspace, names: list[str]) -> list[str]:
    if names:
        return [f"lurker pairs audit {names[0]}", f"lurker rm train {names[0]} --model scratch-50k"]
    ingested = ingested_rows(workspace)[0]
    first = [] if not ingested.is_empty() else ["lurker ingest dump FILE..."]
    return [*first, layout.BUILD_PAIRS, layout.AUDIT_PAIRS]


def _subtitle(workspace: Workspace, found: Found) -> str:
    ingested = ingested_rows(workspace)[0]
    n_comments = ingested.filter(pl.col("table") == "comments")["n_rows"].sum()
    is_simulated = (workspace.root / "truth").exists()
    parts = ["Simulated Reddit" if is_simulated else "Reddit"]
    parts.append(f"{n_comments:,} comments of {ingested['subreddit'].n_unique():,} communities")
    if found.group is not None:
        seeds = seeds_in_words(found.group.rows["n_seeds"])
        parts.append(f"{found.group.model}, {found.group.n_train_pairs:,} training pairs, {seeds} a set")
    return " · ".join([*parts, f"workspace {workspace.root.name}"])


def _figures(found: Found) -> list[tuple[str, str, str]]:
    """The leakiest set, the cleanest, the best model on the hard test, and the room above it."""
    cards = []
    own = [(name, probe) for name, probe in found.probes.items() if name != HARD_TEST]
    for what, picked in (("Leakiest set", own[:1]), ("Cleanest set", own[-1:] if len(own) > 1 else [])):
        for name, probe in picked:
            figures = interval(probe["accuracy"], probe["accuracy_low"], probe["accuracy_high"])
            cards.append((what, name, f"strongest shortcut {figures}"))
    if found.group is None:
        return cards
    highest = pl.max_horizontal("accuracy", "tfidf")
    row = found.group.rows.sort(highest, descending=True).row(0, named=True)
    best, named = claims.best_on_test(found.group.model, row)
    cards.append(("Best on the hard test", decimal(best[0]), named))
    if found.ceiling is not None:
        cards.append(("Room above it", *claims.room(best, found.ceiling)))
    return cards


def _charts(found: Found, unaudited: list[str]) -> None:
    """What shortcuts know beside what a model learns; the latter alone if no audit is to be had."""
    if not found.probes and not unaudited:
        _learned(found)
        return
    left, right = st.columns([6, 5], gap="medium")
    with left:
        if found.probes:
            _leaks(found)
        else:
            missing = "No pair set has been audited: what shortcuts know of the winners is not known."
            layout.show_missing(missing, [f"lurker pairs audit {name}" for name in unaudited])
    with right:
        _learned(found)


def _leaks(found: Found) -> None:
    rows = _leak_rows(found.probes)
    show_figure(
        Figure(
            "leaks",
            "pair-sets",
            "What shortcuts know, before a word is read",
            "Accuracy of the strongest of all probes on each set's own pairs",
            charts.leaks(rows),
            "Bars start at a coin, 0.5. Rules: 95 % intervals, clustered by post; the strongest of many "
            "probes lies a little above 0.5 by chance. Click a dot to open its audit.",
        ),
        SOURCE,
        rows,
        opens=lambda picked: ("views/data.py", {"set": picked["pairs"]}),
    )
    _audits(found)


def _learned(found: Found) -> None:
    order = [name for name in found.probes if name != HARD_TEST]
    if found.group is None:
        st.info(claims.no_model(order) + " Train one: `lurker rm train`.")
        return
    group = found.group
    runs = dict(group.rows.select("pairs", "runs").iter_rows())
    rows = group.rows.with_columns(label=pl.col("accuracy").map_elements(decimal, return_dtype=pl.String))
    order += [name for name in rows["pairs"] if name not in order]
    note = "Dot and rule: accuracy with its 95 % interval, clustered by post. Grey tick: TF-IDF on the same pairs. "
    note += "Grey line and band: the ceiling and its interval. " if found.ceiling else ""
    note += "Click a dot to open its run."
    show_figure(
        Figure(
            "learned",
            HARD_TEST,
            "What a model learns from them",
            f"{group.model}, {group.n_train_pairs:,} training pairs of each set, all tested on {HARD_TEST}",
            charts.learned(rows, order, found.ceiling),
            note if found.compared is None else f"{note} {claims.paired_evidence(found.compared)}.",
        ),
        SOURCE,
        rows.drop("runs"),
        opens=lambda picked: ("views/runs.py", {"run": runs[picked["pairs"]][0]}),
    )
    _mistakes(group)


def _leak_rows(probes: dict[str, dict[str, Any]]) -> pl.DataFrame:
    rows = pl.DataFrame(list(probes.values())).select(
        "pairs",
        "probe",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "n_pairs",
        "n_posts",
        sees=pl.col("confounders").replace(CONFOUNDER_NAMES),
    )
    figure = pl.col("accuracy").map_elements(decimal, return_dtype=pl.String)
    return rows.with_columns(label=pl.format("{} {}", figure, "sees"))


def _audits(found: Found) -> None:
    """Links to the audit of each set."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(":gray[Audits:]", width="content")
        for name in found.probes:
            st.page_link("views/data.py", label=f"{layout.escape(name)} →", query_params={"set": name})


def _mistakes(group: LikeForLike) -> None:
    """Links to the pairs of the hard test that the model of each set gets wrong."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(":gray[What it gets wrong, trained on:]", width="content")
        for name, runs in group.rows.select("pairs", "runs").iter_rows():
            query = {"pairs": HARD_TEST, "run": runs[0], "outcome": "wrong"}
            st.page_link("views/read.py", label=f"{layout.escape(name)} →", query_params=query)


if __name__ == "__main__":
    render()
