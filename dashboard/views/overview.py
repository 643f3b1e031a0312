"""Overview page: taste or shortcuts per pair set, then what the workspace contains."""

from datetime import UTC, datetime

import polars as pl
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard import documents, layout
from dashboard.documents import Audit, PairSetSummary
from dashboard.ingested import ingested_rows
from dashboard.reach import reach
from lurker import charts
from lurker.charts.overview import REACH
from lurker.pair_sets import pair_set_names
from lurker.workspace import Workspace


def render() -> None:
    """Draw the answer per pair set as sentences, a chart and a table; then tables, pair sets and counts."""
    workspace = layout.start_page("Taste, or length and timing?", "What predicts which response people liked more.")
    names = pair_set_names(workspace)
    sets, set_errors = documents.read_each(names, lambda name: documents.pair_set(workspace, name))
    audited = [name for name in workspace.names("pairs", "audit.json") if name in sets]
    audits, audit_errors = documents.read_each(audited, lambda name: documents.audit(workspace, name))
    rows, result_errors = reach(workspace, audits)
    rows = rows.filter(~pl.col("pairs").is_in([name for name in names if name not in sets]))  # damaged
    if rows.is_empty():
        commands = [layout.BUILD_PAIRS, layout.AUDIT_PAIRS]
        layout.show_missing(
            "Nothing has been measured in this workspace yet.",
            commands if names else ["lurker ingest dump FILE...", *commands],
        )
    else:
        _answer(rows, audits)
        st.altair_chart(charts.reach(rows), width="stretch", key="reach")
        st.caption(
            "Time, length and all confounders: the more accurate of two probes on the set's own pairs, without reading "
            "a word. TF-IDF and reward model: trained on the set and tested on the common hard test; the largest model "
            f"with the most data. {layout.INTERVAL_NOTE}"
        )
        with st.expander("As a table"):
            _reach_table(rows)
    layout.show_errors([*set_errors, *audit_errors, *result_errors])
    layout.show_unaudited(name for name in sets if name not in audited)
    _contents(workspace, names, sets)


def _answer(rows: pl.DataFrame, audits: dict[str, Audit]) -> None:
    """Show one sentence per pair set: how well shortcuts predict it, and how well a reward model does."""
    for name in rows["pairs"].unique(maintain_order=True).to_list():
        results = {row["what"]: row for row in rows.filter(pl.col("pairs") == name).iter_rows(named=True)}
        words = [_shortcuts_in_words(audits[name])] if name in audits else []
        if model := results.get("reward model"):
            points = f"{model['accuracy']:.1%} [{model['accuracy_low']:.1%}, {model['accuracy_high']:.1%}]"
            tfidf = f" (TF-IDF {results['TF-IDF']['accuracy']:.1%})" if "TF-IDF" in results else ""
            words.append(f"a reward model trained on it reaches **{points}** on the hard test{tfidf}")
        if "the truth" in results:
            words.append(f"the simulator's truth reaches {results['the truth']['accuracy']:.1%} there")
        st.markdown(f"**{layout.escape(name)}** — {'; '.join(words)}.")


def _shortcuts_in_words(audit: Audit) -> str:
    probe = documents.deciding_probe(audit)
    if probe is None:
        return "too few pairs to train a probe on"
    share = f"{probe['accuracy']:.1%}"
    if probe["accuracy_high"] < 0.5:
        return f"a probe of the shortcuts is below chance (**{share}**): not clean"
    return {
        "not clean": f"without reading a word, shortcuts predict the winner in **{share}** of its pairs",
        "undecided": f"too few pairs to rule a shortcut out ({share}, at most {probe['accuracy_high']:.1%})",
        "clean": f"shortcuts predict nothing ({share}, at most {probe['accuracy_high']:.1%})",
    }[documents.cleanness(audit)]


def _reach_table(rows: pl.DataFrame) -> None:
    text = rows.with_columns(
        figure=pl.struct("accuracy", "accuracy_low", "accuracy_high").map_elements(
            lambda row: layout.interval(*row.values()), return_dtype=pl.String
        )
    )
    wide = text.pivot("what", index="pairs", values="figure", maintain_order=True)
    st.dataframe(
        wide.select("pairs", *(what for what in REACH if what in wide.columns)), width="stretch", hide_index=True
    )


def _contents(workspace: Workspace, names: list[str], sets: dict[str, PairSetSummary]) -> None:
    st.subheader("What the workspace contains")
    ingested, errors = ingested_rows(workspace)
    layout.show_errors(errors)
    counts = [
        ("Posts", ingested.filter(pl.col("table") == "posts")["n_rows"].sum()),
        ("Comments", ingested.filter(pl.col("table") == "comments")["n_rows"].sum()),
        ("Communities", ingested["subreddit"].n_unique()),
        ("Pair sets", len(names)),
        ("Runs", len(workspace.names("runs", "result.json"))),
        ("Experiments", len(workspace.names("experiments", "manifest.json"))),
    ]
    for column, (label, value) in zip(st.columns(len(counts)), counts, strict=True):
        column.metric(label, f"{value:,}", border=True)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        if ingested.is_empty():
            layout.show_missing("Nothing has been ingested yet.", ["lurker ingest dump FILE..."])
        else:
            st.dataframe(
                _by_community(ingested),
                width="stretch",
                hide_index=True,
                column_config={name: _count_column() for name in ("posts", "comments", "observations")},
            )
    with right:
        if sets:
            table = [
                {"pair set": name, "recipe": one.recipe, "pairs": one.n_pairs, "posts": one.n_posts}
                for name, one in sets.items()
            ]
            st.dataframe(
                table,
                width="stretch",
                hide_index=True,
                column_config={name: _count_column() for name in ("pairs", "posts")},
            )
        elif not names:
            layout.show_missing("There are no pairs yet.", [layout.BUILD_PAIRS])
    st.caption(f"Workspace: {layout.escape(str(workspace.root))}")


def _count_column() -> ColumnConfig:
    return st.column_config.NumberColumn(format="localized")


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
