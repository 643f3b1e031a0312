"""How far are estimates of ceilings from the truth? `python benchmarks/ceiling_contest.py [--posts N] [--seeds N]`.

Every estimator of `rm.experiments` runs on pairs from simulated worlds that differ in luck, in the number of votes, in
what exposes a comment to readers, in herding and in fuzz. The truth of a world is the accuracy of its oracles over the
pairs of all seeds. Prints Markdown: bias and coverage of each estimator, then the figures of every world.

Models: TF-IDF, and naive Bayes on the same words, which share errors; and readers that are told the quality plus noise,
either independent of each other or mostly shared. Pairs: `naive`, of any two responses to a post, and `close`, alike in
delay and length. Labels are displayed final scores, and `label_confidence` is that of equal exposure without fuzz, from
scores alone or from scores and the controversial flag.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.pairing.label_noise import fit_prior, label_confidence
from features.pairing.votes_cast import confidence_from_votes, count_looks, fit_votes_cast, look
from ingest.simulator.config import SimulationConfig
from ingest.simulator.world import simulate
from lurker.decimals import decimal
from lurker.machine import processor
from lurker.pairwise import TextReward, fit_tfidf
from lurker.progress import progress
from lurker.report import print_json
from rm.experiments.text_ceilings import bracket, calibrated_confidence, calibrated_margins, triad
from rm.experiments.vote_ceilings import Ceiling, fuzz_spread, posterior, reliability, two_looks

Floats = NDArray[np.float64]
Row = dict[str, Any]

WORLDS: dict[str, dict[str, float]] = {
    "default": {},
    "little luck": {"vote_spread": 20},
    "much luck": {"vote_spread": 0.8},
    "weak taste": {"quality_effect": 0.25},
    "strong taste": {"quality_effect": 1.6},
    "few readers": {"readers": 40},
    "many readers": {"readers": 1000},
    "equal exposure": {"delay_effect": 0, "size_effect": 0},
    "steep exposure": {"delay_effect": 2.2},
    "hardly any signal": {
        "quality_effect": 0.2,
        "readers": 30,
        "vote_spread": 20,
        "delay_effect": 0,
        "size_effect": 0,
        "length_effect": 0,
    },
    "herding": {"herding_effect": 0.4},
    "fuzz as on Reddit": {"vote_fuzzing": 0.2},
    "strong fuzz": {"vote_fuzzing": 1.0},
    "first look at 30 %": {"first_look_share": 0.3},
    "first look at 80 %": {"first_look_share": 0.8},
}
N_NEIGHBOURS = 3
MAX_PAIRS_PER_POST = 30
MAX_TRAINING_PAIRS = 5_000
CLOSE_RATIO = 1.5
"""Largest ratio of delays, and of lengths, of `close` pairs."""


def main() -> None:
    """Run all worlds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=2_000, help="Posts of each world and seed.")
    parser.add_argument("--seeds", type=int, default=3, help="Seeds of each world.")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), help="Only these worlds.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with progress("Simulating and estimating", len(arguments.worlds) * arguments.seeds, "worlds") as advance:
        for world in arguments.worlds:
            for seed in range(arguments.seeds):
                for kind, pairs in pair_sets(simulated(world, seed, arguments.posts)):
                    rows += [{"world": world, "kind": kind, "seed": seed, **one} for one in estimates(pairs, seed)]
                advance(1)
    judged = with_truth(pl.DataFrame(rows, infer_schema_length=None))
    if arguments.json:
        print_json({"processor": processor(), "rows": judged.to_dicts()})
        return
    summary, by_world = summarise(judged), figures(judged)
    sys.stdout.write(f"{processor()}\n\n{markdown(summary)}\n\n{markdown(by_world)}\n")


def simulated(world: str, seed: int, n_posts: int) -> pl.DataFrame:
    """The responses of a world: its top-level comments whose text is there."""
    fields = {"first_look_share": 0.5, **WORLDS[world]}
    config = SimulationConfig(seed=seed, n_posts=n_posts, n_subreddits=1, **fields)  # type: ignore[arg-type]
    parts = [
        comments.filter(~pl.col("is_sticky"), pl.col("removal") == "", pl.col("parent_index") < 0).with_columns(
            post=pl.col("post") + number * posts.height
        )
        for number, (posts, comments) in enumerate(simulate(config))
    ]
    rng = np.random.default_rng([seed, 9])
    responses = pl.concat(parts)
    # What a third look shows, long after the last one: the same votes, another noise.
    spread = config.vote_fuzzing * np.sqrt(1 + np.abs(responses["score"] - responses["fuzz"]))
    noise = np.rint(spread.to_numpy() * rng.standard_normal(responses.height)).astype(np.int64)
    shared, own = rng.normal(size=(2, responses.height)), rng.normal(size=(4, responses.height))
    quality = responses["quality"].to_numpy()
    return responses.with_columns(
        score_again=responses["score"] - responses["fuzz"] + pl.Series(noise),
        lone_1=pl.Series(quality + 0.8 * own[0]),
        lone_2=pl.Series(quality + 1.2 * own[1]),
        twin_1=pl.Series(quality + shared[0] + 0.3 * own[2]),
        twin_2=pl.Series(quality + shared[0] + 0.5 * own[3]),
        order=pl.Series(shared[1]),
    )


READERS = ("lone_1", "lone_2", "twin_1", "twin_2")
SIDES = ("body", "score", "is_controversial", "first_score", "quality", "net_vote_rate", *READERS, "delay_s", "n_words")


def pair_sets(responses: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """The pairs of each kind, with label_confidence, oriented from chosen to rejected by displayed score."""
    prior = fit_prior(responses["score"])
    votes = fit_votes_cast(count_looks(look(responses["score"], responses["is_controversial"])))
    fuzz = fuzz_spread(responses["score"], responses["score_again"])
    for kind, order in (("naive", "order"), ("close", "delay_s")):
        ordered = responses.sort("post", order).select("post", *SIDES)
        nearby = [
            ordered.with_columns(pl.col(SIDES).shift(-k).over("post").name.suffix("_other")).drop_nulls("score_other")
            for k in range(1, N_NEIGHBOURS + 1)
        ]
        pairs = pl.concat(nearby).filter(pl.col("score") != pl.col("score_other"))
        if kind == "close":
            ratios = [(pl.col(name) / pl.col(f"{name}_other")).log().abs() for name in ("delay_s", "n_words")]
            pairs = pairs.filter(pl.max_horizontal(ratios) <= np.log(CLOSE_RATIO))
        pairs = pairs.filter(pl.int_range(pl.len()).over("post") < MAX_PAIRS_PER_POST)
        wins = pl.col("score") > pl.col("score_other")
        oriented = pairs.select(
            "post",
            *(pl.when(wins).then(name).otherwise(f"{name}_other").alias(f"chosen_{name}") for name in SIDES),
            *(pl.when(wins).then(f"{name}_other").otherwise(name).alias(f"rejected_{name}") for name in SIDES),
        )
        confidence = label_confidence(oriented["chosen_score"], oriented["rejected_score"], prior)
        chosen, rejected = (
            look(oriented[f"{side}_score"], oriented[f"{side}_is_controversial"]) for side in ("chosen", "rejected")
        )
        from_votes = pl.Series(confidence_from_votes(chosen, rejected, votes))
        judged = oriented.with_columns(label_confidence=pl.Series(confidence), from_votes=from_votes)
        yield kind, judged.with_columns(chosen="chosen_body", rejected="rejected_body", weight=1.0, fuzz=fuzz)


def estimates(pairs: pl.DataFrame, seed: int) -> list[Row]:
    """Every estimator on the test third of the posts, and what the oracles read on all pairs."""
    part = pairs["post"] % 10
    training, held_out, test = pairs.filter(part < 5), pairs.filter(part.is_in([5, 6])), pairs.filter(part > 6)
    posts, rng = test["post"].to_numpy(), np.random.default_rng([seed, 10])
    margins = {name: difference(test, name) for name in READERS}
    held_out_margins = {name: difference(held_out, name) for name in READERS}
    for name, reward in text_models(training.head(MAX_TRAINING_PAIRS), held_out).items():
        margins[name], held_out_margins[name] = (text_margins(reward, frame) for frame in (test, held_out))
    correct = {name: (np.sign(values) + 1) / 2 for name, values in margins.items()}
    confidence = test["label_confidence"].to_numpy()
    first, later = windows(test)
    chosen, rejected = (test[f"{side}_first_score"].to_numpy() - 1 for side in ("chosen", "rejected"))
    final = test["chosen_score"].to_numpy() + test["rejected_score"].to_numpy() - 2
    share = float(np.maximum(chosen + rejected, 0).sum() / np.maximum(final, 1).sum())
    fuzz, of_votes = float(test["fuzz"][0]), min(share, 1.0)
    looks = two_looks(first, later, posts, first_share=of_votes, fuzz=fuzz)
    texts = {name: correct[name] for name in ("tfidf", "bayes")}
    found = [
        ("scores", posterior(confidence, posts)),
        ("scores and flag", posterior(test["from_votes"].to_numpy(), posts)),
        ("", looks),
        ("", reliability(first, later, posts, first_share=of_votes, fuzz=fuzz)),
        ("", calibrated(test, held_out, rng)),
        ("TF-IDF, naive Bayes", bracket(texts, confidence, posts, looks.high)),
        ("TF-IDF, naive Bayes", triad(correct["tfidf"], correct["bayes"], posts)),
        ("independent readers", triad(correct["lone_1"], correct["lone_2"], posts)),
        ("readers that share errors", triad(correct["twin_1"], correct["twin_2"], posts)),
        *(
            (label, calibrated_margins(margins[name], posts, held_out_margins[name], held_out["post"], rng=rng))
            for label, name in (("TF-IDF", "tfidf"), ("independent reader", "lone_1"))
        ),
    ]
    truth = {kind: float(oracle(pairs, name).mean()) for kind, name in ORACLES.items()}
    shared = {"n_all": pairs.height, "vote_truth": truth["vote"], "text_truth": truth["text"]}
    return [{"models": models, **asdict(one), **shared} for models, one in found]


ORACLES = {"vote": "net_vote_rate", "text": "quality"}


def oracle(pairs: pl.DataFrame, name: str) -> Floats:
    """Whether an oracle that knows this of each response is right, [n]."""
    return np.asarray((np.sign(difference(pairs, name)) + 1) / 2)


def difference(pairs: pl.DataFrame, name: str) -> Floats:
    """Chosen minus rejected, [n]."""
    return np.asarray((pairs[f"chosen_{name}"] - pairs[f"rejected_{name}"]).to_numpy(), dtype=np.float64)


def windows(pairs: pl.DataFrame) -> tuple[Floats, Floats]:
    """Votes before and after the first look, chosen minus rejected, [n] each."""
    first = difference(pairs, "first_score")
    return first, difference(pairs, "score") - first


def calibrated(test: pl.DataFrame, held_out: pl.DataFrame, rng: np.random.Generator) -> Ceiling:
    """label_confidence, calibrated on held-out pairs by their later votes."""
    columns = test["label_confidence"].to_numpy(), test["post"].to_numpy(), held_out["label_confidence"].to_numpy()
    return calibrated_confidence(*columns, windows(held_out)[1], held_out["post"].to_numpy(), rng=rng)


def text_models(training: pl.DataFrame, held_out: pl.DataFrame) -> dict[str, TextReward]:
    """Rewards of texts, [n], by model."""
    tfidf = fit_tfidf(training, held_out)
    if tfidf is None:
        sys.exit("No word occurs twice: simulate more posts with --posts.")
    wins, losses = (
        Counter(word for text in training[side] for word in text.split()) for side in ("chosen", "rejected")
    )
    weights = {word: np.log((wins[word] + 1) / (losses[word] + 1)) for word in {*wins, *losses}}
    return {
        "tfidf": tfidf,
        "bayes": lambda texts: np.array([sum(weights.get(word, 0.0) for word in text.split()) for text in texts]),
    }


def text_margins(reward: TextReward, pairs: pl.DataFrame) -> Floats:
    """Reward of chosen minus that of rejected, [n]; each text is read once."""
    texts = pl.concat([pairs["chosen"], pairs["rejected"]]).unique(maintain_order=True)
    rewards = pl.DataFrame({"text": texts, "reward": reward(texts.to_list())})
    chosen, rejected = (
        pairs.select(text=side).join(rewards, on="text", how="left", maintain_order="left")["reward"].to_numpy()
        for side in ("chosen", "rejected")
    )
    return np.asarray(chosen - rejected)


def with_truth(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the truth of their ceiling, over the pairs of all seeds of a world and kind."""
    by = ("world", "kind")
    one = rows.unique([*by, "seed"], maintain_order=True)
    mean = [
        ((pl.col(f"{name}_truth") * pl.col("n_all")).sum() / pl.col("n_all").sum()).alias(f"{name}_truth")
        for name in ORACLES
    ]
    truths = one.group_by(by, maintain_order=True).agg(mean)
    joined = rows.drop("vote_truth", "text_truth").join(truths, on=by, how="left", maintain_order="left")
    truth = pl.when(pl.col("ceiling") == "vote").then("vote_truth").otherwise("text_truth")
    return joined.with_columns(truth=truth)


def summarise(rows: pl.DataFrame) -> list[Row]:
    """Bias and coverage of each estimator over worlds, kinds of pairs and seeds."""
    told = pl.col("low").is_not_null() | pl.col("high").is_not_null()
    is_in = (pl.col("low").fill_null(0) <= pl.col("truth")) & (pl.col("truth") <= pl.col("high").fill_null(1))
    error = pl.col("value") - pl.col("truth")
    table = rows.group_by("ceiling", "estimator", "models", maintain_order=True).agg(
        pl.len().alias("cases"),
        told.sum().alias("told"),
        error.mean().alias("bias"),
        error.abs().mean().alias("mean |error|"),
        error.filter(error.abs() == error.abs().max()).first().alias("worst error"),
        is_in.filter(told).mean().alias("coverage"),
        (pl.col("high").fill_null(1) - pl.col("low").fill_null(0.5)).filter(told).mean().alias("width"),
    )
    return table.sort("ceiling", descending=True, maintain_order=True).to_dicts()


def figures(rows: pl.DataFrame) -> list[Row]:
    """One row per world and kind of pairs: the truths, and the mean of each estimator over seeds."""
    named = rows.with_columns(
        column=pl.when(pl.col("models") == "").then("estimator").otherwise(pl.format("{} ({})", "estimator", "models"))
    )
    table = []
    for (world, kind), part in named.partition_by("world", "kind", as_dict=True, maintain_order=True).items():
        row: Row = {"world": f"{world}, {kind}", "vote": part["vote_truth"][0], "text": part["text_truth"][0]}
        for (column,), cell in part.partition_by("column", as_dict=True, maintain_order=True).items():
            value, low, high = (cell[name].mean() for name in ("value", "low", "high"))
            ends = f"{share(low)}–{share(high)}" if low is not None or high is not None else "–"
            row[str(column)] = share(value) if value is not None else ends
        table.append(row)
    return table


def share(value: Any) -> str:
    """A share with three digits, empty if it is not known."""
    return "" if value is None else decimal(value)


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    cells = [
        [share(one) if isinstance(one, float) else "–" if one is None else str(one) for one in row.values()]
        for row in rows
    ]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return share(value) if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
