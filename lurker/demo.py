"""`lurker demo`: every stage on a simulated Reddit, by the commands a user would type, each shown as it runs.

The simulator knows what each community truly likes, so the closing tables compare shortcuts, reward models and the
truth: does an accuracy come from taste, how does it grow with data and with the model, and does the reward of what a
writer wrote come true?
"""

import contextlib
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import typer

from lurker.cli import run
from lurker.decimals import accuracy_text, decimal, signed
from lurker.errors import LurkerError
from lurker.files import read_json
from lurker.pair_sets import HARD_TEST
from lurker.progress import say
from lurker.report import print_json, print_table
from lurker.workspace import Workspace, open_workspace

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

RECIPES = ("naive", "matched", "balanced")
WORLD = {
    "word_share": 0.3,
    "phrase_share": 0.6,
    "uptake_share": 0.1,
    "taste_shared": 0.8,
    "n_taste_words": 40,
    "quality_effect": 1.3,
    "median_words": 14,
    "max_words": 40,
}
"""The simulated Reddit: most of its taste is in the order of words, which TF-IDF cannot read, and few and short words
carry it, so that small models learn it from few pairs."""
SETTINGS = "--set epochs=2 --set max_validation_pairs=500"
"""A third pass over these pairs overfits, and validation on more of them would take longer than training."""


N_POSTS = 8_000
MODEL = "scratch-50k"
"""SPEC that is trained on each recipe, and on each community."""
TRAIN_PAIRS = 3_200
"""Training pairs of each recipe."""
TFIDF_PAIRS = 12_000
"""Training pairs of TF-IDF on each recipe, at most."""
COMMUNITY_PAIRS = 1_200
"""Training pairs of each community."""
MODELS = "scratch-10k,scratch-200k"
DATA = "800,1600,3200"
"""Models and numbers of training pairs that are compared."""
WRITER, WRITER_MODEL = "demo-writer", "scratch-200k"
WRITER_SETTINGS = (
    "--set max_responses=6000 --set epochs=1 --set evaluations_per_epoch=1 --set max_held_out_responses=300 "
    "--set n_memorisation_prompts=0"
)
"""A writer that is read by judges only: what it copies and how it learns is measured elsewhere."""
N_SAMPLES, N_PROMPTS = 32, 100
"""Samples of each of so many test posts, of which the best is taken."""
JUDGES = ("naive", "balanced")
"""Recipes whose reward models choose the best."""


def plan(seed: int, n_posts: int, root: Path) -> list[str]:
    """The command lines of the demo in a workspace, in order."""
    samples = _samples(root)
    world = " ".join(f"--set {name}={value}" for name, value in WORLD.items())
    return [
        f"ingest simulate --seed {seed} --posts {n_posts} {world}",
        *(f"pairs build {recipe} --recipe {recipe}" for recipe in RECIPES),
        *(f"pairs audit {name}" for name in (*RECIPES, HARD_TEST)),
        *(
            f"rm train {recipe} --model {MODEL} --max-pairs {TRAIN_PAIRS} --run demo-{recipe} --resume "
            f"--baselines cheap {SETTINGS}"
            for recipe in RECIPES
        ),
        f"experiment recipes {' '.join(RECIPES)} --models tfidf --sizes {TFIDF_PAIRS} --seeds 1",
        f"experiment scaling balanced --models {MODELS} --sizes {DATA} --seeds 1 {SETTINGS}",
        f"experiment transfer balanced --model {MODEL} --max-pairs {COMMUNITY_PAIRS} {SETTINGS}",
        f"policy train-writer balanced --model {WRITER_MODEL} --id {WRITER} --resume {WRITER_SETTINGS}",
        f"policy sample {WRITER} --pairs balanced --prompts {N_PROMPTS} --n {N_SAMPLES} --replace",
        *(f"policy best-of-n {shlex.quote(str(samples))} --judge demo-{recipe} --truth" for recipe in JUDGES),
    ]


@app.command()
def demo(
    ctx: typer.Context,
    seed: int = typer.Option(0, help="Seed of the simulated Reddit."),
    posts: int = typer.Option(N_POSTS, min=300, help="Posts to simulate."),
    as_json: bool = typer.Option(False, "--json", help="Print the closing tables as one JSON object on stdout."),
) -> None:
    """Run every stage on a simulated Reddit: from ingest and pairs to experiments and a writer's best of n."""
    started = time.monotonic()
    commands = plan(seed, posts, ctx.obj)
    for number, command in enumerate(commands, start=1):
        say(f"\n[bold cyan]({number}/{len(commands)}) lurker {command}[/]")
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            code = run(["--workspace", str(ctx.obj), *shlex.split(command)])
        if code:
            raise LurkerError(f"The demo stopped at `lurker {command}` (exit code {code}).", "Fix it, then run again.")
    workspace = open_workspace(ctx.obj)
    rows = [closing_row(workspace, recipe, MODEL) for recipe in RECIPES]
    learning, written = learning_rows(workspace), best_of_n_rows(workspace)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    if as_json:
        print_json(
            {"workspace": str(ctx.obj), "seconds": minutes * 60 + seconds}
            | {"recipes": rows, "learning": learning, "best_of_n": written}
        )
        return
    print_table("\nIs that accuracy taste, or a shortcut?", rows)
    print_table("\nDoes accuracy grow with data, and faster for a larger model?", learning)
    print_table(f"\nDoes the reward of the best of n samples of {WRITER_MODEL} come true?", written)
    say("Shortcut columns: how often a probe that never reads the text predicts the winner of the recipe's own pairs.")
    say("Hard test: the same frozen pairs for every row of both tables, balanced in every shortcut.")
    say("Best of n: gains over one sample in standard deviations, by the judge that chose and by the truth.")
    say("Intervals: 95 %, by post.")
    say("Truth: the simulator's quality; what it misses is luck. Most of it is in word order, unseen by TF-IDF.")
    say(f"\nDone in {minutes} min {seconds} s. Explore the results:  [bold]lurker --workspace {ctx.obj} dashboard[/]")


def closing_row(workspace: Workspace, recipe: str, model: str) -> dict[str, Any]:
    """One recipe's row of the closing table, read from the tables that the demo's commands wrote."""
    audit = read_json(workspace.folder("pairs", recipe) / "audit.json")
    truth = read_json(workspace.folder("pairs", HARD_TEST) / "audit.json")["truth"]
    evaluations = pl.read_parquet(workspace.folder("runs", f"demo-{recipe}") / "evaluations.parquet")

    def probe(confounders: str) -> str:
        return next(
            _interval(row)
            for row in audit["probes"]
            if (row["split"], row["subreddit"], row["confounders"]) == ("all", "all", confounders)
            and row["probe"] == "boosting"
        )

    def hard(predictor: str) -> str:
        row = evaluations.filter(pairs=HARD_TEST, subreddit="all", predictor=predictor)
        return _interval(row.row(0, named=True))

    return {
        "recipe": recipe,
        "pairs": audit["n_pairs"],
        "shortcut: time": probe("time"),
        "shortcut: length": probe("length"),
        "shortcut: all": probe("joint"),
        "hard test: TF-IDF": hard("tfidf"),
        f"hard test: {model}": hard("model"),
        "hard test: truth allows": _interval(truth),
    }


def learning_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """One row per model, TF-IDF and the truth, one column per number of training pairs: accuracy on the hard test."""
    truth = read_json(workspace.folder("pairs", HARD_TEST) / "audit.json")["truth"]
    table = pl.read_parquet(workspace.folder("experiments", "balanced-scaling") / "scaling.parquet")
    known = table.filter((pl.col("predictor") == "tfidf") | ~pl.col("is_baseline"))
    known = known.sort("n_parameters", "n_train_pairs", nulls_last=False)
    rows = [
        {"predictor": predictor} | {f"{row['n_train_pairs']:,} pairs": _interval(row) for row in part.to_dicts()}
        for (predictor,), part in known.group_by("predictor", maintain_order=True)
    ]
    return [*rows, {"predictor": "truth"} | {name: _interval(truth) for name in rows[0] if name != "predictor"}]


def best_of_n_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """One row per n: what the best of n samples gains, by each judge that chose it and by the truth."""
    samples = _samples(workspace.root)
    rows: dict[int, dict[str, Any]] = {}
    for recipe in JUDGES:
        table = pl.read_parquet(samples.with_name(f"{WRITER}.demo-{recipe}.best-of-n.parquet"))
        for one in table.filter(pl.col("n") > 1).sort("n").iter_rows(named=True):
            row = rows.setdefault(one["n"], {"n": one["n"], "KL (nats)": decimal(one["kl"], 2)})
            if one["measure"] in ("proxy", "truth"):
                measure = "its reward" if one["measure"] == "proxy" else "truth"
                ends = (signed(one[end], 2) for end in ("value", "low", "high"))
                row[f"judge {recipe}: {measure}"] = "{} [{}, {}]".format(*ends)
    return list(rows.values())


def _samples(root: Path) -> Path:
    return root / "samples" / f"{WRITER}.parquet"


def _interval(row: dict[str, Any]) -> str:
    return accuracy_text(row)
