"""Overview: the project's question answered first, then what the workspace holds."""

from datetime import UTC, datetime

import polars as pl
import streamlit as st

from dashboard import charts, documents, layout, queries
from dashboard.charts.overview import REACH
from dashboard.documents import Audit
from dashboard.queries import HARD_TEST
from lurker.errors import LurkerError
from lurker.workspace import Workspace

REACH_SCHEMA = {
    "pairs": pl.String,
    "what": pl.String,
    "accuracy": pl.Float64,
    "accuracy_low": pl.Float64,
    "accuracy_high": pl.Float64,
    "measured_on": pl.String,
}
Row = tuple[str, str, float, float, float, str]


def render() -> None:
    """The answer per pair set as a sentence, a chart and a table; then tables, pair sets, runs and experiments."""
    workspace = layout.begin("Taste, or length and timing?", "What names the response that people liked more.")
    names = workspace.names("pairs", "manifest.json")
    audits, not_audited = documents.each(names, lambda name: documents.audit(workspace, name))
    reached, unreadable = _reached(workspace)
    rows = _reach_rows(audits, reached)
    if rows.is_empty():
        commands = ["lurker pairs build matched --recipe matched", "lurker pairs audit matched"]
        layout.missing("Nothing was measured in this workspace yet.", commands if names else ["lurker demo", *commands])
    else:
        _answer(rows)
        st.altair_chart(charts.reach(rows), width="stretch", key="reach")
        st.caption(
            "Time, length and all confounders: the stronger of the two probes, on the pairs of the set itself, without "
            "reading a word. TF-IDF and the reward model: trained on the set, judged on the common hard test; of the "
            f"models the largest, with the most data. {layout.COIN_NOTE}"
        )
        with st.expander("As a table"):
            _reach_table(rows)
    layout.damaged([*not_audited, *unreadable])
    _holdings(workspace, names)


def _reached(workspace: Workspace) -> tuple[pl.DataFrame, list[LurkerError]]:
    """What predictors reach on the hard test, of all scaling experiments: the most training pairs win."""
    names = [
        name
        for name in workspace.names("experiments", "manifest.json")
        if (workspace.root / "experiments" / name / "scaling.parquet").exists()
    ]
    found, damaged = documents.each(
        names,
        lambda name: queries.hard_test_reach(
            queries.version(workspace.root / "experiments" / name / "scaling.parquet")
        ).with_columns(experiment=pl.lit(name)),
    )
    if not found:
        return pl.DataFrame(), damaged
    best = pl.concat(found.values()).sort(
        "n_train_pairs", "n_parameters", "experiment", descending=[True, True, False], nulls_last=True
    )
    kind = pl.when("is_baseline").then(pl.col("predictor")).otherwise(pl.lit("model"))
    return best.unique(["pairs", kind], keep="first", maintain_order=True), damaged


def _reach_rows(audits: dict[str, Audit], reached: pl.DataFrame) -> pl.DataFrame:
    rows: list[Row] = []
    truth = audits[HARD_TEST].truth if HARD_TEST in audits else None
    trained_on = [] if reached.is_empty() else reached["pairs"].unique(maintain_order=True).to_list()
    for name in sorted({*audits, *trained_on}, key=lambda name: (name == HARD_TEST, name)):
        rows += _shortcut_rows(name, audits.get(name))
        if name in trained_on:
            for result in reached.filter(pl.col("pairs") == name).iter_rows(named=True):
                what = {"tfidf": "TF-IDF"}.get(result["predictor"]) if result["is_baseline"] else "reward model"
                if what:
                    place = HARD_TEST if result["is_baseline"] else f"{HARD_TEST} ({result['predictor']})"
                    rows.append((name, what, *(result[end] for end in _ENDS), place))
        if truth is not None and name != HARD_TEST:
            rows.append((name, "the truth", *truth, HARD_TEST))
    return pl.DataFrame(rows, schema=REACH_SCHEMA, orient="row")


_ENDS = ("accuracy", "accuracy_low", "accuracy_high")


def _shortcut_rows(name: str, audit: Audit | None) -> list[Row]:
    if audit is None or audit.probes.is_empty():
        return []
    split = documents.widest_split(audit.probes)
    strongest = documents.strongest_probes(
        audit.probes.filter((pl.col("split") == split) & (pl.col("subreddit") == "all"))
    )
    words = {"time": "time alone", "length": "length alone", "joint": "all confounders"}
    return [
        (name, words[row["confounders"]], *(row[end] for end in _ENDS), f"its own {split} pairs ({row['probe']})")
        for row in strongest.iter_rows(named=True)
        if row["confounders"] in words
    ]


def _answer(rows: pl.DataFrame) -> None:
    """One sentence a pair set: what the shortcuts know, and what is left for taste."""
    for name in rows["pairs"].unique(maintain_order=True).to_list():
        found = {row["what"]: row for row in rows.filter(pl.col("pairs") == name).iter_rows(named=True)}
        shortcut, model = found.get("all confounders"), found.get("reward model")
        words = []
        if shortcut:
            words.append(
                f"without reading a word, the shortcuts name the winner in **{shortcut['accuracy']:.1%}** of its pairs"
                if shortcut["accuracy_low"] > 0.5
                else f"the shortcuts know nothing ({shortcut['accuracy']:.1%}: the interval holds 50 %)"
            )
        if model:
            points = f"{model['accuracy']:.1%} [{model['accuracy_low']:.1%}, {model['accuracy_high']:.1%}]"
            words.append(f"a reward model trained on it reaches **{points}** where shortcuts do not help")
        if "the truth" in found:
            words.append(f"the truth itself would reach {found['the truth']['accuracy']:.1%}")
        st.markdown(f"**{layout.plain(name)}** — {'; '.join(words)}.")


def _reach_table(rows: pl.DataFrame) -> None:
    text = rows.with_columns(
        figure=pl.struct(*_ENDS).map_elements(lambda row: layout.interval(*row.values()), return_dtype=pl.String)
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
    left, right = st.columns(2, gap="large")
    with left:
        if held.is_empty():
            layout.missing("Nothing was ingested yet.", ["lurker ingest dump FILE...", "lurker demo"])
        else:
            st.dataframe(_by_community(held), width="stretch", hide_index=True)
    with right:
        if sets:
            table = [
                {"pair set": name, "recipe": found.recipe, "pairs": found.n_pairs, "posts": found.n_posts}
                for name, found in sets.items()
            ]
            st.dataframe(table, width="stretch", hide_index=True)
        elif not without_manifest:
            layout.missing("There are no pairs yet.", ["lurker pairs build matched --recipe matched"])
    st.caption(f"Workspace: {layout.plain(str(workspace.root))}")


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
