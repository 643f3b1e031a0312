"""Near-linear pairing: each response meets its next K neighbours within the post, and rules decide which pairs stay.

Work grows with responses × K whatever the shape of the threads: there is no join of a post with itself. One
implementation serves every recipe; the order of neighbours and the rules are the recipe's fields.
"""

import duckdb
import polars as pl

from features.balance import sign, thin_to_mirror
from features.hashing import hash_sql
from features.ledger import Ledger
from features.noise import add_label_confidence
from features.recipes import Recipe

CANDIDATES_AT_ONCE = 16_000_000
"""Candidate pairs held in memory at a time: posts are taken in as many buckets as that needs."""
LENGTH_BIN_NATS = 0.1
"""Width of the bins of |log length difference| in which `length_symmetric` balances."""
DELAY_BIN_NATS = 0.05
"""Width of the bins of |log delay difference| in which `balance_signs` balances: with one bin for all, a probe still
finds that the earlier one wins where the difference is large and loses where it is small."""


def match_pairs(responses: pl.DataFrame, recipe: Recipe) -> tuple[pl.DataFrame, Ledger]:
    """Pairs of responses without their texts, sorted by post and pair, and the ledger of every candidate pair.

    Of a recipe that balances these are the pool to thin: the caps come after that (`features.deconfound`).
    responses: as of `select_responses`. The result depends on the set of rows only: not on their order, the number of
    threads or how the input was cut into files.
    """
    neighbours, ledger = _neighbour_pairs(responses, recipe)
    pairs = add_label_confidence(neighbours, responses)
    before = (
        ("label confidence below min_label_confidence", _confident),
        ("length signs balanced", _length_symmetric),
        ("over max_pool_pairs_per_post", _cap_pool),
    )
    caps = (
        ("over max_pairs_per_response", cap_per_response),
        ("over max_pairs_per_post", cap_per_post),
        ("signs balanced", _balance_signs),
    )
    for reason, rule in before if recipe.deconfound == "balance" else before + caps:
        kept = rule(pairs, recipe)
        ledger = ledger.drop(reason, pairs.height - kept.height)
        pairs = kept
    return pairs.sort("subreddit", "post_id", "pair_id"), ledger


# --- candidates and the rules on them


def _neighbour_pairs(responses: pl.DataFrame, recipe: Recipe) -> tuple[pl.DataFrame, Ledger]:
    """Candidate pairs that pass the rules on scores and calipers, oriented by score."""
    rules = _pair_rules(recipe)
    n_buckets = 1 + responses.height * recipe.n_neighbours // CANDIDATES_AT_ONCE
    counts: dict[str | None, int] = {}
    kept = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("_responses", responses.to_arrow())
        connection.execute(_responses_sql(recipe, n_buckets))
        for bucket in range(n_buckets):
            connection.execute(_candidates_sql(recipe, rules, bucket))
            for reason, n in connection.execute("SELECT reason, count(*) FROM candidates GROUP BY reason").fetchall():
                counts[reason] = counts.get(reason, 0) + n
            kept.append(pl.DataFrame(connection.sql(_KEPT_SQL).to_arrow_table()))
    ledger = Ledger(sum(counts.values()))
    for reason in rules:
        ledger = ledger.drop(reason, counts.get(reason, 0))
    return pl.concat(kept), ledger


def _responses_sql(recipe: Recipe, n_buckets: int) -> str:
    """Responses with their place in the order of neighbours, ties broken by id; n numbers them for the way back."""
    place = "delay_s" if recipe.neighbour_order == "delay" else hash_sql("comment_id", "neighbour")
    return f"""
        CREATE TEMP TABLE responses AS
        SELECT *, row_number() OVER () AS n, {place} AS place, {hash_sql("post_id", "bucket")} % {n_buckets} AS bucket,
               percent_rank() OVER (PARTITION BY post_id ORDER BY score) AS score_rank
        FROM _responses"""


def _candidates_sql(recipe: Recipe, rules: dict[str, str], bucket: int) -> str:
    """Every response with each of its next neighbours, and the first rule that drops the pair."""
    fields = ("n", "score", "score_rank", "delay_s", "log_delay", "log_chars", "text_hash")
    row = "{" + ", ".join(f"'{field}': {field}" for field in fields) + "}"
    followers = ", ".join(f"lead({row}, {k}) OVER following" for k in range(1, recipe.n_neighbours + 1))
    cases = " ".join(f"WHEN {condition} THEN '{reason}'" for reason, condition in rules.items())
    return f"""
        CREATE OR REPLACE TEMP TABLE candidates AS
        WITH met AS (
            SELECT {row} AS a, split, unnest([{followers}]) AS b
            FROM responses WHERE bucket = {bucket}
            WINDOW following AS (PARTITION BY post_id ORDER BY place, comment_id)
        ), oriented AS (
            SELECT split, CASE WHEN a.score > b.score THEN a ELSE b END AS chosen,
                   CASE WHEN a.score > b.score THEN b ELSE a END AS rejected
            FROM met WHERE b IS NOT NULL
        )
        SELECT chosen.n AS chosen_n, rejected.n AS rejected_n, CASE {cases} END AS reason FROM oriented"""


_PAIR_ID = "CASE WHEN c.comment_id < r.comment_id THEN c.comment_id || '-' || r.comment_id " + (
    "ELSE r.comment_id || '-' || c.comment_id END"
)
_KEPT_SQL = f"""
    SELECT *, {hash_sql("pair_id", "pair")} AS pair_hash FROM (
        SELECT {_PAIR_ID} AS pair_id, c.post_id, c.subreddit, c.split,
               c.comment_id AS chosen_id, r.comment_id AS rejected_id,
               c.score AS chosen_score, r.score AS rejected_score,
               c.delay_s AS chosen_delay_s, r.delay_s AS rejected_delay_s,
               c.n_chars AS chosen_chars, r.n_chars AS rejected_chars
        FROM candidates JOIN responses c ON c.n = chosen_n JOIN responses r ON r.n = rejected_n
        WHERE reason IS NULL)"""


def _pair_rules(recipe: Recipe) -> dict[str, str]:
    """reason -> SQL that is true when the candidate goes; in the order in which reasons are given."""
    gap = "chosen.score - rejected.score"
    rules = {"scores equal": f"{gap} = 0", "texts equal": "chosen.text_hash = rejected.text_hash"}
    if recipe.newer_must_win:
        rules["older one won"] = "chosen.delay_s < rejected.delay_s"
    if recipe.min_score_gap > 1:
        rules["below min_score_gap"] = f"{gap} < {recipe.min_score_gap}"
    if recipe.min_score_ratio > 1:
        ratio = "greatest(chosen.score, 1) / greatest(rejected.score, 1)"
        rules["below min_score_ratio"] = f"{ratio} < {recipe.min_score_ratio}"
    if recipe.min_held_out_score_gap > 1:
        rules["below min_held_out_score_gap"] = f"split <> 'train' AND {gap} < {recipe.min_held_out_score_gap}"
    if recipe.min_held_out_rank_gap > 0:
        rank_gap = "chosen.score_rank - rejected.score_rank"
        rules["below min_held_out_rank_gap"] = f"split <> 'train' AND {rank_gap} < {recipe.min_held_out_rank_gap}"
    for reason, column, caliper in (
        ("outside max_delay_difference_s", "delay_s", recipe.max_delay_difference_s),
        ("outside max_log_delay_difference", "log_delay", recipe.max_log_delay_difference),
        ("outside max_log_length_difference", "log_chars", recipe.max_log_length_difference),
    ):
        if caliper is not None:
            rules[reason] = f"abs(chosen.{column} - rejected.{column}) > {caliper}"
    return rules


# --- rules on the kept pairs: each pairs, recipe -> pairs


def _confident(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return pairs.filter(pl.col("label_confidence") >= recipe.min_label_confidence)


def _length_symmetric(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    if not recipe.length_symmetric:
        return pairs
    difference = pl.col("chosen_chars").log() - pl.col("rejected_chars").log()
    size = (difference.abs() / LENGTH_BIN_NATS).floor().cast(pl.Int64)
    return thin_to_mirror(pairs, [sign(difference)], within=[pl.col("split"), size])


def _balance_signs(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    if not recipe.balance_signs:
        return pairs
    time = sign(pl.col("chosen_delay_s") - pl.col("rejected_delay_s"))
    length = sign(pl.col("chosen_chars") - pl.col("rejected_chars"))
    log_delay_difference = pl.col("chosen_delay_s").log1p() - pl.col("rejected_delay_s").log1p()
    size = (log_delay_difference.abs() / DELAY_BIN_NATS).floor().cast(pl.Int64)
    return thin_to_mirror(pairs, [time, length], within=[pl.col("subreddit"), size])


def cap_per_response(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Pairs that are among the first of both their responses in the order of pair_hash."""
    if recipe.max_pairs_per_response is None:
        return pairs
    ordered = pairs.sort("pair_hash", "pair_id").with_row_index("_n")
    roles = [ordered.select("_n", pl.col(role).alias("response")) for role in ("chosen_id", "rejected_id")]
    places = pl.concat(roles).sort("_n", "response").with_columns(place=pl.int_range(pl.len()).over("response"))
    over = places.filter(pl.col("place") >= recipe.max_pairs_per_response).select("_n").unique()
    return ordered.join(over, on="_n", how="anti").drop("_n")


def cap_per_post(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """The first pairs of every post in the order of pair_hash."""
    return _first_of_post(pairs, recipe.max_pairs_per_post)


def _cap_pool(pairs: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    return _first_of_post(pairs, recipe.max_pool_pairs_per_post)


def _first_of_post(pairs: pl.DataFrame, n_pairs: int | None) -> pl.DataFrame:
    if n_pairs is None:
        return pairs
    return pairs.sort("pair_hash", "pair_id").filter(pl.int_range(pl.len()).over("post_id") < n_pairs)
