"""Data page: the verdict on every pair set, its strongest shortcuts, what its rules dropped, and what is held."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import streamlit as st

from dashboard import documents, layout
from dashboard.documents import Audit, PairSetSummary
from dashboard.figures import show_figure
from dashboard.ingested import ingested_rows
from dashboard.tables import show_table
from lurker import charts
from lurker.charts.figure import Figure
from lurker.confounders import CONFOUNDER_NAMES
from lurker.decimals import counted, interval
from lurker.pair_sets import pair_set_names
from lurker.workspace import Workspace

SOURCE = "data"


def render() -> None:
    """Draw verdicts of all sets, then probes, balance and ledger of the one chosen, then what was ingested."""
    workspace = layout.open_page()
    layout.header(
        "The pair sets and what they come from", "How well shortcuts predict the winners, and what each rule dropped."
    )
    names = pair_set_names(workspace)
    if not names:
        layout.show_missing("There are no pairs yet.", [layout.BUILD_PAIRS, layout.AUDIT_PAIRS])
        _holdings(workspace)
        return
    sets, set_errors = documents.read_each(names, lambda name: documents.pair_set(workspace, name))
    audited = [name for name in workspace.names("pairs", "audit.json") if name in sets]
    audits, audit_errors = documents.read_each(audited, lambda name: documents.audit(workspace, name))
    layout.show_errors([*audit_errors, *set_errors])
    layout.show_unaudited(layout.unaudited(sets, audited))
    if sets:
        _verdicts(sets, audits)
        left, _ = st.columns([1, 2])
        name = layout.select_in_url(left, "Pair set", list(sets), "set")
        if name in audits:
            _audit(audits[name])
        _ledger(sets[name])
    _holdings(workspace)


def _verdicts(sets: dict[str, PairSetSummary], audits: dict[str, Audit]) -> None:
    """One sortable row per set; the leak as a bar from a coin."""
    rows = [_verdict(one, audits.get(name)) for name, one in sets.items()]
    bar = st.column_config.ProgressColumn(
        min_value=0.5, max_value=1.0, format="%.3f", help="Accuracy of the strongest probe; 0.5 is a coin."
    )
    show_table(sorted(rows, key=lambda row: -(row["strongest shortcut"] or 0)), columns={"strongest shortcut": bar})


def _verdict(one: PairSetSummary, audit: Audit | None) -> dict[str, Any]:
    row: dict[str, Any] = {"pair set": one.name, "verdict": "not audited", "strongest shortcut": None, "interval": None}
    row |= {"it sees": None, "label confidence": None, "recipe": one.recipe, "pairs": one.n_pairs, "posts": one.n_posts}
    if audit is None:
        return row
    row |= {"verdict": documents.cleanness(audit), "label confidence": audit.label_confidence_mean}
    if probe := documents.strongest_probe(audit):
        figures = interval(probe["accuracy"], probe["accuracy_low"], probe["accuracy_high"])
        sees = CONFOUNDER_NAMES.get(probe["confounders"], probe["confounders"])
        row |= {"strongest shortcut": probe["accuracy"], "interval": figures, "it sees": sees}
    return row


def _audit(audit: Audit) -> None:
    facts = [
        f"{label} {interval(*audit.rates[key])}"
        for key, label in (("earlier_wins", "earlier wins"), ("longer_wins", "longer wins"))
        if key in audit.rates
    ]
    if audit.truth is not None:
        facts.append(f"the simulator's truth {interval(*audit.truth)}")
    st.markdown(layout.escape(audit.verdict))
    if audit.second_opinion is not None:
        st.markdown(layout.escape(audit.second_opinion))
    if facts:
        st.caption(layout.escape(" · ".join(facts)))
    if audit.probes.is_empty():
        st.info("The audit has no probe: there were too few pairs to train one.")
        return
    first, second, _ = st.columns([1, 1, 2])
    splits = audit.probes["split"].unique(maintain_order=True).to_list()
    widest = splits.index(documents.widest_split(audit.probes))
    split = first.selectbox("Split", splits, index=widest, key="audit_split", bind="query-params")
    subreddits = sorted(audit.probes["subreddit"].unique(), key=lambda name: (name != "all", name))
    subreddit = second.selectbox("Community", subreddits, key="audit_subreddit", bind="query-params")
    shown = audit.probes.filter((pl.col("split") == split) & (pl.col("subreddit") == subreddit))
    if shown.is_empty():
        st.info("No probe was trained on this split of this community: too few pairs.")
        return
    n, n_posts = shown.select(pl.col("n_pairs", "n_posts").max()).row(0)
    note = "Probes are tested on posts they were not trained on, and read no word of the text, but for TF-IDF. "
    where = f"{'all splits' if split == 'all' else split}, {'all communities' if subreddit == 'all' else subreddit}"
    on = f"{audit.pairs}, {where}: {counted(n, 'pair')} of {counted(n_posts, 'post')}"
    chart = charts.probe_intervals(shown)
    show_figure(
        Figure("probes", audit.pairs, "What shortcuts alone predict", on, chart, note + layout.INTERVAL_NOTE),
        SOURCE,
        shown,
    )
    if not audit.differences.is_empty():
        chart = charts.love_plot(audit.differences)
        note = "In pooled standard deviations; below the dashed line (0.1) is usually called negligible."
        with st.expander("Balance of the single confounders"):
            on = f"{audit.pairs}: chosen against rejected responses"
            show_figure(Figure("balance", audit.pairs, "Balance", on, chart, note), SOURCE, audit.differences)


def _ledger(one: PairSetSummary) -> None:
    if one.ledger.is_empty():
        st.info("The manifest has no ledger.")
        return
    on = f"{one.name}, recipe {one.recipe}: {one.n_pairs:,} pairs of {one.n_posts:,} posts were kept"
    figure = Figure("ledger", one.name, "What each rule dropped", on, charts.ledger_bars(one.ledger))
    show_figure(figure, SOURCE, one.ledger)
    with st.expander(f"The rules of the recipe {layout.escape(one.recipe)}"):
        rules = pl.DataFrame({"rule": list(one.rules), "value": [str(value) for value in one.rules.values()]})
        show_table(rules)


def _holdings(workspace: Workspace) -> None:
    st.subheader("What was ingested")
    ingested, errors = ingested_rows(workspace)
    layout.show_errors(errors)
    if ingested.is_empty():
        layout.show_missing("Nothing has been ingested yet.", ["lurker ingest dump FILE..."])
        return
    show_table(_by_community(ingested))
    st.caption(f"Workspace: {layout.escape(str(workspace.root))}")


def _by_community(ingested: pl.DataFrame) -> pl.DataFrame:
    counts = ingested.pivot("table", index="subreddit", values="n_rows", maintain_order=True)
    dates = (
        ingested.filter(pl.col("table").is_in(["posts", "comments"]))
        .group_by("subreddit")
        .agg(pl.col("first_utc").min(), pl.col("last_utc").max())
        .with_columns(
            pl.col("first_utc", "last_utc").map_elements(
                lambda moment: datetime.fromtimestamp(moment, UTC).date().isoformat(), return_dtype=pl.String
            )
        )
    )
    joined = counts.join(dates, on="subreddit", how="left").sort("subreddit")
    return joined.rename({"subreddit": "community", "first_utc": "from", "last_utc": "to"})


if __name__ == "__main__":
    render()
