"""Read page: pairs one at a time as people wrote them, the answer hidden until it is asked for."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import polars as pl
import streamlit as st

from dashboard import layout, pairs, queries
from dashboard.pair_index import Rows, pair_index
from dashboard.pairs import OUTCOMES, Outcome, PairFilter, PairOrder
from dashboard.queries import FileVersion
from dashboard.tables import show_table
from lurker.charts import look
from lurker.decimals import counted, percent, signed
from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, SPLITS, pair_set_names
from lurker.workspace import Workspace

ANY, NO_RUN = "any", "no run"
SHOWN_CHARS = 20_000
"""Characters of one text on the page; longer texts are a download."""
PAGE_SIZE = 50
FIRST_WORDS = 70
SLOW_S = 1.0
"""From so long on a search shows how far it is."""
PROMPT_PX, CARD_PX, LIST_PX = 190, 520, 620


@dataclass(frozen=True, slots=True)
class Selection:
    """The pairs that are read, in order."""

    name: str
    file: FileVersion
    found: Rows
    """rows in the file"""
    predictions: tuple[FileVersion, ...]
    search: str
    run: str | None


def render() -> None:
    """Draw the filters, the list of pairs around the one shown, and that pair as two equal cards."""
    workspace = layout.open_page()
    names = pair_set_names(workspace)
    if not names:
        layout.header("Read the pairs", "Which of two responses did people like more, and would you have known?")
        layout.show_missing("There are no pairs to read yet.", [layout.BUILD_PAIRS])
        return
    names.sort(key=lambda name: (name != HARD_TEST, name))
    layout.header("Which one did people like more?", "Read both, guess, then press A for the answer. J and K move.")
    try:
        selection = _filters(workspace, names)
        if not selection.found.size:
            st.info("No pair passes these filters. Remove one, or choose another set.")
            return
        st.fragment(_read)(selection)  # a step to the next pair leaves the filters alone
        _prepare_search(selection.file)
    except LurkerError as error:
        layout.show_errors([error])


def _filters(workspace: Workspace, names: list[str]) -> Selection:
    """One popover with all filters, and chips that name those that are set."""
    with st.container(horizontal=True, vertical_alignment="center"):
        popover = st.popover("Filters", icon=":material/tune:")
        chips = st.container(horizontal=True, gap="small")
    with popover:
        name = layout.select_in_url(popover, "Pair set", names, "pairs")
        file = pairs.pairs_file(workspace, name)
        runs = pairs.prediction_files(workspace, name)
        run = st.selectbox("Run", [*runs, NO_RUN], key="run", bind="query-params") if runs else NO_RUN
        predictions = runs.get(str(run), ())
        outcome: Outcome = "any"
        against = NO_RUN
        if predictions:
            outcome = st.selectbox("Its model was", OUTCOMES, key="outcome", bind="query-params")
            others = [NO_RUN, *(other for other in runs if other != run)]
            against = str(st.selectbox("And right was", others, key="against", bind="query-params"))
        orders = pairs.ORDERS_WITH_RUN if predictions else pairs.ORDERS_WITHOUT_RUN
        order: PairOrder = st.selectbox("Order", orders, key="order", bind="query-params")
        has_test = "test" in pairs.splits_of(file)
        splits = ["test", ANY, *(split for split in SPLITS if split != "test")] if has_test else [ANY, *SPLITS]
        split = st.selectbox("Split", splits, key="split", bind="query-params")
        subreddits = [ANY, *pair_index(file).communities]
        subreddit = st.selectbox("Community", subreddits, key="subreddit", bind="query-params")
        search = st.text_input("Text contains", key="search", bind="query-params", icon=":material/search:") or ""
    pair_filter = PairFilter(
        subreddit=None if subreddit == ANY else subreddit,
        split=None if split == ANY else split,
        search=search,
        outcome=outcome,
        order=order,
    )
    found = _found(file, pair_filter, predictions, runs.get(against, ()))
    with chips:
        for words in _chips(name, pair_filter, str(run), against):
            st.badge(layout.escape(words), color="gray")
        st.markdown(f":gray[{counted(found.size, 'pair')}]", width="content")
    return Selection(name, file, found, predictions, search, None if run == NO_RUN else str(run))


def _chips(name: str, shown: PairFilter, run: str, against: str) -> list[str]:
    chips = [name, f"split {shown.split}" if shown.split else "all splits", shown.order]
    chips += [f"r/{shown.subreddit}"] if shown.subreddit else []
    chips += [f"run {run}" if shown.outcome == "any" else f"{run} was {shown.outcome}"] if run != NO_RUN else []
    chips += [f"{against} was right"] if against != NO_RUN else []
    return chips + ([f"contains “{shown.search}”"] if shown.search else [])


def _found(
    file: FileVersion, shown: PairFilter, predictions: tuple[FileVersion, ...], others: tuple[FileVersion, ...]
) -> Rows:
    """The pairs that pass the filter; a search through a large set says that it is under way."""
    if shown.search:
        bar = st.empty()
        began = time.monotonic()

        def advance(share: float) -> None:
            if share and time.monotonic() - began > SLOW_S:
                bar.progress(share, f"Searching the texts: {percent(share)}")

        queries.pairs_with(file, shown.search, pair_index(file).split.size, advance)
        bar.empty()
    return pairs.find_pairs(file, shown, predictions, others)


@lru_cache(maxsize=8)
def _prepare_search(file: FileVersion) -> None:
    """Read the texts of a set while its first pair is read, so that the first search finds them."""

    def read() -> None:
        with suppress(LurkerError):  # the search itself says so
            queries.held_texts(file, pair_index(file).split.size)

    threading.Thread(target=read, daemon=True).start()


def _read(selection: Selection) -> None:
    found = selection.found
    position = _position(selection)
    first = position // PAGE_SIZE * PAGE_SIZE
    shown = tuple(found[first : first + PAGE_SIZE].tolist())
    row = int(found[position])
    pair = pairs.read_pair(selection.file, row)
    if st.query_params.get("pair") != pair["pair_id"]:
        st.query_params["pair"] = pair["pair_id"]
    left, right = st.container(key="reading").columns([4, 9], gap="medium")  # the list comes last in one column
    with left:
        _list(selection, shown, first, position - first)
    with right:
        _navigate(position, found.size, pair["pair_id"])
        is_revealed = st.session_state.get("revealed") == pair["pair_id"]
        _show(pair, row, selection, is_revealed=is_revealed)


def _position(selection: Selection) -> int:
    """Where the reader stands: after a step, where it led; else at the pair in the address, or at the first."""
    if (step := st.session_state.pop("step", None)) is not None:
        return int(step) % selection.found.size
    requested = st.query_params.get("pair")
    return (requested and pairs.place_of(selection.file, selection.found, requested)) or 0


def _list(selection: Selection, shown: tuple[int, ...], first: int, place: int) -> None:
    """Fifty pairs, the one shown selected: the run's margin, the gap in score, and the first words of the prompt."""
    texts = pairs.prompts(selection.file, shown)
    rows: dict[str, list[Any]] = {}
    if selection.run is not None:
        found = pairs.margins(selection.file, shown, selection.predictions)
        rows["margin"] = [None if margin is None else signed(margin, 2) for margin in found]
    rows["gap"] = pair_index(selection.file).gap[list(shown)].tolist()
    rows["prompt"] = [layout.visible(text[:FIRST_WORDS]) for text in texts]

    def choose() -> None:
        if chosen := st.session_state["list"].selection.rows:
            st.session_state["step"] = first + chosen[0]

    st.session_state["list"] = {"selection": {"rows": [place]}}
    show_table(
        pl.DataFrame(rows),
        columns={
            "margin": st.column_config.TextColumn(alignment="right", help="Reward of the liked minus the other."),
            "gap": st.column_config.NumberColumn(format="localized", help="Difference of the scores."),
        },
        height=min(LIST_PX, 38 + 35 * len(shown)),
        key="list",
        on_select=choose,
        selection_mode="single-row",
    )


def _navigate(position: int, n_pairs: int, pair_id: str) -> None:
    def go(target: int) -> None:
        st.session_state["step"] = target

    def reveal() -> None:
        st.session_state["revealed"] = pair_id

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", icon=":material/chevron_left:", on_click=go, args=(position - 1,), key="previous", shortcut="k"
        )
        st.button("Next", icon=":material/chevron_right:", on_click=go, args=(position + 1,), key="next", shortcut="j")
        st.button("Reveal", on_click=reveal, key="reveal", shortcut="a", type="primary")
        st.markdown(f":gray[**{position + 1:,}** of {n_pairs:,}]", width="content")


def _show(pair: dict[str, Any], row: int, selection: Selection, *, is_revealed: bool) -> None:
    facts = [f"r/{pair['subreddit']}", pair["split"], f"recipe {pair['recipe']}", pair["pair_id"]]
    st.caption(layout.escape(" · ".join(facts)))
    _text(pair["prompt"], look.TEXT, "prompt", pair["pair_id"], PROMPT_PX, selection.search)
    if is_revealed:
        _verdict(pair, pairs.margins(selection.file, [row], selection.predictions)[0] if selection.run else None)
    sides = ["chosen", "rejected"]
    if blake2b(pair["pair_id"].encode(), digest_size=1).digest()[0] % 2:  # the same order each time it is read
        sides.reverse()
    cards = st.container(key="answers").columns(2, gap="small")
    for column, side, letter in zip(cards, sides, "AB", strict=True):
        with column:
            accent = look.TEXT if not is_revealed else look.TASTE if side == "chosen" else look.LEAK
            if is_revealed:
                score, chars = pair[f"{side}_score"], pair[f"{side}_chars"]
                delay = layout.duration(pair[f"{side}_delay_s"])
                better = " · liked more" if side == "chosen" else ""
                st.markdown(f"**{letter}**{better} :gray[score {score:,} · after {delay} · {chars:,} characters]")
            else:
                st.markdown(f"**{letter}**")
            _text(pair[side], accent, side, pair["pair_id"], CARD_PX, selection.search)


def _verdict(pair: dict[str, Any], margin: float | None) -> None:
    words = f"label confidence {pair['label_confidence']:.2f}"
    if margin is None:
        st.markdown(f":gray[{words}]")
        return
    verdict = "undecided" if margin == 0 else "right" if margin > 0 else "wrong"
    colour = {"right": "blue", "wrong": "orange", "undecided": "gray"}[verdict]
    st.markdown(f":{colour}-badge[the model was {verdict}] margin {signed(margin, 2)} log-odds · :gray[{words}]")


def _text(text: str, accent: str, name: str, pair_id: str, max_height_px: int, search: str) -> None:
    shown = text[:SHOWN_CHARS]
    box = layout.text_box(shown, accent=accent, max_height_px=max_height_px, search=search)
    st.html(box if shown else "<em>(empty)</em>")
    if len(text) > len(shown):
        st.caption(f"The first {len(shown):,} of {len(text):,} characters.")
        data = text.encode("utf-8", "replace")
        st.download_button("Download the full text", data, f"{pair_id}-{name}.txt", "text/plain", key=f"full_{name}")


if __name__ == "__main__":
    render()
