"""Near-linear candidates: the responses of a post in order, each beside its next K, whatever the threads' shape.

DuckDB puts the responses in order, within its memory limit or by way of the disk; whole posts come back in blocks, and
the k-th neighbours of a block are its columns shifted by k. There is no join of a post with itself, and a block needs
the memory of its responses, not of its candidates.
"""

import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.hashing import hash_sql
from features.recipes import Recipe
from lurker.engine import Engine, run_tasks
from lurker.errors import CallError, LurkerError
from lurker.workspace import sql_string

BLOCK_ROWS = 100_000
"""Responses of a block, at least; it ends with the post that passes this."""
COLUMNS = ("comment_id", "post_id", "subreddit", "split", "score", "delay_s", "n_chars", "text_hash")
"""What is looked at of a response."""
Side = Callable[[str], NDArray[Any]]
"""A column of one side of the candidates, by its name: [n]."""
Rule = Callable[[Side, Side], NDArray[np.bool_]]
"""chosen, rejected -> whether the candidate goes: [n]."""
BlockMatcher = Callable[[pl.DataFrame, Recipe], tuple[pl.DataFrame, Counter[str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """By what means pairs are found; no byte of the result hangs on them."""

    engine: Engine = "local"
    """local: threads of this process; ray: every block of posts a task of a cluster."""
    memory_limit: str | None = None
    """Memory of DuckDB, like 500MB or 8GB; what does not fit goes to the disk. None: four fifths of the machine's."""
    temp_folder: Path | None = None
    """Where it spills to; None: a temporary folder of the system."""

    def __post_init__(self) -> None:
        if self.memory_limit is not None:
            try:
                duckdb.connect(config={"memory_limit": self.memory_limit}).close()
            except duckdb.Error as error:
                raise CallError(
                    f"The memory limit takes a size like 500MB or 8GB, got {self.memory_limit!r}."
                ) from error


def match_blocks(
    responses: pl.DataFrame | Path, recipe: Recipe, match: BlockMatcher, means: Means
) -> Iterator[tuple[pl.DataFrame, Counter[str]]]:
    """`match` of every block of posts, in the order of the posts.

    responses: the columns COLUMNS, or a Parquet file of them.
    """
    blocks = ordered_blocks(responses, recipe, means)
    if means.engine == "ray":
        tasks = [{"block": block, "recipe": recipe} for block in blocks]
        found = dict(run_tasks(match, tasks, engine="ray"))
        yield from (found[n] for n in range(len(tasks)))
        return
    n_threads = os.cpu_count() or 1
    waiting: deque[Future[tuple[pl.DataFrame, Counter[str]]]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        for block in blocks:
            waiting.append(pool.submit(match, block, recipe))
            if len(waiting) > n_threads:  # so that blocks do not pile up in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def ordered_blocks(responses: pl.DataFrame | Path, recipe: Recipe, means: Means) -> Iterator[pl.DataFrame]:
    """The responses in blocks of whole posts, by post, then in the recipe's order of neighbours, ties by id."""
    place = "delay_s" if recipe.neighbour_order == "delay" else hash_sql("comment_id", "neighbour")
    with (
        tempfile.TemporaryDirectory(prefix="lurker-", dir=means.temp_folder) as spill,
        duckdb.connect(config={"temp_directory": spill, "preserve_insertion_order": False}) as connection,
    ):
        if means.memory_limit is not None:
            connection.execute(f"SET memory_limit = {sql_string(means.memory_limit)}")
        if isinstance(responses, Path):
            source = f"read_parquet({sql_string(str(responses))})"
        else:
            connection.register("_responses", responses.select(COLUMNS).to_arrow())
            source = "_responses"
        # Words that repeat are sorted and spilled as numbers.
        for word in ("subreddit", "split"):
            connection.execute(
                f"CREATE TYPE {word}_word AS ENUM (SELECT DISTINCT {word} FROM {source} ORDER BY {word})"
            )
        columns = ", ".join(COLUMNS)
        ordered = connection.sql(
            f"SELECT * REPLACE (subreddit::subreddit_word AS subreddit, split::split_word AS split) "
            f"FROM (SELECT {columns} FROM {source}) ORDER BY post_id, {place}, comment_id"
        )
        rest: list[pl.DataFrame] = []
        for part in _batches(ordered, means):
            rest.append(part)
            if sum(one.height for one in rest) < BLOCK_ROWS or part["post_id"][0] == part["post_id"][-1]:
                continue
            # Sorted by post: all of the last post that has come so far stands in this part.
            n_whole = part["post_id"].search_sorted(part["post_id"][-1], side="left")
            yield pl.concat([*rest[:-1], part.head(n_whole)])
            rest = [part.slice(n_whole)]
        if rest:
            yield pl.concat(rest)


def _batches(ordered: duckdb.DuckDBPyRelation, means: Means) -> Iterator[pl.DataFrame]:
    """The rows of a relation as they come; that memory or disk is full is said in a sentence."""
    try:
        for batch in ordered.to_arrow_reader(BLOCK_ROWS // 4):
            yield pl.DataFrame(batch)
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        memory, folder = means.memory_limit or "this machine's memory", means.temp_folder or tempfile.gettempdir()
        said = str(error).splitlines()[0]
        raise LurkerError(
            f"The responses cannot be sorted within {memory} and the free space of {folder}: {said}.",
            "Give more with --memory-limit, or name a larger disk in TMPDIR.",
        ) from error


def candidates(block: pl.DataFrame, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64], Counter[str]]:
    """Rows of chosen and of rejected that pass all rules; how many there were ("candidates") and went by each rule.

    block: responses of whole posts in order. A candidate that several rules would take is counted under the first.
    """
    columns = _columns(block, recipe)
    rules = pair_rules(recipe)
    post = block["post_id"].rle_id().to_numpy()
    counts: Counter[str] = Counter()
    kept = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for k in range(1, recipe.n_neighbours + 1):
        first = np.flatnonzero(post[:-k] == post[k:])
        if first.size == 0:
            break
        counts["candidates"] += first.size
        is_first_chosen = columns["score"][first] > columns["score"][first + k]
        chosen, rejected = first + k * ~is_first_chosen, first + k * is_first_chosen
        for reason, is_dropped in rules.items():
            goes = is_dropped(*(_side(columns, rows) for rows in (chosen, rejected)))
            counts[reason] += int(goes.sum())
            chosen, rejected = chosen[~goes], rejected[~goes]
        kept.append((chosen, rejected))
    return np.concatenate([c for c, _ in kept]), np.concatenate([r for _, r in kept]), counts


def _columns(block: pl.DataFrame, recipe: Recipe) -> dict[str, NDArray[Any]]:
    """What the rules look at, by name. Each [n]."""
    columns = {name: block[name].to_numpy() for name in ("score", "delay_s", "text_hash")}
    columns["log_delay"] = block["delay_s"].log1p().to_numpy()
    columns["log_chars"] = block["n_chars"].log().to_numpy()
    columns["is_train"] = (block["split"] == "train").to_numpy()
    if recipe.min_held_out_rank_gap > 0:
        # The share of the post's other responses with a lower score.
        # The place among the post's different scores, as DialogRPT's match_time counts it: 0 the lowest, 1 the highest.
        rank = (pl.col("score").rank("dense").over("post_id") - 1) / (
            pl.col("score").n_unique().over("post_id") - 1
        ).clip(1)
        columns["score_rank"] = block.select(rank.cast(pl.Float64)).to_series().to_numpy()
    return columns


def _side(columns: dict[str, NDArray[Any]], rows: NDArray[np.int64]) -> Side:
    return lambda name: columns[name][rows]


def pair_rules(recipe: Recipe) -> dict[str, Rule]:
    """reason -> true when the candidate goes; in the order in which reasons are given."""

    def gap(chosen: Side, rejected: Side, name: str = "score") -> NDArray[Any]:
        return chosen(name) - rejected(name)

    def outside(name: str, caliper: float) -> Rule:
        return lambda c, r: np.abs(gap(c, r, name)) > caliper

    rules: dict[str, Rule] = {
        "scores equal": lambda c, r: gap(c, r) == 0,
        "texts equal": lambda c, r: c("text_hash") == r("text_hash"),
    }
    if recipe.newer_must_win:
        rules["older one won"] = lambda c, r: c("delay_s") < r("delay_s")
    if recipe.min_score_gap > 1:
        rules["below min_score_gap"] = lambda c, r: gap(c, r) < recipe.min_score_gap
    if recipe.min_score_ratio > 1:
        rules["below min_score_ratio"] = lambda c, r: (
            np.maximum(c("score"), 1) / np.maximum(r("score"), 1) < recipe.min_score_ratio
        )
    if recipe.min_held_out_score_gap > 1:
        rules["below min_held_out_score_gap"] = lambda c, r: (
            ~c("is_train") & (gap(c, r) < recipe.min_held_out_score_gap)
        )
    if recipe.min_held_out_rank_gap > 0:
        rules["below min_held_out_rank_gap"] = lambda c, r: (
            ~c("is_train") & (gap(c, r, "score_rank") < recipe.min_held_out_rank_gap)
        )
    for reason, name, caliper in (
        ("outside max_delay_difference_s", "delay_s", recipe.max_delay_difference_s),
        ("outside max_log_delay_difference", "log_delay", recipe.max_log_delay_difference),
        ("outside max_log_length_difference", "log_chars", recipe.max_log_length_difference),
    ):
        if caliper is not None:
            rules[reason] = outside(name, caliper)
    return rules
