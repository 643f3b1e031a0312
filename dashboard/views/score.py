"""Score page: what a run makes of one's own prompt and answers."""

from collections.abc import Sequence

import streamlit as st

from dashboard import documents, layout, pairs, scoring
from dashboard.documents import RunResult
from dashboard.scoring import References, Scored, TextBaseline
from dashboard.tables import show_table
from lurker.decimals import decimal, percent, signed
from lurker.errors import LurkerError
from lurker.workspace import Workspace

HOW_TO = "lurker rm train balanced --model scratch-50k"
LETTERS = "ABCD"
MAX_CHARS = 20_000


def render() -> None:
    """Draw the form, then rewards, who beats whom, and what TF-IDF and length would take."""
    workspace = layout.open_page()
    layout.header("What would a model prefer?", "Your prompt and two to four answers, scored by `lurker rm score`.")
    runs, errors = documents.read_each(
        workspace.names("runs", "result.json"), lambda run_id: documents.run_result(workspace, run_id)
    )
    layout.show_errors(errors)
    if not runs:
        layout.show_missing("There is no finished run yet.", [layout.BUILD_PAIRS, HOW_TO])
        return
    first, second, third = st.columns([5, 3, 3])
    run = runs[layout.select_in_url(first, "Run", sorted(runs), "score_run")]
    communities = sorted(run.subreddits)
    community = str(second.selectbox("Community", communities, key="score_community", bind="query-params"))
    n_answers = int(third.segmented_control("Answers", [2, 3, 4], default=2, required=True, key="n_answers") or 2)
    with st.form("texts"):
        prompt = st.text_area("Prompt", height=110, max_chars=MAX_CHARS, key="prompt")
        columns = st.columns(2)
        answers = [
            columns[place % 2].text_area(
                f"Answer {LETTERS[place]}", height=150, max_chars=MAX_CHARS, key=f"answer{place}"
            )
            for place, letter in enumerate(LETTERS[:n_answers])
        ]
        is_asked = st.form_submit_button("Score", type="primary")
    if not is_asked:
        return
    if not prompt.strip() or not all(answer.strip() for answer in answers):
        st.info("Write a prompt and every answer first.")
        return
    try:
        sample, scored, baseline = _score(workspace, run, community, prompt, answers)
    except LurkerError as error:
        layout.show_errors([error])
        return
    _show(run, community, answers, sample, scored, baseline)


def _score(
    workspace: Workspace, run: RunResult, community: str, prompt: str, answers: list[str]
) -> tuple[References, Scored, TextBaseline | None]:
    file = pairs.pairs_file(workspace, run.pairs)
    with st.spinner("Scoring…"):
        sample = scoring.references(file, community)
        scored = scoring.score(workspace, run.run_id, prompt, answers, sample)
    with st.spinner("Fitting TF-IDF on the same pair set…"):
        return sample, scored, scoring.tfidf(file, tuple(run.subreddits), run.n_train_pairs)


def _show(
    run: RunResult,
    community: str,
    answers: list[str],
    sample: References,
    scored: Scored,
    baseline: TextBaseline | None,
) -> None:
    best = max(range(len(answers)), key=lambda place: scored.rewards[place])
    layout.cards(
        (
            f"Answer {LETTERS[place]}{' · preferred' if place == best else ''}",
            signed(reward, 2),
            f"above {percent(scored.percentile(reward))} of {len(sample.responses):,} responses in r/{community}",
        )
        for place, reward in enumerate(scored.rewards)
    )
    rewards = scored.rewards
    rows = [
        {"": f"P({LETTERS[row]} beats …)"}
        | {
            LETTERS[column]: "–" if row == column else decimal(scoring.beats(rewards[row], rewards[column]))
            for column in range(len(answers))
        }
        for row in range(len(answers))
    ]
    show_table(rows)
    st.markdown("**What each judge takes**")
    show_table(_baselines(run, answers, rewards, baseline))
    for place, answer in enumerate(answers):
        for reason in sample.warnings(answer):
            words = (
                f"Answer {LETTERS[place]} is unlike what {run.run_id} was trained on: {reason}. Trust its reward less."
            )
            st.warning(layout.escape(words), icon=":material/warning:")
    st.caption(
        f"Rewards in log-odds of {layout.escape(run.run_id)}, trained on {layout.escape(run.pairs)}. They are a "
        "model's guess at what this community's readers would like, not of what is true or good."
    )


def _baselines(
    run: RunResult, answers: list[str], rewards: list[float], baseline: TextBaseline | None
) -> list[dict[str, str]]:
    """The choice of the model, of TF-IDF and of length, and what each gives every answer."""
    rows = [_judged(run.run_id, rewards, [signed(reward, 2) for reward in rewards])]
    if baseline is not None:
        of_words = baseline.reward(answers).tolist()
        figures = [signed(reward, 2) for reward in of_words]
        rows.append(_judged(f"TF-IDF on {baseline.n_pairs:,} pairs of {run.pairs}", of_words, figures))
    lengths = [len(answer) for answer in answers]
    return [*rows, _judged("the longer one", lengths, [f"{n:,} characters" for n in lengths])]


def _judged(judge: str, values: Sequence[float], figures: Sequence[str]) -> dict[str, str]:
    """A row: who judges, the answer it takes, and its figure for each."""
    best = [letter for letter, value in zip(LETTERS, values, strict=False) if value == max(values)]
    row = {"judge": judge, "takes": " or ".join(best)}
    return row | dict(zip(LETTERS, figures, strict=False))


if __name__ == "__main__":
    render()
