"""Reader page: the pairs themselves, one at a time, as people wrote them."""

import secrets
from typing import Any

import streamlit as st

from dashboard import layout, pairs
from dashboard.pairs import Outcome, PairFilter, PairOrder
from dashboard.parquet import FileVersion
from lurker.charts import look
from lurker.errors import LurkerError
from lurker.pair_sets import SPLITS, pair_set_names
from lurker.workspace import Workspace

ANY = "any"
SHOWN_CHARS = 20_000
"""Characters of one text on the page; longer texts are a download."""


def render() -> None:
    """Draw the filters, the position among the pairs that pass, and one pair with its figures."""
    workspace = layout.start_page("Reader", "Which of two responses did people like more, and would you have known?")
    names = pair_set_names(workspace)
    if not names:
        layout.show_missing("There are no pairs to read yet.", [layout.BUILD_PAIRS])
        return
    try:
        file, pair_filter, predictions = _filters(workspace, names)
        pair_ids = pairs.find_pairs(file, pair_filter, predictions)
        if not pair_ids:
            st.info("No pair passes these filters.")
            return
        position = _navigate(pair_ids)
        _show(pairs.read_pair(file, pair_ids[position], predictions))
    except LurkerError as error:
        layout.show_errors([error])


def _filters(workspace: Workspace, names: list[str]) -> tuple[FileVersion, PairFilter, tuple[FileVersion, ...]]:
    first, second, third, fourth = st.columns([1.2, 1.2, 1, 1.8])
    name = layout.select_in_url(first, "Pair set", names, "pairs")
    file = pairs.pairs_file(workspace, name)
    counts = pairs.pair_counts(file)
    subreddits = [ANY, *sorted(counts["subreddit"].unique())]
    subreddit = second.selectbox("Community", subreddits, key="subreddit", bind="query-params")
    split = third.selectbox("Split", [ANY, *SPLITS], key="split", bind="query-params")
    search = fourth.text_input("Text contains", key="search", bind="query-params", icon=":material/search:")
    predictions, outcome, order = _model_filters(pairs.prediction_files(workspace, name))
    pair_filter = PairFilter(
        subreddit=None if subreddit == ANY else subreddit,
        split=None if split == ANY else split,
        search=search,
        outcome=outcome,
        order=order,
    )
    return file, pair_filter, predictions


def _model_filters(runs: dict[str, tuple[FileVersion, ...]]) -> tuple[tuple[FileVersion, ...], Outcome, PairOrder]:
    """Selection of a run, an outcome and an order; without a run that was tested on the set, only the order.

    Args:
        runs: prediction files by run id.
    """
    first, second, third = st.columns([2.4, 1.2, 1.6])
    run = first.selectbox("Run", ["no run", *runs], key="run", bind="query-params") if runs else None
    predictions = runs.get(run, ()) if run else ()
    outcome: Outcome = "any"
    if predictions:
        outcome = second.selectbox("Model was", pairs.OUTCOMES, key="outcome", bind="query-params")
    orders = pairs.ORDERS_WITH_RUN if predictions else pairs.ORDERS_WITHOUT_RUN
    column = third if predictions else second if runs else first
    return predictions, outcome, column.selectbox("Order", orders, key="order", bind="query-params")


def _navigate(pair_ids: list[str]) -> int:
    """Draw buttons to move among the pairs that pass; the position. The pair's id is kept in the URL."""
    requested = st.query_params.get("pair")
    position = pair_ids.index(requested) if requested in pair_ids else 0
    if requested != pair_ids[position]:
        st.query_params["pair"] = pair_ids[position]

    def go(target: int) -> None:
        st.query_params["pair"] = pair_ids[target % len(pair_ids)]

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", icon=":material/chevron_left:", on_click=go, args=(position - 1,), key="previous")
        st.button("Next", icon=":material/chevron_right:", on_click=go, args=(position + 1,), key="next")
        other = (position + 1 + secrets.randbelow(max(1, len(pair_ids) - 1))) % len(pair_ids)
        st.button("Random", icon=":material/shuffle:", on_click=go, args=(other,), key="random")
        st.markdown(f":gray[**{position + 1:,}** of {len(pair_ids):,} pairs]", width="content")
    return position


def _show(pair: dict[str, Any]) -> None:
    facts = [f"r/{pair['subreddit']}", pair["split"], f"label confidence {pair['label_confidence']:.2f}"]
    facts += [f"weight {pair['weight']:.2f}", f"recipe {pair['recipe']}", pair["pair_id"]]
    st.caption(layout.escape(" · ".join(facts)))
    if pair["margin"] is not None:
        _verdict(pair["margin"], pair["is_correct"])
    st.markdown("##### Prompt")
    _text(pair["prompt"], look.GREY, "prompt", pair["pair_id"], 300)
    chosen, rejected = st.columns(2, gap="medium")
    for column, side, accent in ((chosen, "chosen", look.BLUE), (rejected, "rejected", look.VERMILION)):
        with column:
            st.markdown(f"##### {side.capitalize()}")
            for cell, (label, value) in zip(
                st.columns(3),
                (
                    ("score", f"{pair[f'{side}_score']:,}"),
                    ("written after", layout.duration(pair[f"{side}_delay_s"])),
                    ("characters", f"{pair[f'{side}_chars']:,}"),
                ),
                strict=True,
            ):
                cell.metric(label, value)
            _text(pair[side], accent, side, pair["pair_id"], 560)


def _verdict(margin: float, is_correct: float) -> None:
    verdict = "undecided" if is_correct == 0.5 else "right" if is_correct == 1.0 else "wrong"
    colour = {"right": "blue", "wrong": "orange", "undecided": "gray"}[verdict]
    st.markdown(f":{colour}-badge[the model was {verdict}] margin {margin:+.2f} log-odds for the chosen response")


def _text(text: str, accent: str, name: str, pair_id: str, max_height_px: int) -> None:
    shown = text[:SHOWN_CHARS]
    st.html(layout.text_box(shown, accent=accent, max_height_px=max_height_px) if shown else "<em>(empty)</em>")
    if len(text) > len(shown):
        st.caption(f"The first {len(shown):,} of {len(text):,} characters.")
        data = text.encode("utf-8", "replace")
        st.download_button("Download the full text", data, f"{pair_id}-{name}.txt", "text/plain", key=f"full_{name}")


if __name__ == "__main__":
    render()
