"""Overview: the project's question answered first, then what the workspace holds."""

from datetime import UTC, datetime

import polars as pl
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard import documents, layout, queries
from dashboard.documents import Audit
from dashboard.reach import reach
from lurker import charts
from lurker.charts.overview import REACH
from lurker.pair_sets import pair_set_names
from lurker.workspace import Workspace


def render() -> None:
    """The answer per pair set as a sentence, a chart and a table; then tables, pair sets, runs and experiments."""
    workspace = layout.begin("Taste, or length and timing?", "What names the response that people liked more.")
    names = pair_set_names(workspace)
    audited = [name for name in workspace.names("pairs", "audit.json") if name in names]
    audits, unreadable = documents.each(audited, lambda name: documents.audit(workspace, name))
    rows, unreadable_results = reach(workspace, audits)
    if rows.is_empty():
        commands = [layout.BUILD_PAIRS, layout.AUDIT_PAIRS]
        layout.missing(
            "Nothing was measured in this workspace yet.",
            commands if names else ["lurker ingest dump FILE...", *commands],
        )
    else:
        _answer(rows, audits)
        st.altair_chart(charts.reach(rows), width="stretch", key="reach")
        st.caption(
            "Time, length and all confounders: the stronger of the two probes, on the pairs of the set itself, without "
            "reading a word. TF-IDF and the reward model: trained on the set, judged on the common hard test; of the "
            f"models the largest, with the most data. {layout.COIN_NOTE}"
        )
        with st.expander("As a table"):
            _reach_table(rows)
    layout.damaged([*unreadable, *unreadable_results])
    layout.not_audited(name for name in names if name not in audited)
    _holdings(workspace, names)


def _answer(rows: pl.DataFrame, audits: dict[str, Audit]) -> None:
    """One sentence a pair set: what the shortcuts know, and what is left for taste."""
    for name in rows["pairs"].unique(maintain_order=True).to_list():
        found = {row["what"]: row for row in rows.filter(pl.col("pairs") == name).iter_rows(named=True)}
        words = [_shortcuts_in_words(audits[name])] if name in audits else []
        if model := found.get("reward model"):
            points = f"{model['accuracy']:.1%} [{model['accuracy_low']:.1%}, {model['accuracy_high']:.1%}]"
            beside = f", TF-IDF {found['TF-IDF']['accuracy']:.1%}" if "TF-IDF" in found else ""
            words.append(f"a reward model trained on it reaches **{points}** on the hard test{beside}")
        if "the truth" in found:
            words.append(f"the hard test's truth allows {found['the truth']['accuracy']:.1%}")
        st.markdown(f"**{layout.plain(name)}** — {'; '.join(words)}.")


def _shortcuts_in_words(audit: Audit) -> str:
    probe = documents.joint_probe(audit)
    if probe is None:
        return "too few pairs to train a probe on"
    share = f"{probe['accuracy']:.1%}"
    if probe["accuracy_high"] < 0.5:
        return f"a probe of the shortcuts falls below chance (**{share}**): not clean"
    return {
        "not clean": f"without reading a word, the shortcuts name the winner in **{share}** of its pairs",
        "undecided": f"too few pairs to rule a shortcut out ({share}, at most {probe['accuracy_high']:.1%})",
        "clean": f"the shortcuts know nothing ({share}, at most {probe['accuracy_high']:.1%})",
    }[documents.standing(audit)]


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


def _holdings(workspace: Workspace, names: list[str]) -> None:
    st.subheader("What the workspace holds")
    held, damaged = queries.holdings(workspace)
    layout.damaged(damaged)
    sets, without_manifest = documents.each(names, lambda name: documents.pair_set(workspace, name))
    layout.damaged(without_manifest)
    counts = [
        ("Posts", held.filter(pl.col("table") == "posts")["n_rows"].sum()),
        ("Comments", held.filter(pl.col("table") == "comments")["n_rows"].sum()),
        ("Communities", held["subreddit"].n_unique()),
        ("Pair sets", len(names)),
        ("Runs", len(workspace.names("runs", "result.json"))),
        ("Experiments", len(workspace.names("experiments", "manifest.json"))),
    ]
    for column, (label, value) in zip(st.columns(len(counts)), counts, strict=True):
        column.metric(label, f"{value:,}", border=True)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        if held.is_empty():
            layout.missing("Nothing was ingested yet.", ["lurker ingest dump FILE..."])
        else:
            st.dataframe(
                _by_community(held),
                width="stretch",
                hide_index=True,
                column_config={name: _count_column() for name in ("posts", "comments", "observations")},
            )
    with right:
        if sets:
            table = [
                {"pair set": name, "recipe": found.recipe, "pairs": found.n_pairs, "posts": found.n_posts}
                for name, found in sets.items()
            ]
            st.dataframe(
                table,
                width="stretch",
                hide_index=True,
                column_config={name: _count_column() for name in ("pairs", "posts")},
            )
        elif not without_manifest:
            layout.missing("There are no pairs yet.", [layout.BUILD_PAIRS])
    st.caption(f"Workspace: {layout.plain(str(workspace.root))}")


def _count_column() -> ColumnConfig:
    return st.column_config.NumberColumn(format="localized")


def _by_community(held: pl.DataFrame) -> pl.DataFrame:
    counts = held.pivot("table", index="subreddit", values="n_rows", maintain_order=True)
    dates = (
        held.filter(pl.col("table").is_in(["posts", "comments"]))
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
