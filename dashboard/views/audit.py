"""Audit page: how well shortcuts alone predict the winners of a pair set, and what its rules dropped."""

import polars as pl
import streamlit as st

from dashboard import documents, layout
from lurker import charts
from lurker.pair_sets import pair_set_names


def render() -> None:
    """Draw verdicts, probes, balance and ledgers of the selected pair sets, side by side."""
    workspace = layout.start_page("Audit", "How well confounders alone predict the winner, without reading a word.")
    names = pair_set_names(workspace)
    if not names:
        layout.show_missing("There are no pairs yet.", [layout.BUILD_PAIRS, layout.AUDIT_PAIRS])
        return
    selected = st.pills(
        "Pair sets", names, selection_mode="multi", default=names, key="audit_pairs", bind="query-params"
    )
    if not selected:
        st.info("Choose at least one pair set.")
        return
    audited = set(workspace.names("pairs", "audit.json"))
    sets, set_errors = documents.read_each(selected, lambda name: documents.pair_set(workspace, name))
    audits, audit_errors = documents.read_each(
        [name for name in sets if name in audited], lambda name: documents.audit(workspace, name)
    )
    layout.show_errors([*audit_errors, *set_errors])
    layout.show_unaudited(name for name in sets if name not in audited)
    if audits:
        _verdicts(list(audits.values()))
        _probes(pl.concat([audit.probes for audit in audits.values()]))
        differences = pl.concat([audit.differences for audit in audits.values()])
        if not differences.is_empty():
            st.altair_chart(charts.love_plot(differences), width="stretch", key="love_plot")
            st.caption(
                "In units of the pooled standard deviation. Differences below the dashed line (0.1) are usually called "
                "negligible; a probe can still use several of them together."
            )
    if sets:
        _ledger(sets)


def _verdicts(audits: list[documents.Audit]) -> None:
    for row in range(0, len(audits), 3):
        for column, audit in zip(st.columns(3), audits[row : row + 3], strict=False):
            with column.container(border=True, height="stretch"):
                result = documents.cleanness(audit)
                colour = {"clean": "green", "not clean": "orange", "undecided": "gray"}[result]
                st.markdown(f"**{layout.escape(audit.pairs)}** &nbsp; :{colour}-badge[{result}]")
                st.markdown(layout.escape(audit.verdict))
                if audit.second_opinion is not None:
                    st.markdown(layout.escape(audit.second_opinion))
                facts = [
                    f"{label} {layout.interval(*audit.rates[key])}"
                    for key, label in (("earlier_wins", "earlier wins"), ("longer_wins", "longer wins"))
                    if key in audit.rates
                ]
                if audit.label_confidence_mean is not None:
                    facts.append(f"mean label confidence {audit.label_confidence_mean:.3f}")
                if audit.truth is not None:
                    facts.append(f"the simulator's truth {layout.interval(*audit.truth)}")
                st.caption(layout.escape(" · ".join(facts)))


def _probes(probes: pl.DataFrame) -> None:
    if probes.is_empty():
        st.info("The audits have no probe: there were too few pairs to train one.")
        return
    st.subheader("Probes")
    splits = probes["split"].unique(maintain_order=True).to_list()
    subreddits = probes["subreddit"].unique(maintain_order=True).to_list()
    subreddits.sort(key=lambda name: (name != "all", name))
    first, second, _ = st.columns([1, 1, 2])
    widest = splits.index(documents.widest_split(probes))
    split = first.selectbox("Split", splits, index=widest, key="audit_split", bind="query-params")
    subreddit = second.selectbox("Community", subreddits, key="audit_subreddit", bind="query-params")
    shown = probes.filter((pl.col("split") == split) & (pl.col("subreddit") == subreddit))
    if shown.is_empty():
        st.info("No probe was trained on this split of this community: too few pairs.")
        return
    st.altair_chart(charts.probe_intervals(shown), width="stretch", key="probe_intervals")
    st.caption(
        "Probes are tested on posts they were not trained on; time and length probes never see the text. A pair set is "
        "clean if the interval of all confounders together contains 0.5 and is narrow. " + layout.INTERVAL_NOTE
    )


def _ledger(sets: dict[str, documents.PairSetSummary]) -> None:
    st.subheader("What each rule dropped")
    with_rows = {name: summary for name, summary in sets.items() if not summary.ledger.is_empty()}
    if not with_rows:
        st.info("The manifests have no ledger.")
        return
    names = list(with_rows)
    name = names[0]
    if len(names) > 1:
        left, _ = st.columns([1, 3])
        name = left.selectbox("Ledger of", names, key="audit_ledger", bind="query-params")
    summary = with_rows[name]
    stages = summary.ledger["stage"].unique(maintain_order=True).to_list()
    for column, stage in zip(st.columns(len(stages), gap="large"), stages, strict=True):
        column.altair_chart(charts.ledger_waterfall(summary.ledger, stage), width="stretch", key=f"ledger_{stage}")
    with st.expander(f"The rules of the recipe {layout.escape(summary.recipe)}"):
        rules = pl.DataFrame({"rule": list(summary.rules), "value": [str(value) for value in summary.rules.values()]})
        st.dataframe(rules, width="stretch", hide_index=True)


if __name__ == "__main__":
    render()
