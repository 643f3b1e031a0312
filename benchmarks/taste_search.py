"""Which data and features learn a domain's taste: chosen on validation, then judged once on its tests.

    python benchmarks/taste_search.py WORKSPACE --own LocalLLaMA [--judge]

Candidates are fitted on the domain's own training pairs or on those of all communities, and chosen step by step, by the
log loss on the domain's validation pairs: a regression on frozen embeddings by how much text they read, then by the use
of label_confidence; a small network on the same embeddings; TF-IDF by training pairs and confidence; and sums of
log-odds. More text than the first of --texts is tried with own pairs alone, as to embed all takes long. Prints every
candidate, the choice, and the difference that the tests would see; with --judge also what the tests say. Embeddings are
cached in the workspace.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from ceiling_contest import markdown
from taste_models import LABELS, OWN_TFIDF, SEEDS, Candidate, Row, Search, Sum, embedder_of, named, scored

from lurker.decimals import decimal, difference
from lurker.machine import processor
from lurker.pair_sets import HARD_TEST, of_subreddits, read_pairs
from lurker.stats import ACCURACY_GAIN, mean_interval
from lurker.workspace import open_workspace
from rm.evaluation.baselines import length_margins
from rm.evaluation.metrics import is_correct
from rm.experiments.paired import over_posts_and_seeds


def main() -> None:
    """Search, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--own", nargs="+", required=True, help="Subreddits of the domain.")
    parser.add_argument("--pairs", default="balanced", help="Pair set.")
    parser.add_argument("--model", default="minilm", help="SPEC of the pretrained model that embeds.")
    parser.add_argument("--texts", nargs="+", default=["128"], help="Tokens read: RESPONSE, or PROMPT+RESPONSE.")
    parser.add_argument("--judge", action="store_true", help="Read the tests, once the choice is made.")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same sums, and so the same networks, whatever the number of cores
    sys.stdout.write("\n".join(report(options)) + "\n")


def report(options: argparse.Namespace) -> list[str]:
    """The lines to print."""
    workspace = open_workspace(options.workspace)
    pairs, hard = read_pairs(workspace, options.pairs), read_pairs(workspace, HARD_TEST)
    own = of_subreddits(pairs, options.pairs, options.own)
    training = {"own": own.filter(pl.col("split") == "train"), "all": pairs.filter(pl.col("split") == "train")}
    validation = own.filter(pl.col("split") == "validation")
    tests = {  # the hard test may lack small communities
        "hard test": hard.filter(pl.col("subreddit").is_in(own["subreddit"].unique().implode())),
        f"{options.pairs} test": own.filter(pl.col("split") == "test"),
    }
    require_apart(training["all"], [validation, *tests.values()])
    embedder = cache(partial(embedder_of, options.model, workspace.root / "cache"))
    search = Search({**training, "validation": validation, **tests}, embedder)
    chosen = choose(search, options.texts)
    search.rows.append(scored("length", length_margins(validation), validation))
    lines = [f"Trained on {', '.join(f'{frame.height:,} {name} pairs' for name, frame in training.items())}."]
    lines += [f"Validation: {size(validation)}.", "", markdown(search.rows), "", *power(search, chosen, tests)]
    if options.judge:
        for name, frame in tests.items():
            lines += ["", f"{name}: {size(frame)}.", "", markdown(judged(search, chosen, name))]
    return [*lines, "", f"1 core of {processor()}."]


def require_apart(training: pl.DataFrame, held_out: Sequence[pl.DataFrame]) -> None:
    """End if a post or a prompt of validation or tests is in the training pairs."""
    for column in ("post_id", "prompt"):
        shared = training.filter(pl.col(column).is_in(pl.concat([frame[column] for frame in held_out]).implode()))
        if shared.height:
            sys.exit(f"{shared.height:,} training pairs have a {column} of validation or tests: build the pairs again.")


def choose(search: Search, texts: Sequence[str]) -> Sum:
    """Fit all candidates; the one with the lowest log loss on validation."""
    first = [Candidate(features="regression", pairs=pairs, text=texts[0]) for pairs in ("own", "all")]
    longer = [replace(first[0], text=text) for text in texts[1:]]
    text = search.best((one,) for one in [*first, *longer])[0].text
    regressions = [replace(first[0], text=text), first[1]]
    networks = []
    for regression in regressions:
        labels = search.best((replace(regression, labels=labels),) for labels in LABELS)[0].labels
        networks.append(replace(regression, features="network", labels=labels, seeds=tuple(SEEDS)))
    search.best((network,) for network in networks)
    words = search.best(
        (replace(OWN_TFIDF, pairs=pairs, labels=labels),) for pairs in ("own", "all") for labels in LABELS
    )
    states = min((members for members in search.losses if members[0].features != "TF-IDF"), key=search.loss)
    search.best([(*words, *states), (OWN_TFIDF, *states)])
    return min(search.losses, key=search.loss)


def size(frame: pl.DataFrame) -> str:
    """Pairs and posts in words."""
    return f"{frame.height:,} pairs of {frame['post_id'].n_unique():,} posts"


def power(search: Search, chosen: Sum, tests: dict[str, pl.DataFrame]) -> list[str]:
    """The choice, its lead over TF-IDF on own pairs where it was chosen, and the lead that 80 % of tests would see."""
    right, of_words = (is_correct(search.margins(members, "validation")) for members in (chosen, (OWN_TFIDF,)))
    lead = over_posts_and_seeds(right - of_words, search.frames["validation"]["post_id"].to_numpy())
    lines = [
        f"Chosen of {len(search.losses)}: {named(chosen)}.",
        f"On validation it leads {OWN_TFIDF} by {difference(lead.value, lead.low, lead.high)}.",
    ]
    for name, test in tests.items():
        seen = lead.smallest_effect() * np.sqrt(lead.n_posts / test["post_id"].n_unique())
        lines.append(f"80 % of tests like {name} ({size(test)}) would see a difference of {decimal(seen)}.")
    return lines


def judged(search: Search, chosen: Sum, test: str) -> list[Row]:
    """What a test says of the choice, its parts, each seed, and what is simpler; with leads over TF-IDF."""
    network = next((one for one in chosen if len(one.seeds) > 1), None)
    seeds = [tuple(replace(one, seeds=(s,)) if one is network else one for one in chosen) for s in SEEDS if network]
    simpler = [(replace(OWN_TFIDF, pairs=pairs),) for pairs in ("all", "own")]
    shown = dict.fromkeys([chosen, *((one,) for one in chosen), *seeds, *simpler])
    frame = search.frames[test]
    margins = {named(members): search.margins(members, test) for members in shown} | {"length": length_margins(frame)}

    def lead(first: str, second: str) -> str:
        gain = is_correct(margins[first]) - is_correct(margins[second])
        found = mean_interval(gain, frame["post_id"].to_numpy(), bounds=ACCURACY_GAIN)
        return difference(found.value, found.low, found.high)

    return [
        scored(name, of_name, frame)
        | {"choice − it": lead(named(chosen), name), "it − TF-IDF, own": lead(name, str(OWN_TFIDF))}
        for name, of_name in margins.items()
    ]


if __name__ == "__main__":
    main()
