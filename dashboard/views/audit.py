"""Audit: what the shortcuts alone can tell of a pair set, and what its rules dropped."""

import polars as pl
import streamlit as st

from dashboard import documents, layout
from lurker import charts
from lurker.pair_sets import pair_set_names


def render() -> None:
    """Verdicts, probes, balance and ledgers of the chosen pair sets, side by side."""
    workspace = layout.begin("Audit", "How far confounders alone name the winner, before a word is read.")
    names = pair_set_names(workspace)
    if not names:
        layout.missing("There are no pairs yet.", [layout.BUILD_PAIRS, layout.AUDIT_PAIRS])
        return
    chosen = st.pills("Pair sets", names, selection_mode="multi", default=names, key="audit_pairs", bind="query-params")
    if not chosen:
        st.info("Choose at least one pair set.")
        return
    audited = set(workspace.names("pairs", "audit.json"))
    audits, unreadable = documents.each(
        [name for name in chosen if name in audited], lambda name: documents.audit(workspace, name)
    )
    sets, without_manifest = documents.each(chosen, lambda name: documents.pair_set(workspace, name))
    layout.damaged([*unreadable, *without_manifest])
    layout.not_audited(name for name in chosen if name not in audited)
    if audits:
        _verdicts(list(audits.values()))
        _probes(pl.concat([audit.probes for audit in audits.values()]))
        differences = pl.concat([audit.differences for audit in audits.values()])
        if not differences.is_empty():
            st.altair_chart(charts.love_plot(differences), width="stretch", key="love_plot")
            st.caption(
                "Over the pooled standard deviation. Left of the dashed line (0.1) a difference "
                "is usually called negligible; a probe can still use several of them together."
            )
    if sets:
        _ledger(sets)


def _verdicts(audits: list[documents.Audit]) -> None:
    for row in range(0, len(audits), 3):
        for column, audit in zip(st.columns(3), audits[row : row + 3], strict=False):
            with column.container(border=True, height="stretch"):
                found = documents.standing(audit)
                colour = {"clean": "green", "not clean": "orange", "undecided": "gray"}[found]
                st.markdown(f"**{layout.plain(audit.pairs)}** &nbsp; :{colour}-badge[{found}]")
                st.markdown(layout.plain(audit.verdict))
                if audit.second_opinion is not None:
                    st.markdown(layout.plain(audit.second_opinion))
                facts = [
                    f"{label} {layout.interval(*audit.rates[key])}"
                    for key, label in (("earlier_wins", "earlier wins"), ("longer_wins", "longer wins"))
                    if key in audit.rates
                ]
                if audit.label_confidence_mean is not None:
                    facts.append(f"mean label confidence {audit.label_confidence_mean:.3f}")
                if audit.truth is not None:
                    facts.append(f"the simulator's truth {layout.interval(*audit.truth)}")
                st.caption(layout.plain(" · ".join(facts)))


def _probes(probes: pl.DataFrame) -> None:
    if probes.is_empty():
        st.info("The audits hold no probe: there were too few pairs to train one.")
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
        "Probes are judged on posts they have not seen; time and length probes never see the text. A pair set is "
        "clean when the interval of all confounders together holds 0.5 and is narrow enough to mean it. "
        + layout.COIN_NOTE
    )


def _ledger(sets: dict[str, documents.PairSet]) -> None:
    st.subheader("What each rule dropped")
    with_rows = {name: found for name, found in sets.items() if not found.ledger.is_empty()}
    if not with_rows:
        st.info("The manifests hold no ledger.")
        return
    names = list(with_rows)
    name = names[0]
    if len(names) > 1:
        place, _ = st.columns([1, 3])
        name = place.selectbox("Ledger of", names, key="audit_ledger", bind="query-params")
    found = with_rows[name]
    stages = found.ledger["stage"].unique(maintain_order=True).to_list()
    for column, stage in zip(st.columns(len(stages), gap="large"), stages, strict=True):
        column.altair_chart(charts.ledger_waterfall(found.ledger, stage), width="stretch", key=f"ledger_{stage}")
    with st.expander(f"The rules of the recipe {layout.plain(found.recipe)}"):
        rules = pl.DataFrame({"rule": list(found.rules), "value": [str(value) for value in found.rules.values()]})
        st.dataframe(rules, width="stretch", hide_index=True)


if __name__ == "__main__":
    render()
