"""Reader: the pairs themselves, one at a time, as the text that people wrote."""

import secrets
from typing import Any

import streamlit as st

from dashboard import layout, queries
from dashboard.queries import FileVersion, Outcome, PairFilter, PairOrder
from lurker.charts import look
from lurker.errors import LurkerError
from lurker.pair_sets import SPLITS, pair_set_names
from lurker.workspace import Workspace

ANY = "any"
SHOWN_CHARS = 20_000  # characters of one text on the page; the whole text is a download


def render() -> None:
    """Filters, the place among the pairs found, and one pair with what is known of it."""
    workspace = layout.begin("Reader", "Which of two responses did people like more, and would you have known?")
    names = pair_set_names(workspace)
    if not names:
        layout.missing("There are no pairs to read yet.", [layout.BUILD_PAIRS])
        return
    try:
        file, wanted, predictions = _filters(workspace, names)
        found = queries.find_pairs(file, wanted, predictions)
        if not found:
            st.info("No pair passes these filters.")
            return
        place = _navigate(found)
        _show(queries.read_pair(file, found[place], predictions))
    except LurkerError as error:
        layout.damaged([error])


def _filters(workspace: Workspace, names: list[str]) -> tuple[FileVersion, PairFilter, tuple[FileVersion, ...]]:
    first, second, third, fourth = st.columns([1.2, 1.2, 1, 1.8])
    name = layout.choose(first, "Pair set", names, "pairs")
    file = queries.version(workspace.root / "pairs" / name / "pairs.parquet")
    counts = queries.pair_counts(file)
    subreddits = [ANY, *sorted(counts["subreddit"].unique())]
    subreddit = second.selectbox("Community", subreddits, key="subreddit", bind="query-params")
    split = third.selectbox("Split", [ANY, *SPLITS], key="split", bind="query-params")
    search = fourth.text_input("Text holds", key="search", bind="query-params", icon=":material/search:")
    predictions, outcome, order = _model_filters(queries.predictions_of(workspace, name))
    wanted = PairFilter(
        subreddit=None if subreddit == ANY else subreddit,
        split=None if split == ANY else split,
        search=search,
        outcome=outcome,
        order=order,
    )
    return file, wanted, predictions


def _model_filters(judged: dict[str, tuple[FileVersion, ...]]) -> tuple[tuple[FileVersion, ...], Outcome, PairOrder]:
    """What a run's model made of the pairs; without a run that judged them only the order is left to choose."""
    first, second, third = st.columns([2.4, 1.2, 1.6])
    run = first.selectbox("Judged by", ["no run", *judged], key="run", bind="query-params") if judged else None
    predictions = judged.get(run, ()) if run else ()
    outcome: Outcome = "any"
    if predictions:
        outcome = second.selectbox("Model was", queries.OUTCOMES, key="outcome", bind="query-params")
    orders = queries.ORDERS_WITH_RUN if predictions else queries.ORDERS_WITHOUT_RUN
    place = third if predictions else second if judged else first
    return predictions, outcome, place.selectbox("Order", orders, key="order", bind="query-params")


def _navigate(found: list[str]) -> int:
    """Buttons for the place among the pairs found; the pair's id is kept in the URL."""
    asked = st.query_params.get("pair")
    place = found.index(asked) if asked in found else 0
    if asked != found[place]:
        st.query_params["pair"] = found[place]

    def go(target: int) -> None:
        st.query_params["pair"] = found[target % len(found)]

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", icon=":material/chevron_left:", on_click=go, args=(place - 1,), key="previous")
        st.button("Next", icon=":material/chevron_right:", on_click=go, args=(place + 1,), key="next")
        any_other = (place + 1 + secrets.randbelow(max(1, len(found) - 1))) % len(found)
        st.button("Random", icon=":material/shuffle:", on_click=go, args=(any_other,), key="random")
        st.markdown(f":gray[**{place + 1:,}** of {len(found):,} pairs]", width="content")
    return place


def _show(pair: dict[str, Any]) -> None:
    about = [f"r/{pair['subreddit']}", pair["split"], f"label confidence {pair['label_confidence']:.2f}"]
    about += [f"weight {pair['weight']:.2f}", f"recipe {pair['recipe']}", pair["pair_id"]]
    st.caption(layout.plain(" · ".join(about)))
    if pair["margin"] is not None:
        _verdict(pair["margin"], pair["is_correct"])
    st.markdown("##### Prompt")
    _text(pair["prompt"], look.GREY, "prompt", pair["pair_id"], 300)
    chosen, rejected = st.columns(2, gap="medium")
    for column, side, accent in ((chosen, "chosen", look.BLUE), (rejected, "rejected", look.VERMILION)):
        with column:
            st.markdown(f"##### {side.capitalize()}")
            for place, (label, value) in zip(
                st.columns(3),
                (
                    ("score", f"{pair[f'{side}_score']:,}"),
                    ("written after", layout.duration(pair[f"{side}_delay_s"])),
                    ("characters", f"{pair[f'{side}_chars']:,}"),
                ),
                strict=True,
            ):
                place.metric(label, value)
            _text(pair[side], accent, side, pair["pair_id"], 560)


def _verdict(margin: float, is_correct: float) -> None:
    said = "a tie" if is_correct == 0.5 else "right" if is_correct == 1.0 else "wrong"
    badge = {"right": "blue", "wrong": "orange", "a tie": "gray"}[said]
    st.markdown(f":{badge}-badge[the model was {said}] margin {margin:+.2f} log-odds for the chosen response")


def _text(text: str, accent: str, name: str, pair_id: str, max_height_px: int) -> None:
    shown = text[:SHOWN_CHARS]
    st.html(layout.text_box(shown, accent=accent, max_height_px=max_height_px) if shown else "<em>(empty)</em>")
    if len(text) > len(shown):
        st.caption(f"The first {len(shown):,} of {len(text):,} characters.")
        whole = text.encode("utf-8", "replace")
        st.download_button("Download the whole text", whole, f"{pair_id}-{name}.txt", "text/plain", key=f"whole_{name}")


if __name__ == "__main__":
    render()
