"""Any two runs on a test that both were evaluated on: the paired difference, and where they disagree."""

import streamlit as st

from dashboard import layout, pairs
from dashboard.paired import compare_predictions
from lurker.comparison import Comparison
from lurker.decimals import counted, decimal, difference, p_value
from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, SPLITS, pair_set_names
from lurker.workspace import Workspace

HOW_TO = "lurker rm train balanced --model scratch-50k --set seed=1"


def has_any(workspace: Workspace) -> bool:
    """Whether two runs were tested on the same pairs."""
    return bool(_tested(workspace))


def _tested(workspace: Workspace) -> dict[str, list[str]]:
    """Pair set and split, as shown -> the runs that were tested on it, where there are two or more."""
    tested = {
        f"{name} ({split})": pairs.runs_tested_on(workspace, name, split)
        for name in pair_set_names(workspace)
        for split in SPLITS
    }
    return {test: runs for test, runs in tested.items() if len(runs) > 1}


def show(workspace: Workspace) -> None:
    """Draw the sentence, the figures of the comparison and links to the pairs on which both disagree."""
    tested = _tested(workspace)
    if not tested:
        layout.show_missing("There are not two runs yet that were tested on the same pairs.", [HOW_TO])
        return
    columns = st.columns([3, 4, 4])
    tests = sorted(tested, key=lambda test: (not test.startswith(f"{HARD_TEST} "), test))
    test = layout.select_in_url(columns[0], "Tested on", tests, "compared_on")
    runs = tested[test]
    first = layout.select_in_url(columns[1], "First run", runs, "first")
    second = layout.select_in_url(columns[2], "Second run", [run for run in runs if run != first], "second")
    name, _, split = test.removesuffix(")").partition(" (")
    try:
        compared = compare_predictions(workspace, [first], [second], name, split, (first, second))
    except LurkerError as error:
        layout.show_errors([error])
        return
    st.markdown(f"**{layout.escape(compared.sentence)}**")
    layout.cards(_figures(compared))
    st.caption(
        "The interval is clustered by post. McNemar's test takes pairs as independent, so its p is too small where a "
        f"post has many. The same in the terminal: `lurker rm compare {first} {second} --pairs {name} --split {split}`"
    )
    with st.container(horizontal=True, gap="medium"):
        for right, wrong, n in (
            (first, second, compared.only_first_right),
            (second, first, compared.only_second_right),
        ):
            query = {"pairs": name, "run": wrong, "against": right, "outcome": "wrong", "split": split}
            label = f"{counted(n, 'pair')} that only {layout.escape(right)} gets right →"
            st.page_link("views/read.py", label=label, query_params=query)


def _figures(compared: Comparison) -> list[tuple[str, str, str]]:
    return [
        ("Difference", *_headline(compared)),
        ("First run", *_with_ends(compared.first_accuracy, compared.first_ends, compared.first)),
        ("Second run", *_with_ends(compared.second_accuracy, compared.second_ends, compared.second)),
        ("McNemar's p", p_value(compared.mcnemar_p), f"{compared.n_pairs:,} pairs of {compared.n_posts:,} posts"),
    ]


def _with_ends(accuracy: float, ends: tuple[float, float], name: str) -> tuple[str, str]:
    return decimal(accuracy), f"[{decimal(ends[0])}, {decimal(ends[1])}] {name}"


def _headline(compared: Comparison) -> tuple[str, str]:
    figure, _, ends = difference(compared.difference, compared.low, compared.high).partition(" ")
    return figure, f"95 % interval {ends}"
