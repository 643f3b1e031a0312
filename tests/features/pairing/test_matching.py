import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features import blocks
from features.blocks import Blocks, batches, split_into_blocks, write_block
from features.build_context import BuildContext, BuildOptions, temporary_folder
from features.databases import connect
from features.ledger import Ledger
from features.pairing import matching
from features.pairing.label_noise import VoteSums, fit_vote_model
from features.recipes.recipe import Recipe
from lurker.errors import CallError, LurkerError
from lurker.workspace import Workspace

# Shrinking runs hundreds of small databases: a failing example is short enough to read as it is.
FAST_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
Response = tuple[int, int, int, int]  # post, delay in seconds, score, characters


def frame(rows: list[Response]) -> pl.DataFrame:
    """Eligible responses as returned by `select_responses`."""
    return pl.DataFrame(
        {
            "comment_id": [f"c{n}" for n in range(len(rows))],
            "post_id": [f"p{post}" for post, *_ in rows],
            "subreddit": ["alpha" if post % 2 else "beta" for post, *_ in rows],
            "split": ["test" if post == 0 else "train" for post, *_ in rows],
            "delay_s": [delay for _, delay, _, _ in rows],
            "score": [score for _, _, score, _ in rows],
            "n_chars": [chars for *_, chars in rows],
            "text_hash": range(len(rows)),
        },
        schema_overrides={"text_hash": pl.UInt64, "delay_s": pl.Int64, "score": pl.Int64, "n_chars": pl.Int64},
    ).with_columns(log_delay=pl.col("delay_s").log1p(), log_chars=pl.col("n_chars").log())


def stage(parts: Iterable[pl.DataFrame], folder: Path) -> Blocks:
    """Blocks on disk of responses in order."""
    folder.mkdir()
    written = [
        (write_block(part, folder / f"{n:06}.parquet"), part["subreddit"][0])
        for n, part in enumerate(split_into_blocks(parts, "post_id", "subreddit"))
    ]
    return Blocks(tuple(file for file, _ in written), tuple(name for _, name in written))


def match_pairs(
    responses: pl.DataFrame, rules: Recipe, options: BuildOptions | None = None
) -> tuple[pl.DataFrame, Ledger]:
    """`matching.match_pairs` of responses in any order."""
    options = options or BuildOptions()
    with temporary_folder(options) as folder, connect(options) as connection:
        connection.register("responses", responses.to_arrow())
        ordered = batches(connection, "SELECT * FROM responses ORDER BY subreddit, post_id, delay_s, comment_id")
        staged = stage(ordered, folder / "responses")
        vote_models = {
            str(name): fit_vote_model(VoteSums.from_scores(group["score"]), None, group, rules)
            for (name,), group in responses.group_by("subreddit")
        }
        pairs, ledger = matching.match_pairs(
            staged, rules, vote_models, BuildContext(Workspace(folder), folder / "pool", options)
        )
        return pl.concat(pairs), ledger


def recipe(**fields: Any) -> Recipe:
    return Recipe(**({"name": "test", "neighbour_order": "delay"} | fields))


def test_neighbours_in_time_are_paired_and_the_higher_score_is_chosen() -> None:
    pairs, ledger = match_pairs(frame([(1, 10, 1, 50), (1, 20, 9, 50), (1, 30, 4, 50)]), recipe(n_neighbours=1))
    assert pairs.select("pair_id", "chosen_id", "rejected_id").rows() == [("c0-c1", "c1", "c0"), ("c1-c2", "c1", "c2")]
    assert ledger.to_dict() == {"input": 2, "dropped": [], "kept": 2}


def test_responses_of_different_posts_are_not_paired() -> None:
    assert match_pairs(frame([(1, 10, 1, 50), (2, 10, 9, 50)]), recipe())[1].n_input == 0


@pytest.mark.parametrize(
    ("rows", "rules", "reason"),
    [
        ([(1, 1, 5, 50), (1, 2, 5, 50)], {}, "scores equal"),
        ([(1, 1, 5, 50), (1, 2, 8, 50)], {"min_score_gap": 4}, "below min_score_gap"),
        ([(1, 1, 5, 50), (1, 2, 8, 50)], {"min_score_ratio": 2.0}, "below min_score_ratio"),
        ([(1, 1, -5, 50), (1, 2, 1, 50)], {"min_score_ratio": 1.1}, "below min_score_ratio"),
        ([(1, 1, 8, 50), (1, 2, 5, 50)], {"newer_must_win": True}, "older response won"),
        ([(1, 1, 5, 50), (1, 62, 8, 50)], {"max_delay_difference_s": 60}, "outside max_delay_difference_s"),
        ([(1, 9, 5, 50), (1, 19, 8, 50)], {"max_log_delay_difference": 0.69}, "outside max_log_delay_difference"),
        ([(1, 1, 5, 50), (1, 2, 8, 101)], {"max_log_length_difference": 0.69}, "outside max_log_length_difference"),
        ([(0, 1, 5, 50), (0, 2, 8, 50)], {"min_held_out_score_gap": 4}, "below min_held_out_score_gap"),
        (
            [(1, 1, 5, 50), (1, 2, 6, 50)],
            {"min_label_confidence": 0.999},
            "label confidence below min_label_confidence",
        ),
    ],
)
def test_each_rule_drops_its_pair_under_its_own_reason(
    rows: list[Response], rules: dict[str, Any], reason: str
) -> None:
    pairs, ledger = match_pairs(frame(rows), recipe(**rules))
    assert (pairs.height, ledger.dropped) == (0, ((reason, 1),))


def test_held_out_rules_do_not_apply_to_train() -> None:
    rows: list[Response] = [(1, 1, 5, 50), (1, 2, 8, 50)]
    assert match_pairs(frame(rows), recipe(min_held_out_score_gap=4))[0].height == 1


def test_rank_gap_is_the_difference_of_ranks_in_the_post() -> None:
    rows: list[Response] = [(0, delay, score, 50) for delay, score in ((1, 1), (2, 2), (3, 9))]
    pairs, _ = match_pairs(frame(rows), recipe(min_held_out_rank_gap=0.75))
    assert pairs["pair_id"].to_list() == ["c0-c2"]  # ranks 0, 0.5, 1


responses = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5_000), st.integers(-3, 30), st.integers(1, 400)),
    min_size=2,
    max_size=60,
)


@settings(max_examples=25, deadline=None, phases=FAST_PHASES)
@given(
    rows=responses,
    per_response=st.integers(1, 4),
    per_post=st.integers(1, 12),
    order=st.sampled_from(["delay", "random"]),
)
def test_calipers_and_caps_hold_and_the_ledger_adds_up(
    rows: list[Response], per_response: int, per_post: int, order: str
) -> None:
    rules = recipe(
        neighbour_order=order,
        max_delay_difference_s=900,
        max_log_length_difference=math.log(2),
        max_pairs_per_response=per_response,
        max_pairs_per_post=per_post,
    )
    pairs, ledger = match_pairs(frame(rows), rules)
    assert ledger.n_kept == pairs.height
    assert pairs["pair_id"].n_unique() == pairs.height
    assert (pairs["chosen_score"] > pairs["rejected_score"]).all()
    assert ((pairs["chosen_delay_s"] - pairs["rejected_delay_s"]).abs() <= 900).all()
    ratio = (pairs["chosen_chars"].log() - pairs["rejected_chars"].log()).abs()
    assert (ratio <= math.log(2) + 1e-12).all()
    uses = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).value_counts()["count"]
    assert uses.is_empty() or uses.max() <= per_response
    by_post = pairs["post_id"].value_counts()["count"]
    assert by_post.is_empty() or by_post.max() <= per_post
    assert pairs["label_confidence"].is_between(0.5, 1).all()


@settings(max_examples=15, deadline=None, phases=FAST_PHASES)
@given(rows=responses, shuffle=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Response], shuffle: Any) -> None:
    ordered = frame(rows)
    shuffled = list(range(len(rows)))
    shuffle.shuffle(shuffled)
    for rules in (recipe(max_pairs_per_post=3), recipe(neighbour_order="random", n_neighbours=2, balance_signs=True)):
        first, first_ledger = match_pairs(ordered, rules)
        second, second_ledger = match_pairs(ordered[shuffled], rules)
        assert first.equals(second)
        assert first_ledger == second_ledger


def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Response] = [(n % 7, n * 37 % 900, n * 11 % 23, 40 + n % 60) for n in range(200)]
    single, ledger = match_pairs(frame(rows), recipe())
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 40)
    parts, parts_ledger = match_pairs(frame(rows), recipe())
    assert single.height > 0
    assert single.equals(parts)
    assert ledger == parts_ledger


def test_balanced_signs_are_half_and_half() -> None:
    rows: list[Response] = [(n % 5, n * 37 % 9_000, n * 11 % 23, 40 + n * 7 % 60) for n in range(300)]
    pairs, ledger = match_pairs(frame(rows), recipe(balance_signs=True))
    for chosen, rejected in (("chosen_delay_s", "rejected_delay_s"), ("chosen_chars", "rejected_chars")):
        signs = (pairs[chosen] - pairs[rejected]).sign()
        assert signs.abs().sum() > 100
        assert signs.sum() == 0
    assert dict(ledger.dropped)["signs balanced"] > 0


def test_length_symmetry_holds_at_every_size() -> None:
    rows: list[Response] = [(n % 5, n * 37 % 9_000, n * 11 % 23, 40 + n * 7 % 60) for n in range(300)]
    pairs, _ = match_pairs(frame(rows), recipe(length_symmetric=True))
    difference = pairs["chosen_chars"].log() - pairs["rejected_chars"].log()
    sizes = (difference.abs() / matching.LENGTH_BIN_NATS).floor()
    balance = pl.DataFrame({"split": pairs["split"], "size": sizes, "sign": difference.sign()})
    assert balance.height > 100
    assert (balance.group_by("split", "size").agg(pl.col("sign").sum())["sign"] == 0).all()


def many_responses(n: int) -> pl.DataFrame:
    """Responses to posts of very unequal size: the first has a third of all."""
    n_th = pl.int_range(n)
    return pl.select(
        comment_id=pl.format("c{}", n_th),
        post_id=pl.format("p{}", pl.when(n_th % 3 == 0).then(0).otherwise(n_th * 31 % (n // 10))),
        subreddit=pl.lit("alpha"),
        split=pl.lit("train"),
        delay_s=n_th * 7_919 % 100_000,
        score=n_th * 613 % 41,
        n_chars=n_th * 97 % 500 + 1,
        text_hash=n_th.cast(pl.UInt64),
    )


@contextmanager
def most_bytes(folder: Path, pattern: str) -> Iterator[list[int]]:
    """One number: the peak size of the files of that pattern, watched from a thread."""
    peak, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            with suppress(FileNotFoundError):  # a file was deleted in the meantime
                peak[0] = max(peak[0], sum(file.stat().st_size for file in folder.glob(pattern)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def test_spilling_to_disk_gives_the_same_pairs(tmp_path: Path) -> None:
    responses, rules = many_responses(700_000), recipe(n_neighbours=1, max_delay_difference_s=600)
    with most_bytes(tmp_path, "lurker-spill-*/*") as spilled:
        limited, ledger = match_pairs(responses, rules, BuildOptions(memory_limit="75MB", temp_folder=tmp_path))
    assert spilled[0] > 1_000_000
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    roomy, roomy_ledger = match_pairs(responses, rules)
    assert roomy.height > 30_000
    assert roomy.equals(limited) and ledger == roomy_ledger


@pytest.mark.slow
def test_a_cluster_gives_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 1_000)
    responses, rules = many_responses(5_000), recipe(max_pairs_per_response=3, max_pairs_per_post=50)
    local, ledger = match_pairs(responses, rules)
    cluster, cluster_ledger = match_pairs(responses, rules, BuildOptions(engine="ray"))
    assert local.height > 100
    assert local.equals(cluster)
    assert ledger == cluster_ledger


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 1_000)
    results = []
    for n_cores in (1, 5):
        monkeypatch.setattr("os.cpu_count", lambda n_cores=n_cores: n_cores)
        results.append(match_pairs(many_responses(5_000), recipe(max_pairs_per_post=50)))
    assert results[0][0].equals(results[1][0])
    assert results[0][1] == results[1][1]


def test_an_invalid_memory_limit_is_refused_and_one_too_small_is_reported(tmp_path: Path) -> None:
    options = BuildOptions(memory_limit="10MB", temp_folder=tmp_path)
    with pytest.raises(LurkerError, match="cannot be sorted within 10MB"):
        match_pairs(many_responses(300_000), recipe(), options)
    with pytest.raises(CallError, match="'plenty'"):
        BuildOptions(memory_limit="plenty")
